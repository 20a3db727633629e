//! tan - tangent of each element, in radians.
//!
//! * (C2) elements are floats
//!
//! Infinities give NaN. ONNX Tan. Accuracy: docs/numerics.md.

use crate::math;

pointwise_op! {
    /// `result = tan(input)`.
    Tan: "tan", Float, |b, x| math::tan(b, x[0])
}
