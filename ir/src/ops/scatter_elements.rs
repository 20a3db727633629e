//! scatter_elements - a tensor with elements replaced or joined along an axis, one index an update.
//!
//! A copy of `input` in which, for each update at `[p.., i, q..]`, the element at `[p.., indices[p.., i, q..], q..]` becomes
//! `combine(element, update)`; negative indices count from the end.
//!
//! * (C1) `axis` is one of the input, and all operands have equally many axes
//! * (C2) indices are integers
//! * (C3) updates have the shape of the indices and the element type of the input; off the axis their extents are not
//!   greater than those of the input, as far as known
//! * (C4) elements are numbers unless updates replace
//!
//! ONNX ScatterElements. An index out of range fails the run with E0805; of two updates of one place the later one (in
//! row-major order) comes last.

use super::{InferCx, OpDef, attr::Attr, nest};
use crate::{
    dtype::DType,
    form::{Form, Ix, LoopForm, ScatterCombine, ScatterForm},
    types::TensorType,
};

attr_enum! {
    ScatterCombine { Replace = "replace", Add = "add", Mul = "mul", Max = "max", Min = "min" }
}

attrs! {
    /// See the module header.
    ScatterElements {
        /// The axis that indices count along.
        axis: usize,
        /// How updates are written.
        combine: ScatterCombine,
    }
}

impl OpDef for ScatterElements {
    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
        let (input, indices, updates) = (cx.operands[0], cx.operands[1], cx.operands[2]);
        nest::check_axis("scatter_elements", "C1", self.axis, input)?;
        if indices.rank() != input.rank() {
            return Err(format!("scatter_elements (C1): indices {indices} of {input}"));
        }
        nest::Elements::Int.check("scatter_elements", indices.dtype)?;
        check_updates("scatter_elements", input, updates, &indices.shape)?;
        for axis in (0..input.rank()).filter(|&a| a != self.axis) {
            let (have, want) = (&input.shape[axis], &indices.shape[axis]);
            if (want - have).as_const().is_some_and(|more| more > 0) {
                return Err(format!("scatter_elements (C3): {want} updates on axis {axis} of {input}"));
            }
        }
        check_combine("scatter_elements", self.combine, input)?;
        Ok(vec![input.clone()])
    }
    fn form(&self, operands: &[&TensorType], _: &[&TensorType]) -> Form {
        let (input, indices, updates) = (operands[0], operands[1], operands[2]);
        let identity = LoopForm::identity(input.rank());
        let mut index = identity.clone();
        index[self.axis] = Ix::Load(1).wrap(&input.shape[self.axis]);
        Form::Scatter(ScatterForm {
            space: updates.shape.clone(),
            loads: vec![nest::load(2, updates, identity.clone()), nest::load(1, indices, identity)],
            index,
            combine: self.combine,
        })
    }
}

/// Checks (C3): updates have `shape`, as far as known, and the elements of `input`.
pub(super) fn check_updates(
    op: &str,
    input: &TensorType,
    updates: &TensorType,
    shape: &[crate::extent::Extent],
) -> Result<(), String> {
    if updates.dtype != input.dtype || updates.rank() != shape.len() {
        return Err(format!("{op} (C3): updates {updates} of {input}"));
    }
    updates
        .shape
        .iter()
        .zip(shape)
        .try_for_each(|(a, b)| nest::check_same(op, "C3", "extent of updates", a, b))
}

/// Checks (C4).
pub(super) fn check_combine(op: &str, combine: ScatterCombine, input: &TensorType) -> Result<(), String> {
    if combine == ScatterCombine::Replace || input.dtype != DType::Bool {
        return Ok(());
    }
    Err(format!("{op} (C4): {} of {input}", combine.print()))
}
