//! norm - means, and what is divided by the root of a mean square: layer, instance, group and RMS normalization.

use nnc_ir::{
    Module,
    extent::Extent,
    graph::{NodeId, ValueId},
    ops::{Add, Max, Mul, Op, Pow, ReduceKind, Relu, Sqrt, Sub},
};

use super::{
    pattern::{Joined, both, mean, number, product, spread, under, unviewed},
    scene::{Found, Pattern, Scene, found},
    term::{self, Term, add, div, join, mul, sqrt, sub},
};
use crate::pass::{Exactness, Rule};

pub(super) const PATTERNS: &[Pattern] = &[
    Pattern { rule: &MEAN, find: find_mean },
    Pattern { rule: &LAYER_NORM, find: |scene, node| find_norm(scene, node, Part::Centred) },
    Pattern { rule: &RMS_NORM, find: |scene, node| find_norm(scene, node, Part::Plain) },
    Pattern { rule: &NORM_SCALE, find: |scene, node| find_norm(scene, node, Part::Scale) },
];

pub(super) static MEAN: Rule = Rule {
    name: "mean",
    law: "sum(x) * (1 / n) = sum(x) / n, n elements joined",
    source: "ONNX ReduceMean-18; one rounding instead of two",
    exactness: Exactness::Rounding,
};
pub(super) static LAYER_NORM: Rule = Rule {
    name: "layer-norm",
    law: "d / sqrt(v + e) * s = d * (1 / sqrt(v + e)) * s, d = x - mean(x), v = mean(d d) or mean(x x) - mean(x)^2",
    source: "ONNX LayerNormalization-17; Ba, Kiros & Hinton, Layer Normalization, 2016; variance by two passes: Chan, Golub & LeVeque, 1983",
    exactness: Exactness::Rounding,
};
pub(super) static RMS_NORM: Rule = Rule {
    name: "rms-norm",
    law: "x / sqrt(mean(x x) + e) * s = x * (1 / sqrt(mean(x x) + e)) * s",
    source: "ONNX RMSNormalization-23; Zhang & Sennrich, Root Mean Square Layer Normalization, 2019",
    exactness: Exactness::Rounding,
};

pub(super) static NORM_SCALE: Rule = Rule {
    name: "norm-scale",
    law: "s * norm(x) = norm(x) * s, norm(x) spelt as above",
    source: "IEEE 754-2019, 5.4.1: products of two commute",
    exactness: Exactness::Exact,
};

/// What of a normalization is looked for.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    /// That of differences from the mean.
    Centred,
    /// That of values as they are.
    Plain,
    /// The scale of one that stands.
    Scale,
}

fn find_mean(scene: &Scene<'_>, node: NodeId) -> Result<Found, Option<String>> {
    let module = scene.module;
    let (Op::Mul(_) | Op::Div(_), _, result) = scene.node(node).ok_or(None)? else { return Err(None) };
    let all = mean(module, result).ok_or(None)?;
    let p = product(module, result, None);
    let n = all.count(module).as_const().ok_or(None)?;
    found(result, div(p.over[0], n as f64))
}

/// `value * value`.
fn square_of(module: &Module, value: ValueId) -> Option<ValueId> {
    both::<Mul>(module, unviewed(module, value)).and_then(|[a, b]| (a == b).then_some(a))
}

/// A variance or mean square.
enum Spread {
    /// The mean of the squares of this.
    Square(Joined),
    /// `mean(x x) - mean(x)^2`.
    Difference(Joined),
}

fn variance(module: &Module, value: ValueId) -> Option<Spread> {
    let mut value = unviewed(module, value);
    // Kept from falling below 0 by rounding.
    let zero = |v: ValueId| number(module, v) == Some(0.0);
    if let Some(inner) = under::<Relu>(module, value) {
        value = unviewed(module, inner);
    } else if let Some([a, b]) = both::<Max>(module, value) {
        match (zero(a), zero(b)) {
            (true, false) => value = unviewed(module, b),
            (false, true) => value = unviewed(module, a),
            _ => return None,
        }
    }
    let square = |v: ValueId| {
        let all = mean(module, v)?;
        Some(Joined { x: square_of(module, all.x)?, axes: all.axes })
    };
    if let Some([a, b]) = both::<Sub>(module, value) {
        let (of, root) = (square(a)?, square_of(module, b)?);
        return (mean(module, root)? == of).then_some(Spread::Difference(of));
    }
    square(value).map(Spread::Square)
}

/// The argument of a square root.
fn root(module: &Module, value: ValueId) -> Option<ValueId> {
    if let Some([a, b]) = both::<Pow>(module, value) {
        return (number(module, b)? == 0.5).then_some(a);
    }
    under::<Sqrt>(module, unviewed(module, value))
}

/// Where a factor is one over the root of something, spread: the something.
fn inverse_root(module: &Module, factor: ValueId) -> Option<ValueId> {
    let row = unviewed(module, spread(module, factor).unwrap_or(factor));
    if let Some([a, b]) = both::<Pow>(module, row) {
        return (number(module, b)? == -0.5).then_some(a);
    }
    let p = product(module, row, None);
    match (&p.over[..], &p.under[..]) {
        ([], &[below]) if p.factor == 1.0 => root(module, below),
        _ => None,
    }
}

/// `x` minus its mean along axes.
fn centred(module: &Module, value: ValueId, of: &Joined) -> bool {
    let is_mean = |m: ValueId| {
        let row = spread(module, m).unwrap_or(m);
        mean(module, row).as_ref() == Some(of) && of.is_row(module, row)
    };
    both::<Sub>(module, value).is_some_and(|[x, m]| x == of.x && is_mean(m))
}

/// What sums along the axes are divided by: a number, or the scalar that the model divides by; `None` if the number of
/// elements is known only when running and no divisor is at hand.
fn count(module: &Module, of: &Joined, divided: ValueId) -> Option<Term> {
    match of.count(module).as_const() {
        Some(n) => Some((n as f64).into()),
        None => {
            let divisor = *product(module, unviewed(module, divided), None).under.first()?;
            let scalar = unviewed(module, spread(module, divisor).unwrap_or(divisor));
            (module.ty(scalar).rank() == 0).then(|| scalar.into())
        }
    }
}

/// What is added to a value, and the value.
fn plus_number(module: &Module, value: ValueId) -> (f64, ValueId) {
    let value = unviewed(module, value);
    let Some([a, b]) = both::<Add>(module, value) else { return (0.0, value) };
    match (number(module, a), number(module, b)) {
        (None, Some(c)) => (c, a),
        (Some(c), None) => (c, b),
        _ => (0.0, value),
    }
}

fn find_norm(scene: &Scene<'_>, node: NodeId, part: Part) -> Result<Found, Option<String>> {
    let module = scene.module;
    let (Op::Mul(_) | Op::Div(_), operands, result) = scene.node(node).ok_or(None)? else { return Err(None) };
    if !module.ty(result).dtype.is_float() {
        return Err(None);
    }
    let shape = module.ty(result).shape.to_vec();
    let p = product(module, result, None);
    let over = p.over.iter().filter_map(|&f| Some((f, inverse_root(module, f)?, true)));
    let below =
        p.under.iter().filter_map(|&f| Some((f, root(module, spread(module, f).unwrap_or(f))?, false)));
    for (row, argument, is_over) in over.chain(below).collect::<Vec<_>>() {
        let (epsilon, v) = plus_number(module, argument);
        let Some(norm) = norm_of(module, v, epsilon, &shape) else { continue };
        if part != Part::Scale && norm.is_centred != (part == Part::Centred) {
            continue;
        }
        let q = product(module, result, Some(norm.x));
        let mut over = q.over;
        let mut below = q.under;
        let side = if is_over { &mut over } else { &mut below };
        side.retain(|&f| f != row);
        let is_numerator =
            |&f: &ValueId| if norm.is_centred { centred(module, f, &norm.of) } else { f == norm.x };
        let Some(at) = over.iter().position(is_numerator) else { continue };
        over.remove(at);
        let core = norm.spelt(norm.of.x, &norm.of.axes, &shape);
        return match (&over[..], &below[..]) {
            _ if q.factor != 1.0 => Err(None),
            ([], []) if part != Part::Scale => Ok(Found { term: core, key: norm.of.x }),
            (&[scale], []) => {
                let is_core = |&v: &ValueId| term::stands(module, v, &core);
                let has_core =
                    matches!(scene.node(node), Some((Op::Mul(_), ..))) && operands.iter().any(is_core);
                let fits = has_core == (part == Part::Scale);
                if fits { Ok(Found { term: mul(core, scale), key: norm.of.x }) } else { Err(None) }
            }
            _ => Err(None),
        };
    }
    Err(None)
}

/// What is divided and by what.
pub(super) struct Norm {
    pub(super) of: Joined,
    is_centred: bool,
    /// What is squared: `of.x`, or that minus its mean.
    x: ValueId,
    /// What sums are divided by: a number or a scalar.
    count: Term,
    epsilon: f64,
}

impl Norm {
    /// The normalization of `x` of a shape along axes, in its canonical spelling.
    pub(super) fn spelt(&self, x: impl Into<Term>, axes: &[usize], shape: &[Extent]) -> Term {
        let x = x.into();
        let row: Vec<Extent> = shape
            .iter()
            .enumerate()
            .map(|(a, e)| if axes.contains(&a) { Extent::ONE } else { e.clone() })
            .collect();
        let mean_of = |x: Term| {
            let count = match &self.count {
                Term::Number(n) => Term::Number(*n),
                scalar => term::spread(scalar.clone(), &row),
            };
            div(join(ReduceKind::Sum, x, axes), count)
        };
        let numerator = match self.is_centred {
            true => sub(x.clone(), term::spread(mean_of(x), shape)),
            false => x,
        };
        let spread = mean_of(mul(numerator.clone(), numerator.clone()));
        let spread = if self.epsilon == 0.0 { spread } else { add(spread, self.epsilon) };
        mul(numerator, term::spread(div(1.0, sqrt(spread)), shape))
    }
}

fn norm_of(module: &Module, v: ValueId, epsilon: f64, shape: &[Extent]) -> Option<Norm> {
    let (of, x, divided, is_centred) = match variance(module, v)? {
        Spread::Square(square) => {
            match both::<Sub>(module, square.x).map(|[x, _]| Joined { x, axes: square.axes.clone() }) {
                Some(of) if centred(module, square.x, &of) => (of, square.x, v, true),
                _ => (square.clone(), square.x, v, false),
            }
        }
        Spread::Difference(of) => {
            let [squares, _] = both::<Sub>(module, strip_clamp(module, v))?;
            (of.clone(), of.x, squares, true)
        }
    };
    if module.ty(of.x).shape[..] != *shape {
        return None;
    }
    let count = count(module, &of, divided)?;
    Some(Norm { of, is_centred, x, count, epsilon })
}

/// The normalization that a value is, spelt canonically and centred.
pub(super) fn canonical(module: &Module, value: ValueId) -> Option<Norm> {
    let [_, row] = both::<Mul>(module, value)?;
    let (epsilon, v) = plus_number(module, inverse_root(module, row)?);
    let shape = &module.ty(value).shape;
    let norm = norm_of(module, v, epsilon, shape)?;
    let stands = term::stands(module, value, &norm.spelt(norm.of.x, &norm.of.axes, shape));
    (stands && norm.is_centred).then_some(norm)
}

/// `value` without views and a bound at 0.
fn strip_clamp(module: &Module, value: ValueId) -> ValueId {
    let value = unviewed(module, value);
    let inner = under::<Relu>(module, value).or_else(|| {
        let both = both::<Max>(module, value)?;
        both.into_iter().find(|&v| number(module, v).is_none())
    });
    unviewed(module, inner.unwrap_or(value))
}
