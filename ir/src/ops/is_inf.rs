//! is_inf - whether each element is an infinity.
//!
//! * (C2) elements are floats
//!
//! ONNX IsInf with `detect_positive`, `detect_negative`.

use super::{InferCx, OpDef, nest};
use crate::{dtype::DType, form::Form, math, types::TensorType};

attrs! {
    /// See the module header.
    IsInf {
        /// Plus infinity counts.
        positive: bool,
        /// Minus infinity counts.
        negative: bool,
    }
}

impl OpDef for IsInf {
    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
        Ok(vec![nest::elementwise("is_inf", nest::Elements::Float, cx.operands)?.with_dtype(DType::Bool)])
    }
    fn form(&self, operands: &[&TensorType], results: &[&TensorType]) -> Form {
        nest::pointwise(operands, results[0], |b, x| math::is_inf(b, x[0], self.positive, self.negative))
    }
}
