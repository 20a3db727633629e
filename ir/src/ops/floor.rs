//! floor - greatest integer not above each element.
//!
//! * (C2) elements are floats
//!
//! ONNX Floor. Exact.

use crate::program::Unary;

pointwise_op! {
    /// `result = floor(input)`.
    Floor: "floor", Float, |b, x| b.unary(Unary::Floor, x[0])
}
