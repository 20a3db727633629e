//! sub - difference of two tensors; integers wrap.
//!
//! * (C1) both operands have the same type
//! * (C2) elements are numbers
//!
//! ONNX Sub.

pointwise_op! {
    /// `result = lhs - rhs`.
    Sub: "sub", Number, |b, x| b.sub(x[0], x[1])
}
