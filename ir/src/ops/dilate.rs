//! dilate - zeros put between the elements of each axis: the element at `o` is `input[o / stride]` where the stride divides
//! `o` and that is in range, and zero elsewhere.
//!
//! * (C1) one stride (from 1 to 2^31) and extent an axis; no known extent is negative
//!
//! ONNX ConvTranspose, together with a convolution. Exact.

use super::{InferCx, OpDef, nest};
use crate::{
    dtype::Scalar,
    extent::Extent,
    form::{Bounds, Form, Ix},
    types::TensorType,
};

attrs! {
    /// See the module header.
    Dilate {
        /// Distance of the elements in the result, one an axis.
        strides: Vec<i64>,
        /// Shape of the result; `(extent - 1) * stride + 1` ends at the last element.
        shape: Vec<Extent>,
    }
}

impl OpDef for Dilate {
    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
        let input = cx.operands[0];
        if [self.strides.len(), self.shape.len()] != [input.rank(); 2] {
            return Err(format!("dilate (C1): strides {:?} to {:?} of {input}", self.strides, self.shape));
        }
        nest::check_range("dilate", "C1", "stride", &self.strides, 1)?;
        nest::check_extents("dilate", "C1", &self.shape)?;
        Ok(vec![input.with_shape(self.shape.clone())])
    }
    fn form(&self, operands: &[&TensorType], results: &[&TensorType]) -> Form {
        let input = operands[0];
        // Between two elements the remainder is at least 1, and the extent times it leads out of range.
        let at = |(axis, &stride): (usize, &i64)| {
            let between = Ix::Axis(axis).modulo(stride).times(input.shape[axis].clone());
            Ix::Axis(axis).floor_div(stride).plus(between)
        };
        let index = self.strides.iter().enumerate().map(at).collect();
        let bounds = Bounds::Guard(Scalar::zero(input.dtype));
        nest::movement(results[0], vec![nest::load_within(0, input, index, bounds)])
    }
}
