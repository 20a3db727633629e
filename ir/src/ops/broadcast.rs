//! broadcast - repeats a tensor along axes of extent 1 and along new leading axes.
//!
//! * (C1) `rank(input) <= rank(shape)`
//! * (C2) aligned at the last axis, each extent of the input is 1, equal to the target's, or unknown (then the module
//!   holds a constraint that it is one of these)

use super::{InferCx, OpDef, nest};
use crate::{
    extent::Extent,
    form::{Form, Ix},
    types::TensorType,
};

attrs! {
    /// See the module header.
    Broadcast {
        /// Shape of the result.
        shape: Vec<Extent>,
    }
}

impl OpDef for Broadcast {
    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
        let input = cx.operands[0];
        let Some(lead) = self.shape.len().checked_sub(input.rank()) else {
            return Err(format!(
                "broadcast (C1): {input} has more axes than the target's {}",
                self.shape.len()
            ));
        };
        for (have, want) in input.shape.iter().zip(&self.shape[lead..]) {
            if !have.is(1) && have.same(want) == Some(false) && have.as_const().is_some() {
                return Err(format!("broadcast (C2): extent {have} does not repeat to {want}"));
            }
        }
        Ok(vec![input.with_shape(self.shape.clone())])
    }
    fn form(&self, operands: &[&TensorType], results: &[&TensorType]) -> Form {
        let lead = self.shape.len() - operands[0].rank();
        let index = operands[0].shape.iter().enumerate().map(|(i, have)| {
            let axis = Ix::Axis(lead + i);
            if *have == self.shape[lead + i] { axis } else { axis.bcast(have) }
        });
        nest::movement(results[0], vec![nest::load(0, operands[0], index.collect())])
    }
}
