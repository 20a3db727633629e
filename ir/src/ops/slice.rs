//! slice - every `step`-th element of each axis, from a start.
//!
//! `result[i] = input[start + i * step]`, axis by axis; steps may be negative.
//!
//! * (C1) one start, step and extent an axis; steps are not 0 and of magnitude at most 2^31
//! * (C2) where start, extents and step are known, every element read is in range; where they are symbolic, whoever makes
//!   the node clamps them so that it is (nothing checks when running)
//!
//! ONNX Slice, Split, and Gather with a constant scalar.

use super::{InferCx, OpDef, nest};
use crate::{
    extent::Extent,
    form::{Form, Ix},
    types::TensorType,
};

attrs! {
    /// See the module header.
    Slice {
        /// Position of the first element, one an axis.
        starts: Vec<Extent>,
        /// Distance to the next element, one an axis.
        steps: Vec<i64>,
        /// Shape of the result.
        shape: Vec<Extent>,
    }
}

impl OpDef for Slice {
    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
        let input = cx.operands[0];
        let rank = input.rank();
        if [self.starts.len(), self.steps.len(), self.shape.len()] != [rank; 3] || self.steps.contains(&0) {
            let (starts, steps) = (&self.starts, &self.steps);
            return Err(format!("slice (C1): starts {starts:?}, steps {steps:?} of {input}"));
        }
        let magnitudes: Vec<i64> = self.steps.iter().map(|s| s.saturating_abs()).collect();
        nest::check_range("slice", "C1", "step", &magnitudes, 1)?;
        nest::check_extents("slice", "C1", &self.shape)?;
        for axis in 0..rank {
            let (have, start, count) = (&input.shape[axis], &self.starts[axis], &self.shape[axis]);
            let (Some(have), Some(start), Some(count)) =
                (have.as_const(), start.as_const(), count.as_const())
            else {
                continue;
            };
            let last = i128::from(start) + (i128::from(count) - 1) * i128::from(self.steps[axis]);
            let inside = |x: i128| (0..i128::from(have)).contains(&x);
            if count > 0 && !(inside(start.into()) && inside(last)) {
                return Err(format!("slice (C2): reads {start} to {last} of axis {axis} of {input}"));
            }
        }
        Ok(vec![input.with_shape(self.shape.clone())])
    }
    fn form(&self, operands: &[&TensorType], results: &[&TensorType]) -> Form {
        let index = (0..self.shape.len())
            .map(|axis| Ix::Axis(axis).times(self.steps[axis]).plus(Ix::Extent(self.starts[axis].clone())));
        nest::movement(results[0], vec![nest::load(0, operands[0], index.collect())])
    }
}
