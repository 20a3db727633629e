//! matmul - matrix product over the last two axes; the axes before them are a batch.
//!
//! * (C1) both operands have equally many axes, at least 2, and one element type, a number
//! * (C2) `extent(lhs, -1) = extent(rhs, -2)`, as far as known
//! * (C3) batch extents are equal, or 1 in one operand
//!
//! `f16` and `bf16` accumulate in `f32`.

use super::{InferCx, OpDef, nest};
use crate::{
    dtype::DType,
    form::{Combine, Form, Ix, LoopForm},
    types::TensorType,
};

attrs! {
    /// See the module header.
    MatMul {}
}

impl OpDef for MatMul {
    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
        let (lhs, rhs) = (cx.operands[0], cx.operands[1]);
        if lhs.rank() != rhs.rank() || lhs.rank() < 2 || lhs.dtype != rhs.dtype || lhs.dtype == DType::Bool {
            return Err(format!("matmul (C1): {lhs} times {rhs}"));
        }
        let batch = lhs.rank() - 2;
        if lhs.shape[batch + 1].same(&rhs.shape[batch]) == Some(false) {
            return Err(format!(
                "matmul (C2): {lhs} times {rhs}: {} against {}",
                lhs.shape[batch + 1],
                rhs.shape[batch]
            ));
        }
        let mut shape = Vec::with_capacity(lhs.rank());
        for (a, b) in lhs.shape[..batch].iter().zip(&rhs.shape) {
            shape.push(a.broadcast(b).ok_or_else(|| format!("matmul (C3): batch extents {a} and {b}"))?);
        }
        shape.push(lhs.shape[batch].clone());
        shape.push(rhs.shape[batch + 1].clone());
        Ok(vec![lhs.with_shape(shape)])
    }

    fn form(&self, operands: &[&TensorType], results: &[&TensorType]) -> Form {
        let (lhs, rhs) = (operands[0], operands[1]);
        let space = results[0].shape.clone();
        let rank = space.len();
        let (m, n, k) = (rank - 2, rank - 1, rank);
        let batch = |ty: &TensorType| -> Vec<Ix> {
            let at = |i: usize| {
                if ty.shape[i] == space[i] { Ix::Axis(i) } else { Ix::Axis(i).bcast(&ty.shape[i]) }
            };
            (0..m).map(at).collect()
        };
        let lhs_index = [batch(lhs), vec![Ix::Axis(m), Ix::Axis(k)]].concat();
        let rhs_index = [batch(rhs), vec![Ix::Axis(k), Ix::Axis(n)]].concat();
        Form::Loops(LoopForm {
            reduce: vec![lhs.shape[m + 1].clone()],
            loads: vec![nest::load(0, lhs, lhs_index), nest::load(1, rhs, rhs_index)],
            body: nest::product_of_loads(lhs.dtype, rhs.dtype),
            combine: Some(Combine::Sum),
            finish: nest::accumulator(lhs.dtype),
            results: vec![results[0].dtype],
            space,
        })
    }
}
