//! sign - 1, -1 or 0 by the sign of each element.
//!
//! * (C2) elements are numbers
//!
//! ONNX Sign. NaN gives NaN, a zero itself.

use crate::math;

pointwise_op! {
    /// `result = sign(input)`.
    Sign: "sign", Number, |b, x| math::sign(b, x[0])
}
