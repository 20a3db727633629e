//! outputs - which outputs only training has.

use nnc_ir::{
    Module,
    graph::{Node, ValueId, loc},
    ops::{Op, OpStruct, Training, TrainingKind},
};
use rustc_hash::FxHashMap;

use super::{DROP_CHECKPOINT, DROP_OUTPUT};
use crate::pass::PassCx;

/// What an output is to training; inference has least use for the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    /// Nothing that training alone has.
    #[default]
    Inference,
    /// Depends on a loss.
    Loss,
    /// A running statistic or a mask: the same in every run of inference.
    Statistic,
    /// Depends on an optimizer or a gradient.
    Update,
}

/// Drops the outputs that only training has.
pub(super) fn drop(module: &mut Module, cx: &mut PassCx<'_>) {
    let standing = standings(module);
    let of = |v: &ValueId| standing.get(v).copied().unwrap_or_default();
    let results = module.region(module.body()).results.clone();
    let least = results.iter().map(of).min().unwrap_or_default();
    let computed = results.iter().any(|v| of(v) == least && module.as_constant(*v).is_none());
    let names = module.output_names.clone();
    let mut kept = Vec::new();
    for (value, name) in results.into_iter().zip(names) {
        let rule = match () {
            () if of(&value) > least => Some(&DROP_OUTPUT),
            () if computed && module.as_constant(value).is_some() => Some(&DROP_CHECKPOINT),
            () => None,
        };
        match rule.filter(|_| cx.has_fuel()) {
            Some(rule) => cx.fired(rule, &loc(&name)),
            None => kept.push((name, value)),
        }
    }
    module.set_outputs(&kept);
}

/// What values of the main region are to training, where that is something.
fn standings(module: &Module) -> FxHashMap<ValueId, Standing> {
    let mut standing: FxHashMap<ValueId, Standing> = FxHashMap::default();
    for &id in &module.region(module.body()).nodes {
        let node = module.node(id);
        // A node that computes with a mask or a statistic computes something that inference may have.
        let passes_on = |s: &Standing| *s != Standing::Statistic || moves(&node.op);
        let inherited = node.operands.iter().filter_map(|v| standing.get(v).copied()).filter(passes_on).max();
        let inherited = inherited.unwrap_or_default();
        for (i, &result) in node.results.iter().enumerate() {
            let own = Training::from_op(&node.op)
                .map_or(Standing::Inference, |form| of_result(module, node, form, i));
            let of = own.max(inherited);
            if of > Standing::Inference {
                standing.insert(result, of);
            }
        }
    }
    standing
}

fn moves(op: &Op) -> bool {
    matches!(op, Op::Reshape(_) | Op::Transpose(_) | Op::Broadcast(_) | Op::Cast(_))
}

fn of_result(module: &Module, node: &Node, form: &Training, result: usize) -> Standing {
    match form.kind {
        _ if !form.learns.get(result).is_some_and(|&l| l) => Standing::Inference,
        TrainingKind::BatchNorm | TrainingKind::Dropout => Standing::Statistic,
        TrainingKind::Loss if node.operands.get(1).is_some_and(|&labels| is_input(module, labels)) => {
            Standing::Loss
        }
        TrainingKind::Loss => Standing::Inference,
        TrainingKind::Optimizer | TrainingKind::Gradient => Standing::Update,
    }
}

/// Whether a value is an input, moved or converted.
fn is_input(module: &Module, mut value: ValueId) -> bool {
    while let Some(node) = module.def_node(value) {
        let node = module.node(node);
        if !moves(&node.op) {
            return false;
        }
        value = node.operands[0];
    }
    true
}
