//! constant - a tensor known at compile time.

use super::{InferCx, OpDef, attr::Reader};
use crate::{constant::Constant, extent::Extent, form::Form, types::TensorType};

/// A tensor known at compile time. In text: small ones are spelt out, others are named by digest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConstantOp {
    /// The tensor.
    pub value: Constant,
}

impl ConstantOp {
    pub(super) fn print_attrs(&self, out: &mut Vec<(&'static str, String)>) {
        out.push(("value", crate::text::constant::print(&self.value)));
    }
    pub(super) fn map_extents(&mut self, _: &dyn Fn(&Extent) -> Extent) {}
    pub(super) fn parse_attrs(attrs: &mut Reader<'_>) -> Result<Self, String> {
        Ok(Self { value: attrs.take_constant("value")? })
    }
}

impl OpDef for ConstantOp {
    fn infer(&self, _: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
        Ok(vec![self.value.ty()])
    }
    fn form(&self, _: &[&TensorType], _: &[&TensorType]) -> Form {
        Form::Constant
    }
}
