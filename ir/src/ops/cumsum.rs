//! cumsum - sum of the elements up to each position along an axis.
//!
//! * (C1) `axis` is one of the input
//! * (C2) elements are numbers
//!
//! **Cost**: quadratic in the extent of the axis. Element `i` is a reduction over the whole axis that reads zero outside of
//! the tensor: step `r` reads `i - r`, so elements past `i` never count, not even if they are NaN.
//!
//! ONNX CumSum. Sums run from the element itself backwards.

use super::{InferCx, OpDef, nest};
use crate::{
    dtype::Scalar,
    form::{Bounds, Combine, Form, Ix, LoopForm},
    types::TensorType,
};

attrs! {
    /// See the module header.
    CumSum {
        /// The axis.
        axis: usize,
        /// The element itself does not count.
        exclusive: bool,
        /// Sums run from the end of the axis, not from its start.
        reverse: bool,
    }
}

impl OpDef for CumSum {
    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
        let input = cx.operands[0];
        nest::check_axis("cumsum", "C1", self.axis, input)?;
        nest::Elements::Number.check("cumsum", input.dtype)?;
        Ok(vec![input.clone()])
    }
    fn form(&self, operands: &[&TensorType], results: &[&TensorType]) -> Form {
        let input = operands[0];
        let away = if self.reverse { 1 } else { -1 };
        let step = Ix::Axis(input.rank()).times(away);
        let mut index = LoopForm::identity(input.rank());
        index[self.axis] =
            Ix::Axis(self.axis).plus(step).plus(Ix::int(if self.exclusive { away } else { 0 }));
        let bounds = Bounds::Guard(Scalar::zero(input.dtype));
        Form::Loops(LoopForm {
            space: results[0].shape.clone(),
            reduce: vec![input.shape[self.axis].clone()],
            loads: vec![nest::load_within(0, input, index, bounds)],
            body: nest::first_load(input.dtype),
            combine: Some(Combine::Sum),
            finish: nest::accumulator(input.dtype),
            results: vec![results[0].dtype],
        })
    }
}
