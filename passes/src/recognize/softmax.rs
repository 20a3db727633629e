//! softmax - softmax and its logarithm, with and without the greatest element taken out.

use nnc_ir::{
    Module,
    extent::Extent,
    graph::{NodeId, ValueId},
    ops::{Add, Exp, Log, Max, Min, Op, ReduceKind, Sub},
};

use super::{
    pattern::{Joined, both, joined, number, product, spread, under, unviewed},
    scene::{Found, Pattern, Scene},
    term::{self, Term, div, exp, join, log, mul, sub},
};
use crate::pass::{Exactness, Rule};

pub(super) const PATTERNS: &[Pattern] =
    &[Pattern { rule: &SOFTMAX, find: find_softmax }, Pattern { rule: &LOG_SOFTMAX, find: find_log_softmax }];

pub(super) static SOFTMAX: Rule = Rule {
    name: "softmax",
    law: "exp(x) / sum(exp(x)) = exp(x - max(x)) * (1 / sum(exp(x - max(x))))",
    source: "ONNX Softmax-13; Blanchard, Higham & Higham, Accurately computing the log-sum-exp and softmax functions, 2021",
    exactness: Exactness::Rounding,
};
pub(super) static LOG_SOFTMAX: Rule = Rule {
    name: "log-softmax",
    law: "log(softmax(x)) = x - log(sum(exp(x))) = z - log(sum(exp(z))), z = x - max(x)",
    source: "ONNX LogSoftmax-13; Blanchard, Higham & Higham, 2021",
    exactness: Exactness::Rounding,
};

/// A softmax that was found.
pub(super) struct Softmax {
    pub(super) x: ValueId,
    pub(super) axes: Vec<usize>,
}

/// What a row of sums of exponentials is of: the exponentials.
fn sums(module: &Module, row: ValueId) -> Option<Joined> {
    let total = joined(module, row, ReduceKind::Sum)?;
    (total.is_row(module, row) && under::<Exp>(module, total.x).is_some()).then_some(total)
}

/// `value` without bounds far out, which keep infinities from meeting.
fn unbounded(module: &Module, value: ValueId) -> ValueId {
    let value = unviewed(module, value);
    let pair = both::<Max>(module, value).or_else(|| both::<Min>(module, value));
    let far = |v: ValueId| number(module, v).is_some_and(|c| c.abs() >= 65504.0);
    match pair {
        Some([a, b]) if far(a) => unbounded(module, b),
        Some([a, b]) if far(b) => unbounded(module, a),
        _ => value,
    }
}

/// Whether a row is the greatest of `x` along axes.
fn is_greatest(module: &Module, row: ValueId, x: ValueId, axes: &[usize]) -> bool {
    let of = joined(module, unbounded(module, row), ReduceKind::Max);
    of.is_some_and(|of| of.x == x && of.axes == axes && of.is_row(module, row))
}

/// `z` as `x` minus the greatest of it, or as it is.
fn unshifted(module: &Module, z: ValueId, axes: &[usize]) -> (ValueId, bool) {
    match both::<Sub>(module, z) {
        Some([x, m]) if is_greatest(module, spread(module, m).unwrap_or(m), x, axes) => (x, true),
        _ => (z, false),
    }
}

/// `x` of a shape minus its greatest along axes.
fn shifted(x: impl Into<Term>, axes: &[usize], shape: &[Extent]) -> Term {
    let x = x.into();
    sub(x.clone(), term::spread(join(ReduceKind::Max, x, axes), shape))
}

/// The canonical softmax of `x` of a shape, by the reciprocal of the sum: this is at least 1.
pub(super) fn softmax_of(x: impl Into<Term>, axes: &[usize], shape: &[Extent]) -> Term {
    let e = exp(shifted(x, axes, shape));
    let part = div(1.0, join(ReduceKind::Sum, e.clone(), axes));
    mul(e, term::spread(part, shape))
}

/// `value` as a softmax, and whether its exponentials are shifted.
pub(super) fn softmax(module: &Module, value: ValueId) -> Option<(Softmax, bool, ValueId)> {
    let p = product(module, value, None);
    let (e, row) = match (&p.over[..], &p.under[..]) {
        _ if p.factor != 1.0 => return None,
        (&[e], &[below]) => (e, spread(module, below).unwrap_or(below)),
        (&[a, b], []) => {
            let inverse = |v: ValueId| {
                let q = product(module, spread(module, v)?, None);
                match (&q.over[..], &q.under[..]) {
                    ([], &[below]) if q.factor == 1.0 => Some(below),
                    _ => None,
                }
            };
            match (inverse(a), inverse(b)) {
                (None, Some(row)) => (a, row),
                (Some(row), None) => (b, row),
                _ => return None,
            }
        }
        _ => return None,
    };
    let total = sums(module, row)?;
    if total.x != e {
        return None;
    }
    let (x, is_shifted) = unshifted(module, under::<Exp>(module, e)?, &total.axes);
    Some((Softmax { x, axes: total.axes }, is_shifted, e))
}

fn find_softmax(scene: &Scene<'_>, node: NodeId) -> Result<Found, Option<String>> {
    let module = scene.module;
    let (Op::Mul(_) | Op::Div(_), _, result) = scene.node(node).ok_or(None)? else { return Err(None) };
    let (Softmax { x, axes }, is_shifted, e) = softmax(module, result).ok_or(None)?;
    if !is_shifted && scene.readers.count(e) > 2 {
        return Err(Some("looks like softmax, but its exponentials are read elsewhere too".into()));
    }
    Ok(Found { term: softmax_of(x, &axes, &module.ty(x).shape), key: result })
}

fn log_softmax(module: &Module, x: ValueId, axes: &[usize], key: ValueId) -> Found {
    let z = shifted(x, axes, &module.ty(x).shape);
    let total = log(join(ReduceKind::Sum, exp(z.clone()), axes));
    Found { term: sub(z, term::spread(total, &module.ty(x).shape)), key }
}

fn find_log_softmax(scene: &Scene<'_>, node: NodeId) -> Result<Found, Option<String>> {
    let module = scene.module;
    let (op, operands, result) = scene.node(node).ok_or(None)?;
    match (op, operands) {
        (Op::Log(_), &[p]) => {
            let (Softmax { x, axes }, ..) = softmax(module, p).ok_or(None)?;
            Ok(log_softmax(module, x, &axes, result))
        }
        (Op::Sub(_), &[z, l]) => {
            let row = spread(module, l).unwrap_or(l);
            let (total, greatest) = log_sum(module, row).ok_or(None)?;
            let inner = under::<Exp>(module, total.x).ok_or(None)?;
            let (x, _) = unshifted(module, inner, &total.axes);
            let fits = match greatest {
                // x - (log(sum(exp(x - m))) + m), whatever m.
                Some(m) => match both::<Sub>(module, inner) {
                    Some([x, shift]) => (x == z && spread(module, shift) == Some(m)).then_some(x),
                    None => None,
                },
                None if inner == z => Some(x),
                None => None,
            };
            Ok(log_softmax(module, fits.ok_or(None)?, &total.axes, result))
        }
        _ => Err(None),
    }
}

/// A row as the logarithm of a sum of exponentials, and what is added to it.
fn log_sum(module: &Module, row: ValueId) -> Option<(Joined, Option<ValueId>)> {
    let of_log = |v: ValueId| {
        let total = under::<Log>(module, unviewed(module, v))?;
        let all = joined(module, total, ReduceKind::Sum)?;
        all.is_row(module, v).then_some(all)
    };
    if let Some(all) = of_log(row) {
        return Some((all, None));
    }
    let [a, b] = both::<Add>(module, row)?;
    of_log(a).map(|all| (all, Some(b))).or_else(|| of_log(b).map(|all| (all, Some(a))))
}
