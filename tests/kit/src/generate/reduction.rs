//! reduction - several elements joined to one: along axes, in windows, up to a place.

use nnc_ir::{
    dtype::DType,
    extent::Extent,
    ops::{self, ArgKind, PoolKind, ReduceKind},
};

use super::{
    Kind,
    state::{Gen, Val},
};
use crate::rng::Fill;

pub(super) fn step(g: &mut Gen) {
    match g.rng.below(10) {
        0..=4 => reduce(g),
        5 => arg_reduce(g),
        6..=7 => pool(g),
        8 => arg_pool(g),
        _ => cumsum(g),
    };
}

/// Whether the sum of `n` elements of `v` may be taken; scales `v` down for it.
pub(super) fn summable(g: &mut Gen, v: Val, n: i64) -> Option<Val> {
    if !g.dtype(v).is_float() {
        return Some(v);
    }
    if g.kind == Kind::Exact {
        return None;
    }
    let limit = g.limit(g.dtype(v)) / n.max(1) as f64;
    (g.kind != Kind::Whole || limit >= 1.0).then(|| g.within(v, limit))
}

fn choose_numbers(g: &mut Gen) -> Option<Val> {
    g.choose(|g, v| g.rank(v) >= 1 && g.dtype(v) != DType::Bool)
}

pub(super) fn reduce(g: &mut Gen) -> Option<Val> {
    let v = g.choose(|g, v| g.rank(v) >= 1)?;
    let shape = g.shape(v);
    let axes: Vec<usize> = (0..shape.len()).filter(|_| g.rng.chance(50)).collect();
    let keep = g.rng.chance(50);
    let joined: Vec<Extent> = axes.iter().map(|&a| shape[a].clone()).collect();
    let n = g.elements(&joined);
    let sum = g.dtype(v) != DType::Bool && g.rng.chance(60);
    if sum && let Some(v) = summable(g, v, n) {
        let product = g.kind == Kind::Rounding && g.fill == Fill::Finite && n <= 4 && g.rng.chance(15);
        let kind = if product { ReduceKind::Product } else { ReduceKind::Sum };
        let v = if product { g.within(v, 10.0) } else { v };
        let mag = if product { v.mag.max(1.0).powi(4) } else { v.mag * n as f64 };
        return Some(g.add(ops::Reduce { kind, axes, keep }, &[v], mag));
    }
    let kind = *g.rng.pick(&[ReduceKind::Max, ReduceKind::Min]);
    if g.fill != Fill::Special && n == 0 {
        // The greatest of nothing is minus infinity.
        return None;
    }
    Some(g.add(ops::Reduce { kind, axes, keep }, &[v], v.mag))
}

fn arg_reduce(g: &mut Gen) -> Option<Val> {
    let v = choose_numbers(g)?;
    let shape = g.shape(v);
    let axis = g.rng.below(shape.len());
    if g.least(&shape[axis]) < 1 {
        return None;
    }
    let kind = *g.rng.pick(&[ArgKind::Max, ArgKind::Min]);
    let (keep, last) = (g.rng.chance(50), g.rng.chance(30));
    let mag = g.most(&shape[axis]) as f64;
    Some(g.add(ops::ArgReduce { kind, axis, keep, last }, &[v], mag))
}

/// Windows over the trailing axes of a value.
struct Windows {
    kernel: Vec<i64>,
    strides: Vec<i64>,
    dilations: Vec<i64>,
    pads_before: Vec<i64>,
    spatial: Vec<Extent>,
}

fn windows(g: &mut Gen, shape: &[Extent]) -> Option<Windows> {
    let axes = g.rng.below(shape.len().min(3)) + 1;
    let mut w =
        Windows { kernel: vec![], strides: vec![], dilations: vec![], pads_before: vec![], spatial: vec![] };
    for extent in &shape[shape.len() - axes..] {
        let (kernel, stride) = (*g.rng.pick(&[1, 2, 3, 3, 5]), *g.rng.pick(&[1, 1, 2, 3]));
        let dilation = if g.rng.chance(20) { 2 } else { 1 };
        let reach = (kernel - 1) * dilation + 1;
        let pad = g.rng.range(0, reach / 2);
        let after = g.rng.range(0, reach / 2);
        let room = extent + &Extent::Const(pad + after - reach);
        if g.least(&room) < 0 || !g.is_known(std::slice::from_ref(&room)) {
            return None;
        }
        w.spatial.push(&room.floor_div(&Extent::Const(stride)) + &Extent::ONE);
        w.kernel.push(kernel);
        w.strides.push(stride);
        w.dilations.push(dilation);
        w.pads_before.push(pad);
    }
    let result = [&shape[..shape.len() - axes], &w.spatial].concat();
    g.fits(&result).then_some(w)
}

fn pool(g: &mut Gen) -> Option<Val> {
    let v = choose_numbers(g)?;
    let shape = g.shape(v);
    let Windows { kernel, strides, dilations, pads_before, spatial } = windows(g, &shape)?;
    let n = kernel.iter().product();
    let sum = g.rng.chance(50);
    if sum && let Some(v) = summable(g, v, n) {
        let mean = g.dtype(v).is_float() && g.kind == Kind::Rounding && g.rng.chance(60);
        let (kind, mag) = if mean { (PoolKind::Mean, v.mag) } else { (PoolKind::Sum, v.mag * n as f64) };
        return Some(g.add(ops::Pool { kind, kernel, strides, dilations, pads_before, spatial }, &[v], mag));
    }
    let kind = *g.rng.pick(&[PoolKind::Max, PoolKind::Max, PoolKind::Min]);
    // A window wholly in the padding has no greatest element.
    let never_outside = pads_before.iter().zip(&kernel).all(|(&p, &k)| p == 0 || k > p)
        && pads_before.iter().all(|&p| p == 0);
    (g.fill == Fill::Special || never_outside)
        .then(|| g.add(ops::Pool { kind, kernel, strides, dilations, pads_before, spatial }, &[v], v.mag))
}

fn arg_pool(g: &mut Gen) -> Option<Val> {
    let v = choose_numbers(g)?;
    let shape = g.shape(v);
    let Windows { kernel, strides, dilations, pads_before, spatial } = windows(g, &shape)?;
    let column_major = g.rng.chance(20);
    let mag = g.elements(&shape) as f64;
    Some(g.add(ops::ArgPool { kernel, strides, dilations, pads_before, spatial, column_major }, &[v], mag))
}

fn cumsum(g: &mut Gen) -> Option<Val> {
    let v = choose_numbers(g)?;
    let shape = g.shape(v);
    let axis = g.rng.below(shape.len());
    let n = g.most(&shape[axis]);
    let v = summable(g, v, n)?;
    let (exclusive, reverse) = (g.rng.chance(30), g.rng.chance(30));
    Some(g.add(ops::CumSum { axis, exclusive, reverse }, &[v], v.mag * n as f64))
}
