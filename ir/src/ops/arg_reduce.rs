//! arg_reduce - position of the greatest or least element along an axis, which stays with extent 1 or goes away.
//!
//! * (C1) `axis` is one of the input, and not known to be empty
//! * (C2) elements are numbers
//!
//! ONNX ArgMax, ArgMin; `select_last_index` is `last`. NaN counts as greatest and as least. The result is `i64`.

use super::{
    InferCx, OpDef, nest,
    reduce::{reduced_shape, reduction_index},
};
use crate::{
    dtype::DType,
    form::{Combine, Form, LoopForm},
    types::TensorType,
};

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ArgKind {
    /// The greatest element.
    Max,
    /// The least element.
    Min,
}
attr_enum! { ArgKind { Max = "max", Min = "min" } }

attrs! {
    /// See the module header.
    ArgReduce {
        /// What is looked for.
        kind: ArgKind,
        /// The axis.
        axis: usize,
        /// Whether it stays, with extent 1.
        keep: bool,
        /// Of equal elements the last, not the first.
        last: bool,
    }
}

impl OpDef for ArgReduce {
    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
        let input = cx.operands[0];
        nest::check_axis("arg_reduce", "C1", self.axis, input)?;
        if input.shape[self.axis].is(0) {
            return Err(format!("arg_reduce (C1): axis {} of {input} is empty", self.axis));
        }
        nest::Elements::Number.check("arg_reduce", input.dtype)?;
        Ok(vec![TensorType::new(DType::I64, reduced_shape(&input.shape, &[self.axis], self.keep))])
    }
    fn form(&self, operands: &[&TensorType], results: &[&TensorType]) -> Form {
        let input = operands[0];
        let index = reduction_index(input.rank(), &[self.axis], self.keep, results[0].rank());
        let last = self.last;
        Form::Loops(LoopForm {
            space: results[0].shape.clone(),
            reduce: vec![input.shape[self.axis].clone()],
            loads: vec![nest::load(0, input, index)],
            body: nest::first_load(input.dtype),
            combine: Some(match self.kind {
                ArgKind::Max => Combine::ArgMax { last },
                ArgKind::Min => Combine::ArgMin { last },
            }),
            finish: nest::accumulator(DType::I64),
            results: vec![DType::I64],
        })
    }
}
