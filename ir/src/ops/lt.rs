//! lt - whether elements of the first tensor are less.
//!
//! * (C1) both operands have the same type
//! * (C2) elements are numbers
//!
//! ONNX Less, Greater (operands exchanged). False where either is NaN.

pointwise_op! {
    /// `result = lhs < rhs`.
    Less: "lt", Number -> Bool, |b, x| b.lt(x[0], x[1])
}
