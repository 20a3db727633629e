//! or - disjunction of two tensors, bit by bit.
//!
//! * (C1) both operands have the same type
//! * (C2) elements are `bool` or integers
//!
//! ONNX Or, BitwiseOr.

use crate::program::Binary;

pointwise_op! {
    /// `result = lhs | rhs`.
    Or: "or", Bits, |b, x| b.binary(Binary::Or, x[0], x[1])
}
