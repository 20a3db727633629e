//! top_k - the greatest or least elements along an axis, and where they are.
//!
//! Results: values, and their positions along the axis (`i64`). Equal elements come by position, the lower first; NaN is
//! above every number.
//!
//! * (C1) `axis` is one of the input
//! * (C2) elements are numbers
//! * (C3) `count` is an `i64` with one element; where both are known, the attribute `k` (its value) lies between 0 and the
//!   extent of the axis
//!
//! ONNX TopK. A count out of range fails the run with E0807.

use super::{InferCx, OpDef, nest};
use crate::{
    dtype::DType,
    extent::Extent,
    form::{ExternForm, Form},
    types::TensorType,
};

attrs! {
    /// See the module header.
    TopK {
        /// The axis.
        axis: usize,
        /// The greatest elements, not the least.
        largest: bool,
        /// They have to be in order.
        sorted: bool,
        /// How many: the value of `count`.
        k: Extent,
    }
}

impl OpDef for TopK {
    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
        let (input, count) = (cx.operands[0], cx.operands[1]);
        nest::check_axis("top_k", "C1", self.axis, input)?;
        nest::Elements::Number.check("top_k", input.dtype)?;
        if count.dtype != DType::I64 || !count.elements().is(1) {
            return Err(format!("top_k (C3): count is {count}"));
        }
        nest::check_extents("top_k", "C3", std::slice::from_ref(&self.k))?;
        if (&self.k - &input.shape[self.axis]).as_const().is_some_and(|more| more > 0) {
            return Err(format!("top_k (C3): {} of axis {} of {input}", self.k, self.axis));
        }
        let mut values = input.clone();
        values.shape[self.axis] = self.k.clone();
        let positions = values.with_dtype(DType::I64);
        Ok(vec![values, positions])
    }
    fn form(&self, _: &[&TensorType], _: &[&TensorType]) -> Form {
        let attrs = vec![nest::axis_attr(self.axis), i64::from(self.largest), i64::from(self.sorted)];
        Form::Extern(ExternForm { name: "top_k", attrs, defines: vec![] })
    }
}
