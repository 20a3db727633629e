//! le - whether elements of the first tensor are less or equal.
//!
//! * (C1) both operands have the same type
//! * (C2) elements are numbers
//!
//! ONNX LessOrEqual, GreaterOrEqual (operands exchanged). False where either is NaN.

pointwise_op! {
    /// `result = lhs <= rhs`.
    LessOrEqual: "le", Number -> Bool, |b, x| b.le(x[0], x[1])
}
