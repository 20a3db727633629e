//! xor - exclusive disjunction of two tensors, bit by bit.
//!
//! * (C1) both operands have the same type
//! * (C2) elements are `bool` or integers
//!
//! ONNX Xor, BitwiseXor.

use crate::program::Binary;

pointwise_op! {
    /// `result = lhs ^ rhs`.
    Xor: "xor", Bits, |b, x| b.binary(Binary::Xor, x[0], x[1])
}
