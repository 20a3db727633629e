//! cast - elements converted to another type.
//!
//! ONNX Cast, CastLike. Rounds to nearest even; float to integer truncates, saturates, and takes NaN to 0; integer to
//! integer wraps; to `bool` is `x != 0`; `bool` gives 0 or 1. To `f16` and `bf16` rounds by way of `f32`, so values of
//! `f64` and of integers above 2^24 are rounded twice.

use super::{InferCx, OpDef, nest};
use crate::{dtype::DType, form::Form, types::TensorType};

attrs! {
    /// See the module header.
    Cast {
        /// Element type of the result.
        to: DType,
    }
}

impl OpDef for Cast {
    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
        Ok(vec![cx.operands[0].with_dtype(self.to)])
    }
    fn form(&self, operands: &[&TensorType], results: &[&TensorType]) -> Form {
        nest::pointwise(operands, results[0], |b, x| b.cast(self.to, x[0]))
    }
}
