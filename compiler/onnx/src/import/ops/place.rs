//! place - operators that put elements elsewhere in a larger or smaller tensor (Col2Im, CenterCropPad, MaxUnpool), and Det.

use nnc_ir::{
    constant::Constant,
    dtype::{DType, Scalar},
    extent::{Extent, product},
    form::ScatterCombine,
    graph::ValueId,
    ops::{self, PadMode},
};

use super::window::{pads, per_axis};
use crate::import::{
    Outcome, Problem,
    cx::{OpCx, one},
    known,
    table::{Row, row},
};

pub(crate) const ROWS: &[Row] = &[
    row("Col2Im", 18, 3..=3, col2im),
    row("CenterCropPad", 18, 2..=2, center_crop_pad),
    row("MaxUnpool", 9, 2..=3, max_unpool),
    row("Det", 11, 1..=1, det),
];

/// Most places of blocks that are computed when importing.
const MAX_PLACES: i64 = 1 << 24;

/// Sums blocks into an image; what falls outside of it goes to a place of its own, which is cut off.
fn col2im(cx: &mut OpCx<'_>) -> Outcome {
    let x = cx.value(0)?;
    cx.need_rank(0, x, 3)?;
    let (Some(image), Some(block)) = (cx.optional_ints(1)?, cx.optional_ints(2)?) else {
        return cx.error(203, "Col2Im needs the extents of image and block");
    };
    let axes = image.len();
    if block.len() != axes || image.iter().chain(&block).any(|&e| e < 1) {
        return cx.error(212, format!("Col2Im of blocks {block:?} into image {image:?}"));
    }
    let (strides, dilations) = (per_axis(cx, "strides", axes, 1)?, per_axis(cx, "dilations", axes, 1)?);
    let (before, after) = pads(cx, axes)?.unwrap_or_else(|| (vec![0; axes], vec![0; axes]));
    let blocks: Vec<i64> = (0..axes)
        .map(|i| {
            let room = image[i] + before[i] + after[i] - dilations[i] * (block[i] - 1) - 1;
            room.div_euclid(strides[i]) + 1
        })
        .collect();
    let all = |v: &[i64]| v.iter().try_fold(1i64, |n, &e| n.checked_mul(e)).unwrap_or(i64::MAX);
    let (taps, places, outside) = (all(&block), all(&blocks), all(&image));
    if taps.saturating_mul(places) > MAX_PLACES || blocks.iter().any(|&b| b < 1) {
        return cx.error(212, format!("Col2Im of blocks {block:?} into image {image:?}"));
    }
    let shape = cx.shape(x);
    let (n, channels) = (shape[0].clone(), shape[1].floor_div(&Extent::Const(taps)));
    for (have, want) in [(&shape[1], channels.scale(taps)), (&shape[2], Extent::Const(places))] {
        cx.need_equal(212, have, &want, || format!("Col2Im of {shape:?} with {taps} taps, {places} blocks"))?;
    }
    let mut targets = Vec::new();
    for tap in 0..taps {
        for place in 0..places {
            let (mut tap, mut place, mut flat, mut inner) = (tap, place, 0, 1);
            for i in (0..axes).rev() {
                let at = place % blocks[i] * strides[i] - before[i] + tap % block[i] * dilations[i];
                flat = if (0..image[i]).contains(&at) && flat >= 0 { flat + at * inner } else { -1 };
                (tap, place, inner) = (tap / block[i], place / blocks[i], inner * image[i]);
            }
            targets.push(Scalar::i64(if flat < 0 { outside } else { flat }));
        }
    }
    let targets = Constant::from_scalars(DType::I64, &[taps * places, 1], &targets);
    let targets = cx.constant_value(targets);
    let rows = &n * &channels;
    let x = cx.reshape(x, vec![rows.clone(), Extent::Const(taps * places)])?;
    let x = cx.transpose(x, &[1, 0])?;
    let dtype = cx.dtype(x);
    let empty = cx.full(Scalar::zero(dtype), dtype, &[Extent::Const(outside + 1), rows])?;
    let y = cx.emit(ops::ScatterNd { combine: ScatterCombine::Add }, &[empty, targets, x])?;
    let y = cx.slice_axis(y, 0, Extent::ZERO, Extent::Const(outside))?;
    let y = cx.transpose(y, &[1, 0])?;
    let image: Vec<Extent> = image.into_iter().map(Extent::Const).collect();
    one(cx.reshape(y, [&[n, channels], &image[..]].concat())?)
}

fn center_crop_pad(cx: &mut OpCx<'_>) -> Outcome {
    let (x, target) = (cx.value(0)?, cx.input(1)?);
    let target = cx.read_extents(&target)?;
    let rank = cx.rank(x);
    let axes = match cx.ints("axes")? {
        None => (0..rank).collect(),
        Some(axes) => axes.iter().map(|&a| cx.axis(a, rank)).collect::<Result<Vec<_>, _>>()?,
    };
    if axes.len() != target.len() {
        return cx.error(212, format!("CenterCropPad of {} axes to {target:?}", axes.len()));
    }
    let shape = cx.shape(x);
    let (mut before, mut after) = (vec![Extent::ZERO; rank], vec![Extent::ZERO; rank]);
    let two = Extent::Const(2);
    for (axis, target) in axes.into_iter().zip(target) {
        let (have, more) = (&shape[axis], &target - &shape[axis]);
        let (low, high) = known::bounds(cx.module(), &more);
        before[axis] = if low >= 0 {
            more.floor_div(&two)
        } else if high <= 0 {
            (have - &target).floor_div(&two).scale(-1)
        } else {
            return cx
                .unsupported(format!("CenterCropPad from {have} to {target}: which is greater is unknown"));
        };
        after[axis] = &more - &before[axis];
    }
    let zero = Scalar::zero(cx.dtype(x));
    one(cx.pad(x, before, after, PadMode::Constant(zero))?)
}

/// Elements go where a pool found them; positions count in the shape that the attributes imply.
fn max_unpool(cx: &mut OpCx<'_>) -> Outcome {
    let (x, indices) = (cx.value(0)?, cx.value(1)?);
    cx.need_min_rank(0, x, 3)?;
    cx.need_rank(1, indices, cx.rank(x))?;
    let kernel = cx.ints("kernel_shape")?;
    let kernel = cx.required("kernel_shape", kernel)?;
    let (shape, axes) = (cx.shape(x), kernel.len());
    if shape.len() != axes + 2 {
        return cx.error(214, format!("kernel_shape has {axes} numbers for {}", cx.ty(x)));
    }
    let strides = per_axis(cx, "strides", axes, 1)?;
    let (before, after) = pads(cx, axes)?.unwrap_or_else(|| (vec![0; axes], vec![0; axes]));
    let mut implied = shape[..2].to_vec();
    for i in 0..axes {
        let edge = kernel[i].saturating_sub(before[i]).saturating_sub(after[i]);
        implied.push(&(&shape[2 + i] - &Extent::ONE).scale(strides[i]) + &Extent::Const(edge));
    }
    let (from, to, dtype) = (product(&shape), product(&implied), cx.dtype(x));
    let empty = cx.full(Scalar::zero(dtype), dtype, &[to])?;
    let at = cx.reshape(indices, vec![from.clone()])?;
    let x = cx.reshape(x, vec![from])?;
    let op = ops::ScatterElements { axis: 0, combine: ScatterCombine::Replace };
    let y = cx.emit(op, &[empty, at, x])?;
    let y = cx.reshape(y, implied.clone())?;
    let Some(wanted) = cx.optional(2)? else { return one(y) };
    let wanted = cx.read_extents(&wanted)?;
    if wanted.len() != implied.len() {
        return cx.error(212, format!("MaxUnpool to {wanted:?}, needs {} extents", implied.len()));
    }
    let after = wanted.iter().zip(&implied).map(|(w, i)| w - i).collect();
    let zeros = vec![Extent::ZERO; implied.len()];
    one(cx.pad(y, zeros, after, PadMode::Constant(Scalar::zero(dtype)))?)
}

/// Largest matrix whose elimination is spelt out.
const MAX_DET: i64 = 16;

/// Gaussian elimination with the greatest pivot of each column, spelt out.
fn det(cx: &mut OpCx<'_>) -> Outcome {
    let x = cx.value(0)?;
    cx.need_float(0, x)?;
    cx.need_min_rank(0, x, 2)?;
    let shape = cx.shape(x);
    let (lead, square) = shape.split_at(shape.len() - 2);
    let Some(n) = square[1].as_const().filter(|n| square[0].is(*n) && (1..=MAX_DET).contains(n)) else {
        return cx
            .unsupported(format!("Det of {}: needs square matrices of at most {MAX_DET} rows", cx.ty(x)));
    };
    let batch = product(lead);
    let mut rest = cx.reshape(x, vec![batch.clone(), Extent::Const(n), Extent::Const(n)])?;
    let unit = cx.number_like(x, 1.0)?;
    let mut result = None;
    for size in (1..=n).rev() {
        let (pivot, smaller) = eliminate(cx, rest, &batch, size, unit)?;
        result = Some(match result {
            None => pivot,
            Some(result) => cx.mul(result, pivot)?,
        });
        rest = smaller;
    }
    match result {
        Some(result) => one(cx.reshape(result, lead.to_vec())?),
        None => cx.error(212, "Det of an empty matrix"),
    }
}

/// The pivot of the first column of `[batch, size, size]`, with the sign of the exchange of rows, as `[batch]`; and what is
/// left of the other rows, `[batch, size - 1, size - 1]`.
fn eliminate(
    cx: &mut OpCx<'_>,
    m: ValueId,
    batch: &Extent,
    size: i64,
    unit: ValueId,
) -> Result<(ValueId, ValueId), Problem> {
    let flat = vec![batch.clone()];
    if size == 1 {
        return Ok((cx.reshape(m, flat)?, m));
    }
    let column = cx.slice_axis(m, 2, Extent::ZERO, Extent::ONE)?;
    let magnitude = cx.abs(column)?;
    let op = ops::ArgReduce { kind: ops::ArgKind::Max, axis: 1, keep: true, last: false };
    let at = cx.emit(op, &[magnitude])?;
    // The pivot's row, and the first row in its place.
    let row = vec![batch.clone(), Extent::ONE, Extent::Const(size)];
    let index = cx.broadcast_to(at, &row)?;
    let pivot_row = cx.emit(ops::GatherElements { axis: 1 }, &[m, index])?;
    let first = cx.slice_axis(m, 1, Extent::ZERO, Extent::ONE)?;
    let positions = cx.iota(vec![Extent::ONE, Extent::Const(size), Extent::ONE], 1, DType::I64)?;
    let is_pivot = cx.eq(positions, at)?;
    let exchanged = cx.select(is_pivot, first, m)?;
    let others = cx.slice_axis(exchanged, 1, Extent::ONE, Extent::Const(size - 1))?;
    let pivot = cx.slice_axis(pivot_row, 2, Extent::ZERO, Extent::ONE)?;
    // A column of zeros: the determinant is 0, and nothing may be divided by it.
    let zero = cx.number_like(m, 0.0)?;
    let singular = cx.eq(pivot, zero)?;
    let divisor = cx.select(singular, unit, pivot)?;
    let factors = cx.slice_axis(others, 2, Extent::ZERO, Extent::ONE)?;
    let factors = cx.div(factors, divisor)?;
    let tail = |cx: &mut OpCx<'_>, v: ValueId| cx.slice_axis(v, 2, Extent::ONE, Extent::Const(size - 1));
    let (others, pivot_tail) = (tail(cx, others)?, tail(cx, pivot_row)?);
    let change = cx.mul(factors, pivot_tail)?;
    let smaller = cx.sub(others, change)?;
    let none = cx.int_scalar(DType::I64, 0);
    let kept = cx.eq(at, none)?;
    let negated = cx.neg(pivot)?;
    let signed = cx.select(kept, pivot, negated)?;
    Ok((cx.reshape(signed, flat)?, smaller))
}
