//! select - elements of one tensor where a condition holds, of another elsewhere.
//!
//! * (C1) `on_true` and `on_false` have the same type
//! * (C2) the condition is `bool`
//! * (C3) the condition has the shape of the others
//!
//! ONNX Where.

use super::{InferCx, OpDef, nest};
use crate::{dtype::DType, form::Form, types::TensorType};

attrs! {
    /// `result = condition ? on_true : on_false`.
    Select {}
}

impl OpDef for Select {
    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
        let ty = nest::same_type("select", &cx.operands[1..])?;
        nest::require("select", "bool", cx.operands[0].dtype == DType::Bool, cx.operands[0].dtype)?;
        if cx.operands[0].shape != ty.shape {
            return Err(format!("select (C3): condition {} for {ty}", cx.operands[0]));
        }
        Ok(vec![ty.clone()])
    }
    fn form(&self, operands: &[&TensorType], results: &[&TensorType]) -> Form {
        nest::pointwise(operands, results[0], |b, x| b.select(x[0], x[1], x[2]))
    }
}
