//! canonicalize - left sides for its rules.

use nnc_ir::{
    extent::Extent,
    ops::{Add, Broadcast, Concat, Div, Mul, Relu, Reshape, Sub, Transpose},
};

use super::{Row, draft::Draft};

pub(super) const ROWS: &[Row] = &[
    ("drop-identity-movement", identity_movement),
    ("drop-identity-reshape", identity_reshape),
    ("drop-single-concat", single_concat),
    ("drop-neutral-operand", neutral_operand),
    ("merge-reshapes", reshapes),
    ("merge-transposes", transposes),
    ("merge-broadcasts", broadcasts),
    ("reshape-for-unit-transpose", unit_transpose),
];

fn extents(dims: &[i64]) -> Vec<Extent> {
    dims.iter().map(|&d| Extent::Const(d)).collect()
}

/// The same elements in another shape.
fn reshaped(d: &mut Draft, dims: &[i64]) -> Vec<i64> {
    let n: i64 = dims.iter().product();
    let divisors: Vec<i64> = (1..=n).filter(|k| n % k == 0).collect();
    let first = *d.rng.pick(&divisors);
    vec![first, n / first]
}

fn identity_movement(d: &mut Draft) {
    let dims = d.any_shape(1, 4);
    let x = d.input(&dims);
    let x = d.node(Relu {}, &[x]);
    let y = match d.rng.chance(50) {
        true => d.node(Transpose { perm: (0..dims.len()).collect() }, &[x]),
        false => d.spread(x, &dims),
    };
    let z = d.node(Add {}, &[x, y]);
    d.maybe_output(y);
    d.output(z);
}

fn identity_reshape(d: &mut Draft) {
    let dims = d.any_shape(1, 4);
    let x = d.input(&dims);
    let y = d.node(Reshape { shape: extents(&dims) }, &[x]);
    let z = d.node(Relu {}, &[y]);
    d.maybe_output(y);
    d.output(z);
}

fn single_concat(d: &mut Draft) {
    let dims = d.any_shape(1, 4);
    let x = d.input(&dims);
    let axis = d.rng.below(dims.len());
    let y = d.node(Concat { axis }, &[x]);
    let z = d.node(Relu {}, &[y]);
    d.output(z);
}

fn neutral_operand(d: &mut Draft) {
    let dims = d.any_shape(1, 3);
    let x = d.input(&dims);
    let (one, zero) = (d.splat(1.0, &dims), d.splat(0.0, &dims));
    let y = match d.rng.below(4) {
        0 => d.node(Mul {}, &[x, one]),
        1 => d.node(Mul {}, &[one, x]),
        2 => d.node(Div {}, &[x, one]),
        _ => d.node(Sub {}, &[x, zero]),
    };
    let z = d.node(Relu {}, &[y]);
    d.maybe_output(y);
    d.output(z);
}

fn reshapes(d: &mut Draft) {
    let dims = d.any_shape(1, 4);
    let x = d.input(&dims);
    let (first, second) = (reshaped(d, &dims), reshaped(d, &dims));
    let y = d.node(Reshape { shape: extents(&first) }, &[x]);
    let z = d.node(Reshape { shape: extents(&second) }, &[y]);
    d.maybe_output(y);
    d.output(z);
}

fn transposes(d: &mut Draft) {
    let dims = d.any_shape(2, 5);
    let x = d.input(&dims);
    let (p, q) = (d.permutation(dims.len()), d.permutation(dims.len()));
    let y = d.node(Transpose { perm: p }, &[x]);
    let z = d.node(Transpose { perm: q }, &[y]);
    d.maybe_output(y);
    d.output(z);
}

fn broadcasts(d: &mut Draft) {
    let dims = d.any_shape(2, 4);
    let mut inner = dims.clone();
    inner[0] = 1;
    let mut source = inner.clone();
    source[1] = 1;
    let x = d.input(&source);
    let y = d.node(Broadcast { shape: extents(&inner) }, &[x]);
    let z = d.node(Broadcast { shape: extents(&dims) }, &[y]);
    d.maybe_output(y);
    d.output(z);
}

fn unit_transpose(d: &mut Draft) {
    let mut dims = d.any_shape(2, 4);
    dims[0] = 1;
    let x = d.input(&dims);
    let perm = (1..dims.len()).chain([0]).collect();
    let y = d.node(Transpose { perm }, &[x]);
    let z = d.node(Relu {}, &[y]);
    d.output(z);
}
