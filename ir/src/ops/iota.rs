//! iota - each element is its position along an axis.
//!
//! * (C1) `axis` is one of the shape, whose known extents are not negative
//! * (C2) elements are numbers
//!
//! ONNX Range, OneHot, EyeLike, Trilu, by way of arithmetic on it. Positions convert as in `cast`.

use super::{InferCx, OpDef, nest};
use crate::{
    dtype::DType,
    extent::Extent,
    form::{Form, Ix},
    program::Builder,
    types::TensorType,
};

attrs! {
    /// `result[.., i, ..] = i`.
    Iota {
        /// The axis.
        axis: usize,
        /// Shape of the result.
        shape: Vec<Extent>,
        /// Element type of the result.
        dtype: DType,
    }
}

impl OpDef for Iota {
    fn infer(&self, _: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
        let ty = TensorType::new(self.dtype, self.shape.clone());
        nest::check_axis("iota", "C1", self.axis, &ty)?;
        nest::check_extents("iota", "C1", &self.shape)?;
        nest::Elements::Number.check("iota", self.dtype)?;
        Ok(vec![ty])
    }
    fn form(&self, _: &[&TensorType], results: &[&TensorType]) -> Form {
        let mut body = Builder::new();
        let position = body.index(Ix::Axis(self.axis));
        let value = body.cast(self.dtype, position);
        nest::map_form(results[0], vec![], body.finish([value]))
    }
}
