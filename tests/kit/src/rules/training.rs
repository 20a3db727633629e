//! training - graphs with training forms whose two regions compute the same, so that what is kept can be compared.

use nnc_ir::{
    constant::Constant,
    graph::{RegionId, ValueId, loc},
    ops::{ConstantOp, Mul, Op, Relu, Training, TrainingKind},
};

use super::Row;
use crate::draft::Draft;

pub(super) const EXPAND: &[Row] = &[("expand-training-form", |d| form(d, TrainingKind::BatchNorm))];
pub(super) const STRIP: &[Row] = &[
    ("strip-batch-norm", |d| form(d, TrainingKind::BatchNorm)),
    ("strip-dropout", |d| form(d, TrainingKind::Dropout)),
    ("strip-loss", |d| form(d, TrainingKind::Loss)),
    ("strip-optimizer", step),
    ("strip-gradient", step),
    ("drop-training-output", step),
    ("drop-checkpoint-output", step),
    ("drop-training-input", step),
    ("remove-training-only", step),
];

/// A region of parameters like `operands` that gives `relu(first) * first` and the last parameter.
fn region(d: &mut Draft, operands: &[ValueId], through: bool) -> RegionId {
    let region = d.module.add_region();
    let mut params = Vec::new();
    for &operand in operands {
        let ty = d.module.ty(operand).clone();
        params.push(d.module.add_param(region, ty));
    }
    let mut first = params[0];
    if !through {
        let mut add =
            |op: Op, v: &[ValueId]| d.module.append(region, op, v, &[], &loc("form")).expect("types fit")[0];
        let y = add(Relu {}.into(), &[first]);
        first = add(Mul {}.into(), &[y, first]);
    }
    d.module.set_results(region, vec![first, params[params.len() - 1]]);
    region
}

fn training(d: &mut Draft, kind: TrainingKind, operands: &[ValueId], through: bool) -> Vec<ValueId> {
    let regions = [region(d, operands, through), region(d, operands, through)];
    let update = matches!(kind, TrainingKind::Optimizer | TrainingKind::Gradient);
    let learns = vec![update, true];
    let body = d.module.body();
    d.module.append(body, Training { kind, learns }, operands, &regions, &loc("form")).expect("types fit")
}

/// A form between other nodes, its second result perhaps an output.
fn form(d: &mut Draft, kind: TrainingKind) {
    let dims = d.any_shape(1, 3);
    let (x, w) = (d.input(&dims), d.weight(&dims));
    let x = d.node(Mul {}, &[x, w]);
    let through = d.rng.chance(30);
    let results = training(d, kind, &[x, w], through);
    let y = d.node(Relu {}, &[results[0]]);
    d.output(y);
    d.maybe_output(results[1]);
}

/// Outputs of inference first, then a new weight, the gradient it is made by, and the weight.
fn step(d: &mut Draft) {
    let dims = d.any_shape(1, 3);
    let (x, labels) = (d.input(&dims), d.input(&dims));
    let w = d.weight(&dims);
    let y = d.node(Mul {}, &[x, w]);
    d.output(y);
    let against = d.node(Mul {}, &[y, labels]);
    let gradient = training(d, TrainingKind::Gradient, &[against, w], false);
    let steps = training(d, TrainingKind::Optimizer, &[w, gradient[0]], false);
    let moved = d.node(Relu {}, &[steps[0]]);
    d.output(moved);
    d.maybe_output(gradient[0]);
    d.output(w);
    let again = d.module.as_constant(w).cloned();
    if let Some(value) = again.filter(|_| d.rng.chance(30)) {
        let copy: Constant = value;
        let copy = d.node(ConstantOp { value: copy }, &[]);
        d.output(copy);
    }
}
