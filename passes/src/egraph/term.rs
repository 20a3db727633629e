//! term - the language of the e-graph: an operation applied to classes, or a leaf; and what is known of each class.

use std::rc::Rc;

use egg::{Analysis, DidMerge, EGraph, Id, Language};
use indexmap::IndexSet;
use nnc_ir::{constant::Constant, dtype::Scalar, graph::ValueId, ops::Op, types::TensorType};

/// An e-node. Operations are numbered by [`Facts::ops`], so that comparing e-nodes compares numbers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Term {
    /// A value from outside of the island, by its place in [`Facts::leaves`].
    Leaf(u32),
    /// An operation with its operands.
    Apply(u32, Vec<Id>),
}

impl Language for Term {
    type Discriminant = (bool, u32);

    fn discriminant(&self) -> Self::Discriminant {
        match self {
            Term::Leaf(n) => (false, *n),
            Term::Apply(op, _) => (true, *op),
        }
    }
    fn matches(&self, other: &Self) -> bool {
        self.discriminant() == other.discriminant() && self.children().len() == other.children().len()
    }
    fn children(&self) -> &[Id] {
        match self {
            Term::Leaf(_) => &[],
            Term::Apply(_, operands) => operands,
        }
    }
    fn children_mut(&mut self) -> &mut [Id] {
        match self {
            Term::Leaf(_) => &mut [],
            Term::Apply(_, operands) => operands,
        }
    }
}

/// What a leaf stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Leaf {
    /// A value of the module.
    Value(ValueId),
    /// A constant that a law brought in.
    New(Constant),
}

/// What is known of every form of a class.
#[derive(Clone, Debug)]
pub(super) struct Fact {
    /// Type; one and the same for all forms.
    pub(super) ty: Rc<TensorType>,
    /// It depends on constants only.
    pub(super) fixed: bool,
    /// It is fixed and worth computing when compiling: it costs nothing when running.
    pub(super) constant: bool,
    /// The one value that all elements have.
    pub(super) splat: Option<Scalar>,
}

/// The analysis, and the tables that e-nodes are numbers of.
pub(super) struct Facts {
    /// Operations.
    pub(super) ops: IndexSet<Op>,
    /// Leaves with their constant, if they are one.
    pub(super) leaves: Vec<(Leaf, Option<Constant>)>,
    /// Of the e-node about to be added, whose type has been inferred already.
    pub(super) next: Option<Fact>,
}

impl Analysis<Term> for Facts {
    type Data = Fact;

    fn make(egraph: &mut EGraph<Term, Self>, term: &Term, id: Id) -> Fact {
        match egraph.analysis.next.take() {
            Some(fact) => fact,
            None => Self::remake(egraph, term, id),
        }
    }

    /// Types stay; what is known of the operands may have grown.
    fn remake(egraph: &mut EGraph<Term, Self>, term: &Term, id: Id) -> Fact {
        let mut fact = egraph[id].data.clone();
        fact.fixed |= !term.children().is_empty() && term.children().iter().all(|&c| egraph[c].data.fixed);
        fact
    }

    fn merge(&mut self, to: &mut Fact, from: Fact) -> DidMerge {
        let joined = (to.fixed || from.fixed, to.constant || from.constant, to.splat.or(from.splat));
        let had = (to.fixed, to.constant, to.splat);
        let other = (from.fixed, from.constant, from.splat);
        (to.fixed, to.constant, to.splat) = joined;
        DidMerge(joined != had, joined != other)
    }
}
