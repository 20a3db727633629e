//! rotary - left sides of rotary embeddings: halves of the last axis turned by angles.

use nnc_ir::{
    extent::Extent,
    graph::ValueId,
    ops::{Concat, Cos, Neg, Reshape, Sin, Slice, Sub, Transpose},
};

use super::{Draft, add, extents, mul};

/// A tensor `[batch, heads, length, 2 n]`, with NaN and infinities among its elements, perhaps transposed; and its shape.
fn tensor(d: &mut Draft) -> (ValueId, [i64; 4]) {
    let [batch, heads, length, n] = [1, 2, 3, 1].map(|n| n + d.rng.below(3) as i64);
    let dims = [batch, heads, length, 2 * n];
    if d.rng.chance(50) {
        return (d.special(&dims), dims);
    }
    let x = d.special(&[batch, length, heads, 2 * n]);
    (d.node(Transpose { perm: vec![0, 2, 1, 3] }, &[x]), dims)
}

/// `n` elements of the last axis from a position.
fn cut(d: &mut Draft, x: ValueId, from: i64, n: i64) -> ValueId {
    let mut dims = d.dims(x);
    let last = dims.len() - 1;
    let mut starts = vec![Extent::ZERO; dims.len()];
    (starts[last], dims[last]) = (from.into(), n);
    d.node(Slice { starts, steps: vec![1; dims.len()], shape: extents(&dims) }, &[x])
}

fn join(d: &mut Draft, a: ValueId, b: ValueId) -> ValueId {
    d.node(Concat { axis: 3 }, &[a, b])
}

/// Both halves turned by themselves, of all of the axis or of its first part.
pub(super) fn rotary(d: &mut Draft) {
    let (x, dims) = tensor(d);
    let [_, _, length, wide] = dims;
    let n = if wide > 2 && d.rng.chance(30) { wide / 2 - 1 } else { wide / 2 };
    let half = [dims[0], dims[1], length, n];
    let tables = [0, 1].map(|_| {
        let table = d.input(&[length, n]);
        d.spread(table, &half)
    });
    let [c, s] = tables;
    let (a, b) = (cut(d, x, 0, n), cut(d, x, n, n));
    let (ac, bs) = (mul(d, a, c), mul(d, b, s));
    let real = d.node(Sub {}, &[ac, bs]);
    let (sa, cb) = (mul(d, a, s), mul(d, b, c));
    let imaginary = add(d, sa, cb);
    let y = join(d, real, imaginary);
    d.maybe_output(real);
    d.output(y);
}

/// The tensor and its halves exchanged, with tables of both halves: of equal ones, or not.
pub(super) fn rotate_half(d: &mut Draft) {
    let (x, dims) = tensor(d);
    let [_, _, length, wide] = dims;
    let n = wide / 2;
    let tables = if d.rng.chance(50) {
        let angles = d.input(&[1, length, n]);
        let both = d.node(Concat { axis: 2 }, &[angles, angles]);
        [d.node(Cos {}, &[both]), d.node(Sin {}, &[both])]
    } else {
        [d.input(&[1, length, wide]), d.input(&[1, length, wide])]
    };
    let [c, s] = tables.map(|table| {
        let table = d.node(Reshape { shape: extents(&[1, 1, length, wide]) }, &[table]);
        d.spread(table, &dims)
    });
    let (a, b) = (cut(d, x, 0, n), cut(d, x, n, n));
    let minus_b = d.node(Neg {}, &[b]);
    let rotated = join(d, minus_b, a);
    let (kept, crossed) = (mul(d, x, c), mul(d, rotated, s));
    let y = add(d, kept, crossed);
    d.maybe_output(rotated);
    d.output(y);
}
