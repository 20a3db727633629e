//! concat - joins tensors along an axis.
//!
//! * (C1) element types are equal
//! * (C2) ranks are equal and above `axis`
//! * (C3) extents off the axis are equal, as far as known

use super::{InferCx, OpDef};
use crate::{form::Form, types::TensorType};

attrs! {
    /// See the module header.
    Concat {
        /// The axis.
        axis: usize,
    }
}

impl OpDef for Concat {
    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
        let mut out = cx.operands[0].clone();
        if self.axis >= out.rank() {
            return Err(format!("concat (C2): axis {} is outside of {out}", self.axis));
        }
        for ty in &cx.operands[1..] {
            if ty.dtype != out.dtype {
                return Err(format!("concat (C1): {} joins {}", ty.dtype, out.dtype));
            }
            if ty.rank() != out.rank() {
                return Err(format!("concat (C2): {ty} joins {out}"));
            }
            for (axis, extent) in ty.shape.iter().enumerate() {
                if axis == self.axis {
                    out.shape[axis] = &out.shape[axis] + extent;
                } else if out.shape[axis].same(extent) == Some(false) {
                    return Err(format!("concat (C3): axis {axis} is {} and {extent}", out.shape[axis]));
                }
            }
        }
        Ok(vec![out])
    }
    fn form(&self, _: &[&TensorType], _: &[&TensorType]) -> Form {
        Form::Concat { axis: self.axis }
    }
}
