//! tanh - hyperbolic tangent of each element.
//!
//! * (C2) elements are floats
//!
//! ONNX Tanh. Accuracy: docs/numerics.md.

use crate::math;

pointwise_op! {
    /// `result = tanh(input)`.
    Tanh: "tanh", Float, |b, x| math::tanh(b, x[0])
}
