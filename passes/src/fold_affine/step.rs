//! step - one affine step: a node that scales or shifts a value by constants.

use nnc_ir::{
    Module,
    constant::Constant,
    graph::{NodeId, ValueId},
    ops::{Neg, Op},
};

use super::coefficient::{Consts, number};

/// What a node does to a value.
pub(super) enum Step {
    /// `x * by`; `exact` if that is the same bits.
    Scale { x: ValueId, by: Constant, exact: bool },
    /// `x + by`.
    Shift { x: ValueId, by: Constant },
}

/// The step that a node takes: a product, quotient, sum, difference with a constant, or a negation.
pub(super) fn step(module: &Module, consts: Consts<'_>, node: NodeId) -> Option<Step> {
    let this = module.node(node);
    let dtype = module.ty(*this.results.first()?).dtype;
    if let (Op::Neg(_), true) =
        (&this.op, matches!(dtype, nnc_ir::dtype::DType::F32 | nnc_ir::dtype::DType::F64))
    {
        return Some(Step::Scale { x: this.operands[0], by: number(dtype, -1.0), exact: true });
    }
    let &[a, b] = &this.operands[..] else { return None };
    match &this.op {
        Op::Mul(_) | Op::Add(_) => {
            let (x, by) = match consts.of(module, b) {
                Some(by) => (a, by),
                None => (b, consts.of(module, a)?),
            };
            Some(match this.op {
                Op::Mul(_) => Step::Scale { x, by, exact: true },
                _ => Step::Shift { x, by },
            })
        }
        Op::Sub(_) => {
            let by = consts.of(module, b)?;
            Some(Step::Shift { x: a, by: consts.one(Neg {}, &[by]).ok()? })
        }
        Op::Div(_) => {
            let (by, exact) = consts.reciprocal(&consts.of(module, b)?).ok()?;
            Some(Step::Scale { x: a, by, exact })
        }
        _ => None,
    }
}
