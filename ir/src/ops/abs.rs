//! abs - magnitude of each element.
//!
//! * (C2) elements are numbers
//!
//! ONNX Abs. Exact; the least signed integer stays as it is. NaN keeps its bits but for the sign.

use crate::math;

pointwise_op! {
    /// `result = |input|`.
    Abs: "abs", Number, |b, x| math::abs(b, x[0])
}
