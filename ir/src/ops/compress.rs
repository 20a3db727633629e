//! compress - elements of a tensor, or its slices along an axis, that a condition chooses.
//!
//! * (C1) `axis` is one of the input; -1 takes elements of the flattened input
//! * (C2) the condition is a `bool` vector
//! * (C3) `count` is not negative, as far as known
//!
//! ONNX Compress (the importer makes a negative axis positive). A condition that is too short leaves out the rest. `count`
//! is a symbol that the node defines.

use super::{InferCx, OpDef, nest, unique::picked_shape};
use crate::{
    dtype::DType,
    extent::Extent,
    form::{ExternForm, Form},
    types::TensorType,
};

attrs! {
    /// See the module header.
    Compress {
        /// The axis, or -1.
        axis: i64,
        /// How many are chosen.
        count: Extent,
    }
}

impl OpDef for Compress {
    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
        let (input, condition) = (cx.operands[0], cx.operands[1]);
        let (shape, _) = picked_shape("compress", input, self.axis, &self.count)?;
        if condition.dtype != DType::Bool || condition.rank() != 1 {
            return Err(format!("compress (C2): condition is {condition}"));
        }
        nest::check_extents("compress", "C3", std::slice::from_ref(&self.count))?;
        Ok(vec![input.with_shape(shape)])
    }
    fn form(&self, _: &[&TensorType], _: &[&TensorType]) -> Form {
        let attrs = vec![i64::from(self.axis >= 0), self.axis.max(0)];
        let axis = usize::try_from(self.axis).unwrap_or(0);
        let defines = nest::defines(&[(0, axis)], &self.count);
        Form::Extern(ExternForm { name: "compress", attrs, defines })
    }
}
