//! exp - e to the power of each element.
//!
//! * (C2) elements are floats

use super::{InferCx, OpDef, nest};
use crate::{form::Form, math, types::TensorType};

attrs! {
    /// `result = exp(input)`; accuracy: docs/numerics.md.
    Exp {}
}

impl OpDef for Exp {
    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
        nest::require("exp", "float", cx.operands[0].dtype.is_float(), cx.operands[0].dtype)?;
        Ok(vec![cx.operands[0].clone()])
    }
    fn form(&self, operands: &[&TensorType], results: &[&TensorType]) -> Form {
        nest::pointwise(operands, results[0], |b, x| math::exp(b, x[0]))
    }
}
