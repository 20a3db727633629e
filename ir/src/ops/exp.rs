//! exp - e to the power of each element.
//!
//! * (C2) elements are floats
//!
//! ONNX Exp. Accuracy: docs/numerics.md.

use crate::math;

pointwise_op! {
    /// `result = exp(input)`.
    Exp: "exp", Float, |b, x| math::exp(b, x[0])
}
