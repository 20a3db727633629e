//! window - what convolutions and pools share: kernel, strides, dilations and pads of windows over the trailing axes.

use nnc_ir::{
    dtype::Scalar,
    extent::Extent,
    graph::{ConstraintKind, ValueId},
    ops::PadMode,
};

use crate::import::{Problem, cx::OpCx, known};

/// Windows over the spatial axes, one number an axis.
pub(crate) struct Windows {
    pub(crate) kernel: Vec<i64>,
    pub(crate) strides: Vec<i64>,
    pub(crate) dilations: Vec<i64>,
    pub(crate) before: Vec<i64>,
    pub(crate) after: Vec<i64>,
    /// How many there are.
    pub(crate) spatial: Vec<Extent>,
}

/// Least value of a number of a window, and the greatest.
const RANGE: std::ops::RangeInclusive<i64> = 1..=1 << 31;

/// An attribute with one number a spatial axis, `default` where it is missing (E0214).
pub(crate) fn per_axis(cx: &OpCx<'_>, name: &str, axes: usize, default: i64) -> Result<Vec<i64>, Problem> {
    let Some(numbers) = cx.ints(name)? else { return Ok(vec![default; axes]) };
    if numbers.len() != axes {
        return cx.error(214, format!("{name} has {} numbers for {axes} spatial axes", numbers.len()));
    }
    if let Some(i) = numbers.iter().position(|n| *n < default.min(1)) {
        return cx.error(214, format!("{name}[{i}] = {}, need >= 1", numbers[i]));
    }
    if let Some(i) = numbers.iter().position(|n| *n > *RANGE.end()) {
        return cx.error(217, format!("{name}[{i}] = {} is too large", numbers[i]));
    }
    Ok(numbers)
}

/// Elements added before and after each spatial axis.
type Pads = (Vec<i64>, Vec<i64>);

/// `pads`, first all before and then all after (E0216).
pub(crate) fn pads(cx: &OpCx<'_>, axes: usize) -> Result<Option<Pads>, Problem> {
    let Some(pads) = cx.ints("pads")? else { return Ok(None) };
    if pads.len() != 2 * axes {
        return cx.error(216, format!("pads has {} numbers for {axes} spatial axes", pads.len()));
    }
    if pads.iter().any(|p| p.saturating_abs() > 1 << 31) {
        return cx.error(217, format!("pads {pads:?} are too large"));
    }
    Ok(Some((pads[..axes].to_vec(), pads[axes..].to_vec())))
}

/// Extent of a dilated kernel.
pub(crate) fn reach(kernel: i64, dilation: i64) -> i64 {
    (kernel - 1).saturating_mul(dilation).saturating_add(1)
}

/// Reads the windows of `x`, whose spatial axes are those from the third on.
///
/// Where the pads of `auto_pad` depend on extents that are not known, `x` itself is padded with `fill`.
pub(crate) fn windows(
    cx: &mut OpCx<'_>,
    x: &mut ValueId,
    kernel: Vec<i64>,
    fill: Option<Scalar>,
) -> Result<Windows, Problem> {
    let axes = kernel.len();
    if let Some(i) = kernel.iter().position(|k| !RANGE.contains(k)) {
        let code = if kernel[i] < 1 { 214 } else { 217 };
        return cx.error(code, format!("kernel extent {} of spatial axis {i}", kernel[i]));
    }
    let strides = per_axis(cx, "strides", axes, 1)?;
    let dilations = per_axis(cx, "dilations", axes, 1)?;
    let given = pads(cx, axes)?;
    let auto = cx.choice("auto_pad", &["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"])?;
    let ceil = cx.flag_or("ceil_mode", false)?;
    let explicit = given.as_ref().is_some_and(|(b, a)| b.iter().chain(a).any(|p| *p != 0));
    if auto != "NOTSET" && explicit {
        return cx.error(219, format!("auto_pad is {auto}, and pads are given"));
    }
    let (before, after) = given.unwrap_or_else(|| (vec![0; axes], vec![0; axes]));
    let mut w = Windows { kernel, strides, dilations, before, after, spatial: Vec::new() };
    let input = cx.shape(*x)[2..].to_vec();
    if auto.starts_with("SAME") {
        same(cx, x, &mut w, &input, auto == "SAME_UPPER", fill)?;
        return Ok(w);
    }
    for (i, input) in input.iter().enumerate() {
        let extent = count(cx, &w, i, input, ceil)?;
        w.spatial.push(extent);
    }
    Ok(w)
}

/// Number of windows along spatial axis `i`.
fn count(cx: &mut OpCx<'_>, w: &Windows, i: usize, input: &Extent, ceil: bool) -> Result<Extent, Problem> {
    let reach = reach(w.kernel[i], w.dilations[i]);
    let padded = input + &Extent::Const(w.before[i].saturating_add(w.after[i]));
    let (lowest, highest) = known::bounds(cx.module(), &padded);
    if highest < reach {
        let message =
            format!("a window of {reach} does not fit axis {i}, which has {padded} elements with pads");
        return cx.error(218, message);
    }
    if lowest < reach {
        cx.constrain(ConstraintKind::AtMost(Extent::Const(reach), padded.clone()));
    }
    let stride = Extent::Const(w.strides[i]);
    let room = &padded - &Extent::Const(reach);
    if !ceil {
        return Ok(&room.floor_div(&stride) + &Extent::ONE);
    }
    // The last window starts within the input or the pads before it.
    let started = (input + &Extent::Const(w.before[i])).ceil_div(&stride);
    Ok((&room.ceil_div(&stride) + &Extent::ONE).min_with(&started))
}

fn same(
    cx: &mut OpCx<'_>,
    x: &mut ValueId,
    w: &mut Windows,
    input: &[Extent],
    upper: bool,
    fill: Option<Scalar>,
) -> Result<(), Problem> {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for (i, extent) in input.iter().enumerate() {
        let windows = extent.ceil_div(&Extent::Const(w.strides[i]));
        let last = (&windows - &Extent::ONE).scale(w.strides[i]);
        let all = &(&last + &Extent::Const(reach(w.kernel[i], w.dilations[i]))) - extent;
        let all = if known::is_natural(cx.module(), &all) { all } else { all.max_with(&Extent::ZERO) };
        let less = all.floor_div(&Extent::Const(2));
        let more = &all - &less;
        let (b, a) = if upper { (less, more) } else { (more, less) };
        before.push(b);
        after.push(a);
        w.spatial.push(windows);
    }
    let constants = |v: &[Extent]| v.iter().map(Extent::as_const).collect::<Option<Vec<i64>>>();
    match (constants(&before), constants(&after), fill) {
        (Some(b), Some(a), _) => (w.before, w.after) = (b, a),
        (_, _, Some(fill)) => {
            let whole = |v: Vec<Extent>| [vec![Extent::ZERO; 2], v].concat();
            *x = cx.pad(*x, whole(before), whole(after), PadMode::Constant(fill))?;
            (w.before, w.after) = (vec![0; input.len()], vec![0; input.len()]);
        }
        _ => return cx.unsupported("auto_pad over an axis of unknown extent"),
    }
    Ok(())
}
