//! acosh - inverse hyperbolic cosine of each element.
//!
//! * (C2) elements are floats
//!
//! Below 1: NaN. ONNX Acosh. Accuracy: docs/numerics.md.

use crate::math;

pointwise_op! {
    /// `result = acosh(input)`.
    Acosh: "acosh", Float, |b, x| math::acosh(b, x[0])
}
