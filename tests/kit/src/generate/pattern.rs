//! pattern - what networks are made of: operations that stand together.

use nnc_ir::{
    extent::Extent,
    ops::{self, ReduceKind},
};

use super::{
    Kind, contraction, pointwise,
    state::{Gen, Val},
};
use crate::rng::Fill;

pub(super) fn step(g: &mut Gen) {
    match g.rng.below(6) {
        0 => softmax(g),
        1 => layer_norm(g),
        2 => contraction::matmul(g).and_then(|_| epilogue(g)),
        3 => contraction::conv(g).and_then(|_| epilogue(g)),
        4 => swish(g),
        _ => residual(g),
    };
}

/// A bias on the channels or the last axis, then something pointwise.
pub(super) fn epilogue(g: &mut Gen) -> Option<Val> {
    let v = *g.live.last()?;
    let shape = g.shape(v);
    let axis = if shape.len() > 2 && g.rng.chance(50) { 1 } else { shape.len().checked_sub(1)? };
    let mut v = v;
    if let Some(c) = shape[axis].as_const()
        && g.rng.chance(70)
    {
        let mut dims = vec![1; shape.len() - axis];
        dims[0] = c;
        let bias = g.constant(g.dtype(v), &dims);
        let bias = g.broadcast(bias, &shape);
        v = g.add(ops::Add {}, &[v, bias], v.mag + bias.mag);
    }
    Some(match g.rng.below(4) {
        0 => v,
        1 if g.kind != Kind::Whole && g.dtype(v).is_float() => g.add(ops::Sigmoid {}, &[v], 1.0),
        2 => {
            let w = pointwise::partner(g, v);
            let limit = g.limit(g.dtype(v)) / 2.0;
            let (v, w) = (g.within(v, limit), g.within(w, limit));
            g.add(ops::Add {}, &[v, w], v.mag + w.mag)
        }
        _ => g.add(ops::Relu {}, &[v], v.mag),
    })
}

/// Softmax along the last axis, spelt out.
fn softmax(g: &mut Gen) -> Option<Val> {
    if g.kind != Kind::Rounding {
        return None;
    }
    let v =
        g.choose(|g, v| g.rank(v) >= 1 && g.dtype(v).is_float() && g.least(&g.shape(v)[g.rank(v) - 1]) > 0)?;
    let shape = g.shape(v);
    let axes = vec![shape.len() - 1];
    let limit = if g.fill == Fill::Finite { 40.0 } else { f64::INFINITY };
    let v = g.within(v, limit);
    let greatest = g.add(ops::Reduce { kind: ReduceKind::Max, axes: axes.clone(), keep: true }, &[v], v.mag);
    let greatest = g.broadcast(greatest, &shape);
    let centred = g.add(ops::Sub {}, &[v, greatest], 2.0 * v.mag);
    let powers = g.add(ops::Exp {}, &[centred], 1.0);
    let n = g.most(&shape[axes[0]]) as f64;
    let sum = g.add(ops::Reduce { kind: ReduceKind::Sum, axes, keep: true }, &[powers], n);
    let sum = g.broadcast(sum, &shape);
    Some(g.add(ops::Div {}, &[powers, sum], 1.0))
}

/// Layer normalization along the last axis, spelt out.
fn layer_norm(g: &mut Gen) -> Option<Val> {
    if g.kind != Kind::Rounding {
        return None;
    }
    let v = g.choose(|g, v| g.rank(v) >= 1 && g.dtype(v).is_float())?;
    let shape = g.shape(v);
    let axis = shape.len() - 1;
    let n = shape[axis].as_const().filter(|&n| n > 0)?;
    let v = g.within(v, 16.0);
    let mean = mean(g, v, axis, n);
    let mean = g.broadcast(mean, &shape);
    let centred = g.add(ops::Sub {}, &[v, mean], 2.0 * v.mag);
    let square = g.add(ops::Mul {}, &[centred, centred], 4.0 * v.mag * v.mag);
    let variance = self::mean(g, square, axis, n);
    let small = g.number(variance, 0.01);
    let variance = g.add(ops::Add {}, &[variance, small], 4.0 * v.mag * v.mag);
    let deviation = g.add(ops::Sqrt {}, &[variance], 2.0 * v.mag + 1.0);
    let deviation = g.broadcast(deviation, &shape);
    let normal = g.add(ops::Div {}, &[centred, deviation], 20.0 * v.mag);
    let scale = g.constant(g.dtype(v), &[n]);
    let scale = g.broadcast(scale, &shape);
    Some(g.add(ops::Mul {}, &[normal, scale], 40.0 * v.mag))
}

fn mean(g: &mut Gen, v: Val, axis: usize, n: i64) -> Val {
    let sum =
        g.add(ops::Reduce { kind: ReduceKind::Sum, axes: vec![axis], keep: true }, &[v], v.mag * n as f64);
    let factor = g.number(sum, 1.0 / n as f64);
    g.add(ops::Mul {}, &[sum, factor], v.mag)
}

/// `x * sigmoid(x)`.
fn swish(g: &mut Gen) -> Option<Val> {
    if g.kind == Kind::Whole {
        return None;
    }
    let v = g.choose_float()?;
    let gate = g.add(ops::Sigmoid {}, &[v], 1.0);
    Some(g.add(ops::Mul {}, &[v, gate], v.mag))
}

/// A value and a chain behind it, added.
fn residual(g: &mut Gen) -> Option<Val> {
    let v = g.choose(|g, v| g.dtype(v) != nnc_ir::dtype::DType::Bool)?;
    let limit = g.limit(g.dtype(v)) / 4.0;
    let v = g.within(v, limit);
    let branch = g.add(ops::Relu {}, &[v], v.mag);
    let one = g.number(branch, 1.0);
    let branch = g.add(ops::Add {}, &[branch, one], v.mag + 1.0);
    debug_assert!(g.shape(v).iter().all(|e| *e != Extent::Const(-1)));
    Some(g.add(ops::Add {}, &[v, branch], 2.0 * v.mag + 1.0))
}
