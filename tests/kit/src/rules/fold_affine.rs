//! fold_affine - left sides for its rules.

use nnc_ir::{
    constant::Constant,
    dtype::Scalar,
    extent::Extent,
    graph::ValueId,
    ops::{
        Add, Concat, Contract, Conv, Dilate, Div, MatMul, Mul, Neg, Pool, PoolKind, Relu, Reshape, Sub,
        Transpose,
    },
};

use super::Row;
use crate::draft::Draft;

pub(super) const ROWS: &[Row] = &[
    ("scale-into-weight", scale_after),
    ("data-scale-into-weight", scale_before),
    ("data-shift-to-result", shift_before),
    ("merge-scales", scales),
    ("merge-shifts", shifts),
    ("subtract-as-add", subtract),
    ("divide-by-power-of-two", divide_by_power),
    ("multiply-by-reciprocal", divide),
];

fn extents(dims: &[i64]) -> Vec<Extent> {
    dims.iter().map(|&d| Extent::Const(d)).collect()
}

/// One of some numbers that are far from zero, of either sign if `signed`.
fn factors(d: &mut Draft, dims: &[i64], signed: bool) -> ValueId {
    let n: i64 = dims.iter().product();
    let one = |d: &mut Draft| {
        let x = *d.rng.pick(&[0.5, 0.75, 1.25, 1.5, 2.0, 3.0]);
        Scalar::float(d.dtype, if signed && d.rng.chance(50) { -x } else { x })
    };
    let elements: Vec<Scalar> = (0..n).map(|_| one(d)).collect();
    d.constant(Constant::from_scalars(d.dtype, dims, &elements))
}

/// One number for each element along `axis` of a tensor, or one for all.
fn along(d: &mut Draft, dims: &[i64], axis: usize, signed: bool) -> ValueId {
    let mut own = vec![1; dims.len() - axis];
    own[0] = if d.rng.chance(80) { dims[axis] } else { 1 };
    let c = factors(d, &own, signed);
    d.spread(c, dims)
}

/// `x` as one of a scale, a scale by division, and its negative.
fn scaled(d: &mut Draft, x: ValueId, axis: usize, signed: bool) -> ValueId {
    let dims = d.dims(x);
    let c = along(d, &dims, axis, signed);
    match d.rng.below(if signed { 5 } else { 4 }) {
        0 | 1 => d.node(Mul {}, &[x, c]),
        2 => d.node(Mul {}, &[c, x]),
        3 => d.node(Div {}, &[x, c]),
        _ => d.node(Neg {}, &[x]),
    }
}

fn shifted(d: &mut Draft, x: ValueId, axis: usize) -> ValueId {
    let dims = d.dims(x);
    let c = along(d, &dims, axis, true);
    match d.rng.below(4) {
        0 | 1 => d.node(Add {}, &[x, c]),
        2 => d.node(Add {}, &[c, x]),
        _ => d.node(Sub {}, &[x, c]),
    }
}

/// A product with a constant weight under way: the axes of its channels in the data and in the result.
struct Product {
    data: Vec<i64>,
    data_axis: usize,
    result_axis: usize,
    kind: Kind,
}

enum Kind {
    Conv { groups: i64, filters: i64, taps: i64, pad: i64, dilate: bool },
    MatMul { columns: i64 },
    MatMulLeft { rows: i64 },
    Contract { columns: i64 },
}

impl Product {
    fn any(d: &mut Draft, padded: bool) -> Self {
        let (n, c, w) = (d.extent(), 1 + d.extent(), 3 + d.extent());
        match d.rng.below(6) {
            0..=2 => {
                let groups = *d.rng.pick(&[1, 1, 2, 3]);
                let pad = if padded { d.rng.range(0, 1) } else { 0 };
                let (filters, taps) = (groups * d.rng.range(1, 3), d.rng.range(1, 3));
                let kind = Kind::Conv { groups, filters, taps, pad, dilate: padded && d.rng.chance(30) };
                Self { data: vec![n, c * groups, w], data_axis: 1, result_axis: 1, kind }
            }
            3 => {
                let columns = 1 + d.extent();
                Self { data: vec![n, w, c], data_axis: 2, result_axis: 2, kind: Kind::MatMul { columns } }
            }
            4 => {
                let rows = 1 + d.extent();
                Self { data: vec![n, c, w], data_axis: 1, result_axis: 1, kind: Kind::MatMulLeft { rows } }
            }
            _ => {
                let columns = 1 + d.extent();
                Self { data: vec![c, n], data_axis: 0, result_axis: 0, kind: Kind::Contract { columns } }
            }
        }
    }

    fn of(&self, d: &mut Draft, mut x: ValueId) -> ValueId {
        match self.kind {
            Kind::Conv { groups, filters, taps, pad, dilate } => {
                if dilate {
                    let mut shape = self.data.clone();
                    shape[2] = 2 * shape[2] - 1;
                    x = d.node(Dilate { strides: vec![1, 1, 2], shape: extents(&shape) }, &[x]);
                }
                let weight = d.weight(&[filters, self.data[1] / groups, taps]);
                let spatial = extents(&[d.dims(x)[2] + 2 * pad - taps + 1]);
                let op =
                    Conv { groups, strides: vec![1], dilations: vec![1], pads_before: vec![pad], spatial };
                d.node(op, &[x, weight])
            }
            Kind::MatMul { columns } => {
                let batch = if d.rng.chance(50) { self.data[0] } else { 1 };
                let weight = d.weight(&[batch, self.data[2], columns]);
                d.node(MatMul {}, &[x, weight])
            }
            Kind::MatMulLeft { rows } => {
                let weight = d.weight(&[1, rows, self.data[1]]);
                d.node(MatMul {}, &[weight, x])
            }
            Kind::Contract { columns } => {
                let weight = d.weight(&[columns, self.data[0]]);
                d.node(Contract { lhs: vec![0, 1], rhs: vec![2, 0], result: vec![2, 1] }, &[x, weight])
            }
        }
    }
}

/// Something that a coefficient of axis `axis` commutes with; the axis afterwards. Positive ones only, if `positive`.
fn between(d: &mut Draft, x: ValueId, axis: usize, positive: bool) -> (ValueId, usize) {
    let dims = d.dims(x);
    match d.rng.below(if positive { 6 } else { 4 }) {
        0 => {
            let shape = [&[1], &dims[..]].concat();
            (d.node(Reshape { shape: extents(&shape) }, &[x]), axis + 1)
        }
        1 => {
            let perm = d.permutation(dims.len());
            let at = perm.iter().position(|&p| p == axis).unwrap_or(0);
            (d.node(Transpose { perm }, &[x]), at)
        }
        2 if axis == 1 && dims.len() == 3 => {
            let shape = [dims[0] * dims[1], dims[2]];
            let flat = d.node(Reshape { shape: extents(&shape) }, &[x]);
            (d.node(Reshape { shape: extents(&dims) }, &[flat]), axis)
        }
        4 => (d.node(Relu {}, &[x]), axis),
        5 if axis == 1 && dims.len() == 3 => {
            let kind = PoolKind::Max;
            let (strides, dilations, pads_before) = (vec![1], vec![1], vec![0]);
            let spatial = extents(&[dims[2] - 1]);
            if dims[2] == 1 {
                return (x, axis);
            }
            (d.node(Pool { kind, kernel: vec![2], strides, dilations, pads_before, spatial }, &[x]), axis)
        }
        _ => (x, axis),
    }
}

fn scale_after(d: &mut Draft) {
    let product = Product::any(d, true);
    let x = d.input(&product.data);
    let mut y = product.of(d, x);
    let axis = product.result_axis;
    if d.rng.chance(30) {
        let other = product.of(d, x);
        y = d.node(Concat { axis }, &[y, other]);
    }
    if d.rng.chance(30) {
        y = shifted(d, y, axis);
    }
    let positive = d.rng.chance(40);
    let (y, axis) = between(d, y, axis, positive);
    let y = scaled(d, y, axis, !positive);
    let y = if d.rng.chance(30) { shifted(d, y, axis) } else { y };
    d.output(y);
}

fn scale_before(d: &mut Draft) {
    let product = Product::any(d, true);
    let x = d.input(&product.data);
    let positive = d.rng.chance(30);
    let x = scaled(d, x, product.data_axis, !positive);
    let x = if positive { d.node(Relu {}, &[x]) } else { x };
    let y = product.of(d, x);
    let y = if d.rng.chance(30) { shifted(d, y, product.result_axis) } else { y };
    d.output(y);
}

fn shift_before(d: &mut Draft) {
    let padded = d.rng.chance(10);
    let product = Product::any(d, padded);
    let x = d.input(&product.data);
    let x = shifted(d, x, product.data_axis);
    let y = product.of(d, x);
    let y = if d.rng.chance(80) { shifted(d, y, product.result_axis) } else { y };
    d.output(y);
}

fn chain(d: &mut Draft, step: fn(&mut Draft, ValueId, usize) -> ValueId) {
    let dims = d.any_shape(2, 3);
    let axis = d.rng.below(dims.len());
    let x = d.input(&dims);
    let y = step(d, x, axis);
    let (y, axis) = between(d, y, axis, false);
    let z = step(d, y, axis);
    d.maybe_output(z);
    let z = d.node(Relu {}, &[z]);
    d.output(z);
}

fn scales(d: &mut Draft) {
    chain(d, |d, x, axis| scaled(d, x, axis, true));
}

fn shifts(d: &mut Draft) {
    chain(d, shifted);
}

fn subtract(d: &mut Draft) {
    let dims = d.any_shape(1, 3);
    let (x, c) = (d.input(&dims), d.weight(&dims));
    let y = d.node(Sub {}, &[x, c]);
    d.maybe_output(y);
    let z = d.node(Relu {}, &[y]);
    d.output(z);
}

fn divided(d: &mut Draft, divisors: &[f64]) {
    let dims = d.any_shape(1, 3);
    let x = d.input(&dims);
    let c = *d.rng.pick(divisors);
    let c = d.splat(c, &dims);
    let y = d.node(Div {}, &[x, c]);
    d.maybe_output(y);
    let z = d.node(Relu {}, &[y]);
    d.output(z);
}

fn divide_by_power(d: &mut Draft) {
    divided(d, &[2.0, 4.0, -8.0, 0.5, 1024.0, -0.0625]);
}

fn divide(d: &mut Draft) {
    divided(d, &[3.0, 49.0, -7.0, 0.1, 1.0e3, 1.5]);
}
