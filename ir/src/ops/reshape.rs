//! reshape - the same elements in the same order under another shape.
//!
//! * (C1) both shapes have equally many elements (where that is known; otherwise the module holds a constraint)

use super::{InferCx, OpDef};
use crate::{
    extent::{Extent, product},
    form::Form,
    types::TensorType,
};

attrs! {
    /// See the module header.
    Reshape {
        /// Shape of the result.
        shape: Vec<Extent>,
    }
}

impl OpDef for Reshape {
    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
        let (have, want) = (cx.operands[0].elements(), product(&self.shape));
        if have.same(&want) == Some(false) {
            return Err(format!("reshape (C1): {} has {have} elements, the target {want}", cx.operands[0]));
        }
        Ok(vec![cx.operands[0].with_shape(self.shape.clone())])
    }
    fn form(&self, _: &[&TensorType], _: &[&TensorType]) -> Form {
        Form::View
    }
}
