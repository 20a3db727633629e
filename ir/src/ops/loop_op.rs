//! loop - repeats a region while a condition holds, at most a number of times.
//!
//! Operands: trips (scalar `i64`), condition (scalar `bool`), then `carried` values, then captures.
//! Region parameters: iteration (scalar `i64`), condition, carried values, captures. Region results: condition, carried
//! values, then one value a stacked result.
//! Results: carried values at the end, then for each stacked value the values of all iterations joined along a new
//! leading axis, whose extent is `count`: the number of iterations that ran, a symbol the node defines unless it is known.
//!
//! * (C1) trips and condition are scalars `i64` and `bool`
//! * (C2) parameters and carried results have the types of the operands
//!
//! Types of carried values do not change between iterations (the importer widens those that do to symbols).

use super::{InferCx, OpDef, control};
use crate::{dtype::DType, extent::Extent, form::Form, types::TensorType};

attrs! {
    /// See the module header. Region: body.
    Loop {
        /// Number of carried values.
        carried: usize,
        /// Number of iterations that ran.
        count: Extent,
    }
}

impl OpDef for Loop {
    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
        let [body] = cx.regions else { return Err("loop: needs one region".into()) };
        let (trips, condition) = (TensorType::of(DType::I64, &[]), TensorType::of(DType::Bool, &[]));
        control::check_carried("loop (C1)", "operands", &cx.operands[..2], &[&trips, &condition])?;
        let mut params = vec![&trips, &condition];
        params.extend(&cx.operands[2..]);
        control::check_carried("loop (C2)", "parameters", &body.params, &params)?;
        if self.carried > cx.operands.len() - 2 {
            return Err(format!("loop: {} operands for {} carried values", cx.operands.len(), self.carried));
        }
        let Some((head, stacked)) = body.results.split_at_checked(1 + self.carried) else {
            return Err(format!("loop: {} results for {} carried values", body.results.len(), self.carried));
        };
        control::check_carried("loop (C2)", "results", head, &params[1..2 + self.carried])?;
        let stack =
            |t: &&TensorType| t.with_shape([std::slice::from_ref(&self.count), &t.shape[..]].concat());
        Ok(head[1..].iter().map(|&t| t.clone()).chain(stacked.iter().map(stack)).collect())
    }
    fn form(&self, _: &[&TensorType], _: &[&TensorType]) -> Form {
        control::region_form()
    }
}
