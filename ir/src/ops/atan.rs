//! atan - arc tangent of each element, in radians.
//!
//! * (C2) elements are floats
//!
//! ONNX Atan. Accuracy: docs/numerics.md.

use crate::math;

pointwise_op! {
    /// `result = atan(input)`.
    Atan: "atan", Float, |b, x| math::atan(b, x[0])
}
