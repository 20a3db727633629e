//! asinh - inverse hyperbolic sine of each element.
//!
//! * (C2) elements are floats
//!
//! ONNX Asinh. Accuracy: docs/numerics.md.

use crate::math;

pointwise_op! {
    /// `result = asinh(input)`.
    Asinh: "asinh", Float, |b, x| math::asinh(b, x[0])
}
