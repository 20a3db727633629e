//! eq - whether elements are equal.
//!
//! * (C1) both operands have the same type
//!
//! ONNX Equal. False where either is NaN; the zeros are equal.

pointwise_op! {
    /// `result = lhs == rhs`.
    Equal: "eq", Any -> Bool, |b, x| b.eq(x[0], x[1])
}
