//! sin - sine of each element, in radians.
//!
//! * (C2) elements are floats
//!
//! Infinities give NaN. ONNX Sin. Accuracy: docs/numerics.md.

use crate::math;

pointwise_op! {
    /// `result = sin(input)`.
    Sin: "sin", Float, |b, x| math::sin(b, x[0])
}
