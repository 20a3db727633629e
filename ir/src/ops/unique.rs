//! unique - the distinct elements of a tensor, or its distinct slices along an axis.
//!
//! Results: the distinct ones (rank 1, or the axis with extent `count`); then, as `i64`: the position of the first
//! occurrence of each `[count]`, which distinct one each occurrence is `[n]`, the number of occurrences of each `[count]`.
//!
//! * (C1) `axis` is one of the input; -1 takes elements of the flattened input
//! * (C2) `count` is not negative, as far as known
//!
//! ONNX Unique (the importer makes a negative axis positive). Ascending if `sorted`, else by first occurrence. NaN equals
//! itself and is above every number. `count` is a symbol that the node defines.

use super::{InferCx, OpDef, nest};
use crate::{
    dtype::DType,
    extent::Extent,
    form::{ExternForm, Form},
    types::TensorType,
};

attrs! {
    /// See the module header.
    Unique {
        /// The axis, or -1.
        axis: i64,
        /// Ascending order.
        sorted: bool,
        /// How many are distinct.
        count: Extent,
    }
}

impl OpDef for Unique {
    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
        let input = cx.operands[0];
        nest::check_extents("unique", "C2", std::slice::from_ref(&self.count))?;
        let (shape, n) = picked_shape("unique", input, self.axis, &self.count)?;
        let vector = |extent: &Extent| TensorType::new(DType::I64, vec![extent.clone()]);
        Ok(vec![input.with_shape(shape), vector(&self.count), vector(&n), vector(&self.count)])
    }
    fn form(&self, _: &[&TensorType], _: &[&TensorType]) -> Form {
        let attrs = vec![i64::from(self.axis >= 0), self.axis.max(0), i64::from(self.sorted)];
        let axis = usize::try_from(self.axis).unwrap_or(0);
        let defines = nest::defines(&[(0, axis), (1, 0), (3, 0)], &self.count);
        Form::Extern(ExternForm { name: "unique", attrs, defines })
    }
}

/// Shape after picking `count` slices along `axis` (C1), or elements for axis -1; and out of how many.
pub(super) fn picked_shape(
    op: &str,
    input: &TensorType,
    axis: i64,
    count: &Extent,
) -> Result<(Vec<Extent>, Extent), String> {
    if axis == -1 {
        return Ok((vec![count.clone()], input.elements()));
    }
    let axis = usize::try_from(axis).map_err(|_| format!("{op} (C1): axis {axis} of {input}"))?;
    nest::check_axis(op, "C1", axis, input)?;
    let mut shape = input.shape.clone();
    let n = std::mem::replace(&mut shape[axis], count.clone());
    Ok((shape, n))
}
