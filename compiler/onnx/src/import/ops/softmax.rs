//! softmax - Softmax, LogSoftmax and Hardmax; before opset 13 they run over all axes from `axis` on together.

use nnc_ir::{
    graph::ValueId,
    ops::{self, ArgKind, ReduceKind},
};

use crate::import::{
    Outcome, Problem,
    cx::{OpCx, one},
    table::{Row, row},
};

pub(crate) const ROWS: &[Row] = &[
    row("Softmax", 1, 1..=1, softmax),
    row("LogSoftmax", 1, 1..=1, log_softmax),
    row("Hardmax", 1, 1..=1, hardmax),
];

/// The operand and the axes that sum up to 1.
fn operand(cx: &mut OpCx<'_>) -> Result<(ValueId, Vec<usize>), Problem> {
    let x = cx.value(0)?;
    cx.need_float(0, x)?;
    let rank = cx.rank(x);
    let joint = cx.opset() < 13;
    let axis = cx.int_or("axis", if joint { 1 } else { -1 })?;
    if joint && axis == i64::try_from(rank).unwrap_or(-1) {
        return Ok((x, vec![]));
    }
    let axis = cx.axis(axis, rank)?;
    Ok((x, if joint { (axis..rank).collect() } else { vec![axis] }))
}

/// `x` minus its greatest element along axes.
fn shifted(cx: &mut OpCx<'_>, x: ValueId, axes: &[usize]) -> Result<ValueId, Problem> {
    let greatest = cx.reduce(ReduceKind::Max, x, axes, true)?;
    cx.sub(x, greatest)
}

/// `exp(x) / sum of exp(x)` along axes, by the reciprocal of the sum: this is at least 1.
pub(crate) fn softmax_of(cx: &mut OpCx<'_>, x: ValueId, axes: &[usize]) -> Result<ValueId, Problem> {
    let x = shifted(cx, x, axes)?;
    let e = cx.exp(x)?;
    let sum = cx.sum(e, axes)?;
    let one = cx.number_like(sum, 1.0)?;
    let part = cx.div(one, sum)?;
    cx.mul(e, part)
}

/// `x - log of the sum of exp(x)` along axes.
pub(crate) fn log_softmax_of(cx: &mut OpCx<'_>, x: ValueId, axes: &[usize]) -> Result<ValueId, Problem> {
    let x = shifted(cx, x, axes)?;
    let e = cx.exp(x)?;
    let sum = cx.sum(e, axes)?;
    let log = cx.log(sum)?;
    cx.sub(x, log)
}

fn softmax(cx: &mut OpCx<'_>) -> Outcome {
    let (x, axes) = operand(cx)?;
    one(softmax_of(cx, x, &axes)?)
}

fn log_softmax(cx: &mut OpCx<'_>) -> Outcome {
    let (x, axes) = operand(cx)?;
    one(log_softmax_of(cx, x, &axes)?)
}

/// 1 at the first greatest element, 0 elsewhere.
fn hardmax(cx: &mut OpCx<'_>) -> Outcome {
    let (x, axes) = operand(cx)?;
    let (shape, dtype) = (cx.shape(x), cx.dtype(x));
    let Some(&axis) = axes.first() else { return one(cx.constant_f32_like(x, 1.0)?) };
    let mut flat = shape.clone();
    if axes.len() > 1 {
        flat.truncate(axis);
        flat.push(nnc_ir::extent::product(&shape[axis..]));
    }
    let rows = cx.reshape(x, flat.clone())?;
    let at = cx.emit(ops::ArgReduce { kind: ArgKind::Max, axis, keep: true, last: false }, &[rows])?;
    let positions = cx.iota(flat, axis, nnc_ir::dtype::DType::I64)?;
    let hit = cx.eq(positions, at)?;
    let hit = cx.cast(hit, dtype)?;
    one(cx.reshape(hit, shape)?)
}
