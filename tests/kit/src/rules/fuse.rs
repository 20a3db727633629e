//! fuse - left sides for the joins of nests.

use nnc_ir::{
    dtype::DType,
    graph::ValueId,
    ops::{Add, Cast, Exp, MatMul, Mul, Neg, Reduce, ReduceKind, Relu, Round, Sigmoid, Sub, Transpose},
};

use super::Row;
use crate::draft::Draft;

pub(super) const ROWS: &[Row] = &[
    ("join-epilogue", epilogue),
    ("join-prologue", prologue),
    ("join-producer", chain),
    ("recompute-producer", cheap_and_read_often),
    ("keep-second-result", read_on_the_way),
    ("join-sibling", siblings),
];

fn pointwise(d: &mut Draft, x: ValueId) -> ValueId {
    let dims = d.dims(x);
    match d.rng.below(5) {
        0 => d.node(Relu {}, &[x]),
        1 => d.node(Sigmoid {}, &[x]),
        2 => d.node(Mul {}, &[x, x]),
        3 => {
            let y = d.input(&dims);
            d.node(Sub {}, &[y, x])
        }
        _ => {
            let bias = d.weight(&dims[dims.len() - 1..]);
            let bias = d.spread(bias, &dims);
            d.node(Add {}, &[x, bias])
        }
    }
}

fn product(d: &mut Draft) -> ValueId {
    let (left, n) = (d.any_shape(2, 4), d.extent());
    let right = [&left[..left.len() - 2], &[left[left.len() - 1], n]].concat();
    let (x, w) = (d.input(&left), d.weight(&right));
    d.node(MatMul {}, &[x, w])
}

fn reduction(d: &mut Draft, x: ValueId) -> ValueId {
    let axis = d.rng.below(d.dims(x).len());
    let kind = *d.rng.pick(&[ReduceKind::Sum, ReduceKind::Max]);
    d.node(Reduce { kind, axes: vec![axis], keep: true }, &[x])
}

fn epilogue(d: &mut Draft) {
    let mut y = match d.rng.below(2) {
        0 => product(d),
        _ => {
            let dims = d.any_shape(1, 3);
            let x = d.input(&dims);
            reduction(d, x)
        }
    };
    if d.rng.chance(30) {
        let perm = d.permutation(d.dims(y).len());
        y = d.node(Transpose { perm }, &[y]);
    }
    for _ in 0..1 + d.rng.below(3) {
        y = pointwise(d, y);
    }
    if d.rng.chance(20) {
        let to = *d.rng.pick(&[DType::U8, DType::I8]);
        y = d.node(Round {}, &[y]);
        y = d.node(Cast { to }, &[y]);
    }
    d.output(y);
}

fn prologue(d: &mut Draft) {
    if d.rng.chance(30) {
        return computed_factor(d);
    }
    let dims = d.any_shape(1, 3);
    let x = d.input(&dims);
    let y = pointwise(d, x);
    let y = reduction(d, y);
    d.maybe_output(x);
    d.output(y);
}

/// What tiles compute while they copy the operand whose rows they read.
fn computed_factor(d: &mut Draft) {
    let (m, k, n) = (d.extent(), d.extent(), d.extent());
    let (w, x) = (d.weight(&[m, k]), d.input(&[k, n]));
    let x = pointwise(d, x);
    let y = d.node(MatMul {}, &[w, x]);
    d.output(y);
}

fn chain(d: &mut Draft) {
    let dims = d.any_shape(1, 3);
    let x = d.input(&dims);
    let mut y = pointwise(d, x);
    for _ in 0..1 + d.rng.below(4) {
        y = pointwise(d, y);
    }
    d.output(y);
}

fn cheap_and_read_often(d: &mut Draft) {
    let dims = d.any_shape(1, 3);
    let x = d.input(&dims);
    let y = d.node(Neg {}, &[x]);
    for _ in 0..2 {
        let z = pointwise(d, y);
        let z = reduction(d, z);
        d.output(z);
    }
}

fn read_on_the_way(d: &mut Draft) {
    let mut y = match d.rng.below(2) {
        0 => product(d),
        _ => {
            let dims = d.any_shape(1, 3);
            let x = d.input(&dims);
            d.node(Exp {}, &[x])
        }
    };
    for _ in 0..1 + d.rng.below(3) {
        d.output(y);
        y = pointwise(d, y);
    }
    d.output(y);
}

fn siblings(d: &mut Draft) {
    let dims = d.any_shape(1, 3);
    let x = d.input(&dims);
    for _ in 0..2 + d.rng.below(2) {
        let mut y = pointwise(d, x);
        if d.rng.chance(50) {
            y = d.node(Exp {}, &[y]);
        }
        d.output(y);
    }
}
