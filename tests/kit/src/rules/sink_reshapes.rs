//! sink_reshapes - left sides for its rules: a product, a reshape, and what follows it.

use nnc_ir::{
    extent::Extent,
    graph::ValueId,
    ops::{Add, MatMul, Mul, Reduce, ReduceKind, Relu, Reshape, Tanh},
};

use super::{Row, draft::Draft};

pub(super) const ROWS: &[Row] = &[
    ("sink-below-pointwise", pointwise),
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
