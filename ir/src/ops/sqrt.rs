//! sqrt - square root of each element.
//!
//! * (C2) elements are floats
//!
//! ONNX Sqrt. Correctly rounded; negative numbers give NaN.

use crate::program::Unary;

pointwise_op! {
    /// `result = sqrt(input)`.
    Sqrt: "sqrt", Float, |b, x| b.unary(Unary::Sqrt, x[0])
}
