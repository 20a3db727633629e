//! not - negation of each truth value.
//!
//! * (C2) elements are `bool`
//!
//! ONNX Not.

use crate::program::Unary;

pointwise_op! {
    /// `result = !input`.
    Not: "not", Bool, |b, x| b.unary(Unary::Not, x[0])
}
