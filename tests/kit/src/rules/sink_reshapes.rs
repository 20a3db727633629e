//! sink_reshapes - left sides for its rules: a product, a reshape, and what follows it.

use nnc_ir::{
    extent::Extent,
    graph::ValueId,
    ops::{Add, MatMul, Mul, Reduce, ReduceKind, Relu, Reshape, Tanh},
};

use super::Row;
use crate::draft::Draft;

pub(super) const ROWS: &[Row] = &[
    ("sink-below-pointwise", pointwise),
    ("sink-below-pointwise-of-rows", rows),
    ("sink-below-reduce", reduce),
    ("sink-below-broadcast", broadcast),
];

fn reshape(d: &mut Draft, x: ValueId, dims: &[i64]) -> ValueId {
    let shape = dims.iter().map(|&n| Extent::Const(n)).collect();
    d.node(Reshape { shape }, &[x])
}

/// A product of two axes, seen as one of three or four.
fn product(d: &mut Draft) -> (ValueId, Vec<i64>) {
    let (mut outer, k, n) = (d.any_shape(2, 3), d.extent(), d.extent());
    let (x, w) = (d.input(&[outer.iter().product(), k]), d.weight(&[k, n]));
    let y = d.node(MatMul {}, &[x, w]);
    outer.push(n);
    let y = reshape(d, y, &outer);
    d.maybe_output(y);
    (y, outer)
}

fn pointwise(d: &mut Draft) {
    let (x, dims) = product(d);
    let last = dims[dims.len() - 1];
    let y = match d.rng.below(4) {
        0 => d.node(Relu {}, &[x]),
        1 => {
            let b = d.input(&[last]);
            let b = d.spread(b, &dims);
            d.node(Add {}, &[b, x])
        }
        2 => {
            let z = d.input(&dims);
            d.node(Mul {}, &[x, z])
        }
        _ => d.node(Mul {}, &[x, x]),
    };
    let z = d.node(Tanh {}, &[y]);
    d.maybe_output(y);
    d.output(z);
}

/// Divided by the greatest of each group of channels, then a number for each channel and something more.
fn rows(d: &mut Draft) {
    let [n, groups, each, last] = [2, 2, 2, 3].map(|n| n + d.rng.below(2) as i64);
    let (apart, whole) = ([n, groups, each, last], [n, groups * each, last]);
    let x = d.input(&whole);
    let split = reshape(d, x, &apart);
    let m = d.node(Reduce { kind: ReduceKind::Max, axes: vec![2, 3], keep: true }, &[split]);
    let m = if d.rng.chance(50) { d.node(Tanh {}, &[m]) } else { m };
    let m = d.spread(m, &apart);
    let y = d.node(Mul {}, &[split, m]);
    let y = reshape(d, y, &whole);
    d.maybe_output(y);
    let z = match d.rng.below(3) {
        0 => {
            let scale = d.weight(&[groups * each, 1]);
            let scale = d.spread(scale, &whole);
            d.node(Mul {}, &[scale, y])
        }
        1 => d.node(Add {}, &[y, x]),
        _ => {
            let bias = d.weight(&[last]);
            let bias = d.spread(bias, &whole);
            d.node(Add {}, &[y, bias])
        }
    };
    let out = d.node(Relu {}, &[z]);
    d.maybe_output(z);
    d.output(out);
}

fn reduce(d: &mut Draft) {
    let (x, dims) = product(d);
    let kind = *d.rng.pick(&[ReduceKind::Sum, ReduceKind::Max, ReduceKind::Min]);
    let axes = match d.rng.below(3) {
        0 => (0..dims.len()).collect(),
        1 => (0..dims.len() - 1).collect(),
        _ => vec![dims.len() - 1],
    };
    let keep = d.rng.chance(50);
    let y = d.node(Reduce { kind, axes, keep }, &[x]);
    d.output(y);
}

fn broadcast(d: &mut Draft) {
    let (x, dims) = product(d);
    let keep = Reduce { kind: ReduceKind::Max, axes: vec![dims.len() - 1], keep: true };
    let m = d.node(keep, &[x]);
    let m = d.spread(m, &dims);
    let y = d.node(Mul {}, &[x, m]);
    d.output(y);
}
