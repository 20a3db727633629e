//! ops - the closed set of operations: one line in the table here, one file each.

#[macro_use]
mod table;
pub mod attr;
mod nest;

use crate::{form::Form, types::TensorType};

pub use control::check_carried;
pub use reduce::ReduceKind;

/// What inference may look at.
pub struct InferCx<'a> {
    /// Types of the operands.
    pub operands: &'a [&'a TensorType],
    /// Types of the regions' parameters and results.
    pub regions: &'a [RegionTypes<'a>],
}

/// Types of a region's parameters and results.
pub struct RegionTypes<'a> {
    /// Of the parameters.
    pub params: Vec<&'a TensorType>,
    /// Of the results.
    pub results: Vec<&'a TensorType>,
}

/// What an operation knows about itself, independent of any target.
pub trait OpDef: std::fmt::Debug {
    /// Types of the results. The number of operands has been checked against the table.
    ///
    /// # Errors
    /// Names the violated constraint (`C1`, `C2`, ...) of the operation's header: "conv (C2): input has 3 channels,
    /// weight expects 5".
    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, String>;

    /// How the operation iterates; lowering and evaluation dispatch on this, never on the opcode. The operands have
    /// types that `infer` accepts.
    fn form(&self, operands: &[&TensorType], results: &[&TensorType]) -> Form;
}

/// Implemented by every operation's struct.
pub trait OpStruct: OpDef + Sized {
    /// The struct, if that is the operation.
    fn from_op(op: &Op) -> Option<&Self>;
}

impl Op {
    /// Checks the number of operands against the table.
    ///
    /// # Errors
    /// Says how many there should be.
    pub fn check_arity(&self, operands: usize) -> Result<(), String> {
        let named = self.operand_names().len();
        if operands == named || (self.is_variadic() && operands > named) {
            return Ok(());
        }
        let more = if self.is_variadic() { " or more" } else { "" };
        Err(format!("{}: needs {named}{more} operands, has {operands}", self.mnemonic()))
    }
}

mod control;

ops! {
    // Variant     mnemonic          operands                   file
    ConstantOp   = "constant"      ()                         in constant;
    Extents      = "extents"       ()                         in extents;
    ReadExtents  = "read_extents"  (extents)                  in read_extents;

    Add          = "add"           (lhs, rhs)                 in add;
    Exp          = "exp"           (input)                    in exp;

    Broadcast    = "broadcast"     (input)                    in broadcast;
    Transpose    = "transpose"     (input)                    in transpose;
    Reshape      = "reshape"       (input)                    in reshape;
    Concat       = "concat"        (first; rest)              in concat;

    Reduce       = "reduce"        (input)                    in reduce;
    MatMul       = "matmul"        (lhs, rhs)                 in matmul;

    Fusion       = "fusion"        (; captures)               in fusion;
    If           = "if"            (condition; captures)      in if_op;
    Loop         = "loop"          (trips, condition; rest)   in loop_op;
    Scan         = "scan"          (; rest)                   in scan;
}
