//! if - one of two regions.
//!
//! * (C1) the condition is a scalar `bool`
//! * (C2) both regions have the operands after it as parameters
//! * (C3) both give equally many results, of equal element types and ranks
//!
//! Extents of a result that the two regions do not agree on are symbols of the node (`joins`), defined when it has run.

use super::{InferCx, OpDef, control};
use crate::{dtype::DType, extent::Extent, form::Form, types::TensorType};

attrs! {
    /// See the module header. Regions: then, else.
    If {
        /// Shapes of the results.
        shapes: Vec<Vec<Extent>>,
    }
}

impl OpDef for If {
    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
        let [then, other] = cx.regions else { return Err("if: needs two regions".into()) };
        if *cx.operands[0] != TensorType::of(DType::Bool, &[]) {
            return Err(format!("if (C1): condition is {}", cx.operands[0]));
        }
        for region in [then, other] {
            control::check_carried("if (C2)", "operands", &cx.operands[1..], &region.params)?;
        }
        let agree = |(a, b): (&&TensorType, &&TensorType)| a.dtype == b.dtype && a.rank() == b.rank();
        if then.results.len() != other.results.len() || !then.results.iter().zip(&other.results).all(agree) {
            return Err(format!("if (C3): then gives {:?}, else {:?}", then.results, other.results));
        }
        if self.shapes.len() != then.results.len() {
            return Err(format!("if: {} shapes for {} results", self.shapes.len(), then.results.len()));
        }
        for ((a, b), shape) in then.results.iter().zip(&other.results).zip(&self.shapes) {
            let fits = shape.len() == a.rank()
                && shape
                    .iter()
                    .zip(a.shape.iter().zip(&b.shape))
                    .all(|(s, (x, y))| (s == x && s == y) || s.as_const().is_none());
            if !fits {
                return Err(format!("if (C3): shape {shape:?} does not join {a} and {b}"));
            }
        }
        Ok(then.results.iter().zip(&self.shapes).map(|(t, s)| t.with_shape(s.clone())).collect())
    }
    fn form(&self, _: &[&TensorType], _: &[&TensorType]) -> Form {
        control::region_form()
    }
}
