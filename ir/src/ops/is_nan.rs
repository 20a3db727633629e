//! is_nan - whether each element is NaN.
//!
//! * (C2) elements are floats
//!
//! ONNX IsNaN.

use crate::math;

pointwise_op! {
    /// `result = input != input`.
    IsNan: "is_nan", Float -> Bool, |b, x| math::is_nan(b, x[0])
}
