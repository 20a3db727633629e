//! linear - left sides for laws of products, factors and offsets.

use nnc_ir::{
    extent::Extent,
    graph::ValueId,
    ops::{Add, Broadcast, Concat, Conv, Div, MatMul, Mul, Sub},
};

use super::{any_input, extents, factor, finish, large};
use crate::draft::Draft;

pub(super) fn group_to_the_right(d: &mut Draft) {
    let dims = large(d, 3);
    let (a, b) = (d.input(&dims[..2]), d.input(&dims[1..]));
    let c = d.input(&[dims[2], 1]);
    let ab = d.node(MatMul {}, &[a, b]);
    let y = d.node(MatMul {}, &[ab, c]);
    finish(d, y);
}

pub(super) fn group_to_the_left(d: &mut Draft) {
    let dims = large(d, 3);
    let (b, c) = (d.input(&dims[..2]), d.input(&dims[1..]));
    let a = d.input(&[1, dims[0]]);
    let bc = d.node(MatMul {}, &[b, c]);
    let y = d.node(MatMul {}, &[a, bc]);
    finish(d, y);
}

pub(super) fn split_product(d: &mut Draft) {
    let dims = large(d, 2);
    let [k, n] = [d.extent(), d.extent()];
    let x = d.input(&[dims[0], k]);
    let (w, v, b) = (d.weight(&[k, dims[1]]), d.weight(&[dims[1], n]), d.weight(&[dims[1]]));
    let y = d.node(MatMul {}, &[x, w]);
    let b = d.spread(b, &dims);
    let y = if d.rng.chance(70) { d.node(Add {}, &[y, b]) } else { d.node(Sub {}, &[y, b]) };
    let y = d.node(MatMul {}, &[y, v]);
    finish(d, y);
}

pub(super) fn gather_products(d: &mut Draft) {
    let dims = large(d, 3);
    let (x, w, v) = (d.input(&dims[..2]), d.weight(&dims[1..]), d.input(&dims[1..]));
    let (y, z) = (d.node(MatMul {}, &[x, w]), d.node(MatMul {}, &[x, v]));
    let y = if d.rng.chance(70) { d.node(Add {}, &[y, z]) } else { d.node(Sub {}, &[y, z]) };
    finish(d, y);
}

pub(super) fn join_factors(d: &mut Draft) {
    let (x, dims) = any_input(d);
    let (a, b) = (factor(d, &dims), d.weight(&dims));
    let y = d.node(Mul {}, &[x, a]);
    let z = if d.rng.chance(50) { d.node(Mul {}, &[y, b]) } else { d.node(Mul {}, &[b, y]) };
    finish(d, z);
}

pub(super) fn join_offsets(d: &mut Draft) {
    let (x, dims) = any_input(d);
    let (a, b) = (d.weight(&dims), factor(d, &dims));
    let y = d.node(Add {}, &[a, x]);
    let z = d.node(Add {}, &[y, b]);
    finish(d, z);
}

pub(super) fn divide_by_factor(d: &mut Draft) {
    let (x, dims) = any_input(d);
    let (a, b) = (d.splat(3.0, &dims), factor(d, &dims));
    let y = d.node(Div {}, &[x, a]);
    let z = d.node(Mul {}, &[y, b]);
    finish(d, z);
}

pub(super) fn factor_out_of_matmul(d: &mut Draft) {
    let dims = large(d, 2);
    let (x, w) = (d.input(&dims), d.input(&[dims[1], 1]));
    let c = factor(d, &dims);
    let x = d.node(Mul {}, &[x, c]);
    let y = d.node(MatMul {}, &[x, w]);
    finish(d, y);
}

pub(super) fn factor_into_matmul(d: &mut Draft) {
    let dims = large(d, 3);
    let (x, w) = (d.input(&dims[..2]), d.weight(&dims[1..]));
    let y = d.node(MatMul {}, &[x, w]);
    let out = [dims[0], dims[2]];
    let c = match d.rng.chance(50) {
        true => factor(d, &out),
        false => {
            let c = d.weight(&dims[2..]);
            d.node(Broadcast { shape: extents(&out) }, &[c])
        }
    };
    let y = d.node(Mul {}, &[y, c]);
    finish(d, y);
}

/// A convolution of four to eight channels and its operands.
fn conv(d: &mut Draft) -> (Conv, ValueId, ValueId) {
    let groups = *d.rng.pick(&[1, 2]);
    let size = 5 + d.extent();
    let x = d.input(&[1, 4, size]);
    let w = d.weight(&[8, 4 / groups, 3]);
    let spatial = vec![Extent::Const(size)];
    let op = Conv { groups, strides: vec![1], dilations: vec![1], pads_before: vec![1], spatial };
    (op, x, w)
}

pub(super) fn factor_into_conv(d: &mut Draft) {
    let (conv, x, w) = conv(d);
    let y = d.node(conv, &[x, w]);
    let dims = d.dims(y);
    let c = factor(d, &dims);
    let y = d.node(Mul {}, &[y, c]);
    finish(d, y);
}

pub(super) fn factor_through_conv(d: &mut Draft) {
    let (conv, x, w) = conv(d);
    let dims = d.dims(x);
    let c = factor(d, &dims);
    let x = d.node(Mul {}, &[x, c]);
    let y = d.node(conv, &[x, w]);
    finish(d, y);
}

pub(super) fn factor_out_of_sum(d: &mut Draft) {
    let (x, dims) = any_input(d);
    let y = d.input(&dims);
    let c = if d.rng.chance(50) { d.input(&dims) } else { factor(d, &dims) };
    let (x, y) = (d.node(Mul {}, &[x, c]), d.node(Mul {}, &[c, y]));
    let z = if d.rng.chance(70) { d.node(Add {}, &[x, y]) } else { d.node(Sub {}, &[x, y]) };
    finish(d, z);
}

pub(super) fn factor_into_sum(d: &mut Draft) {
    let (x, dims) = any_input(d);
    let (a, b, c) = (d.weight(&dims), d.weight(&dims), factor(d, &dims));
    let y = d.node(Mul {}, &[x, a]);
    let y = if d.rng.chance(70) { d.node(Add {}, &[y, b]) } else { d.node(Sub {}, &[b, y]) };
    let y = d.node(Mul {}, &[y, c]);
    finish(d, y);
}

pub(super) fn factor_out_of_concat(d: &mut Draft) {
    let dims = large(d, 2);
    let (x, y) = (d.input(&dims), d.input(&dims));
    let c = *d.rng.pick(&[0.5, 0.75, 3.0]);
    let (a, b) = (d.splat(c, &dims), d.splat(c, &dims));
    let (x, y) = (d.node(Mul {}, &[x, a]), d.node(Mul {}, &[y, b]));
    let axis = d.rng.below(2);
    let z = d.node(Concat { axis }, &[x, y]);
    finish(d, z);
}
