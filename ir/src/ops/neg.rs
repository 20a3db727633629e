//! neg - each element with the other sign.
//!
//! * (C2) elements are numbers
//!
//! ONNX Neg. Exact; integers wrap.

use crate::program::Unary;

pointwise_op! {
    /// `result = -input`.
    Neg: "neg", Number, |b, x| b.unary(Unary::Neg, x[0])
}
