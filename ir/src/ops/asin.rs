//! asin - arc sine of each element, in radians.
//!
//! * (C2) elements are floats
//!
//! Outside of [-1, 1]: NaN. ONNX Asin. Accuracy: docs/numerics.md.

use crate::math;

pointwise_op! {
    /// `result = asin(input)`.
    Asin: "asin", Float, |b, x| math::asin(b, x[0])
}
