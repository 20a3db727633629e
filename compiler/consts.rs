//! consts - how the passes get constants computed.

use nnc_ir::{
    constant::Constant,
    eval::{ConstEval, EvalLimits},
    ops::Op,
};

/// The evaluator, behind the interface of the passes.
pub(crate) struct Evaluator(ConstEval);

/// Largest folding: beyond it a node stays and is computed when running.
const LIMITS: EvalLimits = EvalLimits { tensor_bytes: 1 << 30, points: 1 << 28 };

impl Evaluator {
    pub(crate) fn new() -> Self {
        Self(ConstEval { limits: LIMITS })
    }
}

impl nnc_passes::pass::ConstEval for Evaluator {
    fn fold(&self, op: &Op, operands: &[Constant]) -> Option<Vec<Constant>> {
        self.0.fold(op, operands)
    }
}
