//! scatter_nd - a tensor with slices replaced or joined at index tuples along the last axis of the indices.
//!
//! A copy of `input` in which, for each update at `[i.., q..]`, the element at
//! `[indices[i.., 0], .., indices[i.., k - 1], q..]` becomes `combine(element, update)`; negative indices count from the end.
//!
//! * (C1) indices have a last axis, of known extent `k`, at most the number of the input's axes
//! * (C2) indices are integers
//! * (C3) updates have the shape `[i.., q..]`, as far as known, and the element type of the input
//! * (C4) elements are numbers unless updates replace
//!
//! ONNX ScatterND. An index out of range fails the run with E0805; of two updates of one place the later one (in
//! row-major order) comes last.

use super::{
    InferCx, OpDef,
    gather_nd::{tuple_length, tuple_loads},
    nest,
    scatter_elements::{check_combine, check_updates},
};
use crate::{
    form::{Form, Ix, LoopForm, ScatterCombine, ScatterForm},
    types::TensorType,
};

attrs! {
    /// See the module header.
    ScatterNd {
        /// How updates are written.
        combine: ScatterCombine,
    }
}

impl OpDef for ScatterNd {
    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
        let (input, indices, updates) = (cx.operands[0], cx.operands[1], cx.operands[2]);
        let k = tuple_length("scatter_nd", indices, input.rank())?;
        nest::Elements::Int.check("scatter_nd", indices.dtype)?;
        let shape = [&indices.shape[..indices.rank() - 1], &input.shape[k..]].concat();
        check_updates("scatter_nd", input, updates, &shape)?;
        check_combine("scatter_nd", self.combine, input)?;
        Ok(vec![input.clone()])
    }
    fn form(&self, operands: &[&TensorType], _: &[&TensorType]) -> Form {
        let (input, indices, updates) = (operands[0], operands[1], operands[2]);
        let tuple_axes = indices.rank() - 1;
        let k = input.rank() + tuple_axes - updates.rank();
        let mut loads = vec![nest::load(2, updates, LoopForm::identity(updates.rank()))];
        loads.extend(tuple_loads(1, indices, k));
        let tuple = (0..k).map(|j| Ix::Load(1 + j).wrap(&input.shape[j]));
        Form::Scatter(ScatterForm {
            space: updates.shape.clone(),
            loads,
            index: tuple.chain((tuple_axes..updates.rank()).map(Ix::Axis)).collect(),
            combine: self.combine,
        })
    }
}
