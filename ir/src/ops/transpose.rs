//! transpose - permutes axes: axis `i` of the result is axis `perm[i]` of the input.
//!
//! * (C1) `perm` is a permutation of the input's axes

use super::{InferCx, OpDef, nest};
use crate::{
    form::{Form, Ix},
    types::TensorType,
};

attrs! {
    /// See the module header.
    Transpose {
        /// For each axis of the result the axis of the input.
        perm: Vec<usize>,
    }
}

impl OpDef for Transpose {
    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
        let input = cx.operands[0];
        let mut sorted = self.perm.clone();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..input.rank()) {
            return Err(format!("transpose (C1): {:?} does not permute the axes of {input}", self.perm));
        }
        let shape: Vec<_> = self.perm.iter().map(|&p| input.shape[p].clone()).collect();
        Ok(vec![input.with_shape(shape)])
    }
    fn form(&self, operands: &[&TensorType], results: &[&TensorType]) -> Form {
        let mut index = vec![Ix::int(0); self.perm.len()];
        for (i, &p) in self.perm.iter().enumerate() {
            index[p] = Ix::Axis(i);
        }
        nest::movement(results[0], vec![nest::load(0, operands[0], index)])
    }
}
