//! cosh - hyperbolic cosine of each element.
//!
//! * (C2) elements are floats
//!
//! ONNX Cosh. Accuracy: docs/numerics.md.

use crate::math;

pointwise_op! {
    /// `result = cosh(input)`.
    Cosh: "cosh", Float, |b, x| math::cosh(b, x[0])
}
