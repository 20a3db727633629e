//! cos - cosine of each element, in radians.
//!
//! * (C2) elements are floats
//!
//! Infinities give NaN. ONNX Cos. Accuracy: docs/numerics.md.

use crate::math;

pointwise_op! {
    /// `result = cos(input)`.
    Cos: "cos", Float, |b, x| math::cos(b, x[0])
}
