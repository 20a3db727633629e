//! column - what siblings have in common: values, one of each, that are slices of one wide value.

use nnc_ir::{
    Module,
    constant::Constant,
    extent::product,
    form::{Bounds, Class, Form, Ix},
    graph::{NodeId, Provenance, ValueId, merge_locs},
    ops::Op,
    types::TensorType,
};
use rustc_hash::FxHashSet;

use super::siblings::{Member, Readers};
use crate::channel;

/// Values of siblings that are slices of one, along an axis.
pub(super) struct Column {
    /// One of each sibling.
    pub(super) values: Vec<ValueId>,
    /// The axis.
    pub(super) axis: usize,
    /// Extents along it.
    pub(super) widths: Vec<i64>,
    /// Type of the wide value.
    pub(super) ty: TensorType,
    /// How that is made.
    pub(super) made: Made,
}

/// How a wide value is made.
pub(super) enum Made {
    /// It is the wide contraction.
    Contraction,
    /// By a pointwise operation.
    Pointwise { op: Op, operands: Vec<Operand>, nodes: Vec<NodeId> },
    /// From another column, whose channels come last as well: its elements in rows that are numbered otherwise.
    Rows(usize),
    /// By a reshape of another column.
    Reshape(usize, Vec<NodeId>),
}

/// What a wide pointwise operation reads.
pub(super) enum Operand {
    /// A column.
    Column(usize),
    /// Numbers along the axis, of each sibling.
    Vectors(Vec<Constant>),
}

/// Siblings and all that can be done to them as one.
pub(super) struct Plan {
    /// Their operation.
    pub(super) op: Op,
    /// The contractions.
    pub(super) members: Vec<Member>,
    /// The first is that of the contractions; each reads those before it.
    pub(super) columns: Vec<Column>,
    /// Column and sibling of values that something else reads.
    pub(super) left: Vec<(usize, usize)>,
    /// Nodes that columns stand for.
    pub(super) done: FxHashSet<NodeId>,
}

impl Plan {
    /// Grows columns from the contractions as far as all siblings go alike.
    pub(super) fn of(module: &Module, readers: &Readers, members: Vec<Member>) -> Plan {
        let values: Vec<ValueId> = members.iter().map(|m| module.node(m.node).results[0]).collect();
        let widths: Vec<i64> = members.iter().map(|m| m.width).collect();
        let ty = module.ty(values[0]);
        let axis = if matches!(module.node(members[0].node).op, Op::Conv(_)) { 1 } else { ty.rank() - 1 };
        let first = Column { ty: wide(ty, axis, &widths), values, axis, widths, made: Made::Contraction };
        let done = members.iter().map(|m| m.node).collect();
        let op = module.node(members[0].node).op.clone();
        let mut plan = Plan { op, members, columns: vec![first], left: Vec::new(), done };
        let mut at = 0;
        while at < plan.columns.len() {
            for &node in readers.of_value(plan.columns[at].values[0]) {
                plan.extend(module, readers, at, node);
            }
            at += 1;
        }
        for (c, column) in plan.columns.iter().enumerate() {
            for (sibling, &value) in column.values.iter().enumerate() {
                if readers.is_result(value) || plan.readers_left(readers, value).next().is_some() {
                    plan.left.push((c, sibling));
                }
            }
        }
        plan
    }

    /// Nodes that read a value and that no column stands for.
    pub(super) fn readers_left<'a>(
        &'a self,
        readers: &'a Readers,
        value: ValueId,
    ) -> impl Iterator<Item = NodeId> + 'a {
        readers.of_value(value).iter().copied().filter(|n| !self.done.contains(n))
    }

    /// Names of the contractions.
    pub(super) fn loc(&self, module: &Module) -> Provenance {
        merge_locs(self.members.iter().map(|m| &module.node(m.node).loc))
    }

    /// Adds the column that `node`, which reads column `at` of the first sibling, begins, if every sibling has the like.
    fn extend(&mut self, module: &Module, readers: &Readers, at: usize, node: NodeId) {
        if self.done.contains(&node) {
            return;
        }
        let made = match &module.node(node).op {
            Op::Reshape(_) => self.reshaped(module, readers, at, node),
            _ if is_pointwise(module, node) => self.pointwise(module, readers, at, node),
            _ => None,
        };
        if let Some((column, nodes)) = made {
            self.done.extend(nodes);
            self.columns.push(column);
        }
    }

    fn pointwise(
        &self,
        module: &Module,
        readers: &Readers,
        at: usize,
        node: NodeId,
    ) -> Option<(Column, Vec<NodeId>)> {
        let (from, op) = (&self.columns[at], &module.node(node).op);
        let first = self.operands(module, at, node, 0)?;
        let mut all: Vec<Vec<Kind>> = vec![first];
        let mut nodes = vec![node];
        for sibling in 1..self.members.len() {
            let found = readers.of_value(from.values[sibling]).iter().find_map(|&n| {
                let free = !self.done.contains(&n) && !nodes.contains(&n) && module.node(n).op == *op;
                let mut kinds = free.then(|| self.operands(module, at, n, sibling))??;
                let same = |kinds: &[Kind]| kinds.iter().zip(&all[0]).all(|(a, b)| a.is_like(b));
                if !same(&kinds) && matches!(op, Op::Add(_) | Op::Mul(_)) {
                    // Sums and products are the same either way round.
                    kinds.reverse();
                }
                same(&kinds).then_some((n, kinds))
            });
            let (n, kinds) = found?;
            nodes.push(n);
            all.push(kinds);
        }
        let operands = (0..all[0].len()).map(|i| match &all[0][i] {
            Kind::Column(c) => Operand::Column(*c),
            Kind::Vector(_) => Operand::Vectors(all.iter().filter_map(|kinds| kinds[i].vector()).collect()),
        });
        let operands = operands.collect();
        let values: Vec<ValueId> = nodes.iter().map(|&n| module.node(n).results[0]).collect();
        let column = Column {
            ty: wide(module.ty(values[0]), from.axis, &from.widths),
            values,
            axis: from.axis,
            widths: from.widths.clone(),
            made: Made::Pointwise { op: op.clone(), operands, nodes: nodes.clone() },
        };
        Some((column, nodes))
    }

    /// What a pointwise node of a sibling reads: columns like column `at`, and vectors along its axis.
    fn operands(&self, module: &Module, at: usize, node: NodeId, sibling: usize) -> Option<Vec<Kind>> {
        let from = &self.columns[at];
        let kind = |&value: &ValueId| {
            let column = self.columns.iter().position(|c| {
                c.values[sibling] == value && c.axis == from.axis && c.ty.shape == from.ty.shape
            });
            match column {
                Some(c) => Some(Kind::Column(c)),
                None => channel::along(module, value, from.axis).map(Kind::Vector),
            }
        };
        module.node(node).operands.iter().map(kind).collect()
    }

    fn reshaped(
        &self,
        module: &Module,
        readers: &Readers,
        at: usize,
        node: NodeId,
    ) -> Option<(Column, Vec<NodeId>)> {
        let from = &self.columns[at];
        let to = module.ty(module.node(node).results[0]).clone();
        let (axis, part) = channels_after(module.ty(from.values[0]), from.axis, &to)?;
        let mut nodes = vec![node];
        let mut widths = Vec::new();
        for (sibling, &width) in from.widths.iter().enumerate() {
            if width % part != 0 {
                return None;
            }
            let mut wanted = to.clone();
            wanted.shape[axis] = (width / part).into();
            widths.push(width / part);
            if sibling > 0 {
                let found = readers.of_value(from.values[sibling]).iter().find(|&&n| {
                    let free = !self.done.contains(&n) && matches!(module.node(n).op, Op::Reshape(_));
                    free && *module.ty(module.node(n).results[0]) == wanted
                });
                nodes.push(*found?);
            }
        }
        let keeps_rows = part == 1 && axis + 1 == to.rank() && from.axis + 1 == from.ty.rank();
        let made = if keeps_rows { Made::Rows(at) } else { Made::Reshape(at, nodes.clone()) };
        let values = nodes.iter().map(|&n| module.node(n).results[0]).collect();
        Some((Column { ty: wide(&to, axis, &widths), values, axis, widths, made }, nodes))
    }
}

/// An operand of one sibling.
enum Kind {
    Column(usize),
    Vector(Constant),
}

impl Kind {
    fn is_like(&self, other: &Kind) -> bool {
        match (self, other) {
            (Kind::Column(a), Kind::Column(b)) => a == b,
            (Kind::Vector(a), Kind::Vector(b)) => a.dtype() == b.dtype(),
            _ => false,
        }
    }

    fn vector(&self) -> Option<Constant> {
        if let Kind::Vector(v) = self { Some(v.clone()) } else { None }
    }
}

/// The type of siblings side by side.
fn wide(ty: &TensorType, axis: usize, widths: &[i64]) -> TensorType {
    let mut ty = ty.clone();
    ty.shape[axis] = widths.iter().sum::<i64>().into();
    ty
}

/// Whether a node computes each element from those at the same place.
fn is_pointwise(module: &Module, node: NodeId) -> bool {
    let Form::Loops(form) = module.form(node) else { return false };
    let in_place = |ix: (usize, &Ix)| *ix.1 == Ix::Axis(ix.0);
    form.class() == Class::Pointwise
        && module.node(node).results.len() == 1
        && form.loads.iter().all(|l| l.bounds == Bounds::Inside && l.extents == form.space)
        && form.loads.iter().all(|l| l.index.iter().enumerate().all(in_place))
}

/// Where the channels of `from` are after a reshape to `to`: on this axis, each position of it that many of them.
fn channels_after(from: &TensorType, axis: usize, to: &TensorType) -> Option<(usize, i64)> {
    let (outer, inner) = (product(&from.shape[..axis]), product(&from.shape[axis + 1..]));
    let channels = from.shape[axis].as_const()?;
    (0..to.rank()).find_map(|i| {
        let have = to.shape[i].as_const().filter(|&h| h > 0 && channels % h == 0)?;
        let part = channels / have;
        let fits = product(&to.shape[..i]) == outer && product(&to.shape[i + 1..]) == inner.scale(part);
        fits.then_some((i, part))
    })
}
