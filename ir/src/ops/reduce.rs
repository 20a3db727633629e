//! reduce - joins the elements along axes, which stay with extent 1 or go away.
//!
//! * (C1) axes are in range and ascending
//! * (C2) elements are numbers; `bool` for max (any) and min (all) too
//!
//! Sums and products of `f16`, `bf16` accumulate in `f32`. The order of sums is the backend's; the evaluator's is
//! row-major.

use super::{InferCx, OpDef, nest};
use crate::{
    dtype::DType,
    extent::Extent,
    form::{Combine, Form, Ix, LoopForm},
    types::TensorType,
};

/// What joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReduceKind {
    /// Sum from 0.
    Sum,
    /// Product from 1.
    Product,
    /// Greatest.
    Max,
    /// Least.
    Min,
}
attr_enum! { ReduceKind { Sum = "sum", Product = "product", Max = "max", Min = "min" } }

impl ReduceKind {
    /// The combiner.
    #[must_use]
    pub fn combine(self) -> Combine {
        match self {
            ReduceKind::Sum => Combine::Sum,
            ReduceKind::Product => Combine::Product,
            ReduceKind::Max => Combine::Max,
            ReduceKind::Min => Combine::Min,
        }
    }
}

attrs! {
    /// See the module header.
    Reduce {
        /// What joins.
        kind: ReduceKind,
        /// Axes that are joined, ascending.
        axes: Vec<usize>,
        /// Whether they stay, with extent 1.
        keep: bool,
    }
}

impl OpDef for Reduce {
    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
        let input = cx.operands[0];
        if !self.axes.is_sorted_by(|a, b| a < b) || self.axes.iter().any(|&a| a >= input.rank()) {
            return Err(format!("reduce (C1): axes {:?} of {input}", self.axes));
        }
        let bool_ok = matches!(self.kind, ReduceKind::Max | ReduceKind::Min);
        nest::require("reduce", "number", bool_ok || input.dtype != DType::Bool, input.dtype)?;
        Ok(vec![input.with_shape(reduced_shape(&input.shape, &self.axes, self.keep))])
    }

    fn form(&self, operands: &[&TensorType], results: &[&TensorType]) -> Form {
        let input = operands[0];
        let index = reduction_index(input.rank(), &self.axes, self.keep, results[0].rank());
        if self.axes.is_empty() {
            return nest::movement(results[0], vec![nest::load(0, input, index)]);
        }
        Form::Loops(LoopForm {
            space: results[0].shape.clone(),
            reduce: self.axes.iter().map(|&a| input.shape[a].clone()).collect(),
            loads: vec![nest::load(0, input, index)],
            body: nest::first_load(input.dtype),
            combine: Some(self.kind.combine()),
            finish: nest::accumulator(input.dtype),
            results: vec![results[0].dtype],
        })
    }
}

/// Extents after joining `axes`.
pub(super) fn reduced_shape(shape: &[Extent], axes: &[usize], keep: bool) -> Vec<Extent> {
    let joined = |i: &usize| axes.contains(i);
    let keep_or_one = |i: usize| if joined(&i) { Extent::ONE } else { shape[i].clone() };
    (0..shape.len()).filter(|i| keep || !joined(i)).map(keep_or_one).collect()
}

/// Where the operand is read: reduction axes follow the `space` axes of the result.
pub(super) fn reduction_index(rank: usize, axes: &[usize], keep: bool, space: usize) -> Vec<Ix> {
    let mut next_space = 0;
    let mut index = Vec::with_capacity(rank);
    for i in 0..rank {
        match axes.iter().position(|&a| a == i) {
            Some(r) => {
                index.push(Ix::Axis(space + r));
                next_space += usize::from(keep);
            }
            None => {
                index.push(Ix::Axis(next_space));
                next_space += 1;
            }
        }
    }
    index
}
