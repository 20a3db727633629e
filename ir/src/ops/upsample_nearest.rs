//! upsample_nearest - each element repeated a whole number of times along each axis.
//!
//! `result[o] = input[floor(o / factor)]`, axis by axis.
//!
//! * (C1) one factor an axis, from 1 to 2^31
//!
//! ONNX Resize, Upsample with nearest neighbours (asymmetric, floor) and whole scales. Exact.

use super::{InferCx, OpDef, nest};
use crate::{
    form::{Form, Ix},
    types::TensorType,
};

attrs! {
    /// See the module header.
    UpsampleNearest {
        /// Repetitions, one number an axis.
        factors: Vec<i64>,
    }
}

impl OpDef for UpsampleNearest {
    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
        let input = cx.operands[0];
        if self.factors.len() != input.rank() {
            return Err(format!("upsample_nearest (C1): factors {:?} for {input}", self.factors));
        }
        nest::check_range("upsample_nearest", "C1", "factor", &self.factors, 1)?;
        let shape: Vec<_> = input.shape.iter().zip(&self.factors).map(|(e, &f)| e.scale(f)).collect();
        Ok(vec![input.with_shape(shape)])
    }
    fn form(&self, operands: &[&TensorType], results: &[&TensorType]) -> Form {
        let index = self.factors.iter().enumerate().map(|(axis, &f)| Ix::Axis(axis).floor_div(f));
        nest::movement(results[0], vec![nest::load(0, operands[0], index.collect())])
    }
}
