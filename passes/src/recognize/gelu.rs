//! gelu - the Gaussian error linear unit, by erf and by tanh.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use nnc_ir::{
    Module,
    graph::{NodeId, ValueId},
    ops::{Erf, Op, Sigmoid, Tanh},
};

use super::{
    pattern::{near, polynomial, product, resembles, sum, under, variables},
    scene::{Found, Pattern, Scene, found},
    term::{add, gelu, mul, sigmoid},
};
use crate::pass::{Exactness, Rule};

pub(super) const PATTERNS: &[Pattern] =
    &[Pattern { rule: &GELU_ERF, find: find_erf }, Pattern { rule: &GELU_TANH, find: find_tanh }];

pub(super) static GELU_ERF: Rule = Rule {
    name: "gelu-erf",
    law: "x (1 + erf(x / sqrt 2)) / 2, in any order = gelu(x)",
    source: "ONNX Gelu-20; Hendrycks & Gimpel, Gaussian Error Linear Units, 2016",
    exactness: Exactness::Rounding,
};
pub(super) static GELU_TANH: Rule = Rule {
    name: "gelu-tanh",
    law: "x (1 + tanh(u)) / 2 = x * sigmoid(2 u), 2 u = x * (x x * 2 k 0.044715 + 2 k), k = sqrt(2 / pi)",
    source: "ONNX Gelu-20; Hendrycks & Gimpel, 2016; (1 + tanh u) / 2 = sigmoid(2 u) keeps the digits of its small values",
    exactness: Exactness::Rounding,
};

/// sqrt(2 / pi).
fn root() -> f64 {
    (2.0 / PI).sqrt()
}
/// Factor of the cube.
const CUBE: f64 = 0.044_715;

/// Where `result` is `factor * x * gate`, the gate made by `f` of a polynomial in `x`: that, and the factor.
fn gated(
    module: &Module,
    result: ValueId,
    f: &dyn Fn(ValueId) -> Option<(f64, f64, ValueId)>,
) -> Option<(ValueId, [f64; 4], f64, f64)> {
    let p = product(module, result, None);
    for &g in &p.over {
        let Some((shift, c, argument)) = f(g) else { continue };
        for x in variables(module, argument) {
            let Some(u) = polynomial(module, argument, x) else { continue };
            let q = product(module, result, Some(x));
            if q.under.is_empty() && q.without(g).is_some_and(|rest| rest[..] == [x]) {
                return Some((x, u, q.factor * shift, q.factor * c));
            }
        }
    }
    None
}

fn find_erf(scene: &Scene<'_>, node: NodeId) -> Result<Found, Option<String>> {
    let module = scene.module;
    let (op, operands, result) = scene.node(node).ok_or(None)?;
    if let Op::Gelu(_) = op {
        return found(result, gelu(operands[0]));
    }
    if !matches!(op, Op::Mul(_) | Op::Div(_)) {
        return Err(None);
    }
    let gate = |g: ValueId| {
        let (shift, c, e) = sum(module, g).only()?;
        Some((shift, c, under::<Erf>(module, e)?))
    };
    let (x, u, shift, c) = gated(module, result, &gate).ok_or(None)?;
    let dtype = module.ty(result).dtype;
    let [0.0, a, 0.0, 0.0] = u else { return Err(None) };
    let wrong = [(a, FRAC_1_SQRT_2, "1/sqrt 2"), (shift, 0.5, "1/2"), (c, 0.5, "1/2")];
    match wrong.into_iter().find(|(has, needs, _)| !near(dtype, *has, *needs)) {
        None => found(result, gelu(x)),
        Some((has, needs, name)) if resembles(has, needs) => {
            Err(Some(format!("looks like GELU, but a constant is {has} rather than {name}")))
        }
        // 1 + erf without the half, which may come further out.
        Some(_) => Err(None),
    }
}

fn find_tanh(scene: &Scene<'_>, node: NodeId) -> Result<Found, Option<String>> {
    let module = scene.module;
    let (Op::Mul(_) | Op::Div(_), _, result) = scene.node(node).ok_or(None)? else { return Err(None) };
    let gate = |g: ValueId| {
        if let Some(argument) = under::<Sigmoid>(module, g) {
            return Some((0.5, 0.5, argument));
        }
        let (shift, c, t) = sum(module, g).only()?;
        Some((shift, c, under::<Tanh>(module, t)?))
    };
    let (x, u, shift, c) = gated(module, result, &gate).ok_or(None)?;
    let [0.0, a, 0.0, b] = u else { return Err(None) };
    if b == 0.0 {
        return Err(None);
    }
    let dtype = module.ty(result).dtype;
    let by_sigmoid =
        product(module, result, Some(x)).over.iter().any(|&g| under::<Sigmoid>(module, g).is_some());
    // sigmoid(2 u) is the whole gate, (1 + tanh(u)) / 2 needs its half.
    let (a, b, shift, c) = if by_sigmoid { (a / 2.0, b / 2.0, shift, c) } else { (a, b, shift, c) };
    let wrong = [(a, root(), "sqrt(2/pi)"), (b / a, CUBE, "0.044715"), (shift, 0.5, "1/2"), (c, 0.5, "1/2")];
    match wrong.into_iter().find(|(has, needs, _)| !near(dtype, *has, *needs)) {
        None => {
            let line = add(mul(mul(x, x), 2.0 * root() * CUBE), 2.0 * root());
            found(result, mul(x, sigmoid(mul(x, line))))
        }
        Some((has, needs, name)) if resembles(has, needs) => {
            Err(Some(format!("looks like GELU by tanh, but a constant is {has} rather than {name}")))
        }
        Some(_) => Err(None),
    }
}
