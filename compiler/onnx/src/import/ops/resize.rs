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

use super::axis_sample::{along, clamped, interpolated, is_outside, positions, rounded};
use crate::import::{
    Outcome, Problem,
    cx::{OpCx, one},
    table::{Row, row},
};

pub(crate) const ROWS: &[Row] =
    &[row("Resize", 10, 1..=4, resize), row("Upsample", 7, 1..=2, upsample).until(9)];

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Nearest,
    Linear,
    Cubic,
}

/// What is the same for all axes.
pub(super) struct Plan {
    pub(super) mode: Mode,
    /// Where positions of the result lie in the input.
    pub(super) coordinates: &'static str,
    /// How positions round.
    pub(super) nearest: &'static str,
    pub(super) cubic_a: f64,
    pub(super) exclude_outside: bool,
    /// Value outside of the input, for `tf_crop_and_resize`.
    pub(super) extrapolation: f32,
}

/// How one axis is resized.
pub(super) struct Axis {
    pub(super) axis: usize,
    pub(super) input: Extent,
    pub(super) output: Extent,
    /// The scale, where that is given and not the size.
    pub(super) scale: Option<f32>,
    /// Part of the axis that is taken, for `tf_crop_and_resize`.
    pub(super) roi: (f64, f64),
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
