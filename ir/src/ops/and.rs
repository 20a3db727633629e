//! and - conjunction of two tensors, bit by bit.
//!
//! * (C1) both operands have the same type
//! * (C2) elements are `bool` or integers
//!
//! ONNX And, BitwiseAnd.

use crate::program::Binary;

pointwise_op! {
    /// `result = lhs & rhs`.
    And: "and", Bits, |b, x| b.binary(Binary::And, x[0], x[1])
}
