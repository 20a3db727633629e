//! gather_elements - elements of a tensor picked along an axis, one index an element of the result.
//!
//! `result[p.., i, q..] = input[p.., indices[p.., i, q..], q..]`; negative indices count from the end.
//!
//! * (C1) `axis` is one of the input, and indices have as many axes
//! * (C2) indices are integers
//! * (C3) off the axis, extents of the indices are not greater than those of the input, as far as known
//!
//! ONNX GatherElements. An index out of range fails the run with E0805.

use super::{InferCx, OpDef, nest};
use crate::{
    form::{Bounds, Form, Ix, LoopForm},
    types::TensorType,
};

attrs! {
    /// See the module header.
    GatherElements {
        /// The axis that indices count along.
        axis: usize,
    }
}

impl OpDef for GatherElements {
    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
        let (input, indices) = (cx.operands[0], cx.operands[1]);
        nest::check_axis("gather_elements", "C1", self.axis, input)?;
        if indices.rank() != input.rank() {
            return Err(format!("gather_elements (C1): indices {indices} of {input}"));
        }
        nest::Elements::Int.check("gather_elements", indices.dtype)?;
        for axis in (0..input.rank()).filter(|&a| a != self.axis) {
            let (have, want) = (&input.shape[axis], &indices.shape[axis]);
            if (want - have).as_const().is_some_and(|more| more > 0) {
                return Err(format!("gather_elements (C3): {want} indices on axis {axis} of {input}"));
            }
        }
        Ok(vec![input.with_shape(indices.shape.clone())])
    }
    fn form(&self, operands: &[&TensorType], results: &[&TensorType]) -> Form {
        let (input, indices) = (operands[0], operands[1]);
        let mut index = LoopForm::identity(input.rank());
        index[self.axis] = Ix::Load(0).wrap(&input.shape[self.axis]);
        let loads = vec![
            nest::load(1, indices, LoopForm::identity(indices.rank())),
            nest::load_within(0, input, index, Bounds::Check),
        ];
        nest::movement(results[0], loads)
    }
}
