//! memory - left sides for the passes that decide when values are made, and how often.

use nnc_ir::{
    dtype::DType,
    extent::Extent,
    graph::ValueId,
    ops::{
        Abs, Add, Broadcast, Conv, Exp, MatMul, Neg, Pool, PoolKind, Reduce, ReduceKind, Reshape, Transpose,
    },
};

use super::Row;
use crate::draft::Draft;

pub(super) const SCHEDULE_NODES: &[Row] = &[("reorder", large_ones_first)];
pub(super) const RECOMPUTE: &[Row] = &[("compute-again", kept_for_long), ("split-chain", wide_in_between)];

fn spread(d: &mut Draft, x: ValueId, times: i64) -> ValueId {
    let mut shape = vec![Extent::Const(times)];
    shape.extend(d.dims(x).into_iter().map(Extent::Const));
    d.node(Broadcast { shape }, &[x])
}

fn pointwise(d: &mut Draft, x: ValueId) -> ValueId {
    match d.rng.below(3) {
        0 => d.node(Abs {}, &[x]),
        1 => d.node(Neg {}, &[x]),
        _ => d.node(Exp {}, &[x]),
    }
}

/// The greatest of each column, which is small.
fn greatest(d: &mut Draft, x: ValueId) -> ValueId {
    d.node(Reduce { kind: ReduceKind::Max, axes: vec![0], keep: false }, &[x])
}

/// Several large values are made before the first is reduced to a small one.
fn large_ones_first(d: &mut Draft) {
    let dims = d.any_shape(1, 2);
    let x = d.input(&dims);
    let large: Vec<ValueId> = (0..3 + d.rng.below(3))
        .map(|_| {
            let wide = spread(d, x, 16);
            pointwise(d, wide)
        })
        .collect();
    let small: Vec<ValueId> = large.into_iter().map(|x| greatest(d, x)).collect();
    let sum = small.into_iter().reduce(|a, b| d.node(Add {}, &[a, b]));
    if let Some(sum) = sum {
        d.output(sum);
    }
}

/// A large value waits for a reader while others come and go.
fn kept_for_long(d: &mut Draft) {
    let dims = d.any_shape(1, 2);
    let x = d.input(&dims);
    let times = 8 + d.extent();
    let mut wide = spread(d, x, times);
    if d.rng.below(2) == 0 {
        wide = pointwise(d, wide);
    }
    let all: i64 = d.dims(wide).iter().product();
    let mut y = wide;
    for _ in 0..2 + d.rng.below(2) {
        y = pointwise(d, y);
        let rank = d.dims(y).len();
        let perm = (0..rank).rev().collect();
        y = d.node(Transpose { perm }, &[y]);
    }
    let flat = d.node(Reshape { shape: vec![Extent::Const(all)] }, &[y]);
    let late = d.node(Reshape { shape: vec![Extent::Const(all)] }, &[wide]);
    let z = d.node(Add {}, &[flat, late]);
    d.maybe_output(flat);
    d.output(z);
    debug_assert!(d.module.ty(z).dtype == DType::F32);
}

/// Rows that are wide between two products or windows.
fn wide_in_between(d: &mut Draft) {
    let rows = 8 + d.extent() + d.extent();
    if d.rng.below(2) == 0 {
        let k = d.extent();
        let (x, up, down) = (d.input(&[rows, k]), d.weight(&[k, 16]), d.weight(&[16, 2]));
        let y = d.node(MatMul {}, &[x, up]);
        let y = pointwise(d, y);
        let y = d.node(MatMul {}, &[y, down]);
        return d.output(y);
    }
    let (channels, columns) = (d.extent(), 2 + d.extent());
    let x = d.input(&[1, channels, rows, columns]);
    let (pad, stride) = (d.rng.below(2) as i64, 1 + d.rng.below(2) as i64);
    let windows = |e: i64, pad: i64, stride: i64| Extent::Const((e + 2 * pad - 2) / stride + 1);
    let conv = Conv {
        groups: 1,
        strides: vec![1, 1],
        dilations: vec![1, 1],
        pads_before: vec![pad, pad],
        spatial: vec![windows(rows, pad, 1), windows(columns, pad, 1)],
    };
    let filters = d.weight(&[12, channels, 2, 2]);
    let y = d.node(conv, &[x, filters]);
    let y = pointwise(d, y);
    let dims = d.dims(y);
    let spatial = vec![windows(dims[2], 1, stride), windows(dims[3], 1, stride)];
    let (strides, dilations, pads_before) = (vec![stride; 2], vec![1; 2], vec![1; 2]);
    let y = if d.rng.below(2) == 0 {
        let kind = *d.rng.pick(&[PoolKind::Max, PoolKind::Mean]);
        d.node(Pool { kind, kernel: vec![2, 2], strides, dilations, pads_before, spatial }, &[y])
    } else {
        let filters = d.weight(&[1, 12, 2, 2]);
        d.node(Conv { groups: 1, strides, dilations, pads_before, spatial }, &[y, filters])
    };
    d.output(y);
}
