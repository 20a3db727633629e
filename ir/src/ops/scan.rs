//! scan - runs a region once for each step along the leading axis of its scanned operands: recurrences.
//!
//! Operands: `carried` values, then `scanned` values (leading axis = steps), then captures.
//! Region parameters: carried values, one slice of each scanned value (without the leading axis), captures. Region
//! results: carried values, then one slice a stacked result.
//! Results: carried values at the end, then stacked results with leading extent `steps`.
//!
//! * (C1) every scanned value has the leading extent `steps`
//! * (C2) parameters and carried results have the types described
//!
//! A scanned value (or stacked result) whose flag in `reversed_inputs` (`reversed_outputs`) is set is walked from its end.

use super::{InferCx, OpDef, control};
use crate::{extent::Extent, form::Form, types::TensorType};

attrs! {
    /// See the module header. Region: body.
    Scan {
        /// Number of carried values.
        carried: usize,
        /// Number of steps.
        steps: Extent,
        /// One a scanned operand: whether it is walked from its end.
        reversed_inputs: Vec<bool>,
        /// One a stacked result: whether it is filled from its end.
        reversed_outputs: Vec<bool>,
    }
}

impl OpDef for Scan {
    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
        let [body] = cx.regions else { return Err("scan: needs one region".into()) };
        let scanned_end = self.carried.saturating_add(self.reversed_inputs.len());
        let (Some(carried), Some(slices), Some(captures)) = (
            cx.operands.get(..self.carried),
            cx.operands.get(self.carried..scanned_end),
            cx.operands.get(scanned_end..),
        ) else {
            return Err(format!("scan: {} operands, needs {} or more", cx.operands.len(), scanned_end));
        };
        if let Some(odd) = slices.iter().find(|t| t.shape.first() != Some(&self.steps)) {
            return Err(format!("scan (C1): scanned {odd} has not {} steps", self.steps));
        }
        let slices: Vec<TensorType> = slices.iter().map(|t| t.with_shape(&t.shape[1..])).collect();
        let params: Vec<&TensorType> =
            carried.iter().copied().chain(&slices).chain(captures.iter().copied()).collect();
        control::check_carried("scan (C2)", "parameters", &body.params, &params)?;
        let Some((last, stacked)) = body.results.split_at_checked(self.carried) else {
            return Err(format!("scan: {} results for {} carried values", body.results.len(), self.carried));
        };
        control::check_carried("scan (C2)", "results", last, carried)?;
        if stacked.len() != self.reversed_outputs.len() {
            return Err(format!(
                "scan: {} stacked results, {} flags",
                stacked.len(),
                self.reversed_outputs.len()
            ));
        }
        let stack =
            |t: &&TensorType| t.with_shape([std::slice::from_ref(&self.steps), &t.shape[..]].concat());
        Ok(last.iter().map(|&t| t.clone()).chain(stacked.iter().map(stack)).collect())
    }
    fn form(&self, _: &[&TensorType], _: &[&TensorType]) -> Form {
        control::region_form()
    }
}
