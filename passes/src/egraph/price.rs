//! price - what an e-node costs when running, in cycles: the figures of `cost`, as the kernels will be after fusion.

use nnc_ir::{
    Module,
    form::{Class, Form},
    ops::{Op, OpKind},
    types::TensorType,
};

use crate::{
    cost::{Cost, of_nest},
    target::TargetDesc,
};

/// Cycles of an operation. Pointwise work and broadcasts find a place in a neighbour's kernel later: arithmetic only.
/// One cycle more for being a node, so that of equally costly forms the shorter is cheaper.
pub(super) fn cycles(
    module: &Module,
    target: &TargetDesc,
    op: &Op,
    operands: &[&TensorType],
    result: &TensorType,
) -> i64 {
    match op.def().form(operands, &[result]) {
        Form::Loops(nest) => {
            let cost = of_nest(module, &nest);
            let fused = op.kind() == OpKind::Broadcast || nest.class() == Class::Pointwise;
            let cost = if fused { Cost { flops: cost.flops, ..Cost::default() } } else { cost };
            cost.cycles(target).saturating_add(1)
        }
        Form::Concat { .. } => {
            let bytes = crate::cost::nominal(module, &result.bytes());
            let kernels = i64::try_from(operands.len()).unwrap_or(i64::MAX);
            Cost { read: bytes, written: bytes, kernels, ..Cost::default() }.cycles(target)
        }
        _ => 1,
    }
}
