//! fusion - a region of ordinary operations that becomes one kernel.
//!
//! * (C1) operands have the types of the region's parameters

use super::{InferCx, OpDef, control};
use crate::{form::Form, types::TensorType};

attrs! {
    /// Operands are bound to the parameters of the region; its results are the node's. Inlining every fusion gives the
    /// unfused program back.
    Fusion {}
}

impl OpDef for Fusion {
    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
        let [body] = cx.regions else { return Err("fusion: needs one region".into()) };
        control::check_carried("fusion", "operands", cx.operands, &body.params)?;
        Ok(body.results.iter().map(|&t| t.clone()).collect())
    }
    fn form(&self, _: &[&TensorType], _: &[&TensorType]) -> Form {
        control::region_form()
    }
}
