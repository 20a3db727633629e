//! learn - operators of training: Dropout that drops, optimizers, gradients. Inference has less of them, or nothing.

use nnc_ir::{
    dtype::{DType, Scalar},
    ops::TrainingKind,
};

use crate::import::{
    Outcome,
    cx::OpCx,
    table::{MANY, Row, row},
    value::Binding,
};

/// Domain of the optimizers.
const PREVIEW: &str = "ai.onnx.preview.training";

pub(crate) const ROWS: &[Row] = &[
    row("Dropout", 1, 1..=3, dropout),
    row("Adagrad", 1, 3..=MANY, optimizer).of(PREVIEW),
    row("Adam", 1, 3..=MANY, optimizer).of(PREVIEW),
    row("Momentum", 1, 3..=MANY, optimizer).of(PREVIEW),
    row("Gradient", 1, 1..=MANY, gradient).of(PREVIEW),
];

/// Live where `training_mode` may be true and `ratio` may be other than 0; the tensor itself elsewhere. Before opset 12
/// nothing says so reliably: `is_test` was 0 unless set, and is not looked at.
fn dropout(cx: &mut OpCx<'_>) -> Outcome {
    cx.skip_attrs(&["ratio", "seed", "is_test", "consumed_inputs"]);
    let Some(training) = cx.optional(2)? else { return dropout_inference(cx) };
    let off = cx.ints_of(&training).is_some_and(|t| t.iter().all(|&t| t == 0));
    let ratio = cx.optional_value(1)?.and_then(|r| cx.floats_of(r));
    let keeps_all = ratio.is_some_and(|r| r.iter().all(|&r| r == 0.0));
    if off || keeps_all {
        return dropout_inference(cx);
    }
    cx.training_form(TrainingKind::Dropout, &[false, true], dropout_inference, None)
}

/// The tensor itself, and a mask that keeps everything.
fn dropout_inference(cx: &mut OpCx<'_>) -> Outcome {
    let x = cx.input(0)?;
    let mask = if cx.wants(1) {
        let dtype = if cx.opset() < 10 { cx.dtype(x.id) } else { DType::Bool };
        let shape = cx.shape(x.id);
        cx.full(Scalar::int(dtype, 1), dtype, &shape)?.into()
    } else {
        Binding::Poison
    };
    Ok(vec![x.into(), mask])
}

/// How many tensors belong to each weight, and which of these have a new value: the weight and its states.
fn groups(op: &str) -> (usize, &'static [usize]) {
    // Weight, gradient, states.
    if op == "Adam" { (4, &[0, 2, 3]) } else { (3, &[0, 2]) }
}

fn optimizer(cx: &mut OpCx<'_>) -> Outcome {
    cx.skip_attrs(&["alpha", "beta", "decay_factor", "epsilon", "mode"]);
    cx.skip_attrs(&["norm_coefficient", "norm_coefficient_post"]);
    let (each, _) = groups(cx.op());
    if !(cx.n_inputs() - 2).is_multiple_of(each) {
        let message =
            format!("{} takes a rate, a count and {each} inputs a weight, has {}", cx.op(), cx.n_inputs());
        return cx.error(202, message);
    }
    cx.training_form(TrainingKind::Optimizer, &[], nothing_learnt, None)
}

/// Weights and states stay as they are.
fn nothing_learnt(cx: &mut OpCx<'_>) -> Outcome {
    let (each, updated) = groups(cx.op());
    let weights = (cx.n_inputs() - 2) / each;
    let old = updated.iter().flat_map(|group| (0..weights).map(move |w| 2 + group * weights + w));
    old.map(|i| Ok(cx.input(i)?.into())).collect()
}

fn gradient(cx: &mut OpCx<'_>) -> Outcome {
    cx.skip_attrs(&["xs", "zs", "y"]);
    if cx.n_outputs() > cx.n_inputs() {
        let message = format!("Gradient gives {} of {} inputs", cx.n_outputs(), cx.n_inputs());
        return cx.error(202, message);
    }
    cx.training_form(TrainingKind::Gradient, &[], like_inputs, None)
}

/// Zeros that have the types of the inputs.
fn like_inputs(cx: &mut OpCx<'_>) -> Outcome {
    let mut zeros = Vec::new();
    for i in 0..cx.n_outputs() {
        let x = cx.value(i)?;
        let (dtype, shape) = (cx.dtype(x), cx.shape(x));
        zeros.push(cx.full(Scalar::int(dtype, 0), dtype, &shape)?.into());
    }
    Ok(zeros)
}
