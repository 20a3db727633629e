//! cell - steps of LSTM and GRU unrolled: gates cut out before their function, states blended with one product.

use nnc_ir::{
    Module,
    extent::Extent,
    graph::{NodeId, ValueId},
    ops::{Add, Mul, Op, Sigmoid, Slice, Sub, Tanh},
};

use super::{
    pattern::{both, number, under},
    scene::{Found, Pattern, Scene, found},
    term::{Term, add, apply, mul, sub},
};
use crate::pass::{Exactness, Rule};

pub(super) const PATTERNS: &[Pattern] = &[
    Pattern { rule: &GATES, find: find_gates },
    Pattern { rule: &LSTM_CELL, find: find_lstm },
    Pattern { rule: &GRU_CELL, find: find_blend },
];

pub(super) static GATES: Rule = Rule {
    name: "recurrent-gates",
    law: "slice(f(x)) = f(slice(x)), f sigmoid or tanh, all read through slices that do not overlap",
    source: "f is of one element; Hochreiter & Schmidhuber, Long Short-Term Memory, 1997: each gate by itself",
    exactness: Exactness::Exact,
};
pub(super) static LSTM_CELL: Rule = Rule {
    name: "lstm-cell",
    law: "i g + c f = f c + i g, in any order, and tanh(c) o = o tanh(c), f, i, o sigmoids, g a tanh",
    source: "ONNX LSTM-14; IEEE 754-2019, 5.4.1: sums and products of two commute",
    exactness: Exactness::Exact,
};
pub(super) static GRU_CELL: Rule = Rule {
    name: "gru-cell",
    law: "(1 - z) n + z h = n + z (h - n), z a sigmoid, n a tanh",
    source: "ONNX GRU-14; Cho et al., 2014; both are bounded, so what the difference rounds is small",
    exactness: Exactness::Rounding,
};

/// The slice of a slice as one, if both take every element.
fn slice(of: &Slice, scene: &Scene<'_>, x: ValueId) -> Term {
    let plain = |s: &Slice| s.steps.iter().all(|&step| step == 1);
    if let Some((inner, node)) = scene.module.defined_by::<Slice>(x)
        && plain(inner)
        && plain(of)
    {
        let starts: Vec<Extent> = inner.starts.iter().zip(&of.starts).map(|(a, b)| a + b).collect();
        let both = Slice { starts, steps: of.steps.clone(), shape: of.shape.clone() };
        return apply(both, vec![node.operands[0].into()]);
    }
    apply(of.clone(), vec![x.into()])
}

fn find_gates(scene: &Scene<'_>, node: NodeId) -> Result<Found, Option<String>> {
    let module = scene.module;
    let (Op::Slice(cut), &[whole], result) = scene.node(node).ok_or(None)? else { return Err(None) };
    let x = under::<Sigmoid>(module, whole).or_else(|| under::<Tanh>(module, whole)).ok_or(None)?;
    let f = module.node(module.def_node(whole).ok_or(None)?).op.clone();
    if !scene.readers.cut_apart(module, whole) {
        return Err(Some("its gates are read whole, or more than once".into()));
    }
    found(result, apply(f, vec![slice(cut, scene, x)]))
}

/// Of the new state of a cell: what is kept of the old one and by which gate, what is added and by which.
fn state(module: &Module, value: ValueId) -> Option<[(ValueId, ValueId); 2]> {
    let [a, b] = both::<Add>(module, value)?;
    let (a, b) = (gated(module, a)?, gated(module, b)?);
    match (under::<Tanh>(module, a.1), under::<Tanh>(module, b.1)) {
        (None, Some(_)) => Some([a, b]),
        (Some(_), None) => Some([b, a]),
        _ => None,
    }
}

/// The state of a cell before a step, if `value` is the one after it.
pub(super) fn previous(module: &Module, value: ValueId) -> Option<ValueId> {
    state(module, value).map(|[(_, c), _]| c)
}

/// The new state of a cell, or what it shows.
fn find_lstm(scene: &Scene<'_>, node: NodeId) -> Result<Found, Option<String>> {
    let module = scene.module;
    let (op, operands, result) = scene.node(node).ok_or(None)?;
    let is_gate = |v: ValueId| under::<Sigmoid>(module, v).is_some();
    match (op, operands) {
        (Op::Add(_), _) => {
            let [(f, c), (i, g)] = state(module, result).ok_or(None)?;
            found(result, add(mul(f, c), mul(i, g)))
        }
        (Op::Mul(_), &[a, b]) => {
            let (o, shown) = if is_gate(a) { (a, b) } else { (b, a) };
            let c = under::<Tanh>(module, shown).ok_or(None)?;
            if !is_gate(o) || state(module, c).is_none() {
                return Err(None);
            }
            Ok(Found { term: mul(o, shown), key: c })
        }
        _ => Err(None),
    }
}

/// A product of a sigmoid and something that is none.
fn gated(module: &Module, value: ValueId) -> Option<(ValueId, ValueId)> {
    let [a, b] = both::<Mul>(module, value)?;
    match (under::<Sigmoid>(module, a), under::<Sigmoid>(module, b)) {
        (Some(_), None) => Some((a, b)),
        (None, Some(_)) => Some((b, a)),
        _ => None,
    }
}

fn find_blend(scene: &Scene<'_>, node: NodeId) -> Result<Found, Option<String>> {
    let module = scene.module;
    let (Op::Add(_), &[a, b], result) = scene.node(node).ok_or(None)? else { return Err(None) };
    let ([a0, a1], [b0, b1]) = (both::<Mul>(module, a).ok_or(None)?, both::<Mul>(module, b).ok_or(None)?);
    let complement = |v| match both::<Sub>(module, v) {
        Some([one, z]) if number(module, one) == Some(1.0) => Some(z),
        _ => None,
    };
    for (rest, n, [c, d]) in [(a0, a1, [b0, b1]), (a1, a0, [b0, b1]), (b0, b1, [a0, a1]), (b1, b0, [a0, a1])]
    {
        let Some(z) = complement(rest) else { continue };
        let h = match (c == z, d == z) {
            (true, _) => d,
            (_, true) => c,
            _ => continue,
        };
        if under::<Sigmoid>(module, z).is_none() || under::<Tanh>(module, n).is_none() {
            return Err(Some(
                "looks like a GRU's blend, but not of a sigmoid and a tanh: rounding might grow".into(),
            ));
        }
        return found(result, add(n, mul(z, sub(h, n))));
    }
    Err(None)
}
