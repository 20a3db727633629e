//! graph - an e-graph under way: adding terms, joining classes, and remembering which law joined what.

use std::rc::Rc;

use egg::{EGraph, Id, Language};
use indexmap::IndexSet;
use nnc_ir::{
    constant::Constant,
    dtype::Scalar,
    form::Form,
    ops::{InferCx, Op, OpKind},
    types::TensorType,
};
use rustc_hash::FxHashMap;

use super::term::{Fact, Facts, Leaf, Term};

/// Most e-nodes of an island; beyond it no law makes another.
pub(super) const MAX_TERMS: usize = 2_000;
/// Results up to so many bytes are constants however small their operands are: as in `fold-constants`.
const SMALL_BYTES: i64 = 4 << 10;
/// Larger ones are constants if they are at most so many times as large as their operands: as in `fold-constants`.
const MAX_GROWTH: i64 = 2;
/// Most multiplications that a product of constants may take when compiling.
const MAX_POINTS: i64 = 1 << 27;

/// An application of a law.
pub(super) struct Join {
    /// What it was applied to.
    pub(super) from: Id,
    /// What it gave.
    pub(super) to: Id,
    /// The forms of operands that it looked at.
    pub(super) seen: Vec<Id>,
    /// Its place among the laws.
    pub(super) law: usize,
}

/// An e-graph with its history.
pub(super) struct Graph {
    pub(super) egg: EGraph<Term, Facts>,
    /// Every application that joined two classes, in order.
    pub(super) joins: Vec<Join>,
    /// For each e-node what the law was applied to that made it; nothing for those of the input.
    pub(super) born: Vec<Option<Id>>,
    /// E-nodes that steps outside of the island read.
    pub(super) stepped: Vec<Id>,
    /// Whether the limit was hit.
    pub(super) full: bool,
}

impl Graph {
    pub(super) fn new() -> Self {
        let facts = Facts { ops: IndexSet::default(), leaves: Vec::new(), next: None };
        Self {
            egg: EGraph::new(facts),
            joins: Vec::new(),
            born: Vec::new(),
            stepped: Vec::new(),
            full: false,
        }
    }

    /// The e-node as it was added, with operands as they were then.
    pub(super) fn term(&self, id: Id) -> &Term {
        &self.egg.nodes()[usize::from(id)]
    }
    /// Every e-node ever added, in order.
    pub(super) fn ids(&self) -> impl Iterator<Item = Id> + use<> {
        (0..self.egg.nodes().len()).map(Id::from)
    }
    pub(super) fn op(&self, number: u32) -> &Op {
        &self.egg.analysis.ops[number as usize]
    }
    pub(super) fn fact(&self, id: Id) -> &Fact {
        &self.egg[id].data
    }
    pub(super) fn class(&self, id: Id) -> Id {
        self.egg.find(id)
    }
    /// The e-node with its operands' classes of today.
    pub(super) fn canonical(&self, id: Id) -> Term {
        self.term(id).clone().map_children(|c| self.egg.find(c))
    }

    fn add(&mut self, term: Term, fact: Fact, born: Option<Id>) -> Id {
        self.egg.analysis.next = Some(fact);
        // Not the class's id: the e-node's, so that the history says which form it was.
        let id = self.egg.add_uncanonical(term);
        self.egg.analysis.next = None;
        self.born.resize(self.egg.nodes().len(), born);
        id
    }

    /// A leaf; `constant` is its value where that is known.
    pub(super) fn leaf(&mut self, leaf: Leaf, ty: TensorType, constant: Option<Constant>) -> Id {
        let leaves = &mut self.egg.analysis.leaves;
        let at = leaves.iter().position(|(have, _)| *have == leaf).unwrap_or(leaves.len());
        if at == leaves.len() {
            leaves.push((leaf, constant));
        }
        let constant = &leaves[at].1;
        let splat = constant.as_ref().and_then(Constant::as_splat);
        let known = constant.is_some();
        let fact = Fact { ty: Rc::new(ty), fixed: known, constant: known, splat };
        self.add(Term::Leaf(u32::try_from(at).unwrap_or(u32::MAX)), fact, None)
    }

    /// An operation on classes; nothing if it refuses them or the e-graph is full.
    pub(super) fn apply(&mut self, op: Op, operands: &[Id], born: Option<Id>) -> Option<Id> {
        let types: Vec<Rc<TensorType>> = operands.iter().map(|&id| self.fact(id).ty.clone()).collect();
        let types: Vec<&TensorType> = types.iter().map(Rc::as_ref).collect();
        op.check_arity(types.len()).ok()?;
        let mut results = op.def().infer(&InferCx { operands: &types, regions: &[] }).ok()?;
        let ty = results.pop().filter(|_| results.is_empty())?;
        let fixed = !operands.is_empty() && operands.iter().all(|&id| self.fact(id).fixed);
        let constant =
            operands.iter().all(|&id| self.fact(id).constant) && is_worth_computing(&op, &types, &ty);
        let splat = match op.kind() {
            OpKind::Broadcast | OpKind::Reshape | OpKind::Transpose => self.fact(operands[0]).splat,
            _ => None,
        };
        let number = u32::try_from(self.egg.analysis.ops.insert_full(op).0).unwrap_or(u32::MAX);
        let term = Term::Apply(number, operands.to_vec());
        let is_new = self.egg.lookup(term.clone()).is_none();
        if born.is_some() && is_new && self.egg.nodes().len() >= MAX_TERMS {
            self.full = true;
            return None;
        }
        Some(self.add(term, Fact { ty: Rc::new(ty), fixed, constant: fixed && constant, splat }, born))
    }

    /// Records that a law made `to` of `from`. Both have one type.
    pub(super) fn join(&mut self, join: Join) {
        if self.egg.union(join.from, join.to) {
            self.joins.push(join);
        }
    }

    /// The distinct e-nodes of each class, first come first.
    pub(super) fn members(&self) -> FxHashMap<Id, Vec<Id>> {
        let mut seen: FxHashMap<Term, ()> = FxHashMap::default();
        let mut members: FxHashMap<Id, Vec<Id>> = FxHashMap::default();
        for id in self.ids() {
            if seen.insert(self.canonical(id), ()).is_none() {
                members.entry(self.class(id)).or_default().push(id);
            }
        }
        members
    }

    /// A constant that a law needs, of one element.
    pub(super) fn number(&mut self, value: Scalar, ty: &TensorType) -> Id {
        let constant = Constant::scalar(ty.dtype, value);
        self.leaf(Leaf::New(constant.clone()), ty.with_shape([]), Some(constant))
    }
}

/// Whether operands that are constants are to be replaced by their result: as `fold-constants` decides.
fn is_worth_computing(op: &Op, operands: &[&TensorType], result: &TensorType) -> bool {
    let bytes = |ty: &TensorType| ty.bytes().as_const();
    let Some(need) = bytes(result) else { return false };
    let have = operands.iter().filter_map(|ty| bytes(ty)).fold(0, i64::saturating_add);
    if need > SMALL_BYTES && need > have.saturating_mul(MAX_GROWTH) {
        return false;
    }
    match op.kind() {
        OpKind::MatMul | OpKind::Contract | OpKind::Conv => match op.def().form(operands, &[result]) {
            Form::Loops(nest) => {
                let axes = nest.space.iter().chain(&nest.reduce);
                let points = axes.map(|e| e.as_const().unwrap_or(i64::MAX)).fold(1, i64::saturating_mul);
                points <= MAX_POINTS
            }
            _ => false,
        },
        _ => true,
    }
}
