//! term - the canonical spelling that a rule wants, to be compared with what is there and made where it is not.

use std::rc::Rc;

use nnc_ir::{
    Module,
    constant::Constant,
    dtype::Scalar,
    extent::Extent,
    graph::{Provenance, ValueId, merge_locs},
    ops::{
        Abs, Add, Broadcast, ConstantOp, Div, Exp, Gelu, Log, Min, Mul, Neg, Op, Reduce, ReduceKind, Relu,
        Sigmoid, Sqrt, Sub, Tanh,
    },
};
use rustc_hash::{FxHashMap, FxHashSet};

use super::pattern::{def, number};
use crate::{pass::Bug, rewrite::Cursor};

/// An expression; what is written once and read twice is made once.
#[derive(Clone, Debug)]
pub(super) enum Term {
    /// What exists already.
    Value(ValueId),
    /// A number of the shape and element type of what it meets.
    Number(f64),
    /// An operation.
    Apply(Rc<(Op, Vec<Term>)>),
    /// Repeated to a shape, unless it has it.
    Spread(Rc<Term>, Vec<Extent>),
}

impl From<ValueId> for Term {
    fn from(value: ValueId) -> Self {
        Term::Value(value)
    }
}

impl From<f64> for Term {
    fn from(number: f64) -> Self {
        Term::Number(number)
    }
}

pub(super) fn apply(op: impl Into<Op>, operands: Vec<Term>) -> Term {
    Term::Apply(Rc::new((op.into(), operands)))
}

macro_rules! functions {
    ($($name:ident = $op:ident($($operand:ident),+);)*) => {$(
        pub(super) fn $name($($operand: impl Into<Term>),+) -> Term {
            apply($op {}, vec![$($operand.into()),+])
        }
    )*};
}

functions! {
    abs = Abs(x);
    neg = Neg(x);
    relu = Relu(x);
    sqrt = Sqrt(x);
    exp = Exp(x);
    log = Log(x);
    tanh = Tanh(x);
    gelu = Gelu(x);
    sigmoid = Sigmoid(x);
    add = Add(x, y);
    sub = Sub(x, y);
    mul = Mul(x, y);
    div = Div(x, y);
    min = Min(x, y);
}

/// `x` joined along axes, which stay.
pub(super) fn join(kind: ReduceKind, x: impl Into<Term>, axes: &[usize]) -> Term {
    apply(Reduce { kind, axes: axes.to_vec(), keep: true }, vec![x.into()])
}

/// `x` repeated to a shape.
pub(super) fn spread(x: impl Into<Term>, shape: &[Extent]) -> Term {
    Term::Spread(Rc::new(x.into()), shape.to_vec())
}

/// Whether `value` is spelt as `term` already.
pub(super) fn stands(module: &Module, value: ValueId, term: &Term) -> bool {
    match term {
        Term::Value(v) => *v == value,
        Term::Number(x) => {
            let dtype = module.ty(value).dtype;
            number(module, value).is_some_and(|y| Scalar::float(dtype, *x).as_f64() == Some(y))
                && is_plain(module, value)
        }
        Term::Apply(node) => def(module, value).is_some_and(|(op, operands)| {
            *op == node.0
                && operands.len() == node.1.len()
                && operands.iter().zip(&node.1).all(|(&v, t)| stands(module, v, t))
        }),
        Term::Spread(inner, shape) => match def(module, value) {
            Some((Op::Broadcast(b), operands)) if b.shape == *shape => stands(module, operands[0], inner),
            _ => stands(module, value, inner),
        },
    }
}

/// Whether a number is a constant itself, or a scalar repeated.
fn is_plain(module: &Module, value: ValueId) -> bool {
    match def(module, value) {
        Some((Op::ConstantOp(_), _)) => true,
        Some((Op::Broadcast(_), operands)) => {
            module.ty(operands[0]).rank() == 0 && module.as_constant(operands[0]).is_some()
        }
        _ => false,
    }
}

/// Parts of a pattern that are looked at for reuse at most.
const MAX_COVERED: usize = 64;

type Address = *const (Op, Vec<Term>);

/// Makes `term` at the cursor, to stand for `result`. What of it is there already is taken; what is new comes from the ONNX
/// nodes it replaces.
pub(super) fn make(cursor: &mut Cursor<'_>, term: &Term, result: ValueId) -> Result<ValueId, Bug> {
    let module = &*cursor.module;
    let mut ends = FxHashSet::default();
    leaves(term, &mut ends);
    let all = covered(module, result, &ends);
    let mut made = FxHashMap::default();
    plan(module, term, &all, &mut made);
    ends.extend(made.values());
    let replaced = covered(module, result, &ends);
    let nodes = replaced.iter().rev().filter(|v| !ends.contains(v)).filter_map(|&v| module.def_node(v));
    let named =
        nodes.map(|n| module.node(n)).filter(|n| !matches!(n.op, Op::ConstantOp(_) | Op::Broadcast(_)));
    let loc = merge_locs(named.map(|n| &n.loc));
    Maker { cursor, loc: &loc, made }.make(term, None)
}

/// The values that a term is made of.
fn leaves(term: &Term, found: &mut FxHashSet<ValueId>) {
    match term {
        Term::Value(v) => drop(found.insert(*v)),
        Term::Number(_) => {}
        Term::Apply(node) => node.1.iter().for_each(|t| leaves(t, found)),
        Term::Spread(inner, _) => leaves(inner, found),
    }
}

/// Values that `result` is computed from, itself first, as far as `ends`.
fn covered(module: &Module, result: ValueId, ends: &FxHashSet<ValueId>) -> Vec<ValueId> {
    let mut found = vec![result];
    let mut at = 0;
    while at < found.len() && found.len() < MAX_COVERED {
        let value = found[at];
        at += 1;
        if let Some((_, operands)) = def(module, value).filter(|_| !ends.contains(&value)) {
            for &v in operands {
                if !found.contains(&v) {
                    found.push(v);
                }
            }
        }
    }
    found
}

/// Finds the parts of a term that stand already.
fn plan(module: &Module, term: &Term, there: &[ValueId], made: &mut FxHashMap<Address, ValueId>) {
    match term {
        Term::Value(_) | Term::Number(_) => {}
        Term::Spread(inner, _) => plan(module, inner, there, made),
        Term::Apply(node) => match there.iter().find(|&&v| stands(module, v, term)) {
            Some(&v) => drop(made.insert(Rc::as_ptr(node), v)),
            None => node.1.iter().for_each(|t| plan(module, t, there, made)),
        },
    }
}

struct Maker<'c, 'm> {
    cursor: &'c mut Cursor<'m>,
    loc: &'c Provenance,
    made: FxHashMap<Address, ValueId>,
}

impl Maker<'_, '_> {
    /// `like`: what a number is to look like.
    fn make(&mut self, term: &Term, like: Option<ValueId>) -> Result<ValueId, Bug> {
        match term {
            Term::Value(value) => Ok(*value),
            Term::Number(x) => match like {
                Some(like) => self.number(*x, like),
                None => Err(Bug { pass: "recognize".into(), message: "a number alone".into() }),
            },
            Term::Apply(node) => {
                if let Some(&value) = self.made.get(&Rc::as_ptr(node)) {
                    return Ok(value);
                }
                let value = self.apply(&node.0, &node.1)?;
                self.made.insert(Rc::as_ptr(node), value);
                Ok(value)
            }
            Term::Spread(inner, shape) => {
                let value = self.make(inner, like)?;
                if self.cursor.module.ty(value).shape[..] == shape[..] {
                    return Ok(value);
                }
                self.cursor.emit1(Broadcast { shape: shape.clone() }, &[value], self.loc)
            }
        }
    }

    fn apply(&mut self, op: &Op, operands: &[Term]) -> Result<ValueId, Bug> {
        let is_number = |t: &Term| matches!(t, Term::Number(_));
        let mut values: Vec<Option<ValueId>> = vec![None; operands.len()];
        for (value, term) in values.iter_mut().zip(operands).filter(|(_, t)| !is_number(t)) {
            *value = Some(self.make(term, None)?);
        }
        let like = values.iter().copied().flatten().next();
        let mut all = Vec::with_capacity(operands.len());
        for (value, term) in values.into_iter().zip(operands) {
            all.push(match value {
                Some(value) => value,
                None => self.make(term, like)?,
            });
        }
        self.cursor.emit1(op.clone(), &all, self.loc)
    }

    fn number(&mut self, x: f64, like: ValueId) -> Result<ValueId, Bug> {
        let ty = self.cursor.module.ty(like).clone();
        let value = Constant::scalar(ty.dtype, Scalar::float(ty.dtype, x));
        let scalar = self.cursor.emit1(ConstantOp { value }, &[], self.loc)?;
        if ty.rank() == 0 {
            return Ok(scalar);
        }
        self.cursor.emit1(Broadcast { shape: ty.shape.to_vec() }, &[scalar], self.loc)
    }
}
