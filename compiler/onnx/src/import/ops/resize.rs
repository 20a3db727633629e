//! resize - Resize and Upsample, axis by axis: a few gathers at computed positions, weighted and summed.
//!
//! Positions are computed in `f32` from scales, as other implementations do, and in `f64` from sizes, where they are exact
//! quotients.

use nnc_ir::{
    dtype::{DType, Scalar},
    extent::Extent,
    graph::ValueId,
    ops,
};

use crate::import::{
    Outcome, Problem,
    cx::{OpCx, one},
    table::{Row, row},
};

pub(crate) const ROWS: &[Row] =
    &[row("Resize", 10, 1..=4, resize), row("Upsample", 7, 1..=2, upsample).until(9)];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Nearest,
    Linear,
    Cubic,
}

/// What is the same for all axes.
struct Plan {
    mode: Mode,
    /// Where positions of the result lie in the input.
    coordinates: &'static str,
    /// How positions round.
    nearest: &'static str,
    cubic_a: f64,
    exclude_outside: bool,
    /// Value outside of the input, for `tf_crop_and_resize`.
    extrapolation: f32,
}

/// How one axis is resized.
struct Axis {
    axis: usize,
    input: Extent,
    output: Extent,
    /// The scale, where that is given and not the size.
    scale: Option<f32>,
    /// Part of the axis that is taken, for `tf_crop_and_resize`.
    roi: (f64, f64),
}

const COORDINATES: [&str; 7] = [
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "tf_crop_and_resize",
    "tf_half_pixel_for_nn",
];
const NEAREST: [&str; 4] = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"];

fn mode(cx: &OpCx<'_>) -> Result<Mode, Problem> {
    Ok(match cx.choice("mode", &["nearest", "linear", "cubic", "bilinear"])? {
        "nearest" => Mode::Nearest,
        "cubic" => Mode::Cubic,
        _ => Mode::Linear,
    })
}

fn upsample(cx: &mut OpCx<'_>) -> Outcome {
    let x = cx.value(0)?;
    let mode = mode(cx)?;
    let scales = if cx.opset() < 9 {
        let scales = cx.floats("scales")?;
        cx.required("scales", scales)?
    } else {
        let Some(scales) = scales_operand(cx, 1)? else {
            return cx.error(203, "input 1 of Upsample is required but empty");
        };
        scales
    };
    let axes: Vec<usize> = (0..cx.rank(x)).collect();
    let parts = by_scales(cx, x, &axes, &scales)?;
    run(cx, x, &simple(mode), parts)
}

/// Before opset 11: positions are divided by the scale, and rounded down.
fn simple(mode: Mode) -> Plan {
    Plan {
        mode,
        coordinates: "asymmetric",
        nearest: "floor",
        cubic_a: -0.75,
        exclude_outside: false,
        extrapolation: 0.0,
    }
}

/// Scales, which must be known when compiling; `None` if they are left out.
fn scales_operand(cx: &OpCx<'_>, i: usize) -> Result<Option<Vec<f32>>, Problem> {
    let Some(scales) = cx.optional(i)? else { return Ok(None) };
    let floats = cx.floats_of(scales.id).or_else(|| Some(scales.ints()?.iter().map(|&x| x as f64).collect()));
    match floats {
        Some(scales) if scales.is_empty() => Ok(None),
        Some(scales) => Ok(Some(scales.into_iter().map(|s| s as f32).collect())),
        None => cx.unsupported("Resize with scales decided by data"),
    }
}

fn resize(cx: &mut OpCx<'_>) -> Outcome {
    let x = cx.value(0)?;
    let rank = cx.rank(x);
    let mode = mode(cx)?;
    if cx.opset() < 11 {
        let Some(scales) = scales_operand(cx, 1)? else { return cx.error(203, "Resize needs scales") };
        let axes: Vec<usize> = (0..rank).collect();
        let parts = by_scales(cx, x, &axes, &scales)?;
        return run(cx, x, &simple(mode), parts);
    }
    let plan = Plan {
        mode,
        coordinates: cx.choice("coordinate_transformation_mode", &COORDINATES)?,
        nearest: cx.choice("nearest_mode", &NEAREST)?,
        cubic_a: cx.float_or("cubic_coeff_a", -0.75)?.into(),
        exclude_outside: cx.flag_or("exclude_outside", false)?,
        extrapolation: cx.float_or("extrapolation_value", 0.0)?,
    };
    let antialias = cx.flag_or("antialias", false)?;
    let policy = cx.choice("keep_aspect_ratio_policy", &["stretch", "not_larger", "not_smaller"])?;
    let axes = match cx.ints("axes")? {
        Some(axes) => axes.iter().map(|&a| cx.axis(a, rank)).collect::<Result<Vec<_>, _>>()?,
        None => (0..rank).collect(),
    };
    let sizes = match cx.optional(3)? {
        Some(sizes) => Some(cx.read_extents(&sizes)?).filter(|s| !s.is_empty()),
        None => None,
    };
    let mut parts = match (scales_operand(cx, 2)?, sizes) {
        (_, Some(sizes)) => by_sizes(cx, x, &axes, sizes, policy)?,
        (Some(scales), None) => by_scales(cx, x, &axes, &scales)?,
        (None, None) => return cx.error(203, "Resize needs scales or sizes"),
    };
    if plan.coordinates == "tf_crop_and_resize" {
        regions(cx, &mut parts)?;
    }
    let shrinks = |p: &Axis| known_less(&p.output, &p.input);
    if antialias && plan.mode != Mode::Nearest && parts.iter().any(|p| shrinks(p) != Some(false)) {
        return super::antialias::resize(
            cx,
            x,
            plan.mode == Mode::Cubic,
            plan.cubic_a,
            &parts_of(&plan, &parts),
        );
    }
    run(cx, x, &plan, parts)
}

fn known_less(a: &Extent, b: &Extent) -> Option<bool> {
    Some(a.as_const()? < b.as_const()?)
}

fn by_scales(cx: &OpCx<'_>, x: ValueId, axes: &[usize], scales: &[f32]) -> Result<Vec<Axis>, Problem> {
    if scales.len() != axes.len() {
        return cx.error(225, format!("{} scales for {} axes", scales.len(), axes.len()));
    }
    let shape = cx.shape(x);
    let mut parts = Vec::new();
    for (&axis, &scale) in axes.iter().zip(scales) {
        if !(scale.is_finite() && scale > 0.0 && scale < 1.0e6) {
            return cx.error(225, format!("scale {scale}"));
        }
        let output = scaled(cx, &shape[axis], scale)?;
        parts.push(Axis { axis, input: shape[axis].clone(), output, scale: Some(scale), roi: (0.0, 1.0) });
    }
    Ok(parts)
}

/// `floor(extent * scale)`, as a quotient of integers.
fn scaled(cx: &OpCx<'_>, extent: &Extent, scale: f32) -> Result<Extent, Problem> {
    if let Some(n) = extent.as_const() {
        // As in f32, where 5 * 0.6 is 3.
        return Ok(Extent::Const((n as f32 * scale).floor() as i64));
    }
    let mut shift = 0;
    let mut numerator = f64::from(scale);
    while numerator.fract() != 0.0 && shift < 31 {
        numerator *= 2.0;
        shift += 1;
    }
    if numerator.fract() != 0.0 || numerator > 2e9 {
        return cx.unsupported(format!("scale {scale} of an axis of unknown extent"));
    }
    Ok(extent.scale(numerator as i64).floor_div(&Extent::Const(1 << shift)))
}

fn by_sizes(
    cx: &OpCx<'_>,
    x: ValueId,
    axes: &[usize],
    mut sizes: Vec<Extent>,
    policy: &str,
) -> Result<Vec<Axis>, Problem> {
    if sizes.len() != axes.len() {
        return cx.error(225, format!("{} sizes for {} axes", sizes.len(), axes.len()));
    }
    let shape = cx.shape(x);
    if policy != "stretch" {
        let ratio =
            |(&axis, size): (&usize, &Extent)| Some(size.as_const()? as f64 / shape[axis].as_const()? as f64);
        let Some(ratios) = axes.iter().zip(&sizes).map(ratio).collect::<Option<Vec<f64>>>() else {
            return cx.unsupported(format!("keep_aspect_ratio_policy {policy} with unknown extents"));
        };
        let pick = if policy == "not_larger" { f64::min } else { f64::max };
        let scale = ratios.into_iter().reduce(pick).unwrap_or(1.0);
        for (&axis, size) in axes.iter().zip(&mut sizes) {
            let n = shape[axis].as_const().unwrap_or(0) as f64;
            // Halves round up.
            *size = Extent::Const((scale * n + 0.5).floor() as i64);
        }
    }
    if let Some(bad) = sizes.iter().filter_map(Extent::as_const).find(|s| *s < 0) {
        return cx.error(225, format!("size {bad}"));
    }
    let part = |(&axis, output): (&usize, Extent)| Axis {
        axis,
        input: shape[axis].clone(),
        output,
        scale: None,
        roi: (0.0, 1.0),
    };
    Ok(axes.iter().zip(sizes).map(part).collect())
}

/// Reads the parts of the axes that `tf_crop_and_resize` takes.
fn regions(cx: &OpCx<'_>, parts: &mut [Axis]) -> Result<(), Problem> {
    let Some(roi) = cx.optional(1)? else { return cx.error(203, "tf_crop_and_resize needs roi") };
    let Some(roi) = cx.floats_of(roi.id) else { return cx.unsupported("roi decided by data") };
    let n = parts.len();
    if roi.len() != 2 * n {
        return cx.error(225, format!("roi has {} numbers for {n} axes", roi.len()));
    }
    for (i, part) in parts.iter_mut().enumerate() {
        part.roi = (roi[i], roi[i + n]);
    }
    Ok(())
}

fn parts_of(plan: &Plan, parts: &[Axis]) -> Vec<super::antialias::Part> {
    let part = |p: &Axis| super::antialias::Part {
        axis: p.axis,
        input: p.input.clone(),
        output: p.output.clone(),
        scale: p.scale,
        align_corners: plan.coordinates == "align_corners",
        asymmetric: plan.coordinates == "asymmetric",
        exclude_outside: plan.exclude_outside,
    };
    parts.iter().filter(|p| !is_identity(plan, p)).map(part).collect()
}

fn is_identity(plan: &Plan, part: &Axis) -> bool {
    let whole = plan.coordinates != "tf_crop_and_resize" || part.roi == (0.0, 1.0);
    part.input == part.output && part.scale.is_none_or(|s| s == 1.0) && whole
}

fn run(cx: &mut OpCx<'_>, x: ValueId, plan: &Plan, mut parts: Vec<Axis>) -> Outcome {
    parts.retain(|p| !is_identity(plan, p));
    if let Some(factors) = whole_factors(cx, x, plan, &parts) {
        return one(if parts.is_empty() { x } else { cx.emit(ops::UpsampleNearest { factors }, &[x])? });
    }
    let dtype = cx.dtype(x);
    // Weighted sums of integers are computed in floats.
    let compute = if dtype.is_float() || plan.mode == Mode::Nearest { dtype } else { DType::F32 };
    let mut y = cx.cast(x, compute)?;
    let mut outside = Vec::new();
    for part in &parts {
        let at = positions(cx, plan, part)?;
        if plan.coordinates == "tf_crop_and_resize" {
            outside.push((part.axis, is_outside(cx, at, part)?));
        }
        y = match plan.mode {
            Mode::Nearest => {
                let at = rounded(cx, plan.nearest, at)?;
                let indices = clamped(cx, at, part)?;
                cx.gather(y, indices, part.axis)?
            }
            Mode::Linear | Mode::Cubic => interpolated(cx, plan, part, y, at)?,
        };
    }
    for (axis, mask) in outside {
        let mask = along(cx, mask, axis, cx.rank(y))?;
        let value = cx.full(Scalar::float(compute, plan.extrapolation.into()), compute, &[])?;
        y = cx.select(mask, value, y)?;
    }
    one(cx.cast(y, dtype)?)
}

/// Repetitions a axis, if every element is repeated a whole number of times.
fn whole_factors(cx: &OpCx<'_>, x: ValueId, plan: &Plan, parts: &[Axis]) -> Option<Vec<i64>> {
    let repeats = match (plan.coordinates, plan.nearest) {
        _ if parts.is_empty() => true,
        ("asymmetric" | "tf_half_pixel_for_nn", "floor") => true,
        (
            "half_pixel" | "half_pixel_symmetric" | "pytorch_half_pixel",
            "round_prefer_floor" | "round_prefer_ceil",
        ) => true,
        _ => false,
    };
    if !repeats || (plan.mode != Mode::Nearest && !parts.is_empty()) {
        return None;
    }
    let mut factors = vec![1; cx.rank(x)];
    for part in parts {
        let factor = match part.scale {
            Some(scale) if scale.fract() == 0.0 => scale as i64,
            Some(_) => return None,
            None => part.output.floor_div(&part.input).as_const()?,
        };
        if factor < 1 || part.input.scale(factor) != part.output {
            return None;
        }
        factors[part.axis] = factor;
    }
    Some(factors)
}

/// Where each element of the result lies along the axis of the input.
fn positions(cx: &mut OpCx<'_>, plan: &Plan, part: &Axis) -> Result<ValueId, Problem> {
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

fn rounded(cx: &mut OpCx<'_>, how: &str, at: ValueId) -> Result<ValueId, Problem> {
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
fn clamped(cx: &mut OpCx<'_>, at: ValueId, part: &Axis) -> Result<ValueId, Problem> {
    let last = cx.extents(vec![&part.input - &Extent::ONE], DType::I64, 0)?.id;
    let zero = cx.int_scalar(DType::I64, 0);
    let at = cx.cast(at, DType::I64)?;
    let at = cx.min(at, last)?;
    cx.max(at, zero)
}

/// Whether positions are not on the axis.
fn is_outside(cx: &mut OpCx<'_>, at: ValueId, part: &Axis) -> Result<ValueId, Problem> {
    let dtype = cx.dtype(at);
    let last = cx.extents(vec![&part.input - &Extent::ONE], dtype, 0)?.id;
    let zero = cx.number(dtype, 0.0);
    let (before, after) = (cx.lt(at, zero)?, cx.lt(last, at)?);
    cx.or(before, after)
}

/// A vector aligned with one axis of a tensor.
fn along(cx: &mut OpCx<'_>, vector: ValueId, axis: usize, rank: usize) -> Result<ValueId, Problem> {
    let mut shape = cx.shape(vector);
    shape.resize(rank - axis, Extent::ONE);
    cx.reshape(vector, shape)
}

/// Sum of weighted neighbours of each position.
fn interpolated(
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
