//! activation - sigmoid, SiLU, softplus, Mish, hard sigmoid and hard swish.

use nnc_ir::{
    Module,
    graph::{NodeId, ValueId},
    ops::{Abs, Exp, Log, Op, Sigmoid, Tanh},
};

use super::{
    pattern::{both, clamp, near, number, polynomial, product, scaled, sum, under, variables},
    scene::{Found, Pattern, Scene, found},
    term::{Term, abs, add, exp, log, min, mul, neg, relu, sigmoid, tanh},
};
use crate::pass::{Exactness, Rule};

pub(super) const PATTERNS: &[Pattern] = &[
    Pattern { rule: &SIGMOID, find: find_sigmoid },
    Pattern { rule: &SILU, find: find_silu },
    Pattern { rule: &SOFTPLUS, find: find_softplus },
    Pattern { rule: &MISH, find: find_mish },
    Pattern { rule: &HARD_SIGMOID, find: find_hard_sigmoid },
    Pattern { rule: &HARD_SWISH, find: find_hard_swish },
];

pub(super) static SIGMOID: Rule = Rule {
    name: "sigmoid",
    law: "1 / (1 + exp(-x)) = exp(x) / (1 + exp(x)) = (1 + tanh(x / 2)) / 2 = sigmoid(x)",
    source: "ONNX Sigmoid-13; the last: Abramowitz & Stegun 4.5.46",
    exactness: Exactness::Rounding,
};
pub(super) static SILU: Rule = Rule {
    name: "silu",
    law: "x / (1 + exp(-a x)) = x * sigmoid(a x)",
    source: "ONNX Swish-24; Ramachandran, Zoph & Le, 2017",
    exactness: Exactness::Rounding,
};
pub(super) static SOFTPLUS: Rule = Rule {
    name: "softplus",
    law: "log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|))",
    source: "log(1 + e^x) = x + log(1 + e^-x); does not overflow",
    exactness: Exactness::Rounding,
};
pub(super) static MISH: Rule = Rule {
    name: "mish",
    law: "tanh(softplus(x)) * x = x * tanh(softplus(x))",
    source: "ONNX Mish-18; Misra, 2019",
    exactness: Exactness::Rounding,
};
pub(super) static HARD_SIGMOID: Rule = Rule {
    name: "hard-sigmoid",
    law: "c clamp(a x + b, l, h) + d = clamp(c a x + c b + d, 0, 1) where c l + d = 0, c h + d = 1, c a > 0",
    source: "ONNX HardSigmoid-6; clamping commutes with increasing functions",
    exactness: Exactness::Rounding,
};
pub(super) static HARD_SWISH: Rule = Rule {
    name: "hard-swish",
    law: "x clamp(a x + b, 0, h) / h = x * clamp(a / h x + b / h, 0, 1) where a > 0",
    source: "ONNX HardSwish-14; Howard et al., Searching for MobileNetV3, 2019",
    exactness: Exactness::Rounding,
};

/// `x` with the factor `a` in front of a sigmoid.
fn gate(x: ValueId, a: f64) -> Term {
    if a == 1.0 { sigmoid(x) } else { sigmoid(mul(x, a)) }
}

/// The argument of `1 + exp(argument)`.
fn one_plus_exp(module: &Module, value: ValueId) -> Option<ValueId> {
    let (shift, c, e) = sum(module, value).only()?;
    if shift == 1.0 && c == 1.0 { under::<Exp>(module, e) } else { None }
}

fn find_sigmoid(scene: &Scene<'_>, node: NodeId) -> Result<Found, Option<String>> {
    let module = scene.module;
    let (op, operands, result) = scene.node(node).ok_or(None)?;
    if let Op::Sigmoid(_) = op {
        return found(result, sigmoid(operands[0]));
    }
    if !matches!(op, Op::Div(_) | Op::Mul(_) | Op::Add(_)) {
        return Err(None);
    }
    if let Some((shift, c, t)) = sum(module, result).only()
        && shift == 0.5
        && c == 0.5
        && let Some(half) = under::<Tanh>(module, t)
    {
        let (c, x) = scaled(module, half);
        // GELU by tanh sees to its own.
        let is_cubic = |&x: &ValueId| polynomial(module, half, x).is_some_and(|p| p[3] != 0.0);
        if variables(module, half).iter().any(is_cubic) {
            return Err(None);
        }
        return found(result, gate(x, 2.0 * c));
    }
    let p = product(module, result, None);
    let &[below] = &p.under[..] else { return Err(None) };
    let e = one_plus_exp(module, below).ok_or(None)?;
    let (c, x) = scaled(module, e);
    match p.over[..] {
        [] if p.factor == 1.0 && c == 1.0 => found(result, sigmoid(neg(e))),
        [] if p.factor == 1.0 => found(result, gate(x, -c)),
        [top] if p.factor == 1.0 && under::<Exp>(module, top) == Some(e) => found(result, sigmoid(e)),
        _ => Err(None),
    }
}

fn find_silu(scene: &Scene<'_>, node: NodeId) -> Result<Found, Option<String>> {
    let module = scene.module;
    let (Op::Mul(_) | Op::Div(_), _, result) = scene.node(node).ok_or(None)? else { return Err(None) };
    let p = product(module, result, None);
    let gates = p.over.iter().filter_map(|&g| Some((g, under::<Sigmoid>(module, g)?)));
    let below = p.under.iter().filter_map(|&g| Some((g, one_plus_exp(module, g)?)));
    let gates = gates.map(|(g, t)| (g, t, 1.0)).chain(below.map(|(g, t)| (g, t, -1.0)));
    for (g, t, sign) in gates.collect::<Vec<_>>() {
        for x in variables(module, t) {
            let Some([0.0, a, 0.0, 0.0]) = polynomial(module, t, x) else { continue };
            let q = product(module, result, Some(x));
            let alone = q.over.len() + q.under.len() == 2 && q.over.contains(&x);
            if q.factor == 1.0 && alone && (q.over.contains(&g) || q.under.contains(&g)) && a * sign > 0.0 {
                return found(result, mul(x, gate(x, a * sign)));
            }
        }
    }
    Err(None)
}

/// The importer's softplus of `x`.
fn softplus(x: ValueId) -> Term {
    add(relu(x), log(add(exp(neg(abs(x))), 1.0)))
}

fn find_softplus(scene: &Scene<'_>, node: NodeId) -> Result<Found, Option<String>> {
    let module = scene.module;
    let (op, operands, result) = scene.node(node).ok_or(None)?;
    let of_log = |v: ValueId| under::<Log>(module, v).and_then(|g| one_plus_exp(module, g));
    let magnitude = |e: ValueId| match scaled(module, e) {
        (-1.0, inner) => under::<Abs>(module, inner),
        _ => None,
    };
    match op {
        Op::Log(_) => match of_log(result) {
            Some(x) if magnitude(x).is_none() => found(result, softplus(x)),
            _ => Err(None),
        },
        // Already without overflow, in either order.
        Op::Add(_) => {
            let x = operands.iter().find_map(|&v| magnitude(of_log(v)?)).ok_or(None)?;
            let is_relu = |v: &ValueId| {
                under::<nnc_ir::ops::Relu>(module, *v) == Some(x)
                    || both::<nnc_ir::ops::Max>(module, *v)
                        .is_some_and(|m| m.contains(&x) && m.iter().any(|&c| number(module, c) == Some(0.0)))
            };
            if operands.iter().any(is_relu) { found(result, softplus(x)) } else { Err(None) }
        }
        _ => Err(None),
    }
}

fn find_mish(scene: &Scene<'_>, node: NodeId) -> Result<Found, Option<String>> {
    let module = scene.module;
    let (Op::Mul(_), &[a, b], result) = scene.node(node).ok_or(None)? else { return Err(None) };
    for (x, g) in [(a, b), (b, a)] {
        let soft = under::<Tanh>(module, g);
        let Some(node) = soft.and_then(|s| module.def_node(s)) else { continue };
        if find_softplus(scene, node)
            .is_ok_and(|f| super::term::stands(module, soft.unwrap_or(x), &softplus(x)) || matches_x(&f, x))
        {
            return found(result, mul(x, tanh(softplus(x))));
        }
    }
    Err(None)
}

/// Whether the softplus found is of `x`.
fn matches_x(f: &Found, x: ValueId) -> bool {
    matches!(&f.term, Term::Apply(sum) if matches!(&sum.1[0], Term::Apply(r) if matches!(r.1[0], Term::Value(v) if v == x)))
}

/// `a x + b` kept within 0 and 1, as the importer spells HardSigmoid.
fn hard_sigmoid(x: ValueId, a: f64, b: f64) -> Term {
    let line = if a == 1.0 { x.into() } else { mul(x, a) };
    let line = if b == 0.0 { line } else { add(line, b) };
    min(relu(line), 1.0)
}

/// The number that `c` was meant to be.
fn snap(module: &Module, x: ValueId, c: f64) -> f64 {
    let dtype = module.ty(x).dtype;
    [1.0 / 6.0, 0.5, 1.0, 0.2].into_iter().find(|&known| near(dtype, c, known)).unwrap_or(c)
}

fn find_hard_sigmoid(scene: &Scene<'_>, node: NodeId) -> Result<Found, Option<String>> {
    let module = scene.module;
    let (op, _, result) = scene.node(node).ok_or(None)?;
    let dtype = module.ty(result).dtype;
    let outer = matches!(
        op,
        Op::Add(_) | Op::Sub(_) | Op::Mul(_) | Op::Div(_) | Op::Min(_) | Op::Max(_) | Op::Relu(_)
    );
    if !outer || !dtype.is_float() {
        return Err(None);
    }
    let (d, c, clamped) = sum(module, result).only().ok_or(None)?;
    let (line, low, high) = clamp(module, clamped).ok_or(None)?;
    // The outermost: what it is computed from itself does not matter.
    let of = |x: ValueId| match polynomial(module, line, x) {
        Some([b, a, 0.0, 0.0]) if (a, b) != (1.0, 0.0) => Some((b, a, x)),
        _ => None,
    };
    let (b, a, x) = variables(module, line).into_iter().find_map(of).ok_or(None)?;
    let (least, greatest) = (c * low + d, c * high + d);
    if c * a <= 0.0 {
        return Err(None);
    }
    if least.abs() > 1e-6 || !near(dtype, greatest, 1.0) {
        return Err(None);
    }
    found(result, hard_sigmoid(x, snap(module, x, c * a), snap(module, x, c * b + d)))
}

fn find_hard_swish(scene: &Scene<'_>, node: NodeId) -> Result<Found, Option<String>> {
    let module = scene.module;
    let (Op::Mul(_) | Op::Div(_), _, result) = scene.node(node).ok_or(None)? else { return Err(None) };
    let dtype = module.ty(result).dtype;
    if !dtype.is_float() {
        return Err(None);
    }
    let p = product(module, result, None);
    for &g in &p.over {
        let Some((line, low, high)) = clamp(module, g) else { continue };
        for x in variables(module, line) {
            let Some([b, a, 0.0, 0.0]) = polynomial(module, line, x) else { continue };
            let q = product(module, result, Some(x));
            let rest = q.without(g).filter(|r| r[..] == [x] && q.under.is_empty());
            if rest.is_none() || (a, b) == (1.0, 0.0) || low != 0.0 || a <= 0.0 {
                continue;
            }
            if !near(dtype, q.factor * high, 1.0) {
                let reason =
                    format!("looks like hard-swish, but its gate reaches {} rather than 1", q.factor * high);
                return Err(Some(reason));
            }
            let (a, b) = (snap(module, x, q.factor * a), snap(module, x, q.factor * b));
            return found(result, mul(x, hard_sigmoid(x, a, b)));
        }
    }
    Err(None)
}
