//! pointwise - one element from those at the same place.

use nnc_ir::{
    dtype::DType,
    ops::{self, Op},
};

use super::{
    Kind,
    state::{Gen, Val},
};
use crate::rng::Fill;

pub(super) fn step(g: &mut Gen) {
    match g.rng.below(10) {
        0..=3 => unary(g),
        4..=7 => binary(g),
        8 => select(g),
        _ => cast(g),
    };
}

/// One operand.
pub(super) fn unary(g: &mut Gen) -> Option<Val> {
    let v = g.choose(|_, _| true)?;
    Some(match g.dtype(v) {
        DType::Bool => g.add(ops::Not {}, &[v], 1.0),
        d if d.is_float() && g.kind != Kind::Whole => float_unary(g, v),
        d => {
            let mut all: Vec<Op> =
                vec![ops::Abs {}.into(), ops::Neg {}.into(), ops::Sign {}.into(), ops::Relu {}.into()];
            if d.is_int() {
                all.push(ops::BitNot {}.into());
            }
            let op = g.rng.pick(&all).clone();
            g.add(op, &[v], v.mag + 1.0)
        }
    })
}

fn float_unary(g: &mut Gen, v: Val) -> Val {
    let m = v.mag;
    match g.rng.below(28) {
        0 => g.add(ops::Abs {}, &[v], m),
        1 => g.add(ops::Neg {}, &[v], m),
        2 => g.add(ops::Sign {}, &[v], 1.0),
        3..=5 => g.add(ops::Relu {}, &[v], m),
        6 => {
            let x = positive(g, v);
            g.add(ops::Sqrt {}, &[x], m.sqrt() + 1.0)
        }
        7 => {
            let x = g.within(v, 6.0);
            g.add(ops::Exp {}, &[x], 410.0)
        }
        8 => {
            let x = positive(g, v);
            g.add(ops::Log {}, &[x], 12.0 + m.max(1.0).ln())
        }
        9 => g.add(ops::Tanh {}, &[v], 1.0),
        10 => g.add(ops::Erf {}, &[v], 1.0),
        11 => g.add(ops::Sigmoid {}, &[v], 1.0),
        12 => g.add(ops::Sin {}, &[v], 1.0),
        13 => g.add(ops::Cos {}, &[v], 1.0),
        14 => {
            let x = g.within(v, 1.0);
            g.add(ops::Tan {}, &[x], 2.0)
        }
        15 => {
            let x = g.within(v, 1.0);
            g.add(ops::Asin {}, &[x], 2.0)
        }
        16 => {
            let x = g.within(v, 1.0);
            g.add(ops::Acos {}, &[x], 4.0)
        }
        17 => g.add(ops::Atan {}, &[v], 2.0),
        18 => {
            let x = g.within(v, 5.0);
            g.add(ops::Sinh {}, &[x], 80.0)
        }
        19 => {
            let x = g.within(v, 5.0);
            g.add(ops::Cosh {}, &[x], 80.0)
        }
        20 => g.add(ops::Asinh {}, &[v], 20.0),
        21 => {
            let one = g.number(v, 1.0);
            let x = positive(g, v);
            let x = g.add(ops::Add {}, &[x, one], m + 1.5);
            g.add(ops::Acosh {}, &[x], 20.0)
        }
        22 => {
            let x = g.within(v, 0.5);
            g.add(ops::Atanh {}, &[x], 1.0)
        }
        23 => g.add(ops::Floor {}, &[v], m + 1.0),
        24 => g.add(ops::Ceil {}, &[v], m + 1.0),
        25 => g.add(ops::Trunc {}, &[v], m),
        26 => g.add(ops::Gelu {}, &[v], m),
        _ => g.add(ops::Round {}, &[v], m + 1.0),
    }
}

/// `|v| + 0.5`, but special values as they are.
fn positive(g: &mut Gen, v: Val) -> Val {
    if g.fill == Fill::Special {
        return v;
    }
    let a = g.add(ops::Abs {}, &[v], v.mag);
    let half = g.number(a, 0.5);
    g.add(ops::Add {}, &[a, half], v.mag + 0.5)
}

/// A second operand of the type of `v`: another value, a constant, or `v` itself.
pub(super) fn partner(g: &mut Gen, v: Val) -> Val {
    let ty = g.ty(v);
    if g.rng.chance(40) {
        let fits = |g: &Gen, w: Val| {
            g.dtype(w) == ty.dtype && g.rank(w) <= ty.rank() && {
                let have = g.shape(w);
                let lead = ty.rank() - have.len();
                have.iter().zip(&ty.shape[lead..]).all(|(h, t)| h.is(1) || h == t)
            }
        };
        if let Some(w) = g.choose(fits) {
            return g.broadcast(w, &ty.shape);
        }
    }
    // A constant with extents of its own, 1 elsewhere: a bias, a scale, a splat.
    let from = g.rng.below(ty.rank() + 1);
    let dim = |g: &mut Gen, e: &nnc_ir::extent::Extent| match e.as_const() {
        Some(c) if g.rng.chance(70) => c,
        _ => 1,
    };
    let dims: Vec<i64> = ty.shape[from..].iter().map(|e| dim(g, e)).collect();
    let c = g.constant(ty.dtype, &dims);
    g.broadcast(c, &ty.shape)
}

/// Two operands.
pub(super) fn binary(g: &mut Gen) -> Option<Val> {
    let v = g.choose(|_, _| true)?;
    let w = partner(g, v);
    let (v, w) = if g.rng.chance(20) { (w, v) } else { (v, w) };
    let dtype = g.dtype(v);
    if dtype == DType::Bool {
        let all: [Op; 4] = [ops::And {}.into(), ops::Or {}.into(), ops::Xor {}.into(), ops::Equal {}.into()];
        let op = g.rng.pick(&all).clone();
        return Some(g.add(op, &[v, w], 1.0));
    }
    if g.rng.chance(15) {
        let all: [Op; 3] = [ops::Equal {}.into(), ops::Less {}.into(), ops::LessOrEqual {}.into()];
        let op = g.rng.pick(&all).clone();
        return Some(g.add(op, &[v, w], 1.0));
    }
    if dtype.is_int() && g.rng.chance(30) {
        let all: [Op; 7] = [
            ops::And {}.into(),
            ops::Or {}.into(),
            ops::Xor {}.into(),
            ops::Shl {}.into(),
            ops::Shr {}.into(),
            ops::Shr {}.into(),
            ops::Pow {}.into(),
        ];
        let op = g.rng.pick(&all).clone();
        // Any bits: `cast` will not make floats of them.
        return Some(g.add(op, &[v, w], 1e19));
    }
    let limit = g.limit(dtype);
    let (a, b) = (v.mag, w.mag);
    Some(match g.rng.below(12) {
        0..=3 => {
            let (v, w) = (g.within(v, limit / 2.0), g.within(w, limit / 2.0));
            g.add(ops::Add {}, &[v, w], v.mag + w.mag)
        }
        4 => {
            let (v, w) = (g.within(v, limit / 2.0), g.within(w, limit / 2.0));
            g.add(ops::Sub {}, &[v, w], v.mag + w.mag)
        }
        5..=7 => {
            let root = limit.sqrt().floor();
            let (v, w) = (g.within(v, root), g.within(w, root));
            g.add(ops::Mul {}, &[v, w], v.mag * w.mag)
        }
        8 => g.add(ops::Max {}, &[v, w], a.max(b)),
        9 => g.add(ops::Min {}, &[v, w], a.max(b)),
        10 if g.kind != Kind::Whole => {
            let w = positive(g, w);
            let v = g.within(v, limit / 4.0);
            g.add(ops::Div {}, &[v, w], 2.0 * v.mag + 1.0)
        }
        11 if g.kind != Kind::Whole => rem_or_pow(g, v, w),
        _ => g.add(ops::Sub {}, &[v, v], 0.0),
    })
}

fn rem_or_pow(g: &mut Gen, v: Val, w: Val) -> Val {
    if g.rng.chance(50) || !g.dtype(v).is_float() {
        let w = if g.dtype(w).is_float() { positive(g, w) } else { w };
        let floored = g.rng.chance(50);
        return g.add(ops::Rem { floored }, &[v, w], w.mag + v.mag + 1.0);
    }
    let v = g.within(v, 7.0);
    let base = positive(g, v);
    let exponent = g.within(w, 2.0);
    g.add(ops::Pow {}, &[base, exponent], 64.0)
}

fn select(g: &mut Gen) -> Option<Val> {
    let v = g.choose(|_, _| true)?;
    let w = partner(g, v);
    let condition = if g.dtype(v) == DType::Bool {
        v
    } else {
        let x = partner(g, v);
        g.add(ops::Less {}, &[v, x], 1.0)
    };
    Some(g.add(ops::Select {}, &[condition, v, w], v.mag.max(w.mag)))
}

fn cast(g: &mut Gen) -> Option<Val> {
    let v = g.choose(|_, _| true)?;
    let to = g.element_type();
    let limit = g.limit(to);
    let v = if to.is_float() && g.dtype(v).is_float() { g.within(v, limit) } else { v };
    // An integer of any size is no small float.
    if to.is_float() && g.dtype(v).is_int() && v.mag > limit {
        return None;
    }
    let mag = if to == DType::Bool { 1.0 } else { v.mag.max(1.0) };
    let mag = if to == DType::U8 { 255.0 } else { mag };
    Some(g.add(ops::Cast { to }, &[v], mag))
}
