//! atanh - inverse hyperbolic tangent of each element.
//!
//! * (C2) elements are floats
//!
//! 1 and -1 give infinities; beyond them: NaN. ONNX Atanh. Accuracy: docs/numerics.md.

use crate::math;

pointwise_op! {
    /// `result = atanh(input)`.
    Atanh: "atanh", Float, |b, x| math::atanh(b, x[0])
}
