//! canonicalize - left sides for its rules.

use nnc_ir::{
    constant::Constant,
    dtype::{DType, Scalar},
    extent::Extent,
    graph::ValueId,
    ops::{
        Add, Broadcast, Cast, Concat, Div, Exp, Less, Max, Min, Mul, Neg, Not, Reduce, ReduceKind, Relu,
        Reshape, Select, Slice, Sub, Transpose,
    },
};

use super::Row;
use crate::draft::Draft;

pub(super) const ROWS: &[Row] = &[
    ("drop-identity-movement", identity_movement),
    ("drop-identity-reshape", identity_reshape),
    ("drop-single-concat", single_concat),
    ("drop-neutral-operand", neutral_operand),
    ("merge-reshapes", reshapes),
    ("merge-transposes", transposes),
    ("merge-broadcasts", broadcasts),
    ("reshape-for-unit-transpose", unit_transpose),
    ("transpose-of-broadcast", transposed_broadcast),
    ("reshape-of-broadcast", broadcast_on_more_axes),
    ("drop-double-negation", double_negation),
    ("drop-repeated-relu", repeated_relu),
    ("merge-bounds", bounds),
    ("merge-casts", casts),
    ("select-known", known_select),
    ("merge-slices", slices),
    ("slice-of-concat", slice_of_concat),
    ("concat-of-slices", concat_of_slices),
    ("drop-unit-reduction", unit_reduction),
    ("merge-reductions", reductions),
    ("sink-broadcast", early_broadcast),
    ("cancel-around-pointwise", movements_around),
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
    let x = d.special(&dims);
    let (one, zero) = (d.splat(1.0, &dims), d.splat(0.0, &dims));
    let (minus_zero, least) = (d.splat(-0.0, &dims), d.splat(f64::NEG_INFINITY, &dims));
    let greatest = d.splat(f64::INFINITY, &dims);
    let y = match d.rng.below(8) {
        4 => d.node(Add {}, &[x, minus_zero]),
        5 => d.node(Add {}, &[minus_zero, x]),
        6 => d.node(Max {}, &[least, x]),
        7 => d.node(Min {}, &[x, greatest]),
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

fn transposed_broadcast(d: &mut Draft) {
    let dims = d.any_shape(2, 4);
    let own: Vec<i64> = dims.iter().map(|&n| if d.rng.chance(50) { n } else { 1 }).collect();
    let lead = d.rng.below(2);
    let own = if own[0] == 1 { own[lead..].to_vec() } else { own };
    let x = d.input(&own);
    let y = d.spread(x, &dims);
    let perm = d.permutation(dims.len());
    let z = d.node(Transpose { perm }, &[y]);
    d.maybe_output(y);
    d.output(z);
}

fn broadcast_on_more_axes(d: &mut Draft) {
    let dims: Vec<i64> = d.any_shape(1, 3).iter().map(|n| n + 1).collect();
    let own: Vec<i64> = dims.iter().map(|&n| if d.rng.chance(50) { n } else { 1 }).collect();
    let x = d.input(&own);
    let y = d.spread(x, &dims);
    let mut more = dims;
    for _ in 0..=d.rng.below(2) {
        more.insert(d.rng.below(more.len() + 1), 1);
    }
    let z = d.node(Reshape { shape: extents(&more) }, &[y]);
    d.maybe_output(y);
    d.output(z);
}

fn double_negation(d: &mut Draft) {
    let dims = d.any_shape(1, 3);
    let x = d.special(&dims);
    let y = match d.rng.chance(60) {
        true => {
            let y = d.node(Neg {}, &[x]);
            d.maybe_output(y);
            d.node(Neg {}, &[y])
        }
        false => {
            let zero = d.splat(0.0, &dims);
            let y = d.node(Less {}, &[x, zero]);
            let y = d.node(Not {}, &[y]);
            d.node(Not {}, &[y])
        }
    };
    d.output(y);
}

fn repeated_relu(d: &mut Draft) {
    let dims = d.any_shape(1, 3);
    let x = d.special(&dims);
    let y = d.node(Relu {}, &[x]);
    let z = d.node(Relu {}, &[y]);
    d.maybe_output(y);
    d.output(z);
}

fn bounds(d: &mut Draft) {
    let dims = d.any_shape(1, 3);
    let mut x = d.special(&dims);
    let is_max = d.rng.chance(50);
    for _ in 0..2 {
        let bound = *d.rng.pick(&[-0.0, 0.0, 1.0, -1.0, 0.5, f64::INFINITY, f64::NAN]);
        let bound = d.splat(bound, &dims);
        let operands = if d.rng.chance(50) { [x, bound] } else { [bound, x] };
        x = if is_max { d.node(Max {}, &operands) } else { d.node(Min {}, &operands) };
        d.maybe_output(x);
    }
    d.output(x);
}

fn casts(d: &mut Draft) {
    let types = [
        DType::F32,
        DType::F64,
        DType::F16,
        DType::BF16,
        DType::I64,
        DType::I32,
        DType::I8,
        DType::U8,
        DType::U32,
        DType::Bool,
    ];
    d.dtype = *d.rng.pick(&types);
    let dims = d.any_shape(1, 3);
    let mut x = d.special(&dims);
    for _ in 0..4 {
        let to = *d.rng.pick(&types);
        x = d.node(Cast { to }, &[x]);
        d.maybe_output(x);
    }
    d.output(x);
}

fn known_select(d: &mut Draft) {
    let dims = d.any_shape(1, 3);
    let (a, b) = (d.special(&dims), d.special(&dims));
    let c = Constant::scalar(DType::Bool, Scalar::bool(d.rng.chance(50)));
    let c = d.constant(c);
    let mut c = d.spread(c, &dims);
    let mut b = b;
    if d.rng.chance(30) {
        c = d.node(Less {}, &[a, b]);
        b = a;
    }
    let y = d.node(Select {}, &[c, a, b]);
    let z = d.node(Neg {}, &[y]);
    d.output(z);
}

/// Every `step`-th element from a start, as many as there are or fewer.
fn sliced(d: &mut Draft, x: ValueId) -> ValueId {
    let (mut starts, mut steps, mut shape) = (Vec::new(), Vec::new(), Vec::new());
    for n in d.dims(x) {
        let (step, start) = (*d.rng.pick(&[1, 1, 2, -1]), d.rng.range(0, n - 1));
        let room = if step > 0 { (n - 1 - start) / step } else { start };
        starts.push(Extent::Const(start));
        steps.push(step);
        shape.push(Extent::Const(d.rng.range(1, room + 1)));
    }
    d.node(Slice { starts, steps, shape }, &[x])
}

fn slices(d: &mut Draft) {
    let dims = d.any_shape(1, 3);
    let x = d.input(&dims);
    let y = sliced(d, x);
    let z = sliced(d, y);
    d.maybe_output(y);
    d.output(z);
}

fn slice_of_concat(d: &mut Draft) {
    let mut dims = d.any_shape(1, 3);
    let axis = d.rng.below(dims.len());
    let mut operands = Vec::new();
    for _ in 0..2 {
        dims[axis] = 2 + d.extent();
        operands.push(d.input(&dims));
    }
    let y = d.node(Concat { axis }, &operands);
    let z = sliced(d, y);
    let u = sliced(d, y);
    d.output(z);
    d.output(u);
}

fn concat_of_slices(d: &mut Draft) {
    let mut dims = d.any_shape(1, 3);
    let axis = d.rng.below(dims.len());
    dims[axis] = 6;
    let x = d.input(&dims);
    let cuts = [0, d.rng.range(1, 2), d.rng.range(3, 4), 6];
    let mut parts: Vec<ValueId> = Vec::new();
    for w in cuts.windows(2) {
        let (mut starts, mut shape) = (vec![Extent::ZERO; dims.len()], extents(&dims));
        (starts[axis], shape[axis]) = (Extent::Const(w[0]), Extent::Const(w[1] - w[0]));
        parts.push(d.node(Slice { starts, steps: vec![1; dims.len()], shape }, &[x]));
    }
    if d.rng.chance(30) {
        parts.swap(0, 1);
    }
    if d.rng.chance(50) {
        parts.pop();
    }
    let y = d.node(Concat { axis }, &parts);
    let z = d.node(Relu {}, &[y]);
    d.output(z);
}

fn reduced(d: &mut Draft, x: ValueId, kind: ReduceKind, keep: bool) -> ValueId {
    let rank = d.dims(x).len();
    let axes: Vec<usize> = (0..rank).filter(|_| d.rng.chance(50)).collect();
    d.node(Reduce { kind, axes, keep }, &[x])
}

const KINDS: [ReduceKind; 4] = [ReduceKind::Sum, ReduceKind::Product, ReduceKind::Max, ReduceKind::Min];

fn unit_reduction(d: &mut Draft) {
    let mut dims = d.any_shape(2, 4);
    dims[0] = 1;
    let x = d.special(&dims);
    let (kind, keep) = (*d.rng.pick(&KINDS), d.rng.chance(50));
    let y = reduced(d, x, kind, keep);
    d.output(y);
}

fn reductions(d: &mut Draft) {
    d.dtype = *d.rng.pick(&[DType::F32, DType::I32, DType::I32, DType::I64, DType::U8]);
    let dims = d.any_shape(2, 4);
    let x = d.special(&dims);
    let (kind, keep) = (*d.rng.pick(&KINDS), d.rng.chance(50));
    let y = reduced(d, x, kind, keep);
    let z = reduced(d, y, kind, keep);
    d.maybe_output(y);
    d.output(z);
}

fn early_broadcast(d: &mut Draft) {
    let dims = d.any_shape(2, 4);
    let some = |d: &mut Draft| {
        let own: Vec<i64> = dims.iter().map(|&n| if d.rng.chance(30) { n } else { 1 }).collect();
        let x = d.special(&own);
        d.spread(x, &dims)
    };
    let (x, y, c) = (some(d), some(d), d.splat(0.5, &dims));
    let y = if d.rng.chance(30) { c } else { y };
    let z = if d.rng.chance(50) { d.node(Mul {}, &[x, y]) } else { d.node(Relu {}, &[x]) };
    let z = d.node(Max {}, &[z, y]);
    d.maybe_output(x);
    d.output(z);
}

fn movements_around(d: &mut Draft) {
    let dims = d.any_shape(2, 4);
    let perm = d.permutation(dims.len());
    let mut inverse = vec![0; perm.len()];
    for (i, &p) in perm.iter().enumerate() {
        inverse[p] = i;
    }
    let (x, y) = (d.special(&dims), d.special(&dims));
    let moved = |d: &mut Draft, x| {
        let x = d.node(Transpose { perm: perm.clone() }, &[x]);
        let shape = [&[1], &d.dims(x)[..]].concat();
        d.node(Reshape { shape: extents(&shape) }, &[x])
    };
    let (a, b) = (moved(d, x), moved(d, y));
    let there = d.dims(a);
    let c = d.splat(0.5, &there);
    let e = d.node(Exp {}, &[a]);
    let condition = d.node(Less {}, &[a, c]);
    let mut z = d.node(Select {}, &[condition, e, a]);
    if d.rng.chance(50) {
        z = d.node(Add {}, &[z, b]);
    }
    if d.rng.chance(10) {
        d.output(z);
    }
    let z = d.node(Reshape { shape: extents(&there[1..]) }, &[z]);
    let z = d.node(Transpose { perm: inverse }, &[z]);
    d.output(z);
}
