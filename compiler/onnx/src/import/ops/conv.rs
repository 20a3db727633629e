//! conv - Conv and ConvTranspose.

use nnc_ir::{
    dtype::Scalar,
    extent::{Extent, product},
    graph::ValueId,
    ops,
};

use super::window::{self, Windows, reach, windows};
use crate::import::{
    Outcome, Problem,
    cx::{OpCx, one},
    table::{Row, row},
};

pub(crate) const ROWS: &[Row] =
    &[row("Conv", 1, 2..=3, conv), row("ConvTranspose", 1, 2..=3, conv_transpose)];

fn conv(cx: &mut OpCx<'_>) -> Outcome {
    let (x, weight) = (cx.value(0)?, cx.value(1)?);
    cx.same_dtype(&[x, weight])?;
    let y = conv_of(cx, x, weight)?;
    one(match cx.optional_value(2)? {
        Some(bias) => add_bias(cx, y, bias)?,
        None => y,
    })
}

/// The convolution that the node's attributes describe, without bias.
pub(crate) fn conv_of(cx: &mut OpCx<'_>, mut x: ValueId, weight: ValueId) -> Result<ValueId, Problem> {
    cx.need_min_rank(0, x, 3)?;
    cx.need_rank(1, weight, cx.rank(x))?;
    let kernel = kernel(cx, weight)?;
    let groups = cx.int_or("group", 1)?;
    let (channels, taken) = (cx.shape(x)[1].clone(), cx.shape(weight)[1].clone());
    let filters = cx.shape(weight)[0].clone();
    if groups < 1 {
        return cx.error(215, format!("group {groups}"));
    }
    for (what, n) in [("input channels", &channels), ("filters", &filters)] {
        if n.as_const().is_some_and(|n| n % groups != 0) {
            return cx.error(215, format!("group {groups} does not divide {n} {what}"));
        }
    }
    let want = taken.scale(groups);
    cx.need_equal(212, &channels, &want, || {
        format!("input has {channels} channels, weight expects {want} ({taken} in each of {groups} groups)")
    })?;
    let zero = Scalar::zero(cx.dtype(x));
    let w = windows(cx, &mut x, kernel, Some(zero))?;
    let Windows { strides, dilations, before, spatial, .. } = w;
    cx.emit(ops::Conv { groups, strides, dilations, pads_before: before, spatial }, &[x, weight])
}

/// Extents of the kernel, which the attribute repeats.
fn kernel(cx: &OpCx<'_>, weight: ValueId) -> Result<Vec<i64>, Problem> {
    let shape = cx.shape(weight);
    let Some(kernel) = shape[2..].iter().map(Extent::as_const).collect::<Option<Vec<_>>>() else {
        return cx.unsupported(format!("a kernel of unknown extents {shape:?}"));
    };
    match cx.ints("kernel_shape")? {
        Some(said) if said != kernel => {
            cx.error(214, format!("kernel_shape is {said:?}, the weight has {kernel:?}"))
        }
        _ => Ok(kernel),
    }
}

/// Adds one number a channel (axis 1).
pub(crate) fn add_bias(cx: &mut OpCx<'_>, y: ValueId, bias: ValueId) -> Result<ValueId, Problem> {
    cx.need_rank(2, bias, 1)?;
    let bias = per_channel(cx, y, bias)?;
    cx.add(y, bias)
}

/// A vector of one number a channel, aligned with axis 1 of `like`.
pub(crate) fn per_channel(cx: &mut OpCx<'_>, like: ValueId, vector: ValueId) -> Result<ValueId, Problem> {
    let rank = cx.rank(like);
    let mut shape = cx.shape(vector);
    shape.resize(rank.saturating_sub(1).max(1), Extent::ONE);
    cx.reshape(vector, shape)
}

/// A transposed convolution's numbers, one a spatial axis.
struct Transposed {
    kernel: Vec<i64>,
    strides: Vec<i64>,
    dilations: Vec<i64>,
    before: Vec<i64>,
    groups: i64,
    /// Extents of the result's spatial axes.
    spatial: Vec<Extent>,
    /// Whether every element of the result comes from one element of the input.
    disjoint: bool,
}

fn conv_transpose(cx: &mut OpCx<'_>) -> Outcome {
    let (x, weight) = (cx.value(0)?, cx.value(1)?);
    cx.same_dtype(&[x, weight])?;
    cx.need_min_rank(0, x, 3)?;
    cx.need_rank(1, weight, cx.rank(x))?;
    let (channels, takes) = (cx.shape(x)[1].clone(), cx.shape(weight)[0].clone());
    cx.need_equal(212, &channels, &takes, || {
        format!("input has {channels} channels, weight expects {takes}")
    })?;
    let t = transposed(cx, x, weight)?;
    if t.groups < 1 || channels.as_const().is_some_and(|c| c % t.groups != 0) {
        return cx.error(215, format!("group {} does not divide {channels}", t.groups));
    }
    let y = if t.disjoint { shuffled(cx, x, weight, &t)? } else { dilated(cx, x, weight, &t)? };
    one(match cx.optional_value(2)? {
        Some(bias) => add_bias(cx, y, bias)?,
        None => y,
    })
}

fn transposed(cx: &mut OpCx<'_>, x: ValueId, weight: ValueId) -> Result<Transposed, Problem> {
    let kernel = kernel(cx, weight)?;
    let axes = kernel.len();
    let strides = window::per_axis(cx, "strides", axes, 1)?;
    let dilations = window::per_axis(cx, "dilations", axes, 1)?;
    let extra = window::per_axis(cx, "output_padding", axes, 0)?;
    let given = window::pads(cx, axes)?.unwrap_or_else(|| (vec![0; axes], vec![0; axes]));
    let auto = cx.choice("auto_pad", &["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"])?;
    let output_shape = cx.ints("output_shape")?;
    let groups = cx.int_or("group", 1)?;
    let input = cx.shape(x)[2..].to_vec();
    let (mut before, mut spatial, mut disjoint) = (Vec::new(), Vec::new(), groups == 1);
    for i in 0..axes {
        let reach = reach(kernel[i], dilations[i]);
        let last = (&input[i] - &Extent::ONE).scale(strides[i]);
        let all = &last + &Extent::Const(reach.saturating_add(extra[i]));
        let wanted = match &output_shape {
            // Some exporters give the batch and channels too.
            Some(shape) if shape.len() >= axes => Some(Extent::Const(shape[shape.len() - axes + i])),
            Some(shape) => return cx.error(214, format!("output_shape {shape:?} for {axes} spatial axes")),
            None if auto.starts_with("SAME") => Some(input[i].scale(strides[i])),
            None => None,
        };
        let (pad, extent) = match wanted {
            Some(wanted) => {
                let Some(total) = (&all - &wanted).as_const() else {
                    return cx.unsupported("output_shape for an input of unknown extent");
                };
                let total = total.max(0);
                (if auto == "SAME_UPPER" { total / 2 } else { total - total / 2 }, wanted)
            }
            None => (given.0[i], &all - &Extent::Const(given.0[i].saturating_add(given.1[i]))),
        };
        disjoint &=
            kernel[i] == strides[i] && dilations[i] == 1 && extent == input[i].scale(strides[i]) && pad == 0;
        before.push(pad);
        spatial.push(extent);
    }
    Ok(Transposed { kernel, strides, dilations, before, groups, spatial, disjoint })
}

/// Windows that do not overlap: one matrix product gives every element of the result, then axes interleave.
fn shuffled(cx: &mut OpCx<'_>, x: ValueId, weight: ValueId, t: &Transposed) -> Result<ValueId, Problem> {
    let (xs, ws) = (cx.shape(x), cx.shape(weight));
    let axes = t.kernel.len();
    let (n, c, m) = (xs[0].clone(), xs[1].clone(), ws[1].clone());
    let taps = product(&ws[1..]);
    let w = cx.reshape(weight, vec![c.clone(), taps.clone()])?;
    let w = cx.transpose(w, &[1, 0])?;
    let w = cx.reshape(w, vec![Extent::ONE, taps, c.clone()])?;
    let x = cx.reshape(x, vec![n.clone(), c, product(&xs[2..])])?;
    let y = cx.emit(ops::MatMul {}, &[w, x])?;
    let apart = [&[n.clone(), m.clone()], &ws[2..], &xs[2..]].concat();
    let y = cx.reshape(y, apart)?;
    let mut perm = vec![0, 1];
    for i in 0..axes {
        perm.extend([2 + axes + i, 2 + i]);
    }
    let y = cx.transpose(y, &perm)?;
    cx.reshape(y, [&[n, m], &t.spatial[..]].concat())
}

/// Zeros between the elements, then a convolution with the kernel turned round.
fn dilated(cx: &mut OpCx<'_>, x: ValueId, weight: ValueId, t: &Transposed) -> Result<ValueId, Problem> {
    let (xs, ws) = (cx.shape(x), cx.shape(weight));
    let axes = t.kernel.len();
    let mut shape = xs.clone();
    for (extent, stride) in shape[2..].iter_mut().zip(&t.strides) {
        *extent = &(&*extent - &Extent::ONE).scale(*stride) + &Extent::ONE;
    }
    let mut x = x;
    if t.strides.iter().any(|s| *s != 1) {
        let strides = [&[1, 1], &t.strides[..]].concat();
        x = cx.emit(ops::Dilate { strides, shape }, &[x])?;
    }
    let g = Extent::Const(t.groups);
    let (inputs, outputs) = (ws[0].floor_div(&g), ws[1].clone());
    let kernel = &ws[2..];
    let w = cx.reshape(weight, [&[g.clone(), inputs.clone(), outputs.clone()], kernel].concat())?;
    let perm: Vec<usize> = [0, 2, 1].into_iter().chain(3..3 + axes).collect();
    let w = cx.transpose(w, &perm)?;
    let w = cx.reshape(w, [&[&g * &outputs, inputs], kernel].concat())?;
    let shape = cx.shape(w);
    let ends = t.kernel.iter().map(|k| Extent::Const(k - 1));
    let starts = [Extent::ZERO, Extent::ZERO].into_iter().chain(ends).collect();
    let steps = [1, 1].into_iter().chain(t.kernel.iter().map(|_| -1)).collect();
    let w = cx.emit(ops::Slice { starts, steps, shape }, &[w])?;
    let pads = (0..axes).map(|i| reach(t.kernel[i], t.dilations[i]) - 1 - t.before[i]);
    let op = ops::Conv {
        groups: t.groups,
        strides: vec![1; axes],
        dilations: t.dilations.clone(),
        pads_before: pads.collect(),
        spatial: t.spatial.clone(),
    };
    cx.emit(op, &[x, w])
}
