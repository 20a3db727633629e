//! sigmoid - logistic function of each element.
//!
//! * (C2) elements are floats
//!
//! ONNX Sigmoid; decomposed Swish, Mish. Accuracy: docs/numerics.md.

use crate::math;

pointwise_op! {
    /// `result = 1 / (1 + exp(-input))`.
    Sigmoid: "sigmoid", Float, |b, x| math::sigmoid(b, x[0])
}
