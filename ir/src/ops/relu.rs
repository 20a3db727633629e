//! relu - each element, but 0 for negative ones.
//!
//! * (C2) elements are numbers
//!
//! ONNX Relu. NaN stays NaN, minus zero itself.

pointwise_op! {
    /// `result = 0 > input ? 0 : input`.
    Relu: "relu", Number, |b, x| {
        let zero = b.num(x[0], 0.0);
        b.max(zero, x[0])
    }
}
