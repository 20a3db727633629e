//! recognize - left sides for its rules: each pattern in spellings that exporters use, operands in any order.

mod group;
mod rotary;
mod unrolled;

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use nnc_ir::{
    extent::Extent,
    graph::ValueId,
    ops::{
        Add, Broadcast, Div, Erf, Exp, Log, MatMul, Max, Min, Mul, Neg, Pow, Reduce, ReduceKind, Relu,
        Reshape, Sigmoid, Slice, Sqrt, Sub, Tanh, Transpose,
    },
};

use super::Row;
use crate::draft::Draft;

pub(super) const ROWS: &[Row] = &[
    ("power", power),
    ("quotient", quotient),
    ("mean", mean_by_inverse),
    ("layer-norm", layer_norm),
    ("rms-norm", rms_norm),
    ("norm-scale", scaled_norm),
    ("group-norm", group::group_norm),
    ("softmax", softmax),
    ("log-softmax", log_softmax),
    ("gelu-erf", gelu_erf),
    ("gelu-tanh", gelu_tanh),
    ("sigmoid", sigmoid),
    ("silu", silu),
    ("softplus", softplus),
    ("mish", mish),
    ("hard-sigmoid", hard_sigmoid),
    ("hard-swish", hard_swish),
    ("attention", attention),
    ("rotary", rotary::rotary),
    ("rotate-half", rotary::rotate_half),
    ("recurrent-gates", gates),
    ("lstm-cell", lstm_cell),
    ("gru-cell", gru_cell),
    ("unrolled-lstm", unrolled::unrolled_lstm),
    ("joined-steps", unrolled::joined_steps),
];

fn extents(dims: &[i64]) -> Vec<Extent> {
    dims.iter().map(|&d| Extent::Const(d)).collect()
}

/// An input of two to four axes, none of extent 1.
fn tensor(d: &mut Draft) -> (ValueId, Vec<i64>) {
    let rank = 2 + d.rng.below(2);
    let dims: Vec<i64> = (0..rank).map(|_| *d.rng.pick(&[2, 3, 4, 5, 8])).collect();
    (d.input(&dims), dims)
}

/// The sum or product of both, in either order.
fn add(d: &mut Draft, a: ValueId, b: ValueId) -> ValueId {
    if d.rng.chance(50) { d.node(Add {}, &[a, b]) } else { d.node(Add {}, &[b, a]) }
}

fn mul(d: &mut Draft, a: ValueId, b: ValueId) -> ValueId {
    if d.rng.chance(50) { d.node(Mul {}, &[a, b]) } else { d.node(Mul {}, &[b, a]) }
}

/// `x` and a number, which is a scalar or a splat.
fn number(d: &mut Draft, c: f64, like: ValueId) -> ValueId {
    let dims = d.dims(like);
    d.splat(c, &dims)
}

fn plus(d: &mut Draft, x: ValueId, c: f64) -> ValueId {
    let c = number(d, c, x);
    add(d, x, c)
}

/// `c x`, by product or quotient.
fn times(d: &mut Draft, x: ValueId, c: f64) -> ValueId {
    if d.rng.chance(50) {
        let c = number(d, c, x);
        return mul(d, x, c);
    }
    let c = number(d, 1.0 / c, x);
    d.node(Div {}, &[x, c])
}

/// The product of three in any order.
fn triple(d: &mut Draft, parts: [ValueId; 3]) -> ValueId {
    let order = d.permutation(3);
    let first = mul(d, parts[order[0]], parts[order[1]]);
    mul(d, first, parts[order[2]])
}

fn finish(d: &mut Draft, inner: ValueId, y: ValueId) {
    d.maybe_output(inner);
    d.output(y);
}

fn power(d: &mut Draft) {
    let (x, _) = tensor(d);
    let e = *d.rng.pick(&[1.0, 2.0, 3.0, 4.0, 0.5]);
    let base = if e == 0.5 { d.node(Exp {}, &[x]) } else { x };
    let e = number(d, e, x);
    let y = d.node(Pow {}, &[base, e]);
    finish(d, base, y);
}

fn quotient(d: &mut Draft) {
    let (x, dims) = tensor(d);
    let below = d.input(&dims);
    let below = d.node(Exp {}, &[below]);
    let one = number(d, 1.0, x);
    let r = d.node(Div {}, &[one, below]);
    let y = mul(d, x, r);
    finish(d, below, y);
}

/// Joined along the last axis, kept or put back, and spread again.
fn row(d: &mut Draft, kind: ReduceKind, x: ValueId) -> ValueId {
    let mut dims = d.dims(x);
    let axes = vec![dims.len() - 1];
    if d.rng.chance(50) {
        return d.node(Reduce { kind, axes, keep: true }, &[x]);
    }
    let y = d.node(Reduce { kind, axes, keep: false }, &[x]);
    *dims.last_mut().expect("drafts of rows have axes") = 1;
    d.node(Reshape { shape: extents(&dims) }, &[y])
}

/// The mean along the last axis, which stays.
fn mean(d: &mut Draft, x: ValueId) -> ValueId {
    let n = *d.dims(x).last().expect("drafts of rows have axes") as f64;
    let sum = row(d, ReduceKind::Sum, x);
    times(d, sum, 1.0 / n)
}

fn mean_by_inverse(d: &mut Draft) {
    let (x, dims) = tensor(d);
    let sum = row(d, ReduceKind::Sum, x);
    let inverse = number(d, 1.0 / dims[dims.len() - 1] as f64, sum);
    let y = mul(d, sum, inverse);
    finish(d, sum, y);
}

fn spread(d: &mut Draft, row: ValueId, like: ValueId) -> ValueId {
    let shape = extents(&d.dims(like));
    d.node(Broadcast { shape }, &[row])
}

/// `top` over the root of `variance`, with a scale.
fn normalize(d: &mut Draft, top: ValueId, variance: ValueId) -> ValueId {
    let v = plus(d, variance, 0.125);
    let root = d.node(Sqrt {}, &[v]);
    let scale = d.dims(top);
    let scale = d.weight(&scale[scale.len() - 1..]);
    let scale = spread(d, scale, top);
    match d.rng.below(3) {
        0 => {
            let root = spread(d, root, top);
            d.node(Div {}, &[top, root])
        }
        1 => {
            let root = spread(d, root, top);
            let y = mul(d, top, scale);
            d.node(Div {}, &[y, root])
        }
        _ => {
            let one = number(d, 1.0, root);
            let inverse = d.node(Div {}, &[one, root]);
            let inverse = spread(d, inverse, top);
            let s = mul(d, inverse, scale);
            mul(d, top, s)
        }
    }
}

fn layer_norm(d: &mut Draft) {
    let (x, _) = tensor(d);
    let m = mean(d, x);
    let wide = spread(d, m, x);
    let centred = d.node(Sub {}, &[x, wide]);
    let variance = if d.rng.chance(60) {
        let square = d.node(Mul {}, &[centred, centred]);
        mean(d, square)
    } else {
        let square = d.node(Mul {}, &[x, x]);
        let square = mean(d, square);
        let other = d.node(Mul {}, &[m, m]);
        let v = d.node(Sub {}, &[square, other]);
        d.node(Relu {}, &[v])
    };
    let y = normalize(d, centred, variance);
    finish(d, centred, y);
}

/// Divided by its norm, then scaled from the left.
fn scaled_norm(d: &mut Draft) {
    let (x, dims) = tensor(d);
    let square = d.node(Mul {}, &[x, x]);
    let variance = mean(d, square);
    let v = plus(d, variance, 0.125);
    let root = d.node(Sqrt {}, &[v]);
    let root = spread(d, root, x);
    let y = d.node(Div {}, &[x, root]);
    let scale = d.weight(&dims[dims.len() - 1..]);
    let scale = spread(d, scale, x);
    let z = d.node(Mul {}, &[scale, y]);
    finish(d, y, z);
}

fn rms_norm(d: &mut Draft) {
    let (x, _) = tensor(d);
    let square = d.node(Mul {}, &[x, x]);
    let variance = mean(d, square);
    let y = normalize(d, x, variance);
    finish(d, variance, y);
}

fn softmax(d: &mut Draft) {
    let (mut x, _) = tensor(d);
    if d.rng.chance(30) {
        let m = row(d, ReduceKind::Max, x);
        let low = number(d, f64::NEG_INFINITY, m);
        let m = d.node(Max {}, &[low, m]);
        let m = spread(d, m, x);
        x = d.node(Sub {}, &[x, m]);
    }
    let e = d.node(Exp {}, &[x]);
    let sum = row(d, ReduceKind::Sum, e);
    let y = if d.rng.chance(50) {
        let sum = spread(d, sum, e);
        d.node(Div {}, &[e, sum])
    } else {
        let one = number(d, 1.0, sum);
        let inverse = d.node(Div {}, &[one, sum]);
        let inverse = spread(d, inverse, e);
        mul(d, e, inverse)
    };
    d.output(y);
}

fn log_softmax(d: &mut Draft) {
    let (x, _) = tensor(d);
    let e = d.node(Exp {}, &[x]);
    let sum = row(d, ReduceKind::Sum, e);
    let y = if d.rng.chance(50) {
        let sum = spread(d, sum, e);
        let p = d.node(Div {}, &[e, sum]);
        d.node(Log {}, &[p])
    } else {
        let log = d.node(Log {}, &[sum]);
        let log = spread(d, log, x);
        d.node(Sub {}, &[x, log])
    };
    d.output(y);
}

fn gelu_erf(d: &mut Draft) {
    let (x, _) = tensor(d);
    let inner = times(d, x, FRAC_1_SQRT_2);
    let e = d.node(Erf {}, &[inner]);
    let gate = plus(d, e, 1.0);
    let half = number(d, 0.5, x);
    let y = triple(d, [x, gate, half]);
    finish(d, e, y);
}

/// The cube, by power or by products.
fn cube(d: &mut Draft, x: ValueId) -> ValueId {
    if d.rng.chance(30) {
        let three = number(d, 3.0, x);
        return d.node(Pow {}, &[x, three]);
    }
    triple(d, [x; 3])
}

fn gelu_tanh(d: &mut Draft) {
    let (x, _) = tensor(d);
    let cubic = cube(d, x);
    let cubic = times(d, cubic, 0.044_715);
    let inner = add(d, x, cubic);
    let inner = times(d, inner, (2.0 / PI).sqrt());
    let t = d.node(Tanh {}, &[inner]);
    let gate = plus(d, t, 1.0);
    let half = number(d, 0.5, x);
    let y = triple(d, [x, gate, half]);
    finish(d, inner, y);
}

/// `1 + exp(-x)`.
fn below(d: &mut Draft, x: ValueId) -> ValueId {
    let minus = if d.rng.chance(50) { d.node(Neg {}, &[x]) } else { times(d, x, -1.0) };
    let e = d.node(Exp {}, &[minus]);
    plus(d, e, 1.0)
}

fn sigmoid(d: &mut Draft) {
    let (x, _) = tensor(d);
    let y = match d.rng.below(3) {
        0 => {
            let below = below(d, x);
            let one = number(d, 1.0, x);
            d.node(Div {}, &[one, below])
        }
        1 => {
            let e = d.node(Exp {}, &[x]);
            let below = plus(d, e, 1.0);
            d.node(Div {}, &[e, below])
        }
        _ => {
            let half = times(d, x, 0.5);
            let t = d.node(Tanh {}, &[half]);
            let t = plus(d, t, 1.0);
            times(d, t, 0.5)
        }
    };
    d.output(y);
}

fn silu(d: &mut Draft) {
    let (x, _) = tensor(d);
    let y = if d.rng.chance(60) {
        let below = below(d, x);
        d.node(Div {}, &[x, below])
    } else {
        let gate = d.node(Sigmoid {}, &[x]);
        d.node(Mul {}, &[gate, x])
    };
    finish(d, x, y);
}

fn soft(d: &mut Draft, x: ValueId) -> ValueId {
    let e = d.node(Exp {}, &[x]);
    let e = plus(d, e, 1.0);
    d.node(Log {}, &[e])
}

fn softplus(d: &mut Draft) {
    let (x, _) = tensor(d);
    let y = soft(d, x);
    d.output(y);
}

fn mish(d: &mut Draft) {
    let (x, _) = tensor(d);
    let gate = soft(d, x);
    let gate = d.node(Tanh {}, &[gate]);
    let y = d.node(Mul {}, &[gate, x]);
    d.output(y);
}

/// Kept within 0 and `high`.
fn clip(d: &mut Draft, x: ValueId, high: f64) -> ValueId {
    let high = number(d, high, x);
    if d.rng.chance(30) {
        let x = d.node(Relu {}, &[x]);
        return d.node(Min {}, &[x, high]);
    }
    let zero = number(d, 0.0, x);
    if d.rng.chance(50) {
        let x = d.node(Max {}, &[x, zero]);
        return d.node(Min {}, &[x, high]);
    }
    let x = d.node(Min {}, &[x, high]);
    d.node(Max {}, &[x, zero])
}

fn hard_sigmoid(d: &mut Draft) {
    let (x, _) = tensor(d);
    let line = plus(d, x, 3.0);
    let line = clip(d, line, 6.0);
    let y = times(d, line, 1.0 / 6.0);
    finish(d, line, y);
}

fn hard_swish(d: &mut Draft) {
    let (x, _) = tensor(d);
    let line = plus(d, x, 3.0);
    let line = clip(d, line, 6.0);
    let y = mul(d, line, x);
    let y = times(d, y, 1.0 / 6.0);
    finish(d, line, y);
}

fn attention(d: &mut Draft) {
    let [heads, length, total, size] = [2, 3, 4, 5].map(|n| n + d.rng.below(3) as i64);
    let (q, k) = (d.input(&[heads, length, size]), d.input(&[heads, total, size]));
    let v = d.input(&[heads, total, size]);
    let scale = 1.0 / (size as f64).sqrt();
    let (mut q, mut k) = (q, k);
    let on_scores = match d.rng.below(3) {
        0 => {
            (q, k) = (times(d, q, scale.sqrt()), times(d, k, scale.sqrt()));
            false
        }
        1 => {
            k = times(d, k, scale);
            false
        }
        _ => true,
    };
    let k = d.node(Transpose { perm: vec![0, 2, 1] }, &[k]);
    let mut scores = d.node(MatMul {}, &[q, k]);
    if on_scores {
        scores = times(d, scores, scale);
    }
    if d.rng.chance(50) {
        let mask = d.input(&[heads, length, total]);
        scores = add(d, scores, mask);
    }
    let dims = [heads, length, total];
    let shape = extents(&dims);
    let m = d.node(Reduce { kind: ReduceKind::Max, axes: vec![2], keep: true }, &[scores]);
    let m = d.node(Broadcast { shape: shape.clone() }, &[m]);
    let z = d.node(Sub {}, &[scores, m]);
    let e = d.node(Exp {}, &[z]);
    let sum = d.node(Reduce { kind: ReduceKind::Sum, axes: vec![2], keep: true }, &[e]);
    let sum = d.node(Broadcast { shape }, &[sum]);
    let weights = d.node(Div {}, &[e, sum]);
    let y = d.node(MatMul {}, &[weights, v]);
    d.output(y);
}

fn cut(d: &mut Draft, x: ValueId, at: i64, n: i64) -> ValueId {
    let mut dims = d.dims(x);
    let mut starts = vec![0; dims.len()];
    (starts[1], dims[1]) = (at * n, n);
    d.node(Slice { starts: extents(&starts), steps: vec![1; dims.len()], shape: extents(&dims) }, &[x])
}

fn gates(d: &mut Draft) {
    let (batch, n) = (d.extent(), d.extent());
    let x = d.input(&[batch, 4 * n]);
    let x = if d.rng.chance(50) {
        let dims = extents(&[batch, 3 * n]);
        d.node(Slice { starts: extents(&[0, 0]), steps: vec![1, 1], shape: dims }, &[x])
    } else {
        x
    };
    let f = if d.rng.chance(50) { d.node(Sigmoid {}, &[x]) } else { d.node(Tanh {}, &[x]) };
    for at in 0..2 + d.rng.below(2) as i64 {
        let gate = cut(d, f, at, n);
        d.output(gate);
    }
}

fn lstm_cell(d: &mut Draft) {
    let dims = d.shape(2);
    let parts: Vec<ValueId> = (0..5).map(|_| d.input(&dims)).collect();
    let [i, f, o] = [0, 1, 2].map(|at| d.node(Sigmoid {}, &[parts[at]]));
    let g = d.node(Tanh {}, &[parts[3]]);
    let (added, kept) = (mul(d, i, g), mul(d, f, parts[4]));
    let c = add(d, added, kept);
    let shown = d.node(Tanh {}, &[c]);
    let h = mul(d, o, shown);
    finish(d, c, h);
}

fn gru_cell(d: &mut Draft) {
    let dims = d.shape(2);
    let (z, n, h) = (d.input(&dims), d.input(&dims), d.input(&dims));
    let (z, n) = (d.node(Sigmoid {}, &[z]), d.node(Tanh {}, &[n]));
    let one = number(d, 1.0, z);
    let rest = d.node(Sub {}, &[one, z]);
    let (new, old) = (mul(d, rest, n), mul(d, z, h));
    let y = add(d, new, old);
    finish(d, z, y);
}
