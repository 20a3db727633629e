//! div - quotient of two tensors.
//!
//! * (C1) both operands have the same type
//! * (C2) elements are numbers
//!
//! ONNX Div. Floats: correctly rounded. Integers: towards zero, `x / 0 = 0`, least / -1 wraps.

pointwise_op! {
    /// `result = lhs / rhs`.
    Div: "div", Number, |b, x| b.div(x[0], x[1])
}
