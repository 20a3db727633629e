//! gather - slices of a tensor picked along an axis by a tensor of indices.
//!
//! `result[p.., i.., q..] = input[p.., indices[i..], q..]`; negative indices count from the end.
//!
//! * (C1) `axis` is one of the input
//! * (C2) indices are integers
//!
//! ONNX Gather. An index out of range fails the run with E0805.

use super::{InferCx, OpDef, nest};
use crate::{
    form::{Bounds, Form, Ix},
    types::TensorType,
};

attrs! {
    /// See the module header.
    Gather {
        /// The axis of the input that indices count along.
        axis: usize,
    }
}

impl OpDef for Gather {
    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
        let (input, indices) = (cx.operands[0], cx.operands[1]);
        nest::check_axis("gather", "C1", self.axis, input)?;
        nest::Elements::Int.check("gather", indices.dtype)?;
        let (before, after) = (&input.shape[..self.axis], &input.shape[self.axis + 1..]);
        Ok(vec![input.with_shape([before, &indices.shape, after].concat())])
    }
    fn form(&self, operands: &[&TensorType], results: &[&TensorType]) -> Form {
        let (input, indices) = (operands[0], operands[1]);
        let after = self.axis + indices.rank();
        let where_ = (self.axis..after).map(Ix::Axis).collect();
        let mut index: Vec<Ix> = (0..self.axis).map(Ix::Axis).collect();
        index.push(Ix::Load(0).wrap(&input.shape[self.axis]));
        index.extend((after..results[0].rank()).map(Ix::Axis));
        let loads = vec![nest::load(1, indices, where_), nest::load_within(0, input, index, Bounds::Check)];
        nest::movement(results[0], loads)
    }
}
