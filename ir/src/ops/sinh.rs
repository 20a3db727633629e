//! sinh - hyperbolic sine of each element.
//!
//! * (C2) elements are floats
//!
//! ONNX Sinh. Accuracy: docs/numerics.md.

use crate::math;

pointwise_op! {
    /// `result = sinh(input)`.
    Sinh: "sinh", Float, |b, x| math::sinh(b, x[0])
}
