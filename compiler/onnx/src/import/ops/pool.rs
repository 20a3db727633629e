//! pool - MaxPool, AveragePool, LpPool and their global forms, and LRN, which sums over a window of channels.

use nnc_ir::{
    dtype::Scalar,
    extent::Extent,
    graph::ValueId,
    ops::{self, PadMode, PoolKind, ReduceKind},
};

use super::window::{self, Windows};
use crate::import::{
    Outcome, Problem,
    cx::{OpCx, one},
    table::{Row, row},
};

pub(crate) const ROWS: &[Row] = &[
    row("MaxPool", 1, 1..=1, max_pool),
    row("AveragePool", 1, 1..=1, average_pool),
    row("LpPool", 2, 1..=1, lp_pool),
    row("GlobalMaxPool", 1, 1..=1, global_max_pool),
    row("GlobalAveragePool", 1, 1..=1, global_average_pool),
    row("GlobalLpPool", 2, 1..=1, global_lp_pool),
    row("LRN", 1, 1..=1, lrn),
];

fn windows(cx: &mut OpCx<'_>, x: &mut ValueId, fill: Option<Scalar>) -> Result<Windows, Problem> {
    cx.need_min_rank(0, *x, 3)?;
    let kernel = cx.ints("kernel_shape")?;
    let kernel = cx.required("kernel_shape", kernel)?;
    if kernel.len() != cx.rank(*x) - 2 {
        return cx.error(214, format!("kernel_shape {kernel:?} for {}", cx.ty(*x)));
    }
    window::windows(cx, x, kernel, fill)
}

fn pool(cx: &mut OpCx<'_>, x: ValueId, kind: PoolKind, w: Windows) -> Result<ValueId, Problem> {
    let Windows { kernel, strides, dilations, before, spatial, .. } = w;
    cx.emit(ops::Pool { kind, kernel, strides, dilations, pads_before: before, spatial }, &[x])
}

fn max_pool(cx: &mut OpCx<'_>) -> Outcome {
    let mut x = cx.value(0)?;
    let column_major = cx.flag_or("storage_order", false)?;
    let unpadded = x;
    let least = Scalar::lowest(cx.dtype(x));
    let w = windows(cx, &mut x, Some(least))?;
    if !cx.wants(1) {
        return one(pool(cx, x, PoolKind::Max, w)?);
    }
    if x != unpadded {
        return cx.unsupported("MaxPool with indices and auto_pad over an axis of unknown extent");
    }
    let Windows { kernel, strides, dilations, before, spatial, .. } = w;
    let op = ops::ArgPool {
        kernel: kernel.clone(),
        strides: strides.clone(),
        dilations: dilations.clone(),
        pads_before: before.clone(),
        spatial: spatial.clone(),
        column_major,
    };
    let indices = cx.emit(op, &[x])?;
    let kind = PoolKind::Max;
    let y = cx.emit(ops::Pool { kind, kernel, strides, dilations, pads_before: before, spatial }, &[x])?;
    Ok(vec![y.into(), indices.into()])
}

fn average_pool(cx: &mut OpCx<'_>) -> Outcome {
    let mut x = cx.value(0)?;
    cx.need_float(0, x)?;
    let include_pads = cx.flag_or("count_include_pad", false)?;
    let zero = Scalar::zero(cx.dtype(x));
    let mut w = windows(cx, &mut x, include_pads.then_some(zero))?;
    if include_pads {
        let whole = |v: &mut Vec<i64>| -> Vec<Extent> {
            let pads = std::mem::replace(v, vec![0; v.len()]);
            [0, 0].into_iter().chain(pads).map(Extent::Const).collect()
        };
        let (before, after) = (whole(&mut w.before), whole(&mut w.after));
        x = cx.pad(x, before, after, PadMode::Constant(zero))?;
    }
    one(pool(cx, x, PoolKind::Mean, w)?)
}

/// `|x|^p`.
fn power(cx: &mut OpCx<'_>, x: ValueId, p: i64) -> Result<ValueId, Problem> {
    match p {
        1 => cx.abs(x),
        2 => cx.mul(x, x),
        _ => {
            let (x, p) = (cx.abs(x)?, cx.number_like(x, p as f64)?);
            cx.pow(x, p)
        }
    }
}

/// `x^(1/p)`.
fn root(cx: &mut OpCx<'_>, x: ValueId, p: i64) -> Result<ValueId, Problem> {
    match p {
        1 => Ok(x),
        2 => cx.sqrt(x),
        _ => {
            let p = cx.number_like(x, 1.0 / p as f64)?;
            cx.pow(x, p)
        }
    }
}

fn lp_pool(cx: &mut OpCx<'_>) -> Outcome {
    let x = cx.value(0)?;
    cx.need_float(0, x)?;
    let p = cx.int_or("p", 2)?;
    let mut powers = power(cx, x, p)?;
    let zero = Scalar::zero(cx.dtype(x));
    let w = windows(cx, &mut powers, Some(zero))?;
    let sum = pool(cx, powers, PoolKind::Sum, w)?;
    one(root(cx, sum, p)?)
}

/// The operand and its spatial axes.
fn spatial(cx: &mut OpCx<'_>) -> Result<(ValueId, Vec<usize>), Problem> {
    let x = cx.value(0)?;
    cx.need_min_rank(0, x, 2)?;
    Ok((x, (2..cx.rank(x)).collect()))
}

fn global_max_pool(cx: &mut OpCx<'_>) -> Outcome {
    let (x, axes) = spatial(cx)?;
    one(cx.reduce(ReduceKind::Max, x, &axes, true)?)
}

fn global_average_pool(cx: &mut OpCx<'_>) -> Outcome {
    let (x, axes) = spatial(cx)?;
    cx.need_float(0, x)?;
    one(cx.mean(x, &axes, true)?)
}

fn global_lp_pool(cx: &mut OpCx<'_>) -> Outcome {
    let (x, axes) = spatial(cx)?;
    let p = cx.int_or("p", 2)?;
    let powers = power(cx, x, p)?;
    let sum = cx.sum(powers, &axes)?;
    one(root(cx, sum, p)?)
}

/// `x / (bias + alpha / size * sum of squares over a window of channels)^beta`.
fn lrn(cx: &mut OpCx<'_>) -> Outcome {
    let x = cx.value(0)?;
    cx.need_float(0, x)?;
    cx.need_min_rank(0, x, 2)?;
    let size = cx.int("size")?;
    let size = cx.required("size", size)?;
    let alpha = f64::from(cx.float_or("alpha", 1e-4)?);
    let (beta, bias) = (cx.float_or("beta", 0.75)?, cx.float_or("bias", 1.0)?);
    if !(1..=1 << 31).contains(&size) {
        return cx.error(214, format!("size {size} of LRN"));
    }
    let trailing = cx.shape(x)[1..].to_vec();
    let with_first = |first: i64, rest: i64| {
        let mut all = vec![rest; trailing.len()];
        all[0] = first;
        all
    };
    let square = cx.mul(x, x)?;
    let op = ops::Pool {
        kind: PoolKind::Sum,
        kernel: with_first(size, 1),
        strides: with_first(1, 1),
        dilations: with_first(1, 1),
        pads_before: with_first((size - 1) / 2, 0),
        spatial: trailing.clone(),
    };
    let sum = cx.emit(op, &[square])?;
    let scale = cx.number_like(x, alpha / size as f64)?;
    let below = cx.mul(sum, scale)?;
    let added = cx.number_like(x, bias.into())?;
    let below = cx.add(below, added)?;
    let positive = alpha >= 0.0 && bias > 0.0;
    let below = match beta {
        1.0 => below,
        // Roots round two or three times and are ten times as fast as a power; of positive numbers they are defined as
        // the power is.
        0.5 if positive => cx.sqrt(below)?,
        0.75 if positive => {
            let half = cx.sqrt(below)?;
            let quarter = cx.sqrt(half)?;
            cx.mul(half, quarter)?
        }
        _ => {
            let beta = cx.number_like(x, beta.into())?;
            cx.pow(below, beta)?
        }
    };
    one(cx.div(x, below)?)
}
