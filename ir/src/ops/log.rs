//! log - natural logarithm of each element.
//!
//! * (C2) elements are floats
//!
//! Zero gives minus infinity, negative numbers NaN. ONNX Log. Accuracy: docs/numerics.md.

use crate::math;

pointwise_op! {
    /// `result = ln(input)`.
    Log: "log", Float, |b, x| math::log(b, x[0])
}
