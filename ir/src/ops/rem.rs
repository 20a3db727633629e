//! rem - remainder of a quotient, element by element.
//!
//! * (C1) both operands have the same type
//! * (C2) elements are numbers
//!
//! ONNX Mod: `fmod = 1` is not floored, `fmod = 0` is. Integers: exact, `x rem 0 = 0`. Floats: docs/numerics.md.

use super::{InferCx, OpDef, nest};
use crate::{form::Form, math, types::TensorType};

attrs! {
    /// `result = lhs - q * rhs`, where `q` is the quotient rounded to an integer.
    Rem {
        /// The quotient is rounded towards minus infinity (the result has the sign of `rhs`), not towards zero (that of
        /// `lhs`).
        floored: bool,
    }
}

impl OpDef for Rem {
    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
        Ok(vec![nest::elementwise("rem", nest::Elements::Number, cx.operands)?])
    }
    fn form(&self, operands: &[&TensorType], results: &[&TensorType]) -> Form {
        nest::pointwise(operands, results[0], |b, x| {
            if self.floored { math::floor_mod(b, x[0], x[1]) } else { math::rem(b, x[0], x[1]) }
        })
    }
}
