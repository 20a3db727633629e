//! extents - extents as an `i64` vector: what a Shape operator gives.

use super::{InferCx, OpDef};
use crate::{dtype::DType, extent::Extent, form::Form, types::TensorType};

attrs! {
    /// `result[i] = values[i]`, one `i64` an extent.
    Extents {
        /// The extents.
        values: Vec<Extent>,
    }
}

impl OpDef for Extents {
    fn infer(&self, _: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
        Ok(vec![TensorType::of(DType::I64, &[self.values.len() as i64])])
    }
    fn form(&self, _: &[&TensorType], _: &[&TensorType]) -> Form {
        Form::Extents(self.values.clone())
    }
}
