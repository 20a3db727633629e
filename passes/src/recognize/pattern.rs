//! pattern - reads values as arithmetic: numbers, products, sums, polynomials, clamps, means; whatever way they are spelt.

use nnc_ir::{
    Module,
    dtype::DType,
    extent::{Extent, product as extent_product},
    graph::ValueId,
    ops::{Broadcast, Extents, Op, OpStruct, Reduce, ReduceKind, Reshape},
};

/// Views stop at so many parts: longer ones are no pattern.
const MAX_PARTS: usize = 8;
/// Constants of a model may differ from a pattern's by so many units of rounding: they went through decimal digits.
const ULPS: f64 = 16.0;

/// The operation that makes a value, with its operands.
pub(super) fn def(module: &Module, value: ValueId) -> Option<(&Op, &[ValueId])> {
    let node = module.node(module.def_node(value)?);
    Some((&node.op, &node.operands))
}

/// The operand of `value`, if operation `T` of one operand makes it.
pub(super) fn under<T: OpStruct>(module: &Module, value: ValueId) -> Option<ValueId> {
    module.defined_by::<T>(value).and_then(|(_, node)| match node.operands[..] {
        [operand] => Some(operand),
        _ => None,
    })
}

/// Both operands of `value`, if operation `T` of two makes it.
pub(super) fn both<T: OpStruct>(module: &Module, value: ValueId) -> Option<[ValueId; 2]> {
    module.defined_by::<T>(value).and_then(|(_, node)| node.operands[..].try_into().ok())
}

/// `value`, or what it views.
pub(super) fn unviewed(module: &Module, mut value: ValueId) -> ValueId {
    while let Some(inner) = under::<Reshape>(module, value) {
        value = inner;
    }
    value
}

/// The number that every element is: of a constant, seen through broadcasts and reshapes.
pub(super) fn number(module: &Module, value: ValueId) -> Option<f64> {
    let (op, operands) = def(module, value)?;
    match op {
        Op::ConstantOp(c) => c.value.as_splat()?.as_f64(),
        Op::Broadcast(_) | Op::Reshape(_) => number(module, operands[0]),
        _ => None,
    }
}

/// Rounding of one operation, relative.
fn unit(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => 2f64.powi(-53),
        DType::F16 => 2f64.powi(-11),
        DType::BF16 => 2f64.powi(-8),
        _ => 2f64.powi(-24),
    }
}

/// Whether `x` is the number `y` but for how it was written.
pub(super) fn near(dtype: DType, x: f64, y: f64) -> bool {
    (x - y).abs() <= ULPS * unit(dtype) * y.abs()
}

/// Whether `x` is `y` to two digits: surely meant to be it, but not it.
pub(super) fn resembles(x: f64, y: f64) -> bool {
    (x - y).abs() <= 0.02 * y.abs()
}

/// `factor * product of over / product of under`.
#[derive(Debug, Default)]
pub(super) struct Product {
    pub(super) factor: f64,
    pub(super) over: Vec<ValueId>,
    pub(super) under: Vec<ValueId>,
}

impl Product {
    /// The factors other than one occurrence of `x`.
    pub(super) fn without(&self, x: ValueId) -> Option<Vec<ValueId>> {
        let at = self.over.iter().position(|&v| v == x)?;
        let mut rest = self.over.clone();
        rest.remove(at);
        Some(rest)
    }
}

/// `value` as a product; `whole` is not looked into.
pub(super) fn product(module: &Module, value: ValueId, whole: Option<ValueId>) -> Product {
    let mut p = Product { factor: 1.0, ..Product::default() };
    multiply_in(module, value, false, whole, &mut p);
    p
}

fn multiply_in(module: &Module, value: ValueId, inverse: bool, whole: Option<ValueId>, p: &mut Product) {
    let open = Some(value) != whole && p.over.len() + p.under.len() < MAX_PARTS;
    if let Some(c) = number(module, value).filter(|c| open && c.is_finite() && *c != 0.0) {
        p.factor *= if inverse { 1.0 / c } else { c };
        return;
    }
    match def(module, value).filter(|_| open) {
        Some((Op::Mul(_), &[a, b])) => {
            multiply_in(module, a, inverse, whole, p);
            multiply_in(module, b, inverse, whole, p);
        }
        Some((Op::Div(_), &[a, b])) => {
            multiply_in(module, a, inverse, whole, p);
            multiply_in(module, b, !inverse, whole, p);
        }
        Some((Op::Neg(_), &[a])) => {
            p.factor = -p.factor;
            multiply_in(module, a, inverse, whole, p);
        }
        _ if inverse => p.under.push(value),
        _ => p.over.push(value),
    }
}

/// `shift + sum of coefficient * term`.
#[derive(Debug, Default)]
pub(super) struct Sum {
    pub(super) shift: f64,
    pub(super) terms: Vec<(f64, ValueId)>,
}

impl Sum {
    /// Shift, coefficient and term, if there is one term.
    pub(super) fn only(&self) -> Option<(f64, f64, ValueId)> {
        match self.terms[..] {
            [(c, term)] => Some((self.shift, c, term)),
            _ => None,
        }
    }
}

/// `value` as a sum.
pub(super) fn sum(module: &Module, value: ValueId) -> Sum {
    let mut s = Sum::default();
    add_in(module, value, 1.0, &mut s);
    s
}

fn add_in(module: &Module, value: ValueId, c: f64, s: &mut Sum) {
    if let Some(x) = number(module, value).filter(|x| x.is_finite()) {
        s.shift += c * x;
        return;
    }
    match def(module, value).filter(|_| s.terms.len() < MAX_PARTS) {
        Some((Op::Add(_), &[a, b])) => {
            add_in(module, a, c, s);
            add_in(module, b, c, s);
        }
        Some((Op::Sub(_), &[a, b])) => {
            add_in(module, a, c, s);
            add_in(module, b, -c, s);
        }
        Some((Op::Neg(_), &[a])) => add_in(module, a, -c, s),
        Some((Op::Mul(_) | Op::Div(_), _)) => match scaled(module, value) {
            (factor, inner) if inner != value => add_in(module, inner, c * factor, s),
            _ => s.terms.push((c, value)),
        },
        _ => s.terms.push((c, value)),
    }
}

/// `value` as a number times the rest, by one step.
pub(super) fn scaled(module: &Module, value: ValueId) -> (f64, ValueId) {
    let known = |v: ValueId| number(module, v).filter(|c| c.is_finite() && *c != 0.0);
    match def(module, value) {
        Some((Op::Mul(_), &[a, b])) => match (known(a), known(b)) {
            (None, Some(c)) => (c, a),
            (Some(c), None) => (c, b),
            _ => (1.0, value),
        },
        Some((Op::Div(_), &[a, b])) => match (known(a), known(b)) {
            (None, Some(c)) => (1.0 / c, a),
            _ => (1.0, value),
        },
        Some((Op::Neg(_), &[a])) => (-1.0, a),
        _ => (1.0, value),
    }
}

/// Coefficients of `value` as a polynomial in `x` up to the third power.
pub(super) fn polynomial(module: &Module, value: ValueId, x: ValueId) -> Option<[f64; 4]> {
    coefficients(module, value, x, MAX_PARTS)
}

fn coefficients(module: &Module, value: ValueId, x: ValueId, depth: usize) -> Option<[f64; 4]> {
    if value == x {
        return Some([0.0, 1.0, 0.0, 0.0]);
    }
    if let Some(c) = number(module, value) {
        return c.is_finite().then_some([c, 0.0, 0.0, 0.0]);
    }
    let deeper = depth.checked_sub(1)?;
    let of = |v| coefficients(module, v, x, deeper);
    let (op, operands) = def(module, value)?;
    Some(match (op, operands) {
        (Op::Add(_), &[a, b]) => {
            let (a, b) = (of(a)?, of(b)?);
            std::array::from_fn(|i| a[i] + b[i])
        }
        (Op::Sub(_), &[a, b]) => {
            let (a, b) = (of(a)?, of(b)?);
            std::array::from_fn(|i| a[i] - b[i])
        }
        (Op::Neg(_), &[a]) => of(a)?.map(|c| -c),
        (Op::Div(_), &[a, b]) => {
            let c = number(module, b).filter(|c| *c != 0.0)?;
            of(a)?.map(|a| a / c)
        }
        (Op::Mul(_), &[a, b]) => times(&of(a)?, &of(b)?)?,
        (Op::Pow(_), &[a, b]) if near(DType::F32, number(module, b)?, 3.0) => {
            let a = of(a)?;
            times(&times(&a, &a)?, &a)?
        }
        _ => return None,
    })
}

/// The product of two polynomials, if its degree is 3 at most.
fn times(a: &[f64; 4], b: &[f64; 4]) -> Option<[f64; 4]> {
    let mut all = [0.0; 7];
    for (i, x) in a.iter().enumerate() {
        for (j, y) in b.iter().enumerate() {
            all[i + j] += x * y;
        }
    }
    all[4..].iter().all(|c| *c == 0.0).then(|| [all[0], all[1], all[2], all[3]])
}

/// Values that `value` is arithmetic of, itself first: what a pattern in one variable may be a function of.
pub(super) fn variables(module: &Module, value: ValueId) -> Vec<ValueId> {
    let mut found = vec![value];
    let mut at = 0;
    while at < found.len() && found.len() < 2 * MAX_PARTS {
        if let Some((Op::Add(_) | Op::Sub(_) | Op::Mul(_) | Op::Div(_) | Op::Neg(_) | Op::Pow(_), operands)) =
            def(module, found[at])
        {
            let new: Vec<ValueId> =
                operands.iter().copied().filter(|v| number(module, *v).is_none()).collect();
            for v in new {
                if !found.contains(&v) {
                    found.push(v);
                }
            }
        }
        at += 1;
    }
    found
}

/// `value` as `min(max(inner, low), high)`, in either order.
pub(super) fn clamp(module: &Module, value: ValueId) -> Option<(ValueId, f64, f64)> {
    let (outer, first) = bound(module, value)?;
    let (inner, second) = bound(module, outer)?;
    let (low, high) = match (first, second) {
        (Bound::Most(high), Bound::Least(low)) | (Bound::Least(low), Bound::Most(high)) => (low, high),
        _ => return None,
    };
    (low < high).then_some((inner, low, high))
}

enum Bound {
    Least(f64),
    Most(f64),
}

fn bound(module: &Module, value: ValueId) -> Option<(ValueId, Bound)> {
    let (op, operands) = def(module, value)?;
    let with_number = |a: ValueId, b: ValueId| match (number(module, a), number(module, b)) {
        (Some(c), None) => Some((b, c)),
        (None, Some(c)) => Some((a, c)),
        _ => None,
    };
    match (op, operands) {
        (Op::Relu(_), &[a]) => Some((a, Bound::Least(0.0))),
        (Op::Max(_), &[a, b]) => with_number(a, b).map(|(v, c)| (v, Bound::Least(c))),
        (Op::Min(_), &[a, b]) => with_number(a, b).map(|(v, c)| (v, Bound::Most(c))),
        _ => None,
    }
}

/// `value` is joined from all of `x` along `axes`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Joined {
    pub(super) x: ValueId,
    pub(super) axes: Vec<usize>,
}

impl Joined {
    /// The shape of `x` with the axes of extent 1.
    pub(super) fn row_shape(&self, module: &Module) -> Vec<Extent> {
        let mut shape = module.ty(self.x).shape.clone();
        self.axes.iter().for_each(|&a| shape[a] = Extent::ONE);
        shape.to_vec()
    }

    /// Whether `value` lies along the rows of `x` as if axes had been kept.
    pub(super) fn is_row(&self, module: &Module, value: ValueId) -> bool {
        module.ty(value).shape[..] == self.row_shape(module)[..]
    }

    /// How many elements make one.
    pub(super) fn count(&self, module: &Module) -> Extent {
        let shape = &module.ty(self.x).shape;
        extent_product(self.axes.iter().map(|&a| &shape[a]))
    }
}

/// `value` as a reduction, whether axes are kept or not.
pub(super) fn joined(module: &Module, value: ValueId, kind: ReduceKind) -> Option<Joined> {
    let (reduce, node) = module.defined_by::<Reduce>(unviewed(module, value))?;
    let fits = reduce.kind == kind && !reduce.axes.is_empty();
    fits.then(|| Joined { x: node.operands[0], axes: reduce.axes.clone() })
}

/// `value` as a mean: a sum divided by the number of elements, or times its inverse.
pub(super) fn mean(module: &Module, value: ValueId) -> Option<Joined> {
    let p = product(module, unviewed(module, value), None);
    let [total] = p.over[..] else { return None };
    let all = joined(module, total, ReduceKind::Sum)?;
    let count = all.count(module);
    let fits = match (&p.under[..], count.as_const()) {
        ([], Some(n)) => n > 0 && near(module.ty(value).dtype, p.factor, 1.0 / n as f64),
        (&[divisor], _) => p.factor == 1.0 && extent(module, divisor) == Some(&count),
        _ => false,
    };
    fits.then_some(all)
}

/// The extent that `value` holds, known only at run time.
fn extent(module: &Module, value: ValueId) -> Option<&Extent> {
    match def(module, value)? {
        (Op::Broadcast(_) | Op::Reshape(_) | Op::Cast(_), operands) => extent(module, operands[0]),
        (Op::Extents(Extents { values }), _) => match &values[..] {
            [one] => Some(one),
            _ => None,
        },
        _ => None,
    }
}

/// `value` as a row spread over the elements it was joined from.
pub(super) fn spread(module: &Module, value: ValueId) -> Option<ValueId> {
    under::<Broadcast>(module, value)
}
