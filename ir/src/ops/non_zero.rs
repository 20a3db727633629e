//! non_zero - indices of the elements that are not zero, one column an element, in row-major order.
//!
//! * (C1) `count` is not negative, as far as known
//!
//! ONNX NonZero. NaN is not zero, minus zero is. The result is `i64[rank, count]`; `count` is a symbol that the node defines.

use super::{InferCx, OpDef, nest};
use crate::{
    dtype::DType,
    extent::Extent,
    form::{ExternForm, Form},
    types::TensorType,
};

attrs! {
    /// See the module header.
    NonZero {
        /// How many elements are not zero.
        count: Extent,
    }
}

impl OpDef for NonZero {
    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
        nest::check_extents("non_zero", "C1", std::slice::from_ref(&self.count))?;
        let rank = Extent::Const(nest::axis_attr(cx.operands[0].rank()));
        Ok(vec![TensorType::new(DType::I64, vec![rank, self.count.clone()])])
    }
    fn form(&self, _: &[&TensorType], _: &[&TensorType]) -> Form {
        let defines = nest::defines(&[(0, 1)], &self.count);
        Form::Extern(ExternForm { name: "non_zero", attrs: vec![], defines })
    }
}
