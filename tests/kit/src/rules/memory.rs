//! memory - left sides for the passes that decide when values are made, and how often.

use nnc_ir::{
    dtype::DType,
    extent::Extent,
    graph::ValueId,
    ops::{Abs, Add, Broadcast, Exp, Neg, Reduce, ReduceKind, Reshape, Transpose},
};

use super::{Row, draft::Draft};

pub(super) const SCHEDULE_NODES: &[Row] = &[("reorder", large_ones_first)];
pub(super) const RECOMPUTE: &[Row] = &[("compute-again", kept_for_long)];

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
