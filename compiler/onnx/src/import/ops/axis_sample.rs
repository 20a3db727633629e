//! axis_sample - elements of a tensor at computed positions along an axis: what Resize gathers, weights and sums.

use nnc_ir::{dtype::DType, extent::Extent, graph::ValueId};

use super::resize::{Axis, Mode, Plan};
use crate::import::{Problem, cx::OpCx};

/// Where each element of the result lies along the axis of the input.
pub(super) fn positions(cx: &mut OpCx<'_>, plan: &Plan, part: &Axis) -> Result<ValueId, Problem> {
    let dtype = if part.scale.is_some() { DType::F32 } else { DType::F64 };
    let o = cx.iota(vec![part.output.clone()], 0, dtype)?;
    let input = cx.extents(vec![part.input.clone()], dtype, 0)?.id;
    let output = cx.extents(vec![part.output.clone()], dtype, 0)?.id;
    // What the result would have without rounding.
    let exact = match part.scale {
        Some(scale) => {
            let scale = cx.number(dtype, scale.into());
            cx.mul(input, scale)?
        }
        None => output,
    };
    let half = cx.number(dtype, 0.5);
    let unscaled = |cx: &mut OpCx<'_>, v: ValueId| match part.scale {
        Some(scale) => {
            let scale = cx.number(dtype, scale.into());
            cx.div(v, scale)
        }
        None => {
            let v = cx.mul(v, input)?;
            cx.div(v, output)
        }
    };
    let half_pixel = |cx: &mut OpCx<'_>| {
        let centre = cx.add(o, half)?;
        let centre = unscaled(cx, centre)?;
        cx.sub(centre, half)
    };
    // A result of one element has a position of its own in some modes.
    let unless_single = |cx: &mut OpCx<'_>, at: ValueId, single: ValueId| {
        if part.output.as_const().is_some_and(|n| n > 1) {
            return Ok(at);
        }
        let unit = cx.number(dtype, 1.0);
        let several = cx.lt(unit, output)?;
        cx.select(several, at, single)
    };
    let zero = cx.number(dtype, 0.0);
    match plan.coordinates {
        "asymmetric" => unscaled(cx, o),
        "tf_half_pixel_for_nn" => {
            let centre = cx.add(o, half)?;
            unscaled(cx, centre)
        }
        "pytorch_half_pixel" => {
            let at = half_pixel(cx)?;
            unless_single(cx, at, zero)
        }
        "half_pixel_symmetric" => {
            let at = half_pixel(cx)?;
            // The rounded size against the exact one moves the centre.
            let adjustment = cx.div(output, exact)?;
            let unit = cx.number(dtype, 1.0);
            let rest = cx.sub(unit, adjustment)?;
            let centre = cx.mul(input, half)?;
            let offset = cx.mul(centre, rest)?;
            cx.add(at, offset)
        }
        "align_corners" => {
            let unit = cx.number(dtype, 1.0);
            let (inner, outer) = (cx.sub(input, unit)?, cx.sub(exact, unit)?);
            let at = cx.mul(o, inner)?;
            let at = cx.div(at, outer)?;
            unless_single(cx, at, zero)
        }
        "tf_crop_and_resize" => {
            let unit = cx.number(dtype, 1.0);
            let (inner, outer) = (cx.sub(input, unit)?, cx.sub(exact, unit)?);
            let (start, end) = part.roi;
            let [from, width, middle] =
                [start, end - start, 0.5 * (start + end)].map(|v| cx.number(dtype, v));
            let first = cx.mul(from, inner)?;
            let step = cx.mul(width, inner)?;
            let step = cx.div(step, outer)?;
            let at = cx.mul(o, step)?;
            let at = cx.add(first, at)?;
            let single = cx.mul(middle, inner)?;
            unless_single(cx, at, single)
        }
        _ => half_pixel(cx),
    }
}

pub(super) fn rounded(cx: &mut OpCx<'_>, how: &str, at: ValueId) -> Result<ValueId, Problem> {
    let half = cx.number_like(at, 0.5)?;
    match how {
        "round_prefer_floor" => {
            let at = cx.sub(at, half)?;
            cx.ceil(at)
        }
        "round_prefer_ceil" => {
            let at = cx.add(at, half)?;
            cx.floor(at)
        }
        "floor" => cx.floor(at),
        _ => cx.ceil(at),
    }
}

/// Whole positions as indices within the axis.
pub(super) fn clamped(cx: &mut OpCx<'_>, at: ValueId, part: &Axis) -> Result<ValueId, Problem> {
    let last = cx.extents(vec![&part.input - &Extent::ONE], DType::I64, 0)?.id;
    let zero = cx.int_scalar(DType::I64, 0);
    let at = cx.cast(at, DType::I64)?;
    let at = cx.min(at, last)?;
    cx.max(at, zero)
}

/// Whether positions are not on the axis.
pub(super) fn is_outside(cx: &mut OpCx<'_>, at: ValueId, part: &Axis) -> Result<ValueId, Problem> {
    let dtype = cx.dtype(at);
    let last = cx.extents(vec![&part.input - &Extent::ONE], dtype, 0)?.id;
    let zero = cx.number(dtype, 0.0);
    let (before, after) = (cx.lt(at, zero)?, cx.lt(last, at)?);
    cx.or(before, after)
}

/// A vector aligned with one axis of a tensor.
pub(super) fn along(
    cx: &mut OpCx<'_>,
    vector: ValueId,
    axis: usize,
    rank: usize,
) -> Result<ValueId, Problem> {
    let mut shape = cx.shape(vector);
    shape.resize(rank - axis, Extent::ONE);
    cx.reshape(vector, shape)
}

/// Sum of weighted neighbours of each position.
pub(super) fn interpolated(
    cx: &mut OpCx<'_>,
    plan: &Plan,
    part: &Axis,
    x: ValueId,
    at: ValueId,
) -> Result<ValueId, Problem> {
    let base = cx.floor(at)?;
    let s = cx.sub(at, base)?;
    let unit = cx.number_like(s, 1.0)?;
    let rest = cx.sub(unit, s)?;
    let taps: Vec<(f64, ValueId)> = match plan.mode {
        Mode::Linear | Mode::Nearest => vec![(0.0, rest), (1.0, s)],
        Mode::Cubic => {
            let a = plan.cubic_a;
            vec![
                (-1.0, far(cx, s, a)?),
                (0.0, near(cx, s, a)?),
                (1.0, near(cx, rest, a)?),
                (2.0, far(cx, rest, a)?),
            ]
        }
    };
    let mut placed = Vec::new();
    let mut total: Option<ValueId> = None;
    for (offset, mut weight) in taps {
        let offset = cx.number_like(base, offset)?;
        let place = cx.add(base, offset)?;
        if plan.exclude_outside {
            let outside = is_outside(cx, place, part)?;
            let zero = cx.number_like(weight, 0.0)?;
            weight = cx.select(outside, zero, weight)?;
            total = Some(match total {
                Some(total) => cx.add(total, weight)?,
                None => weight,
            });
        }
        placed.push((place, weight));
    }
    let (dtype, rank) = (cx.dtype(x), cx.rank(x));
    let mut sum: Option<ValueId> = None;
    for (place, mut weight) in placed {
        if let Some(total) = total {
            weight = cx.div(weight, total)?;
        }
        let indices = clamped(cx, place, part)?;
        let weight = cx.cast(weight, dtype)?;
        let weight = along(cx, weight, part.axis, rank)?;
        let neighbour = cx.gather(x, indices, part.axis)?;
        let weighted = cx.mul(neighbour, weight)?;
        sum = Some(match sum {
            Some(sum) => cx.add(sum, weighted)?,
            None => weighted,
        });
    }
    match sum {
        Some(sum) => Ok(sum),
        None => Ok(x),
    }
}

/// `c0 + s (c1 + s (c2 + s c3))`.
fn polynomial(cx: &mut OpCx<'_>, s: ValueId, coefficients: [f64; 4]) -> Result<ValueId, Problem> {
    let mut sum = cx.number_like(s, coefficients[3])?;
    for c in [coefficients[2], coefficients[1], coefficients[0]] {
        let product = cx.mul(sum, s)?;
        let c = cx.number_like(s, c)?;
        sum = cx.add(product, c)?;
    }
    Ok(sum)
}

/// Weight of a neighbour at distance `s` up to 1 (Keys 1981, eq. 15).
fn near(cx: &mut OpCx<'_>, s: ValueId, a: f64) -> Result<ValueId, Problem> {
    polynomial(cx, s, [1.0, 0.0, -(a + 3.0), a + 2.0])
}

/// Weight of a neighbour at distance `1 + s` from 1 to 2.
fn far(cx: &mut OpCx<'_>, s: ValueId, a: f64) -> Result<ValueId, Problem> {
    let unit = cx.number_like(s, 1.0)?;
    let distance = cx.add(s, unit)?;
    polynomial(cx, distance, [-4.0 * a, 8.0 * a, -5.0 * a, a])
}
