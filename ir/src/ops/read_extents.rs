//! read_extents - binds symbols to the elements of an `i64` vector: shapes that data decide.
//!
//! * (C1) the operand is an `i64` vector with one element a symbol
//!
//! An element outside the range that the module declares for its symbol fails the run with E0224.

use super::{InferCx, OpDef};
use crate::{dtype::DType, extent::Extent, extent::SymbolId, form::Form, types::TensorType};

attrs! {
    /// See the module header. No result: later types mention the symbols.
    ReadExtents {
        /// What the elements are bound to.
        symbols: Vec<SymbolId>,
    }
}

impl OpDef for ReadExtents {
    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
        let want = TensorType::new(DType::I64, vec![Extent::Const(self.symbols.len() as i64)]);
        if *cx.operands[0] == want {
            Ok(vec![])
        } else {
            Err(format!("read_extents (C1): needs {want}, has {}", cx.operands[0]))
        }
    }
    fn form(&self, _: &[&TensorType], _: &[&TensorType]) -> Form {
        Form::ReadExtents(self.symbols.clone())
    }
}
