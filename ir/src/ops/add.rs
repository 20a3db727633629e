//! add - sum of two tensors; integers wrap.
//!
//! * (C1) both operands have the same type
//! * (C2) elements are numbers

use super::{InferCx, OpDef, nest};
use crate::{dtype::DType, form::Form, types::TensorType};

attrs! {
    /// `result = lhs + rhs`.
    Add {}
}

impl OpDef for Add {
    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
        let ty = nest::same_type("add", cx.operands)?;
        nest::require("add", "number", ty.dtype != DType::Bool, ty.dtype)?;
        Ok(vec![ty.clone()])
    }
    fn form(&self, operands: &[&TensorType], results: &[&TensorType]) -> Form {
        nest::pointwise(operands, results[0], |b, x| b.add(x[0], x[1]))
    }
}
