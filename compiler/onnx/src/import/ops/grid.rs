//! grid - AffineGrid, GridSample, RoiAlign and DeformConv.

use nnc_ir::{
    dtype::{DType, Scalar},
    extent::{Extent, product},
    graph::ValueId,
    ops::ReduceKind,
};

use super::{
    conv::add_bias,
    matmul::matmul_of,
    sample::{Interpolation, Outside, Tap, corners, float_extent, read, taps},
    window::{self, pads},
};
use crate::import::{
    Outcome, Problem,
    cx::{OpCx, one},
    table::{Row, row},
};

pub(crate) const ROWS: &[Row] = &[
    row("AffineGrid", 20, 2..=2, affine_grid),
    row("GridSample", 16, 2..=2, grid_sample),
    row("RoiAlign", 10, 3..=3, roi_align),
    row("DeformConv", 19, 3..=5, deform_conv),
];

/// Normalized positions along axis `axis` of a grid of `spatial` extents.
fn base(cx: &mut OpCx<'_>, spatial: &[Extent], axis: usize, align_corners: bool) -> Result<ValueId, Problem> {
    let at = cx.iota(spatial.to_vec(), axis, DType::F32)?;
    let (unit, two) = (cx.number(DType::F32, 1.0), cx.number(DType::F32, 2.0));
    let doubled = cx.mul(at, two)?;
    if align_corners {
        let steps = (&spatial[axis] - &Extent::ONE).max_with(&Extent::ONE);
        let steps = float_extent(cx, &steps)?;
        let at = cx.div(doubled, steps)?;
        return cx.sub(at, unit);
    }
    let middle = cx.add(doubled, unit)?;
    let steps = float_extent(cx, &spatial[axis])?;
    let at = cx.div(middle, steps)?;
    cx.sub(at, unit)
}

fn affine_grid(cx: &mut OpCx<'_>) -> Outcome {
    let (theta, size) = (cx.value(0)?, cx.input(1)?);
    cx.need_float(0, theta)?;
    cx.need_rank(0, theta, 3)?;
    let align_corners = cx.flag_or("align_corners", false)?;
    let size = cx.read_extents(&size)?;
    let Some(spatial) = size.get(2..).filter(|s| matches!(s.len(), 2 | 3)) else {
        return cx.error(212, format!("AffineGrid of size {size:?}, needs 4 or 5 extents"));
    };
    let dtype = cx.dtype(theta);
    let axes = spatial.len();
    let mut columns = Vec::with_capacity(axes + 1);
    for axis in (0..axes).rev() {
        let at = base(cx, spatial, axis, align_corners)?;
        columns.push(cx.unsqueeze(at, axes)?);
    }
    let ones = [spatial, &[Extent::ONE]].concat();
    columns.push(cx.full(Scalar::f32(1.0), DType::F32, &ones)?);
    let points = cx.concat(&columns, axes)?;
    let wide = Extent::Const(axes as i64 + 1);
    let points = cx.reshape(points, vec![Extent::ONE, product(spatial), wide])?;
    let points = cx.cast(points, dtype)?;
    let theta = cx.transpose(theta, &[0, 2, 1])?;
    let grid = matmul_of(cx, points, theta)?;
    let shape = [&[size[0].clone()], spatial, &[Extent::Const(axes as i64)]].concat();
    one(cx.reshape(grid, shape)?)
}

/// `[n, c, spatial..]` as `[n, positions, c]`.
fn channels_last(cx: &mut OpCx<'_>, x: ValueId) -> Result<ValueId, Problem> {
    let shape = cx.shape(x);
    let x = cx.reshape(x, vec![shape[0].clone(), shape[1].clone(), product(&shape[2..])])?;
    cx.transpose(x, &[0, 2, 1])
}

fn grid_sample(cx: &mut OpCx<'_>) -> Outcome {
    let (x, grid) = (cx.value(0)?, cx.value(1)?);
    cx.need_float(0, x)?;
    cx.need_float(1, grid)?;
    cx.need_min_rank(0, x, 3)?;
    let (shape, rank) = (cx.shape(x), cx.rank(x));
    cx.need_rank(1, grid, rank)?;
    let how = match cx.choice("mode", &["linear", "bilinear", "nearest", "cubic", "bicubic"])? {
        "nearest" => Interpolation::Nearest,
        "cubic" | "bicubic" => Interpolation::Cubic,
        _ => Interpolation::Linear,
    };
    let align_corners = cx.flag_or("align_corners", false)?;
    let outside = match cx.choice("padding_mode", &["zeros", "border", "reflection"])? {
        "border" => Outside::Border,
        "reflection" => Outside::Reflect { at_centres: align_corners },
        _ => Outside::Zeros,
    };
    let spatial = shape[2..].to_vec();
    let last = cx.shape(grid)[rank - 1].clone();
    let axes = Extent::Const(spatial.len() as i64);
    cx.need_equal(212, &last, &axes, || format!("grid has {last} coordinates, image {axes} spatial axes"))?;
    let grid = cx.cast(grid, DType::F32)?;
    let mut all = Vec::with_capacity(spatial.len());
    for (i, extent) in spatial.iter().enumerate() {
        // Coordinates come with the last axis first.
        let at = cx.index_axis(grid, rank - 1, (spatial.len() - 1 - i) as i64)?;
        let at = denormalized(cx, at, extent, align_corners)?;
        all.push(taps(cx, at, extent, how, outside)?);
    }
    let image = channels_last(cx, x)?;
    let mut sum = None;
    for corner in corners(cx, &all, &spatial)? {
        let shape = cx.shape(corner.index);
        let weight = cx.broadcast_to(corner.weight, &shape)?;
        let part = read(cx, image, Tap { weight, ..corner }, 1)?;
        sum = Some(match sum {
            None => part,
            Some(sum) => cx.add(sum, part)?,
        });
    }
    let Some(sum) = sum else { return cx.error(212, "GridSample of no axes") };
    let perm: Vec<usize> = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
    one(cx.transpose(sum, &perm)?)
}

/// From -1..1 to positions along an axis.
fn denormalized(
    cx: &mut OpCx<'_>,
    at: ValueId,
    extent: &Extent,
    align_corners: bool,
) -> Result<ValueId, Problem> {
    let (unit, half) = (cx.number(DType::F32, 1.0), cx.number(DType::F32, 0.5));
    let at = cx.add(at, unit)?;
    if align_corners {
        let steps = float_extent(cx, &(extent - &Extent::ONE))?;
        let at = cx.mul(at, half)?;
        return cx.mul(at, steps);
    }
    let steps = float_extent(cx, extent)?;
    let at = cx.mul(at, steps)?;
    let at = cx.sub(at, unit)?;
    cx.mul(at, half)
}

/// Sample points of all regions along one axis: `[regions, bins * samples]`, and how many a bin has, where that is not
/// the same for all: `[regions, 1]`.
struct RoiAxis {
    taps: Vec<Tap>,
    samples: Extent,
    own_count: Option<ValueId>,
}

/// Column `at` of the regions, `[regions, 1]`, in elements of the image.
fn edge(cx: &mut OpCx<'_>, rois: ValueId, at: i64, scale: f32, shift: f64) -> Result<ValueId, Problem> {
    let column = cx.slice_axis(rois, 1, Extent::Const(at), Extent::ONE)?;
    let (scale, shift) = (cx.number(DType::F32, scale.into()), cx.number(DType::F32, shift));
    let column = cx.mul(column, scale)?;
    cx.sub(column, shift)
}

fn roi_axis(
    cx: &mut OpCx<'_>,
    [start, end]: [ValueId; 2],
    bins: i64,
    sampling: i64,
    half_pixel: bool,
    extent: &Extent,
) -> Result<RoiAxis, Problem> {
    let mut size = cx.sub(end, start)?;
    if !half_pixel {
        let unit = cx.number(DType::F32, 1.0);
        size = cx.max(size, unit)?;
    }
    let n = cx.number(DType::F32, bins as f64);
    let bin = cx.div(size, n)?;
    let (samples, count, own_count) = if sampling > 0 {
        (Extent::Const(sampling), cx.number(DType::F32, sampling as f64), None)
    } else {
        let own = cx.ceil(bin)?;
        let unit = cx.number(DType::F32, 1.0);
        let own = cx.max(own, unit)?;
        let most = cx.reduce(ReduceKind::Max, own, &[0, 1], false)?;
        let most = cx.max(most, unit)?;
        let most = cx.cast(most, DType::I64)?;
        (cx.read_extents(&most.into())?.remove(0), own, Some(own))
    };
    let points = samples.scale(bins);
    // Position i: bin i / samples, sample i % samples.
    let at = cx.iota(vec![Extent::ONE, Extent::Const(bins), samples.clone()], 1, DType::F32)?;
    let inner = cx.iota(vec![Extent::ONE, Extent::Const(bins), samples.clone()], 2, DType::F32)?;
    let (at, inner) =
        (cx.reshape(at, vec![Extent::ONE, points.clone()])?, cx.reshape(inner, vec![Extent::ONE, points])?);
    let half = cx.number(DType::F32, 0.5);
    let inner_middle = cx.add(inner, half)?;
    let whole = cx.mul(at, bin)?;
    let step = cx.div(bin, count)?;
    let part = cx.mul(inner_middle, step)?;
    let y = cx.add(whole, part)?;
    let y = cx.add(y, start)?;
    // Up to one element outside counts as the border; further out as zero.
    let (least, most) = (cx.number(DType::F32, -1.0), float_extent(cx, extent)?);
    let (above, below) = (cx.le(least, y)?, cx.le(y, most)?);
    let mut counts = cx.and(above, below)?;
    if let Some(own) = own_count {
        let used = cx.lt(inner, own)?;
        counts = cx.and(counts, used)?;
    }
    let (zero, last) = (cx.number(DType::F32, 0.0), float_extent(cx, &(extent - &Extent::ONE))?);
    let y = cx.max(y, zero)?;
    let y = cx.min(y, last)?;
    let mut all = taps(cx, y, extent, Interpolation::Linear, Outside::Border)?;
    for tap in &mut all {
        tap.weight = cx.select(counts, tap.weight, zero)?;
    }
    Ok(RoiAxis { taps: all, samples, own_count })
}

fn roi_align(cx: &mut OpCx<'_>) -> Outcome {
    let (x, rois, batch) = (cx.value(0)?, cx.value(1)?, cx.value(2)?);
    cx.need_float(0, x)?;
    for (i, v, rank) in [(0, x, 4), (1, rois, 2), (2, batch, 1)] {
        cx.need_rank(i, v, rank)?;
    }
    let takes_max = cx.choice("mode", &["avg", "max"])? == "max";
    let half_pixel = if cx.opset() < 16 {
        false
    } else {
        cx.choice("coordinate_transformation_mode", &["half_pixel", "output_half_pixel"])? == "half_pixel"
    };
    let (height, width) = (cx.int_or("output_height", 1)?, cx.int_or("output_width", 1)?);
    let sampling = cx.int_or("sampling_ratio", 0)?;
    let scale = cx.float_or("spatial_scale", 1.0)?;
    if height < 1 || width < 1 || sampling < 0 {
        return cx.error(205, format!("RoiAlign to {height} x {width}, sampling ratio {sampling}"));
    }
    let shape = cx.shape(x);
    let regions = cx.shape(rois)[0].clone();
    let dtype = cx.dtype(x);
    let rois = cx.cast(rois, DType::F32)?;
    let shift = if half_pixel { 0.5 } else { 0.0 };
    let mut axes = Vec::with_capacity(2);
    for (axis, bins, columns) in [(2, height, [1, 3]), (3, width, [0, 2])] {
        let start = edge(cx, rois, columns[0], scale, shift)?;
        let end = edge(cx, rois, columns[1], scale, shift)?;
        axes.push(roi_axis(cx, [start, end], bins, sampling, half_pixel, &shape[axis])?);
    }
    // `[regions, rows, 1]` and `[regions, 1, columns]`.
    let mut apart = Vec::with_capacity(2);
    for (axis, at) in axes.iter().zip([2, 1]) {
        let mut all = Vec::with_capacity(2);
        for tap in &axis.taps {
            let shape = cx.shape(tap.index);
            let weight = cx.broadcast_to(tap.weight, &shape)?;
            all.push(Tap { index: cx.unsqueeze(tap.index, at)?, weight: cx.unsqueeze(weight, at)? });
        }
        apart.push(all);
    }
    let image = channels_last(cx, x)?;
    let positions = &shape[2] * &shape[3];
    let image = cx.reshape(image, vec![&shape[0] * &positions, shape[1].clone()])?;
    let first = cx.extents(vec![positions], DType::I64, 0)?;
    let batch = cx.cast(batch, DType::I64)?;
    let first = cx.mul(batch, first.id)?;
    let first = cx.reshape(first, vec![regions.clone(), Extent::ONE, Extent::ONE])?;
    let mut joint = None;
    for corner in corners(cx, &apart, &shape[2..])? {
        let index = cx.add(corner.index, first)?;
        let part = read(cx, image, Tap { index, weight: corner.weight }, 0)?;
        joint = Some(match joint {
            None => part,
            Some(joint) if takes_max => cx.max(joint, part)?,
            Some(joint) => cx.add(joint, part)?,
        });
    }
    let Some(joint) = joint else { return cx.error(212, "RoiAlign of no axes") };
    let (rows, columns) = (&axes[0], &axes[1]);
    let apart = vec![
        regions.clone(),
        Extent::Const(height),
        rows.samples.clone(),
        Extent::Const(width),
        columns.samples.clone(),
        shape[1].clone(),
    ];
    let joint = cx.reshape(joint, apart)?;
    let y = match (takes_max, rows.own_count, columns.own_count) {
        (true, None, None) => cx.reduce(ReduceKind::Max, joint, &[2, 4], false)?,
        (true, ..) => {
            return cx.unsupported("RoiAlign of mode max with a sampling ratio that regions decide");
        }
        (false, Some(a), Some(b)) => {
            let sum = cx.reduce(ReduceKind::Sum, joint, &[2, 4], false)?;
            let count = cx.mul(a, b)?;
            let count = cx.reshape(count, vec![regions, Extent::ONE, Extent::ONE, Extent::ONE])?;
            let count = cx.cast(count, dtype)?;
            cx.div(sum, count)?
        }
        (false, ..) => cx.mean(joint, &[2, 4], false)?,
    };
    one(cx.transpose(y, &[0, 3, 1, 2])?)
}

/// Samples for every tap of every window, then one matrix product a group.
fn deform_conv(cx: &mut OpCx<'_>) -> Outcome {
    let (x, weight, offset) = (cx.value(0)?, cx.value(1)?, cx.value(2)?);
    cx.need_float(0, x)?;
    for (i, v) in [x, weight, offset].into_iter().enumerate() {
        cx.need_rank(i, v, 4)?;
    }
    cx.same_dtype(&[x, weight, offset])?;
    cx.skip_attrs(&["kernel_shape"]);
    let (xs, ws, os) = (cx.shape(x), cx.shape(weight), cx.shape(offset));
    let (Some(kh), Some(kw)) = (ws[2].as_const(), ws[3].as_const()) else {
        return cx.unsupported("DeformConv with a kernel of unknown extents");
    };
    let strides = window::per_axis(cx, "strides", 2, 1)?;
    let dilations = window::per_axis(cx, "dilations", 2, 1)?;
    let (before, _) = pads(cx, 2)?.unwrap_or_else(|| (vec![0; 2], vec![0; 2]));
    let (groups, parts) = (cx.int_or("group", 1)?, cx.int_or("offset_group", 1)?);
    if groups < 1 || parts < 1 {
        return cx.error(215, format!("group {groups}, offset_group {parts}"));
    }
    let (g, og, k) = (Extent::Const(groups), Extent::Const(parts), Extent::Const(kh * kw));
    let (n, c, m) = (xs[0].clone(), xs[1].clone(), ws[0].clone());
    let (oh, ow) = (os[2].clone(), os[3].clone());
    let two = Extent::Const(2);
    let all = [n.clone(), og.clone(), k.clone(), oh.clone(), ow.clone()];
    let offset = cx.cast(offset, DType::F32)?;
    let apart = [n.clone(), og.clone(), k.clone(), two, oh.clone(), ow.clone()];
    let offset = cx.reshape(offset, apart.to_vec())?;
    let mut axes = Vec::with_capacity(2);
    for axis in 0..2 {
        let moved = cx.index_axis(offset, 3, axis as i64)?;
        // Where the tap lies without an offset: window * stride - pad + tap * dilation.
        let mut windows = vec![Extent::ONE; 5];
        windows[3 + axis] = all[3 + axis].clone();
        let at = cx.iota(windows, 3 + axis, DType::F32)?;
        let stride = cx.number(DType::F32, strides[axis] as f64);
        let at = cx.mul(at, stride)?;
        let tap = (0..kh * kw).map(|i| if axis == 0 { i / kw } else { i % kw });
        let starts: Vec<f64> = tap.map(|t| (t * dilations[axis] - before[axis]) as f64).collect();
        let starts = cx.float_vector(DType::F32, &starts);
        let starts =
            cx.reshape(starts, vec![Extent::ONE, Extent::ONE, k.clone(), Extent::ONE, Extent::ONE])?;
        let at = cx.add(at, starts)?;
        let at = cx.add(at, moved)?;
        axes.push(taps(cx, at, &xs[2 + axis], Interpolation::Linear, Outside::Zeros)?);
    }
    let each = c.floor_div(&og);
    let image = cx.reshape(x, vec![n.clone(), og.clone(), each.clone(), &xs[2] * &xs[3]])?;
    let image = cx.transpose(image, &[0, 1, 3, 2])?;
    let mut sum = None;
    for corner in corners(cx, &axes, &xs[2..])? {
        let part = read(cx, image, corner, 2)?;
        sum = Some(match sum {
            None => part,
            Some(sum) => cx.add(sum, part)?,
        });
    }
    let Some(mut sampled) = sum else { return cx.error(212, "DeformConv of no axes") };
    if let Some(mask) = cx.optional_value(4)? {
        let mask = cx.reshape(mask, all.to_vec())?;
        let mask = cx.unsqueeze(mask, 5)?;
        sampled = cx.mul(sampled, mask)?;
    }
    // `[n, og, k, oh, ow, each]` to `[n, og, each, k, oh, ow]`, whose channels then fall into groups.
    let sampled = cx.transpose(sampled, &[0, 1, 5, 2, 3, 4])?;
    let inner = &c.floor_div(&g) * &k;
    let columns = cx.reshape(sampled, vec![n.clone(), g.clone(), inner.clone(), &oh * &ow])?;
    let weight = cx.reshape(weight, vec![Extent::ONE, g.clone(), m.floor_div(&g), inner])?;
    let y = matmul_of(cx, weight, columns)?;
    let y = cx.reshape(y, vec![n, m, oh, ow])?;
    one(match cx.optional_value(3)? {
        Some(bias) => add_bias(cx, y, bias)?,
        None => y,
    })
}
