//! power - powers by small constants as products, roots and quotients; products with a reciprocal as quotients.

use nnc_ir::{
    Module,
    graph::{NodeId, ValueId},
    ops::{Abs, Div, Exp, Op, Sigmoid, Sqrt},
};

use super::{
    pattern::{both, number, under, unviewed},
    scene::{Found, Pattern, Scene, found},
    term::{Term, div, mul, sqrt},
};
use crate::pass::{Exactness, Rule};

pub(super) const PATTERNS: &[Pattern] =
    &[Pattern { rule: &POWER, find: find_power }, Pattern { rule: &QUOTIENT, find: find_quotient }];

pub(super) static POWER: Rule = Rule {
    name: "power",
    law: "x^2 = x x, x^3 = x x x, x^4 = (x x)(x x), x^1 = x, x^-1 = 1 / x, x^-2 = 1 / (x x); x^(1/2) = sqrt(x), x^(-1/2) = 1 / sqrt(x) where x >= 0",
    source: "ONNX Pow-15; Knuth, The Art of Computer Programming 2, 4.6.3",
    exactness: Exactness::Rounding,
};
pub(super) static QUOTIENT: Rule = Rule {
    name: "quotient",
    law: "a * (1 / b) = a / b where the reciprocal is read once, and as large as a",
    source: "ONNX Reciprocal-13; one rounding instead of two",
    exactness: Exactness::Rounding,
};

/// Whether no element can be below 0, nor be minus zero.
fn is_positive(module: &Module, value: ValueId, depth: usize) -> bool {
    let Some(deeper) = depth.checked_sub(1) else { return false };
    let is = |v: ValueId| is_positive(module, v, deeper);
    if number(module, value).is_some_and(|c| c > 0.0 || (c == 0.0 && c.is_sign_positive())) {
        return true;
    }
    let value = unviewed(module, value);
    if under::<Abs>(module, value).is_some()
        || under::<Exp>(module, value).is_some()
        || under::<Sigmoid>(module, value).is_some()
    {
        return true;
    }
    let node = module.def_node(value).map(|n| module.node(n));
    node.is_some_and(|node| match (&node.op, &node.operands[..]) {
        (Op::Mul(_), &[a, b]) => a == b || (is(a) && is(b)),
        (Op::Div(_) | Op::Add(_), &[a, b]) => is(a) && is(b),
        (Op::Reduce(_) | Op::Broadcast(_) | Op::Sqrt(_), &[a]) => is(a),
        _ => false,
    })
}

fn find_power(scene: &Scene<'_>, node: NodeId) -> Result<Found, Option<String>> {
    let module = scene.module;
    let (Op::Pow(_), &[x, e], result) = scene.node(node).ok_or(None)? else { return Err(None) };
    let e = number(module, e).ok_or(None)?;
    if !module.ty(x).dtype.is_float() {
        return Err(None);
    }
    let square = mul(x, x);
    let term: Term = match e {
        1.0 => x.into(),
        2.0 => square,
        3.0 => mul(square, x),
        4.0 => mul(square.clone(), square),
        -1.0 => div(1.0, x),
        -2.0 => div(1.0, square),
        0.5 | -0.5 if !is_positive(module, x, 6) => {
            return Err(Some(format!(
                "looks like a root, but x^{e} of -0 and of minus infinity is not, and x may be that"
            )));
        }
        0.5 => sqrt(x),
        -0.5 => div(1.0, sqrt(x)),
        _ => return Err(None),
    };
    found(result, term)
}

fn find_quotient(scene: &Scene<'_>, node: NodeId) -> Result<Found, Option<String>> {
    let module = scene.module;
    let (Op::Mul(_), &[a, b], result) = scene.node(node).ok_or(None)? else { return Err(None) };
    let reciprocal = |v: ValueId| {
        let [one, below] = both::<Div>(module, v)?;
        (number(module, one) == Some(1.0) && number(module, below).is_none()).then_some(below)
    };
    for (x, r) in [(a, b), (b, a)] {
        let Some(below) = reciprocal(r) else { continue };
        // The reciprocal of a root is how normalizations are spelt.
        if under::<Sqrt>(module, below).is_some() {
            continue;
        }
        if scene.readers.count(r) > 1 {
            return Err(Some("looks like a quotient, but its reciprocal is read elsewhere too".into()));
        }
        return found(result, div(x, below));
    }
    Err(None)
}
