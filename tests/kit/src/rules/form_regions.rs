//! form_regions - left sides for its rules: what is between contractions is larger than half of a second-level cache.

use nnc_ir::{
    extent::Extent,
    graph::ValueId,
    ops::{Conv, Exp, MatMul, Mul, Reduce, ReduceKind, Relu, Sub},
};

use super::Row;
use crate::draft::Draft;

pub(super) const ROWS: &[Row] =
    &[("form-attention", attention), ("form-mlp", mlp), ("form-inverted-residual", inverted_residual)];

fn product(d: &mut Draft, x: ValueId, dims: &[i64]) -> ValueId {
    let w = d.input(dims);
    d.node(MatMul {}, &[x, w])
}

fn attention(d: &mut Draft) {
    let (n, width) = (d.rng.range(264, 300), d.rng.range(1, 2));
    let q = d.input(&[n, width]);
    let scores = product(d, q, &[width, n]);
    let most = Reduce { kind: ReduceKind::Max, axes: vec![1], keep: true };
    let most = d.node(most, &[scores]);
    let most = d.spread(most, &[n, n]);
    let moved = d.node(Sub {}, &[scores, most]);
    let moved = if d.rng.chance(20) { d.node(Exp {}, &[moved]) } else { moved };
    let y = product(d, moved, &[n, width]);
    d.output(y);
}

fn mlp(d: &mut Draft) {
    let (rows, wide) = (d.rng.range(300, 400), d.rng.range(256, 300));
    let (from, to) = (d.rng.range(1, 2), d.rng.range(1, 2));
    let x = d.input(&[rows, from]);
    let y = product(d, x, &[from, wide]);
    let y = if d.rng.chance(50) { d.node(Relu {}, &[y]) } else { d.node(Mul {}, &[y, y]) };
    let y = product(d, y, &[wide, to]);
    d.output(y);
}

fn inverted_residual(d: &mut Draft) {
    let (side, wide, stride) = (d.rng.range(40, 48), d.rng.range(24, 30), d.rng.range(1, 2));
    let x = d.input(&[1, 1, side, side]);
    let conv = |d: &mut Draft, x: ValueId, dims: [i64; 4], groups: i64, stride: i64, side: i64| {
        let w = d.input(&dims);
        let pad = dims[2] / 2;
        let spatial = vec![Extent::Const(side); 2];
        let op = Conv {
            groups,
            strides: vec![stride; 2],
            dilations: vec![1; 2],
            pads_before: vec![pad; 2],
            spatial,
        };
        d.node(op, &[x, w])
    };
    let small = (side - 1) / stride + 1;
    let y = conv(d, x, [wide, 1, 1, 1], 1, 1, side);
    let y = conv(d, y, [wide, 1, 3, 3], wide, stride, small);
    let y = conv(d, y, [2, wide, 1, 1], 1, 1, small);
    d.output(y);
}
