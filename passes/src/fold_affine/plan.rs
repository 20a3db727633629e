//! plan - how a scale or a shift of a value is made part of what computes it: first planned with its constants, then built.
//!
//! The way up leads from a value to what absorbs it: a constant weight, or another scale or shift. On it lie nodes that the
//! coefficient commutes with. Every value on the way must have no other reader, as it changes.

use nnc_ir::{
    Module,
    constant::Constant,
    extent::Extent,
    graph::{NodeId, Provenance, ValueId, merge_locs},
    ops::{Add, Broadcast, ConstantOp, Mul, Op, PadMode, PoolKind, Slice},
};

use super::{
    coefficient::{Consts, Refused, extents, is_positive},
    linear::Linear,
    step::{Step, step},
};
use crate::{cost, pass::Bug, readers::Readers, rewrite::Cursor, target::TargetDesc};

/// Nodes between a coefficient and what absorbs it, at most.
pub(super) const MAX_DEPTH: usize = 24;

/// What stands for a value that has absorbed a coefficient.
pub(super) enum Plan {
    /// The product with another weight.
    Weight { node: NodeId, at: usize, weight: Constant },
    /// `x` scaled by a constant.
    Scale { x: ValueId, by: Constant, node: NodeId },
    /// Another plan, shifted by a constant.
    Shift { x: Box<Plan>, by: Constant, node: NodeId },
    /// The same operation on other operands.
    Through { node: NodeId, operands: Vec<(usize, Plan)> },
    /// A value as it is.
    Value(ValueId),
}

/// What a way up is looked for with.
pub(super) struct Search<'a> {
    pub(super) module: &'a Module,
    pub(super) consts: Consts<'a>,
    pub(super) readers: &'a Readers,
    pub(super) target: &'a TargetDesc,
}

/// A plan; or why there is none, where something could have absorbed the coefficient.
pub(super) type Planned = Result<Plan, Option<Refused>>;

impl Plan {
    /// Whether a weight absorbs the coefficient.
    pub(super) fn has_weight(&self) -> bool {
        match self {
            Plan::Weight { .. } => true,
            Plan::Shift { x, .. } => x.has_weight(),
            Plan::Through { operands, .. } => operands.iter().any(|(_, plan)| plan.has_weight()),
            Plan::Scale { .. } | Plan::Value(_) => false,
        }
    }
}

impl Search<'_> {
    /// The value times `s`.
    pub(super) fn scaled(&self, value: ValueId, s: &Constant, node: NodeId) -> Planned {
        self.scale(value, s, node, MAX_DEPTH)
    }

    /// The value plus `t`.
    pub(super) fn shifted(&self, value: ValueId, t: &Constant) -> Planned {
        self.shift(value, t, MAX_DEPTH)
    }

    fn scale(&self, value: ValueId, s: &Constant, root: NodeId, depth: usize) -> Planned {
        let (node, this) = self.producer(value, depth)?;
        let m = self.module;
        let up = |at: usize, s: &Constant| self.scale(this.operands[at], s, root, depth - 1);
        let through = |at: usize, s: Result<Constant, Refused>| {
            Ok(Plan::Through { node, operands: vec![(at, up(at, &s.map_err(|_| None)?)?)] })
        };
        let found = match (&this.op, step(m, self.consts, node)) {
            (_, Some(Step::Scale { x, by, .. })) => {
                let by = self.consts.join(Mul {}, &by, s).map_err(Some)?;
                Ok(Plan::Scale { x, by, node })
            }
            (_, Some(Step::Shift { x, by })) => {
                let inner = self.scale(x, s, root, depth - 1)?;
                let by = self.consts.join(Mul {}, &by, s).map_err(Some)?;
                Ok(Plan::Shift { x: Box::new(inner), by, node })
            }
            (Op::Relu(_), _) if is_positive(s) => through(0, Ok(s.clone())),
            (Op::Pool(p), _) if p.kind == PoolKind::Min || (p.kind == PoolKind::Max && !is_positive(s)) => {
                Err(None)
            }
            (Op::Concat(c), _) => self.parts(node, c.axis, s, &up),
            (Op::Add(_) | Op::Sub(_), _) => {
                let (a, b) = (up(0, s)?, up(1, s)?);
                Ok(Plan::Through { node, operands: vec![(0, a), (1, b)] })
            }
            (Op::Pad(p), _) if p.mode != PadMode::Constant(coefficient_zero(s)) => Err(None),
            (Op::MatMul(_) | Op::Contract(_) | Op::Conv(_), _) => match Linear::of(m, node) {
                Some(linear) => self.weight_scaled(&linear, s, root),
                None if s.elements() == 1 => {
                    let side = (0..2).find_map(|at| Some((at, up(at, s).ok()?)));
                    side.map(|side| Plan::Through { node, operands: vec![side] }).ok_or(None)
                }
                None => Err(None),
            },
            _ => through(0, self.before(node, s)),
        };
        self.sole(value, found)
    }

    fn shift(&self, value: ValueId, t: &Constant, depth: usize) -> Planned {
        let (node, this) = self.producer(value, depth)?;
        let up = |at: usize, t: &Constant| self.shift(this.operands[at], t, depth - 1);
        let through = |at: usize, t: Result<Constant, Refused>| {
            Ok(Plan::Through { node, operands: vec![(at, up(at, &t.map_err(|_| None)?)?)] })
        };
        let found = match (&this.op, step(self.module, self.consts, node)) {
            (_, Some(Step::Shift { x, by })) => {
                let by = self.consts.join(Add {}, &by, t).map_err(Some)?;
                Ok(Plan::Shift { x: Box::new(Plan::Value(x)), by, node })
            }
            (_, Some(_)) => Err(None),
            (Op::Pool(p), _) if p.kind == PoolKind::Sum => Err(None),
            (Op::Pad(_) | Op::Dilate(_), _) => Err(None),
            (Op::Concat(c), _) => self.parts(node, c.axis, t, &up),
            (Op::Add(_), _) => {
                let side = (0..2).find_map(|at| Some((at, up(at, t).ok()?)));
                side.map(|side| Plan::Through { node, operands: vec![side] }).ok_or(None)
            }
            _ => through(0, self.before(node, t)),
        };
        self.sole(value, found)
    }

    pub(super) fn producer(
        &self,
        value: ValueId,
        depth: usize,
    ) -> Result<(NodeId, &nnc_ir::graph::Node), Option<Refused>> {
        let node = self.module.def_node(value).filter(|_| depth > 0).ok_or(None)?;
        let this = self.module.node(node);
        if this.results.len() == 1 && this.regions.is_empty() { Ok((node, this)) } else { Err(None) }
    }

    /// A plan, if nothing else reads the value that it changes.
    pub(super) fn sole<T>(
        &self,
        value: ValueId,
        found: Result<T, Option<Refused>>,
    ) -> Result<T, Option<Refused>> {
        match (self.readers.count(value), found) {
            (0..=1, found) => found,
            (n, Ok(_)) => {
                let names = self.module.def_node(value).map(|node| &self.module.node(node).loc);
                let name = names.and_then(|names| names.first()).map_or("a value", |name| &**name);
                Err(Some(format!("what {name} gives has {n} readers, which read it as it is")))
            }
            (_, Err(why)) => Err(why),
        }
    }

    /// The coefficient of operand 0 of a node that moves or joins elements, given that of its result.
    fn before(&self, node: NodeId, c: &Constant) -> Result<Constant, Refused> {
        let this = self.module.node(node);
        let shape = |v: ValueId| &self.module.ty(v).shape;
        let (from, to) = (shape(*this.operands.first().ok_or("")?), shape(this.results[0]));
        match &this.op {
            Op::Reshape(_) => self.consts.reshaped(c, to, from),
            Op::Transpose(t) => self.consts.before_transpose(c, &t.perm),
            Op::Broadcast(_) => {
                let c = self.consts.padded(c, to.len())?;
                let lead = to.len() - from.len();
                let same = |axis: usize| axis >= lead && from[axis - lead] == to[axis];
                self.kept(&c, &same)?;
                self.consts.least(&c)
            }
            Op::Pool(p) => self.kept_before(c, to.len(), to.len() - p.kernel.len()),
            Op::Slice(_) | Op::Pad(_) | Op::UpsampleNearest(_) | Op::Dilate(_) => {
                let c = self.consts.padded(c, to.len())?;
                self.kept(&c, &|axis| self.stays(node, axis))?;
                self.consts.least(&c)
            }
            _ => Err(Refused::new()),
        }
    }

    /// Whether a movement leaves an axis as it is.
    pub(super) fn stays(&self, node: NodeId, axis: usize) -> bool {
        let this = self.module.node(node);
        let same =
            self.module.ty(this.operands[0]).shape[axis] == self.module.ty(this.results[0]).shape[axis];
        same && match &this.op {
            Op::Slice(s) => s.starts[axis].is(0) && s.steps[axis] == 1,
            Op::Pad(p) => p.before[axis].is(0) && p.after[axis].is(0),
            Op::UpsampleNearest(u) => u.factors[axis] == 1,
            Op::Dilate(d) => d.strides[axis] == 1,
            _ => false,
        }
    }

    fn kept_before(&self, c: &Constant, rank: usize, end: usize) -> Result<Constant, Refused> {
        let c = self.consts.padded(c, rank)?;
        self.kept(&c, &|axis| axis < end)?;
        self.consts.least(&c)
    }

    /// Checks that a coefficient varies along such axes only.
    pub(super) fn kept(&self, c: &Constant, stays: &dyn Fn(usize) -> bool) -> Result<(), Refused> {
        let varies = c.dims().iter().enumerate().any(|(axis, &d)| d != 1 && !stays(axis));
        if varies { Err("it varies along an axis that changes in between".into()) } else { Ok(()) }
    }

    /// Each operand of a concat with its part of the coefficient.
    fn parts(
        &self,
        node: NodeId,
        axis: usize,
        c: &Constant,
        up: &dyn Fn(usize, &Constant) -> Planned,
    ) -> Planned {
        let this = self.module.node(node);
        let rank = self.module.ty(this.results[0]).rank();
        let c = self.consts.padded(c, rank).map_err(|_| None)?;
        let mut start = 0;
        let mut operands = Vec::new();
        for (at, &operand) in this.operands.iter().enumerate() {
            let mut part = c.clone();
            if c.dims()[axis] != 1 {
                let n = self.module.ty(operand).shape[axis].as_const().ok_or(None)?;
                let mut dims = c.dims().to_vec();
                dims[axis] = n;
                let mut starts = vec![Extent::ZERO; rank];
                starts[axis] = Extent::Const(start);
                let op = Slice { starts, steps: vec![1; rank], shape: extents(&dims) };
                part = self.consts.one(op, std::slice::from_ref(&c)).map_err(|_| None)?;
                start += n;
            }
            let part = self.consts.least(&part).map_err(|_| None)?;
            operands.push((at, up(at, &part)?));
        }
        Ok(Plan::Through { node, operands })
    }

    fn weight_scaled(&self, linear: &Linear, s: &Constant, root: NodeId) -> Planned {
        let weight = linear.scaled_after(self.consts, s).map_err(Some)?;
        self.may_copy(linear, root).map_err(Some)?;
        Ok(Plan::Weight { node: linear.node, at: linear.weight_at, weight })
    }

    /// A weight that others read too is copied only if the node that goes away costs more than the copy.
    pub(super) fn may_copy(&self, linear: &Linear, gone: NodeId) -> Result<(), Refused> {
        let weight = self.module.node(linear.node).operands[linear.weight_at];
        let readers = self.readers.count(weight);
        if readers <= 1 {
            return Ok(());
        }
        let apart = cost::of_node(self.module, gone).cycles(self.target);
        let copy = cost::value_bytes(self.module, weight) / self.target.bytes_per_cycle[3];
        if copy < apart {
            return Ok(());
        }
        Err(format!(
            "the weight has {readers} readers, and its copy would cost {copy} cycles, the node {apart}"
        ))
    }
}

fn coefficient_zero(s: &Constant) -> nnc_ir::dtype::Scalar {
    nnc_ir::dtype::Scalar::zero(s.dtype())
}

/// Adds the nodes of a plan. `loc` is what they are part of.
pub(super) fn build(cursor: &mut Cursor<'_>, plan: &Plan, loc: &Provenance) -> Result<ValueId, Bug> {
    match plan {
        Plan::Value(value) => Ok(*value),
        Plan::Weight { node, at, weight } => {
            let operands = cursor.module.node(*node).operands.clone();
            with_weight(cursor, *node, operands, (*at, weight), loc)
        }
        Plan::Scale { x, by, node } => {
            let loc = merge_locs([&cursor.module.node(*node).loc, loc]);
            apply(cursor, Mul {}, *x, by, &loc)
        }
        Plan::Shift { x, by, node } => {
            let x = build(cursor, x, loc)?;
            let loc = merge_locs([&cursor.module.node(*node).loc, loc]);
            apply(cursor, Add {}, x, by, &loc)
        }
        Plan::Through { node, operands } => {
            let this = cursor.module.node(*node).clone();
            let mut values = this.operands;
            for (at, plan) in operands {
                values[*at] = build(cursor, plan, loc)?;
            }
            cursor.emit1(this.op, &values, &this.loc)
        }
    }
}

/// The product `node` of these operands with another weight.
pub(super) fn with_weight(
    cursor: &mut Cursor<'_>,
    node: NodeId,
    mut operands: Vec<ValueId>,
    (at, weight): (usize, &Constant),
    loc: &Provenance,
) -> Result<ValueId, Bug> {
    let this = cursor.module.node(node).clone();
    let old = cursor.module.def_node(operands[at]);
    let names = old.map_or_else(|| this.loc.clone(), |old| cursor.module.node(old).loc.clone());
    operands[at] = cursor.emit1(ConstantOp { value: weight.clone() }, &[], &merge_locs([&names, loc]))?;
    cursor.emit1(this.op, &operands, &merge_locs([&this.loc, loc]))
}

/// `op` of a value and a coefficient of it.
pub(super) fn apply(
    cursor: &mut Cursor<'_>,
    op: impl Into<Op>,
    x: ValueId,
    by: &Constant,
    loc: &Provenance,
) -> Result<ValueId, Bug> {
    let ty = cursor.module.ty(x).clone();
    let mut c = cursor.emit1(ConstantOp { value: by.clone() }, &[], loc)?;
    if *cursor.module.ty(c) != ty {
        c = cursor.emit1(Broadcast { shape: ty.shape.to_vec() }, &[c], loc)?;
    }
    cursor.emit1(op, &[x, c], loc)
}
