//! add - sum of two tensors; integers wrap.
//!
//! * (C1) both operands have the same type
//! * (C2) elements are numbers
//!
//! ONNX Add.

pointwise_op! {
    /// `result = lhs + rhs`.
    Add: "add", Number, |b, x| b.add(x[0], x[1])
}
