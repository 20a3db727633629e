//! fuse_rows - left sides for `fuse-rows`: softmax and normalisations with producers, consumers and other readers.

use nnc_ir::{
    graph::ValueId,
    ops::{Abs, Add, Div, Exp, Mul, Reduce, ReduceKind, Relu, Sqrt, Sub},
};

use super::Row;
use crate::draft::Draft;

pub(super) const ROWS: &[Row] = &[("form-row-fusion", row_nest)];

/// Reductions over the same axes and what is made of them.
fn row_nest(d: &mut Draft) {
    let dims = d.any_shape(1, 4);
    let axes: Vec<usize> = (0..dims.len()).filter(|_| d.rng.chance(50)).collect();
    let axes = if axes.is_empty() { vec![dims.len() - 1] } else { axes };
    let x = d.input(&dims);
    let x = match d.rng.below(3) {
        0 => x,
        1 => d.node(Relu {}, &[x]),
        _ => {
            let other = d.input(&dims);
            d.node(Add {}, &[x, other])
        }
    };
    d.maybe_output(x);
    let y = if d.rng.chance(50) { softmax(d, x, &axes) } else { norm(d, x, &axes) };
    let y = if d.rng.chance(50) {
        let weight = d.weight(&dims[dims.len() - 1..]);
        let weight = d.spread(weight, &dims);
        d.node(Mul {}, &[y, weight])
    } else {
        y
    };
    d.output(y);
}

fn reduced(d: &mut Draft, kind: ReduceKind, x: ValueId, axes: &[usize]) -> ValueId {
    let dims = d.dims(x);
    let r = d.node(Reduce { kind, axes: axes.to_vec(), keep: true }, &[x]);
    d.maybe_output(r);
    d.spread(r, &dims)
}

fn softmax(d: &mut Draft, x: ValueId, axes: &[usize]) -> ValueId {
    let max = reduced(d, ReduceKind::Max, x, axes);
    let shifted = d.node(Sub {}, &[x, max]);
    let e = d.node(Exp {}, &[shifted]);
    let sum = reduced(d, ReduceKind::Sum, e, axes);
    d.node(Div {}, &[e, sum])
}

fn norm(d: &mut Draft, x: ValueId, axes: &[usize]) -> ValueId {
    let mean = reduced(d, ReduceKind::Sum, x, axes);
    let centred = d.node(Sub {}, &[x, mean]);
    let squares = d.node(Mul {}, &[centred, centred]);
    let sum = reduced(d, ReduceKind::Sum, squares, axes);
    let sum = d.node(Abs {}, &[sum]);
    let root = d.node(Sqrt {}, &[sum]);
    d.maybe_output(centred);
    d.node(Div {}, &[centred, root])
}
