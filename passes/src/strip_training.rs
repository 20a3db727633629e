//! strip-training - makes an inference graph of a training graph.
//!
//! ```nnir
//! nnir 1
//! phase imported
//! module (%0 "x" : f32[2], %1 "ratio" : f32[]) {
//!   %2, %3 = training %0, %1 {kind=dropout, learns=[false,true]} : f32[2], bool[2] loc("dropout") {
//!     region (%4 : f32[2], %5 : f32[]) {
//!       %6 = constant {value=bool[2]=splat(1:bool)} : bool[2] loc("dropout")
//!       yield %4, %6
//!     }
//!   }
//!   %7 = relu %2 : f32[2] loc("relu")
//!   return %7 "y", %3 "mask"
//! }
//! ```
//! becomes
//! ```nnir
//! nnir 1
//! phase imported
//! module (%0 "x" : f32[2]) {
//!   %1 = relu %0 : f32[2] loc("relu")
//!   return %1 "y"
//! }
//! ```
//!
//! In this order: outputs that only training has go, with everything that only they read; batch normalization, dropout and
//! losses become what they are for inference; inputs that have lost their readers go. An output belongs to training if it
//! is a running statistic or a mask (moved or converted), if it depends on a loss against labels that are an input, or if
//! it depends on an optimizer or a gradient; in a module with training forms also if it is a weight. What inference has most
//! use for stays: where every output belongs to training, only those of the last kind go, and never the last output.
//! Left alone: an optimizer or gradient that a remaining output needs. Not Exact as a rewriting, but exactly the
//! inference form; runs where the user has asked for that form (`--training`), at every level.

mod outputs;

use nnc_ir::{
    Module,
    graph::{RegionId, ValueId, loc},
    ops::{OpStruct, Training, TrainingKind},
};

use crate::{
    eliminate_dead::has_effect,
    pass::{Bug, Exactness, PassCx, Rule},
    rewrite::{Action, Cursor, rewrite},
};

pub(crate) const RULES: &[&Rule] = &[
    &BATCH_NORM,
    &DROPOUT,
    &LOSS,
    &OPTIMIZER,
    &GRADIENT,
    &DROP_OUTPUT,
    &DROP_CHECKPOINT,
    &DROP_INPUT,
    &REMOVE,
];

macro_rules! rule {
    ($id:ident, $name:literal, $law:literal, $source:literal) => {
        static $id: Rule = Rule { name: $name, law: $law, source: $source, exactness: Exactness::Exact };
    };
}
rule!(
    BATCH_NORM,
    "strip-batch-norm",
    "training(batch_norm) = normalization by the running statistics, which stay as they are",
    "ONNX, BatchNormalization-15, training_mode = 0; Ioffe and Szegedy 2015, algorithm 2"
);
rule!(
    DROPOUT,
    "strip-dropout",
    "training(dropout) = its input, and a mask that keeps everything",
    "ONNX, Dropout-13, training_mode = 0; Srivastava et al. 2014, section 4"
);
rule!(
    LOSS,
    "strip-loss",
    "training(loss) = the loss; nothing where nobody reads it",
    "ONNX, SoftmaxCrossEntropyLoss-13: no form of its own for inference"
);
rule!(
    OPTIMIZER,
    "strip-optimizer",
    "training(optimizer) = nothing where nobody reads it",
    "ONNX, ai.onnx.preview.training: updates of weights"
);
rule!(
    GRADIENT,
    "strip-gradient",
    "training(gradient) = nothing where nobody reads it",
    "ONNX, ai.onnx.preview.training.Gradient"
);
rule!(
    DROP_OUTPUT,
    "drop-training-output",
    "outputs of a training graph = those that inference has, and at least one",
    "the user has asked for inference"
);
rule!(
    DROP_CHECKPOINT,
    "drop-checkpoint-output",
    "outputs of a training graph that are weights = none, where others depend on inputs",
    "the user has asked for inference"
);
rule!(
    DROP_INPUT,
    "drop-training-input",
    "inputs that only stripped nodes read = none",
    "a value that nobody reads changes nothing"
);
rule!(
    REMOVE,
    "remove-training-only",
    "a node without effect that only stripped outputs need = nothing",
    "nodes are pure but for the symbols they define"
);

pub(crate) fn run(module: &mut Module, cx: &mut PassCx<'_>) -> Result<(), Bug> {
    if !has_training(module) {
        return Ok(());
    }
    let read = inputs_read(module);
    outputs::drop(module, cx);
    sweep(module, cx);
    inline(module, cx)?;
    sweep(module, cx);
    for input in (0..module.input_names.len()).rev() {
        let unread = read[input] && !inputs_read(module)[input];
        let name = module.input_names[input].clone();
        if unread && cx.has_fuel() && module.remove_input(input) {
            cx.fired(&DROP_INPUT, &loc(&name));
        }
    }
    Ok(())
}

fn has_training(module: &Module) -> bool {
    let regions = module.nested_regions(module.body());
    let mut nodes = regions.iter().flat_map(|&r| &module.region(r).nodes);
    nodes.any(|&n| Training::from_op(&module.node(n).op).is_some())
}

fn rule_of(kind: TrainingKind) -> &'static Rule {
    match kind {
        TrainingKind::BatchNorm => &BATCH_NORM,
        TrainingKind::Dropout => &DROPOUT,
        TrainingKind::Loss => &LOSS,
        TrainingKind::Optimizer => &OPTIMIZER,
        TrainingKind::Gradient => &GRADIENT,
    }
}

/// For each input whether a node reads it or an output is it.
fn inputs_read(module: &Module) -> Vec<bool> {
    let body: RegionId = module.body();
    let reads: rustc_hash::FxHashSet<ValueId> =
        module.region(body).nodes.iter().flat_map(|&n| &module.node(n).operands).copied().collect();
    let region = module.region(body);
    region.params.iter().map(|p| reads.contains(p) || region.results.contains(p)).collect()
}

/// Puts the regions for inference in the place of what has such a form.
fn inline(module: &mut Module, cx: &mut PassCx<'_>) -> Result<(), Bug> {
    rewrite(module, "strip-training", &mut |cursor: &mut Cursor<'_>, id| {
        let node = cursor.module.node(id).clone();
        let Some(form) = Training::from_op(&node.op) else { return Ok(Action::Keep) };
        if matches!(form.kind, TrainingKind::Optimizer | TrainingKind::Gradient) {
            cx.miss(cursor.module, id, "an output that stays needs it, and it has no form for inference");
            return Ok(Action::Keep);
        }
        if !cx.has_fuel() {
            return Ok(Action::Keep);
        }
        cx.fired(rule_of(form.kind), &node.loc);
        Ok(Action::Replace(cursor.inline(node.regions[0], &node.operands)))
    })
}

/// Removes nodes of the main region that nobody reads, last node first, if anything has been stripped.
fn sweep(module: &mut Module, cx: &mut PassCx<'_>) {
    if cx.rewrites.is_empty() {
        return;
    }
    let body = module.body();
    let mut live: rustc_hash::FxHashSet<ValueId> = module.region(body).results.iter().copied().collect();
    let mut kept = Vec::new();
    for id in module.region(body).nodes.clone().into_iter().rev() {
        let node = module.node(id);
        let read = node.results.iter().any(|v| live.contains(v));
        if !read && !has_effect(module, id) && cx.has_fuel() {
            let rule = Training::from_op(&node.op).map_or(&REMOVE, |form| rule_of(form.kind));
            cx.fired(rule, &node.loc);
            continue;
        }
        live.extend(&node.operands);
        kept.push(id);
    }
    kept.reverse();
    module.region_mut(body).nodes = kept;
}
