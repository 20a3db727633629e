//! acos - arc cosine of each element, in radians.
//!
//! * (C2) elements are floats
//!
//! Outside of [-1, 1]: NaN. ONNX Acos. Accuracy: docs/numerics.md.

use crate::math;

pointwise_op! {
    /// `result = acos(input)`.
    Acos: "acos", Float, |b, x| math::acos(b, x[0])
}
