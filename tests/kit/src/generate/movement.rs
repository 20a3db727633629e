//! movement - elements that change place: shapes, slices, padding, gathers, scatters, joins.

use nnc_ir::{
    dtype::{DType, Scalar},
    extent::{Extent, product},
    form::ScatterCombine,
    ops::{self, Op},
};

use super::{
    Kind, pointwise,
    state::{Gen, Val},
};
use crate::rng::{Fill, element};

pub(super) fn step(g: &mut Gen) {
    match g.rng.below(16) {
        0..=1 => transpose(g),
        2..=4 => reshape(g),
        5 => broadcast(g),
        6..=7 => slice(g),
        8..=9 => pad(g),
        10 => gather(g),
        11 => gather_elements(g),
        12..=13 => concat(g),
        14 => scatter(g),
        _ => spread(g),
    };
}

/// A value with at least one axis.
fn choose_ranked(g: &mut Gen) -> Option<Val> {
    g.choose(|g, v| g.rank(v) >= 1)
}

pub(super) fn transpose(g: &mut Gen) -> Option<Val> {
    let v = choose_ranked(g)?;
    let mut perm: Vec<usize> = (0..g.rank(v)).collect();
    for i in (1..perm.len()).rev() {
        let j = g.rng.below(i + 1);
        perm.swap(i, j);
    }
    Some(g.add(ops::Transpose { perm }, &[v], v.mag))
}

/// Joins axes, splits one, or adds axes of extent 1.
pub(super) fn reshape(g: &mut Gen) -> Option<Val> {
    let v = g.choose(|_, _| true)?;
    let mut shape = g.shape(v);
    match g.rng.below(4) {
        0 if shape.len() >= 2 => {
            let at = g.rng.below(shape.len() - 1);
            let joint = &shape[at] * &shape[at + 1];
            shape.splice(at..at + 2, [joint]);
        }
        1 if !shape.is_empty() => {
            let at = g.rng.below(shape.len());
            let c = shape[at].as_const()?;
            let divisors: Vec<i64> = (1..=c.max(1)).filter(|d| c % d == 0).collect();
            let d = *g.rng.pick(&divisors);
            shape.splice(at..=at, [Extent::Const(d), Extent::Const(c / d)]);
        }
        2 if !shape.is_empty() => shape = vec![product(&shape)],
        _ => {
            let at = g.rng.below(shape.len() + 1);
            shape.insert(at, Extent::ONE);
        }
    }
    (shape.len() <= 6).then(|| g.add(ops::Reshape { shape }, &[v], v.mag))
}

fn broadcast(g: &mut Gen) -> Option<Val> {
    let v = g.choose(|g, v| g.rank(v) <= 4)?;
    let mut shape = g.shape(v);
    for extent in &mut shape {
        if extent.is(1) && g.rng.chance(70) {
            *extent = Extent::Const(g.extent());
        }
    }
    if g.rng.chance(50) {
        shape.insert(0, Extent::Const(g.extent()));
    }
    (g.fits(&shape) && g.is_known(&shape)).then(|| g.broadcast(v, &shape))
}

pub(super) fn slice(g: &mut Gen) -> Option<Val> {
    let v = choose_ranked(g)?;
    let (mut starts, mut steps, mut shape) = (Vec::new(), Vec::new(), Vec::new());
    for extent in g.shape(v) {
        let (start, step, count) = match extent.as_const() {
            _ if g.rng.chance(40) => (Extent::ZERO, 1, extent),
            Some(n) => {
                let step = *g.rng.pick(&[1, 1, 1, 2, 3, -1, -2]);
                let start = if n == 0 { 0 } else { g.rng.range(0, n - 1) };
                let reach = if n == 0 {
                    0
                } else if step > 0 {
                    (n - start + step - 1) / step
                } else {
                    start / -step + 1
                };
                let count = if g.rng.chance(60) { reach } else { g.rng.range(reach.min(1), reach) };
                (Extent::Const(start), step, Extent::Const(count))
            }
            // From the end, every other element, or without the last.
            None => match g.rng.below(3) {
                0 => (&extent - &Extent::ONE, -1, extent),
                1 => (Extent::ZERO, 2, extent.ceil_div(&Extent::Const(2))),
                _ => (Extent::ZERO, 1, (&extent - &Extent::ONE).max_with(&Extent::ZERO)),
            },
        };
        starts.push(start);
        steps.push(step);
        shape.push(count);
    }
    Some(g.add(ops::Slice { starts, steps, shape }, &[v], v.mag))
}

pub(super) fn pad(g: &mut Gen) -> Option<Val> {
    let v = choose_ranked(g)?;
    let shape = g.shape(v);
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for extent in &shape {
        let least = g.least(extent);
        for side in [&mut before, &mut after] {
            let n = if g.rng.chance(50) { 0 } else { g.rng.range(if least > 2 { -1 } else { 0 }, 3) };
            side.push(Extent::Const(n));
        }
    }
    let positive = shape.iter().all(|e| g.least(e) > 0);
    let mode = match g.rng.below(6) {
        0 if positive => ops::PadMode::Edge,
        1 if positive => ops::PadMode::Reflect,
        2 if positive => ops::PadMode::Wrap,
        _ => {
            let (dtype, fill) = (g.dtype(v), g.fill);
            let zero = Scalar::zero(dtype);
            ops::PadMode::Constant(if g.rng.chance(50) {
                zero
            } else {
                element(&mut g.rng, dtype.compute(), fill)
            })
        }
    };
    let grown: Vec<Extent> = (0..shape.len()).map(|i| &(&before[i] + &shape[i]) + &after[i]).collect();
    (g.fits(&grown) && g.is_known(&grown))
        .then(|| g.add(ops::Pad { before, after, mode }, &[v], v.mag.max(3.0)))
}

/// A constant of indices into an axis of `n` elements at least.
fn indices(g: &mut Gen, n: i64, dims: &[i64]) -> Option<Val> {
    let count = dims.iter().product::<i64>() as usize;
    if n == 0 && count > 0 {
        return None;
    }
    let dtype = *g.rng.pick(&[DType::I64, DType::I64, DType::I32]);
    let elements: Vec<Scalar> = (0..count).map(|_| Scalar::int(dtype, g.rng.range(-n, n - 1))).collect();
    Some(g.constant_of(dtype, dims, &elements))
}

pub(super) fn gather(g: &mut Gen) -> Option<Val> {
    let v = choose_ranked(g)?;
    let axis = g.rng.below(g.rank(v));
    let shape = g.shape(v);
    let rank = g.rng.below(3);
    let dims: Vec<i64> = (0..rank).map(|_| g.rng.range(1, 5)).collect();
    let mut result = shape.clone();
    result.splice(axis..=axis, dims.iter().map(|&d| Extent::Const(d)));
    if result.len() > 5 || !g.fits(&result) || !g.is_known(&shape) {
        return None;
    }
    let n = g.least(&shape[axis]);
    let at = indices(g, n, &dims)?;
    Some(g.add(ops::Gather { axis }, &[v, at], v.mag))
}

fn gather_elements(g: &mut Gen) -> Option<Val> {
    let v = g.choose(|g, v| g.rank(v) >= 1 && g.ty(v).dims().is_some_and(|d| !d.contains(&0)))?;
    let dims = g.ty(v).dims()?;
    if g.rng.chance(40) {
        // Tuples that pick slices.
        let k = g.rng.below(dims.len()) + 1;
        let least = dims[..k].iter().copied().min()?;
        let n = g.rng.range(1, 4);
        let at = indices(g, least, &[n, k as i64])?;
        let fits = n * dims[k..].iter().product::<i64>() <= super::state::MAX_ELEMENTS;
        return fits.then(|| g.add(ops::GatherNd { batch_dims: 0 }, &[v, at], v.mag));
    }
    let axis = g.rng.below(dims.len());
    let mut picked = dims.clone();
    picked[axis] = g.rng.range(1, 6);
    if picked.iter().product::<i64>() > super::state::MAX_ELEMENTS {
        return None;
    }
    let at = indices(g, dims[axis], &picked)?;
    Some(g.add(ops::GatherElements { axis }, &[v, at], v.mag))
}

pub(super) fn concat(g: &mut Gen) -> Option<Val> {
    let v = choose_ranked(g)?;
    let axis = g.rng.below(g.rank(v));
    let ty = g.ty(v);
    let mut operands = vec![v];
    for _ in 0..1 + g.rng.below(3) {
        let joins = |g: &Gen, w: Val| {
            let t = g.ty(w);
            let off_axis = |i: usize| i == axis || t.shape[i] == ty.shape[i];
            t.dtype == ty.dtype && t.rank() == ty.rank() && (0..t.rank()).all(off_axis)
        };
        operands.extend(g.choose(joins));
    }
    let total = operands.iter().fold(Extent::ZERO, |sum, &w| &sum + &g.shape(w)[axis]);
    let mut shape = ty.shape;
    shape[axis] = total;
    if !g.fits(&shape) {
        return None;
    }
    let mag = operands.iter().map(|w| w.mag).fold(0.0, f64::max);
    Some(g.add(ops::Concat { axis }, &operands, mag))
}

fn scatter(g: &mut Gen) -> Option<Val> {
    let v = g.choose(|g, v| g.rank(v) >= 1 && g.ty(v).dims().is_some_and(|d| !d.contains(&0)))?;
    let (dtype, dims) = (g.dtype(v), g.ty(v).dims()?);
    let all = [
        ScatterCombine::Replace,
        ScatterCombine::Replace,
        ScatterCombine::Add,
        ScatterCombine::Max,
        ScatterCombine::Min,
    ];
    let combine = if dtype == DType::Bool { ScatterCombine::Replace } else { *g.rng.pick(&all) };
    let v = g.within(v, g.limit(dtype) / 16.0);
    let (op, at, updates): (Op, Val, Val) = if g.rng.chance(50) {
        let axis = g.rng.below(dims.len());
        let mut shape = dims.clone();
        shape[axis] = g.rng.range(1, 4);
        let at = indices(g, dims[axis], &shape)?;
        (ops::ScatterElements { axis, combine }.into(), at, g.constant(dtype, &shape))
    } else {
        let k = g.rng.below(dims.len()) + 1;
        let n = g.rng.range(1, 4);
        let least = dims[..k].iter().copied().min()?;
        let at = indices(g, least, &[n, k as i64])?;
        let shape: Vec<i64> = [n].into_iter().chain(dims[k..].iter().copied()).collect();
        (ops::ScatterNd { combine }.into(), at, g.constant(dtype, &shape))
    };
    // Updates are joined one after another in order, so sums give the same bits everywhere.
    Some(g.add(op, &[v, at, updates], v.mag + 16.0))
}

/// Elements pulled apart or repeated, or the positions of an axis.
fn spread(g: &mut Gen) -> Option<Val> {
    let v = choose_ranked(g)?;
    let shape = g.shape(v);
    match g.rng.below(3) {
        0 => {
            // Between no elements there is nothing: an axis that may be empty, but not always is, stays as it is.
            let stride = |e: &Extent| {
                let stride = *g.rng.pick(&[1, 1, 2, 3]);
                if e.is(0) || g.least(e) > 0 { stride } else { 1 }
            };
            let strides: Vec<i64> = shape.iter().map(stride).collect();
            let reach = |(e, &s): (&Extent, &i64)| {
                if e.is(0) { Extent::ZERO } else { &(e - &Extent::ONE).scale(s) + &Extent::ONE }
            };
            let shape: Vec<Extent> = shape.iter().zip(&strides).map(reach).collect();
            (g.fits(&shape) && g.is_known(&shape)).then(|| g.add(ops::Dilate { strides, shape }, &[v], v.mag))
        }
        1 => {
            let factors: Vec<i64> = shape.iter().map(|_| *g.rng.pick(&[1, 1, 2, 3])).collect();
            let grown: Vec<Extent> = shape.iter().zip(&factors).map(|(e, &f)| e.scale(f)).collect();
            (g.fits(&grown) && g.is_known(&grown))
                .then(|| g.add(ops::UpsampleNearest { factors }, &[v], v.mag))
        }
        _ => {
            let axis = g.rng.below(shape.len());
            let known = g.is_known(&shape);
            let most = g.most(&shape[axis]) as f64;
            let dtype = *g.rng.pick(&[DType::F32, DType::I64, DType::I32]);
            if !known || (g.kind == Kind::Whole && g.fill == Fill::Whole && most > 512.0) {
                return None;
            }
            let iota = g.add(ops::Iota { axis, shape, dtype }, &[], most);
            if g.rng.chance(50) { pointwise::binary(g) } else { Some(iota) }
        }
    }
}
