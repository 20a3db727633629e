//! ceil - least integer not below each element.
//!
//! * (C2) elements are floats
//!
//! ONNX Ceil. Exact.

use crate::program::Unary;

pointwise_op! {
    /// `result = ceil(input)`.
    Ceil: "ceil", Float, |b, x| b.unary(Unary::Ceil, x[0])
}
