//! rotary - rotary position embedding: halves of an axis turned by angles, as one pointwise expression of both.

use nnc_ir::{
    Module,
    constant::Constant,
    dtype::{DType, Scalar},
    extent::{Extent, product},
    graph::{NodeId, ValueId},
    ops::{Add, Broadcast, Concat, ConstantOp, Mul, Neg, Op, Reshape, Slice, Sub, Transpose},
};

use super::{
    pattern::{both, def, under, unviewed},
    scene::{Found, Pattern, Scene, found},
    term::{Term, add, apply, mul, spread},
};
use crate::pass::{Exactness, Rule};

pub(super) const PATTERNS: &[Pattern] =
    &[Pattern { rule: &ROTARY, find: find_rotary }, Pattern { rule: &ROTATE_HALF, find: find_rotate_half }];

pub(super) static ROTARY: Rule = Rule {
    name: "rotary",
    law: "concat(a c - b s, a s + b c) = z c + flip(z) (-1, 1) s, z = reshape(x, [.., 2, n]), a and b the halves of x",
    source: "ONNX RotaryEmbedding-23; Su et al., RoFormer, 2021: 3.4.2; IEEE 754-2019, 6.3: a sign passes through a product",
    exactness: Exactness::Exact,
};
pub(super) static ROTATE_HALF: Rule = Rule {
    name: "rotate-half",
    law: "x c + concat(-b, a) s = z c + flip(z) (-1, 1) s, z = reshape(x, [.., 2, n]), a and b the halves of x",
    source: "Su et al., RoFormer, 2021: 3.4.2; IEEE 754-2019, 6.3: a sign passes through a product",
    exactness: Exactness::Exact,
};

/// Operations between a table of angles and the concatenation of two equal halves at most.
const MAX_STEPS: usize = 8;

/// Where both halves of an axis stand.
struct Halves {
    x: ValueId,
    /// Position of the first half on the last axis.
    start: Extent,
    /// Shape of a half.
    shape: Vec<Extent>,
}

/// The halves that two slices are, if they lie next to each other on the last axis.
fn halves(module: &Module, a: ValueId, b: ValueId) -> Option<Halves> {
    let cut = |v: ValueId| {
        let (slice, node) = module.defined_by::<Slice>(v)?;
        let whole = &module.ty(node.operands[0]).shape;
        let last = whole.len().checked_sub(1)?;
        let rest = (0..last).all(|axis| slice.starts[axis].is(0) && slice.shape[axis] == whole[axis]);
        let plain = slice.steps.iter().all(|&s| s == 1);
        (rest && plain).then(|| (node.operands[0], slice.starts[last].clone(), slice.shape.clone()))
    };
    let ((x, start, shape), (other, next, length)) = (cut(a)?, cut(b)?);
    let fits = x == other && shape == length && &start + shape.last()? == next;
    fits.then_some(Halves { x, start, shape })
}

impl Halves {
    /// Both halves as one tensor `[.., 2, n]`, seen through what only moves axes.
    fn split(&self, module: &Module) -> Term {
        let (last, n) = (self.shape.len() - 1, &self.shape[self.shape.len() - 1]);
        let whole = &module.ty(self.x).shape;
        if n.scale(2) == whole[last] && self.start.is(0) {
            return split(module, self.x, last);
        }
        let (mut starts, mut shape) = (vec![Extent::ZERO; last + 1], self.shape.clone());
        (starts[last], shape[last]) = (self.start.clone(), n.scale(2));
        let part = Slice { starts, steps: vec![1; last + 1], shape };
        apply(Reshape { shape: self.split_shape() }, vec![apply(part, vec![self.x.into()])])
    }

    fn split_shape(&self) -> Vec<Extent> {
        let last = self.shape.len() - 1;
        [&self.shape[..last], &[Extent::Const(2), self.shape[last].clone()]].concat()
    }
}

/// `value` with an axis split into two halves: above transposes the reshape cancels with others.
fn split(module: &Module, value: ValueId, axis: usize) -> Term {
    if let Some((Op::Transpose(t), &[inner])) = def(module, value) {
        let from = t.perm[axis];
        let moved = |&p: &usize| if p > from { p + 1 } else { p };
        let mut perm: Vec<usize> = t.perm.iter().map(moved).collect();
        perm.insert(axis + 1, from + 1);
        return apply(Transpose { perm }, vec![split(module, inner, from)]);
    }
    let mut shape = module.ty(value).shape.to_vec();
    let half = shape[axis].floor_div(&Extent::Const(2));
    shape.splice(axis..=axis, [Extent::Const(2), half]);
    apply(Reshape { shape }, vec![unviewed(module, value).into()])
}

/// A table of `[.., n]`, the same for both halves, on the axes of `split`.
fn shared(module: &Module, table: ValueId, split: &[Extent]) -> Term {
    let source = under::<Broadcast>(module, table).unwrap_or(table);
    let mut shape = module.ty(source).shape.to_vec();
    if let Some(last) = shape.len().checked_sub(1) {
        shape.insert(last, Extent::ONE);
    }
    spread(apply(Reshape { shape }, vec![unviewed(module, source).into()]), split)
}

/// A table of `[.., 2 n]` on the axes of `split`.
fn apart(module: &Module, table: ValueId, of: &[Extent]) -> Term {
    let source = under::<Broadcast>(module, table).unwrap_or(table);
    let mut shape = module.ty(source).shape.to_vec();
    let Some(n) = shape.pop().filter(|n| !n.is(1)) else { return spread(source, of) };
    if let Some(half) = once(module, source, &n, MAX_STEPS) {
        shape.extend([Extent::ONE, of[of.len() - 1].clone()]);
        return spread(apply(Reshape { shape }, vec![half]), of);
    }
    shape.extend_from_slice(&of[of.len() - 2..]);
    spread(apply(Reshape { shape }, vec![unviewed(module, source).into()]), of)
}

/// What a value is two copies of, side by side on the last axis of extent `n`.
fn once(module: &Module, value: ValueId, n: &Extent, depth: usize) -> Option<Term> {
    let deeper = depth.checked_sub(1)?;
    let halved = |v: ValueId| {
        let mut shape = module.ty(v).shape.to_vec();
        let last = shape.last_mut().filter(|e| *e == n)?;
        *last = last.floor_div(&Extent::Const(2));
        Some(shape)
    };
    match def(module, value)? {
        (Op::Concat(join), &[a, b]) if a == b && join.axis + 1 == module.ty(value).rank() => Some(a.into()),
        (Op::Reshape(_), &[inner]) if module.ty(inner).shape.last() == Some(n) => {
            let shape = halved(value)?;
            Some(apply(Reshape { shape }, vec![once(module, inner, n, deeper)?]))
        }
        (op @ (Op::Cos(_) | Op::Sin(_)), &[inner]) => {
            Some(apply(op.clone(), vec![once(module, inner, n, deeper)?]))
        }
        _ => None,
    }
}

/// `z c + flip(z) (-1, 1) s`, on two axes for the last.
fn turned(dtype: DType, z: Term, c: Term, s: Term, split: &[Extent]) -> Term {
    let axis = split.len() - 2;
    let (mut starts, mut steps) = (vec![Extent::ZERO; split.len()], vec![1; split.len()]);
    (starts[axis], steps[axis]) = (Extent::ONE, -1);
    let others = apply(Slice { starts, steps, shape: split.to_vec() }, vec![z.clone()]);
    add(mul(z, c), mul(mul(others, spread(signs(dtype), split)), s))
}

/// -1 for the first half, 1 for the second.
fn signs(dtype: DType) -> Term {
    let value = Constant::from_scalars(dtype, &[2, 1], &[-1.0, 1.0].map(|s| Scalar::float(dtype, s)));
    apply(ConstantOp { value }, vec![])
}

/// Both operands of a concatenation along the last axis.
fn joined(module: &Module, value: ValueId) -> Option<[ValueId; 2]> {
    let (join, node) = module.defined_by::<Concat>(value)?;
    let operands: [ValueId; 2] = node.operands[..].try_into().ok()?;
    (join.axis + 1 == module.ty(value).rank()).then_some(operands)
}

fn find_rotary(scene: &Scene<'_>, node: NodeId) -> Result<Found, Option<String>> {
    let module = scene.module;
    let (_, _, result) = scene.node(node).ok_or(None)?;
    let [real, imaginary] = joined(module, result).ok_or(None)?;
    let [ac, bs] = both::<Sub>(module, real).ok_or(None)?;
    let [m, n] = both::<Add>(module, imaginary).ok_or(None)?;
    let (ac, bs) = (both::<Mul>(module, ac).ok_or(None)?, both::<Mul>(module, bs).ok_or(None)?);
    let (m, n) = (both::<Mul>(module, m).ok_or(None)?, both::<Mul>(module, n).ok_or(None)?);
    let is = |p: [ValueId; 2], q: [ValueId; 2]| p == q || p == [q[1], q[0]];
    for (a, c) in [(ac[0], ac[1]), (ac[1], ac[0])] {
        for (b, s) in [(bs[0], bs[1]), (bs[1], bs[0])] {
            let Some(halves) = halves(module, a, b) else { continue };
            if !((is(m, [a, s]) && is(n, [b, c])) || (is(m, [b, c]) && is(n, [a, s]))) {
                return Err(Some(
                    "looks like a rotary embedding, but turns its halves by different angles".into(),
                ));
            }
            let split = halves.split_shape();
            let (c, s) = (shared(module, c, &split), shared(module, s, &split));
            let y = turned(module.ty(result).dtype, halves.split(module), c, s, &split);
            return found(result, apply(Reshape { shape: module.ty(result).shape.to_vec() }, vec![y]));
        }
    }
    Err(None)
}

fn find_rotate_half(scene: &Scene<'_>, node: NodeId) -> Result<Found, Option<String>> {
    let module = scene.module;
    let (Op::Add(_), &[p, q], result) = scene.node(node).ok_or(None)? else { return Err(None) };
    let (p, q) = (both::<Mul>(module, p).ok_or(None)?, both::<Mul>(module, q).ok_or(None)?);
    for (kept, crossed) in [(p, q), (q, p)] {
        for (rotated, s) in [(crossed[0], crossed[1]), (crossed[1], crossed[0])] {
            let Some([minus_b, a]) = joined(module, rotated) else { continue };
            let Some(halves) = under::<Neg>(module, minus_b).and_then(|b| halves(module, a, b)) else {
                continue;
            };
            let is_whole = product(&module.ty(halves.x).shape) == product(&module.ty(result).shape);
            let (true, Some(at)) = (is_whole, kept.iter().position(|&v| v == halves.x)) else {
                return Err(Some("rotates halves, but adds another tensor".into()));
            };
            let split = halves.split_shape();
            let (c, s) = (apart(module, kept[1 - at], &split), apart(module, s, &split));
            let y = turned(module.ty(result).dtype, halves.split(module), c, s, &split);
            return found(result, apply(Reshape { shape: module.ty(result).shape.to_vec() }, vec![y]));
        }
    }
    Err(None)
}
