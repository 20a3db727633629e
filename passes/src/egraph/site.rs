//! site - where a law is applied: an e-node, the forms of its operands, and the making of new ones.

use std::rc::Rc;

use egg::{Id, Language};
use nnc_ir::{
    dtype::{DType, Scalar},
    extent::Extent,
    ops::{Broadcast, Op, OpKind, OpStruct, Reshape},
    types::TensorType,
};
use rustc_hash::{FxHashMap, FxHashSet};

use super::graph::{Graph, Join};
use crate::pass::{Exactness, Rule};

/// Where a law is tried.
pub(super) enum At {
    /// At these operations.
    Kinds(&'static [OpKind]),
    /// At operations that compute each element from those at the same place.
    Pointwise,
}

impl At {
    pub(super) fn is(&self, kind: OpKind) -> bool {
        match self {
            At::Kinds(kinds) => kinds.contains(&kind),
            At::Pointwise => is_pointwise(kind),
        }
    }
}

/// Whether an operation computes each element from those at the same place: the table lists these together.
pub(super) fn is_pointwise(kind: OpKind) -> bool {
    (OpKind::Abs..=OpKind::Cast).contains(&kind)
}

/// Whether an operation is a step: a little more of an operand may make a whole of the result.
pub(super) fn is_step(op: &Op, operand: DType) -> bool {
    let steps = match op {
        Op::Cast(cast) => !cast.to.is_float(),
        _ => matches!(
            op.kind(),
            OpKind::Round
                | OpKind::Floor
                | OpKind::Ceil
                | OpKind::Trunc
                | OpKind::Sign
                | OpKind::Equal
                | OpKind::Less
                | OpKind::LessOrEqual
        ),
    };
    steps && operand.is_float()
}

/// A rule with where and how it is applied: it joins the site with whatever equals it.
pub(super) struct Law {
    pub(super) rule: &'static Rule,
    pub(super) at: At,
    pub(super) apply: fn(&mut Site<'_>) -> Option<()>,
}

/// An e-node that was there when the turn began.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// Which.
    pub(super) id: Id,
    /// Its operation's number.
    pub(super) op: u32,
    /// Its operands.
    pub(super) operands: Vec<Id>,
}

/// Every e-node when a turn began. Laws look at these only, so that their order does not matter within a turn.
pub(super) struct Snapshot {
    /// In the order of their making.
    pub(super) all: Vec<Seen>,
    class: Vec<Id>,
    by_class: FxHashMap<Id, Vec<usize>>,
    /// Classes that a step reads, directly or by way of pointwise work and movements.
    stepped: FxHashSet<Id>,
}

impl Snapshot {
    pub(super) fn of(graph: &Graph) -> Self {
        let class: Vec<Id> = graph.ids().map(|id| graph.class(id)).collect();
        let mut ids: Vec<Id> = graph.members().into_values().flatten().collect();
        ids.sort_unstable();
        let mut snapshot =
            Self { all: Vec::new(), class, by_class: FxHashMap::default(), stepped: FxHashSet::default() };
        for id in ids {
            if let super::term::Term::Apply(op, _) = graph.term(id) {
                let seen = Seen { id, op: *op, operands: graph.term(id).children().to_vec() };
                snapshot.by_class.entry(graph.class(id)).or_default().push(snapshot.all.len());
                snapshot.all.push(seen);
            }
        }
        snapshot.find_stepped(graph);
        snapshot
    }

    fn find_stepped(&mut self, graph: &Graph) {
        let mut open: Vec<Id> = graph.stepped.iter().map(|&id| graph.class(id)).collect();
        for seen in &self.all {
            if is_step(graph.op(seen.op), graph.fact(seen.operands[0]).ty.dtype) {
                open.extend(seen.operands.iter().map(|&id| graph.class(id)));
            }
        }
        while let Some(class) = open.pop() {
            if !self.stepped.insert(class) {
                continue;
            }
            for &at in self.by_class.get(&class).into_iter().flatten() {
                let seen = &self.all[at];
                let kind = graph.op(seen.op).kind();
                let passes_on = is_pointwise(kind)
                    || matches!(
                        kind,
                        OpKind::Broadcast | OpKind::Reshape | OpKind::Transpose | OpKind::Concat
                    );
                if passes_on {
                    open.extend(seen.operands.iter().map(|&id| graph.class(id)));
                }
            }
        }
    }
}

/// Where a law is applied.
pub(super) struct Site<'g> {
    pub(super) graph: &'g mut Graph,
    pub(super) snapshot: &'g Snapshot,
    /// The e-node.
    pub(super) here: Seen,
    /// The law's place among all.
    pub(super) law: usize,
    /// What the law may do to results.
    pub(super) exactness: Exactness,
}

impl Site<'_> {
    /// Operand number `i`.
    pub(super) fn operand(&self, i: usize) -> Id {
        self.here.operands[i]
    }
    /// Both operands, and both the other way round.
    pub(super) fn either_way(&self) -> [(Id, Id); 2] {
        let (a, b) = (self.operand(0), self.operand(1));
        [(a, b), (b, a)]
    }
    /// The operation here.
    pub(super) fn op(&self) -> Op {
        self.graph.op(self.here.op).clone()
    }
    /// Type of the result here.
    pub(super) fn result(&self) -> Rc<TensorType> {
        self.ty(self.here.id)
    }
    /// Type of a class.
    pub(super) fn ty(&self, id: Id) -> Rc<TensorType> {
        self.graph.fact(id).ty.clone()
    }
    /// The value of all its elements.
    pub(super) fn splat(&self, id: Id) -> Option<Scalar> {
        self.graph.fact(id).splat
    }
    /// Whether it is computed when compiling.
    pub(super) fn is_constant(&self, id: Id) -> bool {
        self.graph.fact(id).constant
    }
    /// Whether it depends on constants only.
    pub(super) fn is_fixed(&self, id: Id) -> bool {
        self.graph.fact(id).fixed
    }
    /// Whether two are known to be equal.
    pub(super) fn is_same(&self, a: Id, b: Id) -> bool {
        self.graph.class(a) == self.graph.class(b)
    }
    /// Forms of `id` that are operations of this kind.
    pub(super) fn forms(&self, id: Id, kind: OpKind) -> Vec<Seen> {
        let Some(class) = self.snapshot.class.get(usize::from(id)) else { return Vec::new() };
        let Some(places) = self.snapshot.by_class.get(class) else { return Vec::new() };
        let all = places.iter().map(|&at| &self.snapshot.all[at]);
        all.filter(|seen| self.graph.op(seen.op).kind() == kind).cloned().collect()
    }
    /// Forms of `id` that are operation `T`, with it.
    pub(super) fn forms_of<T: OpStruct + Clone>(&self, id: Id, kind: OpKind) -> Vec<(T, Seen)> {
        let forms = self.forms(id, kind).into_iter();
        forms.filter_map(|seen| Some((T::from_op(self.graph.op(seen.op))?.clone(), seen))).collect()
    }

    /// An operation; nothing if it refuses its operands.
    pub(super) fn make(&mut self, op: impl Into<Op>, operands: &[Id]) -> Option<Id> {
        self.graph.apply(op.into(), operands, Some(self.here.id))
    }
    /// `value` everywhere in a tensor of type `ty`.
    pub(super) fn number(&mut self, value: Scalar, ty: &TensorType) -> Option<Id> {
        let one = self.graph.number(value, ty);
        if ty.rank() == 0 { Some(one) } else { self.spread(one, &ty.shape) }
    }
    /// `id` repeated to a shape, by ONNX's rule.
    pub(super) fn spread(&mut self, id: Id, shape: &[Extent]) -> Option<Id> {
        if self.ty(id).shape == shape {
            return Some(id);
        }
        self.make(Broadcast { shape: shape.to_vec() }, &[id])
    }
    /// `id` with another shape.
    pub(super) fn view(&mut self, id: Id, shape: &[Extent]) -> Option<Id> {
        if self.ty(id).shape == shape {
            return Some(id);
        }
        self.make(Reshape { shape: shape.to_vec() }, &[id])
    }
    /// The shape with axes of extent 1 before it, as long as `rank`.
    pub(super) fn aligned(&self, id: Id, rank: usize) -> Option<Vec<Extent>> {
        let shape = &self.ty(id).shape;
        let lead = rank.checked_sub(shape.len())?;
        Some([&vec![Extent::ONE; lead][..], shape].concat())
    }

    /// The site equals `to`, as the forms `seen` of operands show. Another type is no match, nor is a law that rounds
    /// where a step reads the result: it could make it another integer.
    pub(super) fn equals(&mut self, to: Id, seen: &[&Seen]) -> Option<()> {
        let class = self.snapshot.class[usize::from(self.here.id)];
        let rounds = self.exactness != Exactness::Exact && self.result().dtype.is_float();
        if self.ty(to) != self.result() || (rounds && self.snapshot.stepped.contains(&class)) {
            return None;
        }
        let seen = seen.iter().map(|s| s.id).collect();
        self.graph.join(Join { from: self.here.id, to, seen, law: self.law });
        Some(())
    }
}
