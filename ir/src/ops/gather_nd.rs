//! gather_nd - slices of a tensor picked by index tuples along the last axis of the indices.
//!
//! With batch axes `p..`: `result[p.., i.., q..] = input[p.., indices[p.., i.., 0], .., indices[p.., i.., k - 1], q..]`;
//! negative indices count from the end.
//!
//! * (C1) indices have more axes than there are batch axes, and a last axis of known extent `k`, at most the number of
//!   the input's axes after the batch
//! * (C2) indices are integers
//! * (C3) batch extents are equal, as far as known
//!
//! ONNX GatherND. An index out of range fails the run with E0805.

use super::{InferCx, OpDef, nest};
use crate::{
    form::{Bounds, Form, Ix, Load},
    types::TensorType,
};

attrs! {
    /// See the module header.
    GatherNd {
        /// Number of leading axes that both operands share.
        batch_dims: usize,
    }
}

impl OpDef for GatherNd {
    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
        let (input, indices) = (cx.operands[0], cx.operands[1]);
        let batch = self.batch_dims;
        let k = tuple_length("gather_nd", indices, input.rank().saturating_sub(batch))?;
        if indices.rank() <= batch || input.rank() < batch {
            return Err(format!("gather_nd (C1): indices {indices} of {input}, batch of {batch} axes"));
        }
        nest::Elements::Int.check("gather_nd", indices.dtype)?;
        for (a, b) in input.shape[..batch].iter().zip(&indices.shape) {
            nest::check_same("gather_nd", "C3", "batch extent", a, b)?;
        }
        let picked = &indices.shape[..indices.rank() - 1];
        Ok(vec![input.with_shape([picked, &input.shape[batch + k..]].concat())])
    }
    fn form(&self, operands: &[&TensorType], results: &[&TensorType]) -> Form {
        let (input, indices) = (operands[0], operands[1]);
        let tuple_axes = indices.rank() - 1;
        let k = input.rank() - self.batch_dims - (results[0].rank() - tuple_axes);
        let mut loads = tuple_loads(1, indices, k);
        let mut index: Vec<Ix> = (0..self.batch_dims).map(Ix::Axis).collect();
        index.extend((0..k).map(|j| Ix::Load(j).wrap(&input.shape[self.batch_dims + j])));
        index.extend((tuple_axes..results[0].rank()).map(Ix::Axis));
        loads.push(nest::load_within(0, input, index, Bounds::Check));
        nest::movement(results[0], loads)
    }
}

/// The known extent of the last axis of `indices`, at most `most`.
pub(super) fn tuple_length(op: &str, indices: &TensorType, most: usize) -> Result<usize, String> {
    let last = indices.shape.last().and_then(crate::extent::Extent::as_const);
    match last.and_then(|k| usize::try_from(k).ok()) {
        Some(k) if k <= most => Ok(k),
        _ => Err(format!("{op} (C1): indices {indices} for {most} axes")),
    }
}

/// One load for each element of the index tuple; tuples stand at the leading space axes.
pub(super) fn tuple_loads(operand: usize, indices: &TensorType, k: usize) -> Vec<Load> {
    let tuple_axes = indices.rank() - 1;
    let element = |j: usize| {
        let j = i64::try_from(j).expect("a tuple has at most as many elements as a tensor has axes");
        (0..tuple_axes).map(Ix::Axis).chain([Ix::int(j)]).collect()
    };
    (0..k).map(|j| nest::load(operand, indices, element(j))).collect()
}
