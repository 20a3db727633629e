//! bit_not - every bit of each element flipped.
//!
//! * (C2) elements are integers
//!
//! ONNX BitwiseNot.

use crate::program::Unary;

pointwise_op! {
    /// `result = !input`, bit by bit.
    BitNot: "bit_not", Int, |b, x| b.unary(Unary::Not, x[0])
}
