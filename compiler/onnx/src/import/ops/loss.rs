//! loss - NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss.

use nnc_ir::{
    dtype::DType,
    graph::ValueId,
    ops,
    ops::{ReduceKind, TrainingKind},
};

use super::softmax::log_softmax_of;
use crate::import::{
    Outcome, Problem,
    cx::{OpCx, one},
    table::{Row, row},
};

pub(crate) const ROWS: &[Row] = &[
    row("NegativeLogLikelihoodLoss", 12, 2..=3, negative_log_likelihood),
    row("SoftmaxCrossEntropyLoss", 12, 2..=3, softmax_cross_entropy),
];

fn negative_log_likelihood(cx: &mut OpCx<'_>) -> Outcome {
    cx.training_form(TrainingKind::Loss, &[true], likelihood, Some(likelihood))
}

/// The loss, and logarithms of probabilities, which inference may want.
fn softmax_cross_entropy(cx: &mut OpCx<'_>) -> Outcome {
    cx.training_form(TrainingKind::Loss, &[true, false], cross_entropy, Some(cross_entropy))
}

fn likelihood(cx: &mut OpCx<'_>) -> Outcome {
    let x = cx.value(0)?;
    cx.need_float(0, x)?;
    one(loss(cx, x)?)
}

fn cross_entropy(cx: &mut OpCx<'_>) -> Outcome {
    let x = cx.value(0)?;
    cx.need_float(0, x)?;
    cx.need_min_rank(0, x, 2)?;
    let log = log_softmax_of(cx, x, &[1])?;
    Ok(vec![loss(cx, log)?.into(), log.into()])
}

/// The weighted loss of log probabilities `x`, `[n, classes, ..]`, for the classes in operand 1, `[n, ..]`.
fn loss(cx: &mut OpCx<'_>, x: ValueId) -> Result<ValueId, Problem> {
    let target = cx.value(1)?;
    cx.need_min_rank(0, x, 2)?;
    cx.need_rank(1, target, cx.rank(x) - 1)?;
    cx.need_dtype(1, target, "integers", cx.dtype(target).is_int())?;
    let reduction = cx.choice("reduction", &["mean", "sum", "none"])?;
    let target = cx.cast(target, DType::I64)?;
    let mut classes = target;
    let mut counted = None;
    if let Some(ignored) = cx.int("ignore_index")? {
        let ignored = cx.int_scalar(DType::I64, ignored);
        let zero = cx.int_scalar(DType::I64, 0);
        let skipped = cx.eq(target, ignored)?;
        classes = cx.select(skipped, zero, target)?;
        counted = Some(cx.not(skipped)?);
    }
    let at = cx.unsqueeze(classes, 1)?;
    let picked = cx.emit(ops::GatherElements { axis: 1 }, &[x, at])?;
    let picked = cx.squeeze(picked, 1)?;
    let mut y = cx.neg(picked)?;
    let zero = cx.number_like(x, 0.0)?;
    let mut weights = match cx.optional_value(2)? {
        None => None,
        Some(all) => {
            cx.same_dtype(&[x, all])?;
            Some(cx.gather(all, classes, 0)?)
        }
    };
    if let Some(counted) = counted {
        let unit = cx.number_like(x, 1.0)?;
        weights = Some(cx.select(counted, weights.unwrap_or(unit), zero)?);
        // A skipped element is no loss even where its probability is 0.
        y = cx.select(counted, y, zero)?;
    }
    if let Some(weights) = weights {
        y = cx.mul(y, weights)?;
    }
    let axes: Vec<usize> = (0..cx.rank(y)).collect();
    match (reduction, weights) {
        ("none", _) => Ok(y),
        ("mean", None) => cx.mean(y, &axes, false),
        ("mean", Some(weights)) => {
            let sum = cx.reduce(ReduceKind::Sum, y, &axes, false)?;
            let count = cx.reduce(ReduceKind::Sum, weights, &axes, false)?;
            cx.div(sum, count)
        }
        _ => cx.reduce(ReduceKind::Sum, y, &axes, false),
    }
}
