//! gelu - Gaussian error linear unit of each element, by the error function.
//!
//! * (C2) elements are floats
//!
//! ONNX Gelu without approximation. Accuracy: docs/numerics.md.

use crate::math;

pointwise_op! {
    /// `result = input * (1 + erf(input / sqrt(2))) / 2`.
    Gelu: "gelu", Float, |b, x| math::gelu(b, x[0])
}
