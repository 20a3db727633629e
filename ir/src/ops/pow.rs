//! pow - each element of the first tensor to the power of that of the second.
//!
//! * (C1) both operands have the same type
//! * (C2) elements are numbers
//!
//! ONNX Pow (the importer casts the exponent). Special cases as IEEE 754-2019, 9.2.1. Integers wrap; a negative exponent gives
//! the truncated quotient of 1 and the power, and 0 for base 0. Accuracy: docs/numerics.md.

use crate::math;

pointwise_op! {
    /// `result = lhs ^ rhs`.
    Pow: "pow", Number, |b, x| math::pow(b, x[0], x[1])
}
