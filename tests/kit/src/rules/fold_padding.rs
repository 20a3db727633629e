//! fold_padding - left sides for its rules.

use nnc_ir::{
    dtype::Scalar,
    extent::Extent,
    graph::ValueId,
    ops::{Conv, Pad, PadMode, Pool, PoolKind, Relu, Reshape, Slice, Transpose},
};

use super::Row;
use crate::draft::Draft;

pub(super) const ROWS: &[Row] = &[
    ("pad-into-conv", into_conv),
    ("pad-into-pool", into_pool),
    ("pad-into-mean", into_mean),
    ("merge-pads", pad_of_pad),
    ("slice-of-pad", slice_of_pad),
];

fn extents(dims: &[i64]) -> Vec<Extent> {
    dims.iter().map(|&d| Extent::Const(d)).collect()
}

/// Padded along the axes from `lead` on, by numbers from `least` to 3 that leave something.
fn padded(d: &mut Draft, x: ValueId, lead: usize, least: i64, value: Scalar) -> ValueId {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for (axis, n) in d.dims(x).into_iter().enumerate() {
        let (a, b) = if axis < lead { (0, 0) } else { (d.rng.range(least, 3), d.rng.range(least, 3)) };
        let b = if n + a + b < 1 { b.abs() } else { b };
        before.push(Extent::Const(a.max(1 - n)));
        after.push(Extent::Const(b));
    }
    d.node(Pad { before, after, mode: PadMode::Constant(value) }, &[x])
}

struct Sliding {
    kernel: Vec<i64>,
    strides: Vec<i64>,
    dilations: Vec<i64>,
    pads_before: Vec<i64>,
    spatial: Vec<Extent>,
}

/// Windows over the given extents; within them, if `inside`.
fn sliding(d: &mut Draft, dims: &[i64], inside: bool) -> Sliding {
    let mut s = Sliding {
        kernel: Vec::new(),
        strides: Vec::new(),
        dilations: Vec::new(),
        pads_before: Vec::new(),
        spatial: Vec::new(),
    };
    for &n in dims {
        let kernel = d.rng.range(1, n.min(3));
        let dilation = if (kernel - 1) * 2 < n { d.rng.range(1, 2) } else { 1 };
        let reach = (kernel - 1) * dilation + 1;
        let (pad, more) = if inside { (0, 0) } else { (d.rng.range(0, 1), d.rng.range(0, 1)) };
        let stride = d.rng.range(1, 2);
        s.kernel.push(kernel);
        s.strides.push(stride);
        s.dilations.push(dilation);
        s.pads_before.push(pad);
        s.spatial.push(Extent::Const((n + pad + more - reach) / stride + 1));
    }
    s
}

fn into_conv(d: &mut Draft) {
    let (n, c, m) = (d.rng.range(1, 2), d.rng.range(1, 3), d.rng.range(1, 3));
    let (h, w) = (d.extent(), d.extent());
    let zero = Scalar::zero(d.dtype);
    let least = if d.rng.chance(30) { -1 } else { 0 };
    let data = if d.rng.chance(40) {
        let x = d.input(&[h, w, c]);
        let (mut before, mut after) = (vec![Extent::ZERO; 3], vec![Extent::ZERO; 3]);
        for i in 0..2 {
            before[i] = Extent::Const(d.rng.range(0, 2));
            after[i] = Extent::Const(d.rng.range(0, 2));
        }
        let x = d.node(Pad { before, after, mode: PadMode::Constant(zero) }, &[x]);
        let shape = [&[1], &d.dims(x)[..]].concat();
        let x = d.node(Reshape { shape: extents(&shape) }, &[x]);
        d.node(Transpose { perm: vec![0, 3, 1, 2] }, &[x])
    } else {
        let x = d.input(&[n, c, h, w]);
        padded(d, x, 2, least, zero)
    };
    let dims = d.dims(data);
    let inside = d.rng.chance(50);
    let s = sliding(d, &dims[2..], inside);
    let weight = d.weight(&[m, c, s.kernel[0], s.kernel[1]]);
    let Sliding { strides, dilations, pads_before, spatial, .. } = s;
    let y = d.node(Conv { groups: 1, strides, dilations, pads_before, spatial }, &[data, weight]);
    d.output(y);
}

fn pooled(d: &mut Draft, kind: PoolKind, value: Scalar, inside: bool) {
    let dims = d.any_shape(2, 4);
    let lead = d.rng.below(dims.len() - 1) + 1;
    let x = d.input(&dims);
    let x = padded(d, x, lead, 0, value);
    let dims = d.dims(x);
    let Sliding { kernel, strides, dilations, pads_before, spatial } = sliding(d, &dims[lead..], inside);
    let y = d.node(Pool { kind, kernel, strides, dilations, pads_before, spatial }, &[x]);
    let z = d.node(Relu {}, &[y]);
    d.output(y);
    d.maybe_output(z);
}

fn into_pool(d: &mut Draft) {
    let (kind, value) = match d.rng.below(3) {
        0 => (PoolKind::Max, Scalar::lowest(d.dtype)),
        1 => (PoolKind::Min, Scalar::highest(d.dtype)),
        _ => (PoolKind::Sum, Scalar::zero(d.dtype)),
    };
    pooled(d, kind, value, false);
}

fn into_mean(d: &mut Draft) {
    let zero = Scalar::zero(d.dtype);
    pooled(d, PoolKind::Mean, zero, true);
}

fn pad_of_pad(d: &mut Draft) {
    let dims = d.any_shape(1, 3);
    let x = d.input(&dims);
    let value = Scalar::float(d.dtype, *d.rng.pick(&[0.0, 1.0]));
    let y = padded(d, x, 0, 0, value);
    let z = padded(d, y, 0, -2, value);
    d.output(z);
}

fn slice_of_pad(d: &mut Draft) {
    let dims = d.any_shape(1, 3);
    let x = d.input(&dims);
    let value = Scalar::float(d.dtype, 2.0);
    let y = padded(d, x, 0, 0, value);
    let (mut starts, mut shape) = (Vec::new(), Vec::new());
    for n in d.dims(y) {
        let start = d.rng.range(0, n - 1);
        starts.push(Extent::Const(start));
        shape.push(Extent::Const(d.rng.range(1, n - start)));
    }
    let z = d.node(Slice { starts, steps: vec![1; shape.len()], shape }, &[y]);
    d.output(z);
}
