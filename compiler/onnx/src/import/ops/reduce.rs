//! reduce - operators that join elements along axes.

use nnc_ir::{
    dtype::DType,
    extent::{Extent, product},
    graph::ValueId,
    ops::{self, ArgKind, ReduceKind},
};

use crate::import::{
    Outcome, Problem,
    cx::{OpCx, one},
    table::{Row, row},
};

pub(crate) const ROWS: &[Row] = &[
    row("ReduceSum", 1, 1..=2, |cx| plain(cx, ReduceKind::Sum)),
    row("ReduceProd", 1, 1..=2, |cx| plain(cx, ReduceKind::Product)),
    row("ReduceMax", 1, 1..=2, |cx| plain(cx, ReduceKind::Max)),
    row("ReduceMin", 1, 1..=2, |cx| plain(cx, ReduceKind::Min)),
    row("ReduceMean", 1, 1..=2, |cx| with(cx, mean)),
    row("ReduceL1", 1, 1..=2, |cx| with(cx, l1)),
    row("ReduceL2", 1, 1..=2, |cx| with(cx, l2)),
    row("ReduceSumSquare", 1, 1..=2, |cx| with(cx, sum_square)),
    row("ReduceLogSum", 1, 1..=2, |cx| with(cx, log_sum)),
    row("ReduceLogSumExp", 1, 1..=2, |cx| with(cx, log_sum_exp)),
    row("ArgMax", 1, 1..=1, |cx| arg(cx, ArgKind::Max)),
    row("ArgMin", 1, 1..=1, |cx| arg(cx, ArgKind::Min)),
];

/// What is joined; no axes: nothing is.
struct Joined {
    x: ValueId,
    axes: Vec<usize>,
    keep: bool,
}

fn joined(cx: &mut OpCx<'_>) -> Result<Joined, Problem> {
    let x = cx.value(0)?;
    let rank = cx.rank(x);
    let keep = cx.flag_or("keepdims", true)?;
    let noop = cx.flag_or("noop_with_empty_axes", false)?;
    let since = if cx.op() == "ReduceSum" { 13 } else { 18 };
    let axes = super::view::axes_operand(cx, since)?.unwrap_or_default();
    let axes = if axes.is_empty() && !noop { (0..rank).collect() } else { cx.axes(&axes, rank)? };
    Ok(Joined { x, axes, keep })
}

fn plain(cx: &mut OpCx<'_>, kind: ReduceKind) -> Outcome {
    let j = joined(cx)?;
    let bool_ok = matches!(kind, ReduceKind::Max | ReduceKind::Min);
    cx.need_dtype(0, j.x, "numbers", bool_ok || cx.dtype(j.x) != DType::Bool)?;
    if j.axes.is_empty() {
        return one(j.x);
    }
    if let (Some(known), [_], 1) = (cx.input(0)?.known, &j.axes[..], cx.rank(j.x)) {
        let value = match kind {
            ReduceKind::Sum => Some(known.iter().fold(Extent::ZERO, |a, b| &a + b)),
            ReduceKind::Product => Some(product(&known)),
            ReduceKind::Max => known.iter().cloned().reduce(|a, b| a.max_with(&b)),
            ReduceKind::Min => known.iter().cloned().reduce(|a, b| a.min_with(&b)),
        };
        if let Some(value) = value.filter(|v| v.as_const() != Some(i64::MAX)) {
            let dtype = cx.dtype(j.x);
            return one(cx.extents(vec![value], dtype, usize::from(j.keep))?);
        }
    }
    one(cx.reduce(kind, j.x, &j.axes, j.keep)?)
}

fn with(cx: &mut OpCx<'_>, join: fn(&mut OpCx<'_>, Joined) -> Result<ValueId, Problem>) -> Outcome {
    let j = joined(cx)?;
    cx.need_dtype(0, j.x, "numbers", cx.dtype(j.x) != DType::Bool)?;
    one(join(cx, j)?)
}

/// Sum; with no axes the value itself.
fn sum(cx: &mut OpCx<'_>, x: ValueId, j: &Joined) -> Result<ValueId, Problem> {
    if j.axes.is_empty() { Ok(x) } else { cx.reduce(ReduceKind::Sum, x, &j.axes, j.keep) }
}

fn mean(cx: &mut OpCx<'_>, j: Joined) -> Result<ValueId, Problem> {
    if j.axes.is_empty() { Ok(j.x) } else { cx.mean(j.x, &j.axes, j.keep) }
}

fn l1(cx: &mut OpCx<'_>, j: Joined) -> Result<ValueId, Problem> {
    let x = cx.abs(j.x)?;
    sum(cx, x, &j)
}

fn l2(cx: &mut OpCx<'_>, j: Joined) -> Result<ValueId, Problem> {
    let x = cx.mul(j.x, j.x)?;
    let x = sum(cx, x, &j)?;
    let dtype = cx.dtype(x);
    let wide = if dtype.is_float() { x } else { cx.cast(x, DType::F64)? };
    let root = cx.sqrt(wide)?;
    cx.cast(root, dtype)
}

fn sum_square(cx: &mut OpCx<'_>, j: Joined) -> Result<ValueId, Problem> {
    let x = cx.mul(j.x, j.x)?;
    sum(cx, x, &j)
}

fn log_sum(cx: &mut OpCx<'_>, j: Joined) -> Result<ValueId, Problem> {
    let x = sum(cx, j.x, &j)?;
    cx.log(x)
}

/// With the greatest element taken out, so that nothing overflows; kept finite, so that infinities stay what they are.
fn log_sum_exp(cx: &mut OpCx<'_>, j: Joined) -> Result<ValueId, Problem> {
    cx.need_float(0, j.x)?;
    if j.axes.is_empty() {
        return Ok(j.x);
    }
    let greatest = cx.reduce(ReduceKind::Max, j.x, &j.axes, true)?;
    let bound = if cx.dtype(j.x) == DType::F16 { 65504.0 } else { 3.0e38 };
    let (low, high) = (cx.number_like(j.x, -bound)?, cx.number_like(j.x, bound)?);
    let greatest = cx.max(greatest, low)?;
    let greatest = cx.min(greatest, high)?;
    let rest = cx.sub(j.x, greatest)?;
    let rest = cx.exp(rest)?;
    let rest = cx.sum(rest, &j.axes)?;
    let rest = cx.log(rest)?;
    let y = cx.add(rest, greatest)?;
    if j.keep {
        return Ok(y);
    }
    let shape = cx.shape(y);
    cx.reshape(y, (0..shape.len()).filter(|i| !j.axes.contains(i)).map(|i| shape[i].clone()).collect())
}

fn arg(cx: &mut OpCx<'_>, kind: ArgKind) -> Outcome {
    let x = cx.value(0)?;
    let axis = cx.int_or("axis", 0)?;
    let axis = cx.axis(axis, cx.rank(x))?;
    let keep = cx.flag_or("keepdims", true)?;
    let last = cx.flag_or("select_last_index", false)?;
    one(cx.emit(ops::ArgReduce { kind, axis, keep, last }, &[x])?)
}
