//! sample - reads images between their elements: what GridSample, RoiAlign and DeformConv share.

use nnc_ir::{
    dtype::DType,
    extent::{Extent, product},
    graph::ValueId,
    ops,
};

use crate::import::{Problem, cx::OpCx};

/// Where along one axis an element is read, and how much of it.
#[derive(Clone, Copy)]
pub(crate) struct Tap {
    /// Position in range, `i64`.
    pub(crate) index: ValueId,
    /// Its share, `f32`.
    pub(crate) weight: ValueId,
}

/// What lies outside of an image.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outside {
    /// Zeros.
    Zeros,
    /// The nearest element.
    Border,
    /// The image mirrored between these bounds: at the centres of the outermost elements, or at their outer edges.
    Reflect {
        /// At the centres.
        at_centres: bool,
    },
}

/// How many elements of an axis make one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interpolation {
    /// The nearest; ties go to the even one.
    Nearest,
    /// Two.
    Linear,
    /// Four.
    Cubic,
}

/// The extent as an `f32` scalar.
pub(crate) fn float_extent(cx: &mut OpCx<'_>, extent: &Extent) -> Result<ValueId, Problem> {
    Ok(cx.extents(vec![extent.clone()], DType::F32, 0)?.id)
}

/// `x` mirrored into the bounds.
fn reflected(cx: &mut OpCx<'_>, x: ValueId, extent: &Extent, at_centres: bool) -> Result<ValueId, Problem> {
    let range = if at_centres { extent - &Extent::ONE } else { extent.clone() };
    let (range, twice) = (float_extent(cx, &range)?, float_extent(cx, &range.scale(2))?);
    let least = cx.number(DType::F32, if at_centres { 0.0 } else { -0.5 });
    let away = cx.sub(x, least)?;
    let away = cx.abs(away)?;
    let (a, b) = cx.broadcast_pair(away, twice)?;
    let within = cx.emit(ops::Rem { floored: true }, &[a, b])?;
    let from_end = cx.sub(within, range)?;
    let from_end = cx.abs(from_end)?;
    let inside = cx.sub(range, from_end)?;
    cx.add(inside, least)
}

/// `x` between 0 and the last position.
fn clamped(cx: &mut OpCx<'_>, x: ValueId, extent: &Extent) -> Result<ValueId, Problem> {
    let (zero, last) = (cx.number(DType::F32, 0.0), float_extent(cx, &(extent - &Extent::ONE))?);
    let x = cx.max(x, zero)?;
    cx.min(x, last)
}

/// Whether `x` lies between `low` and `extent - 1 - low`, both included.
fn is_within(cx: &mut OpCx<'_>, x: ValueId, low: f64, extent: &Extent) -> Result<ValueId, Problem> {
    let end = float_extent(cx, extent)?;
    let (least, offset) = (cx.number(DType::F32, low), cx.number(DType::F32, 1.0 + low));
    let most = cx.sub(end, offset)?;
    let (above, below) = (cx.le(least, x)?, cx.le(x, most)?);
    cx.and(above, below)
}

/// The tap at whole position `at` with share `weight`.
fn tap(
    cx: &mut OpCx<'_>,
    at: ValueId,
    weight: ValueId,
    extent: &Extent,
    outside: Outside,
) -> Result<Tap, Problem> {
    let (mut at, mut weight) = (at, weight);
    match outside {
        Outside::Zeros => {
            let inside = is_within(cx, at, 0.0, extent)?;
            let zero = cx.number(DType::F32, 0.0);
            weight = cx.select(inside, weight, zero)?;
        }
        Outside::Border => {}
        Outside::Reflect { at_centres } => at = reflected(cx, at, extent, at_centres)?,
    }
    let at = clamped(cx, at, extent)?;
    Ok(Tap { index: cx.cast(at, DType::I64)?, weight })
}

/// Keys' cubic convolution with a = -0.75: shares of the four elements around a point `t` after the second.
fn cubic_shares(cx: &mut OpCx<'_>, t: ValueId) -> Result<[ValueId; 4], Problem> {
    const A: f64 = -0.75;
    let number = |cx: &mut OpCx<'_>, x: f64| cx.number(DType::F32, x);
    let unit = number(cx, 1.0);
    let u = cx.sub(unit, t)?;
    // Of an element at distance up to 1: ((a + 2) d - (a + 3)) d d + 1.
    let near = |cx: &mut OpCx<'_>, d: ValueId| -> Result<ValueId, Problem> {
        let (p, q) = (number(cx, A + 2.0), number(cx, A + 3.0));
        let y = cx.mul(d, p)?;
        let y = cx.sub(y, q)?;
        let y = cx.mul(y, d)?;
        let y = cx.mul(y, d)?;
        cx.add(y, unit)
    };
    // From 1 to 2: ((a d - 5 a) d + 8 a) d - 4 a.
    let far = |cx: &mut OpCx<'_>, d: ValueId| -> Result<ValueId, Problem> {
        let (a, b, c, e) = (number(cx, A), number(cx, 5.0 * A), number(cx, 8.0 * A), number(cx, 4.0 * A));
        let y = cx.mul(d, a)?;
        let y = cx.sub(y, b)?;
        let y = cx.mul(y, d)?;
        let y = cx.add(y, c)?;
        let y = cx.mul(y, d)?;
        cx.sub(y, e)
    };
    let (before, after) = (cx.add(t, unit)?, cx.add(u, unit)?);
    Ok([far(cx, before)?, near(cx, t)?, near(cx, u)?, far(cx, after)?])
}

/// The taps that give an axis's value at positions `x` (`f32`).
pub(crate) fn taps(
    cx: &mut OpCx<'_>,
    x: ValueId,
    extent: &Extent,
    how: Interpolation,
    outside: Outside,
) -> Result<Vec<Tap>, Problem> {
    let mut x = if how == Interpolation::Nearest { cx.round(x)? } else { x };
    match outside {
        Outside::Zeros => {}
        Outside::Border => {
            let inside = is_within(cx, x, -0.5, extent)?;
            let clamped = clamped(cx, x, extent)?;
            x = cx.select(inside, x, clamped)?;
        }
        Outside::Reflect { at_centres } => x = reflected(cx, x, extent, at_centres)?,
    }
    let unit = cx.number(DType::F32, 1.0);
    let below = cx.floor(x)?;
    let t = cx.sub(x, below)?;
    match how {
        Interpolation::Nearest => Ok(vec![tap(cx, x, unit, extent, outside)?]),
        Interpolation::Linear => {
            let (above, u) = (cx.add(below, unit)?, cx.sub(unit, t)?);
            Ok(vec![tap(cx, below, u, extent, outside)?, tap(cx, above, t, extent, outside)?])
        }
        Interpolation::Cubic => {
            let mut all = Vec::with_capacity(4);
            for (i, share) in cubic_shares(cx, t)?.into_iter().enumerate() {
                let offset = cx.number(DType::F32, i as f64 - 1.0);
                let at = cx.add(below, offset)?;
                all.push(tap(cx, at, share, extent, outside)?);
            }
            Ok(all)
        }
    }
}

/// Every choice of one tap an axis: position in the flattened image of `spatial` extents, and share. Shapes broadcast.
pub(crate) fn corners(cx: &mut OpCx<'_>, axes: &[Vec<Tap>], spatial: &[Extent]) -> Result<Vec<Tap>, Problem> {
    let mut all: Vec<Tap> = Vec::new();
    for (i, axis) in axes.iter().enumerate() {
        let stride = cx.extents(vec![product(&spatial[i + 1..])], DType::I64, 0)?.id;
        let mut scaled = Vec::with_capacity(axis.len());
        for tap in axis {
            scaled.push(Tap { index: cx.mul(tap.index, stride)?, weight: tap.weight });
        }
        if i == 0 {
            all = scaled;
            continue;
        }
        let mut next = Vec::with_capacity(all.len() * scaled.len());
        for a in &all {
            for b in &scaled {
                let index = cx.add(a.index, b.index)?;
                next.push(Tap { index, weight: cx.mul(a.weight, b.weight)? });
            }
        }
        all = next;
    }
    Ok(all)
}

/// `[batch.., positions, channels]` read at a tap's positions `[batch.., ..]`, times its share.
pub(crate) fn read(cx: &mut OpCx<'_>, image: ValueId, tap: Tap, batch: usize) -> Result<ValueId, Problem> {
    let index = cx.unsqueeze(tap.index, cx.rank(tap.index))?;
    let values = cx.emit(ops::GatherNd { batch_dims: batch }, &[image, index])?;
    let share = cx.unsqueeze(tap.weight, cx.rank(tap.weight))?;
    let share = cx.cast(share, cx.dtype(values))?;
    cx.mul(values, share)
}
