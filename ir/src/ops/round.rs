//! round - integer nearest to each element; ties go to the even one.
//!
//! * (C2) elements are floats
//!
//! ONNX Round. Exact.

use crate::program::Unary;

pointwise_op! {
    /// `result = round(input)`, ties to even.
    Round: "round", Float, |b, x| b.unary(Unary::Nearest, x[0])
}
