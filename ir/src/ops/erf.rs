//! erf - error function of each element.
//!
//! * (C2) elements are floats
//!
//! ONNX Erf. Accuracy: docs/numerics.md.

use crate::math;

pointwise_op! {
    /// `result = erf(input)`.
    Erf: "erf", Float, |b, x| math::erf(b, x[0])
}
