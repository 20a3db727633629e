//! mul - product of two tensors, element by element; integers wrap.
//!
//! * (C1) both operands have the same type
//! * (C2) elements are numbers
//!
//! ONNX Mul.

pointwise_op! {
    /// `result = lhs * rhs`.
    Mul: "mul", Number, |b, x| b.mul(x[0], x[1])
}
