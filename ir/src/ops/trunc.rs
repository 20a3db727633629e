//! trunc - each element without its fraction, towards zero.
//!
//! * (C2) elements are floats
//!
//! No ONNX operator of its own. Exact.

use crate::program::Unary;

pointwise_op! {
    /// `result = trunc(input)`.
    Trunc: "trunc", Float, |b, x| b.unary(Unary::Trunc, x[0])
}
