//! data - scales and shifts of the data of a product: found above it, and taken out.
//!
//! Between the step and the product may lie nodes that the coefficient commutes with; each value in between, and the
//! step's own, must have no other reader, or else the step would stay.

use nnc_ir::{
    constant::Constant,
    dtype::Scalar,
    extent::Extent,
    graph::{NodeId, ValueId},
    ops::{Op, Pad, PadMode, PoolKind},
};

use super::{
    coefficient::{Refused, is_positive, number},
    linear::Linear,
    plan::{MAX_DEPTH, Plan, Search},
    step::{Step, step},
};
use crate::cost;

/// A step above the data, taken out.
pub(super) struct Taken {
    /// Whether it scales; else it shifts.
    pub(super) scales: bool,
    /// Its constant, as a coefficient of the data.
    pub(super) by: Constant,
    /// The data without it.
    pub(super) data: Plan,
    /// The node that takes the step.
    pub(super) node: NodeId,
}

type Found = Result<Taken, Option<Refused>>;

impl Search<'_> {
    /// The nearest step above the data of a product.
    pub(super) fn above(&self, linear: &Linear) -> Found {
        self.take(linear.data(self.module), MAX_DEPTH)
    }

    fn take(&self, value: ValueId, depth: usize) -> Found {
        let (node, this) = self.producer(value, depth)?;
        let found = match (step(self.module, self.consts, node), &this.op) {
            (Some(Step::Scale { x, by, .. }), _) => {
                Ok(Taken { scales: true, by, data: Plan::Value(x), node })
            }
            (Some(Step::Shift { x, by }), _) => Ok(Taken { scales: false, by, data: Plan::Value(x), node }),
            (None, Op::Concat(c)) => {
                let side = (0..this.operands.len())
                    .find_map(|at| Some((at, self.take(this.operands[at], depth - 1).ok()?)));
                let (at, taken) = side.ok_or(None)?;
                self.beside(node, c.axis, at, taken)
            }
            (
                None,
                Op::Reshape(_) | Op::Transpose(_) | Op::Dilate(_) | Op::Pad(_) | Op::Relu(_) | Op::Pool(_),
            ) => {
                let taken = self.take(this.operands[0], depth - 1)?;
                let by = self.after(node, &taken).map_err(|_| None)?;
                Ok(Taken { by, data: Plan::Through { node, operands: vec![(0, taken.data)] }, ..taken })
            }
            _ => Err(None),
        };
        self.sole(value, found)
    }

    /// The coefficient of the result of a node, given that of its operand.
    fn after(&self, node: NodeId, taken: &Taken) -> Result<Constant, Refused> {
        let this = self.module.node(node);
        let c = &taken.by;
        let (from, to) = (&self.module.ty(this.operands[0]).shape, &self.module.ty(this.results[0]).shape);
        let no = || Err("they do not commute".into());
        match &this.op {
            Op::Reshape(_) => self.consts.reshaped(c, from, to),
            Op::Transpose(t) => self.consts.after_transpose(c, &t.perm),
            _ if !taken.scales => no(),
            Op::Relu(_) if is_positive(c) => Ok(c.clone()),
            Op::Pool(p) if p.kind == PoolKind::Max && !is_positive(c) => no(),
            Op::Pool(p) if p.kind != PoolKind::Min => {
                let padded = self.consts.padded(c, to.len())?;
                self.kept(&padded, &|axis| axis < to.len() - p.kernel.len())?;
                Ok(c.clone())
            }
            Op::Pad(Pad { mode: PadMode::Constant(zero), .. }) if *zero != Scalar::zero(c.dtype()) => no(),
            Op::Pad(Pad { mode: PadMode::Constant(_), .. }) | Op::Dilate(_) => {
                let padded = self.consts.padded(c, to.len())?;
                self.kept(&padded, &|axis| self.stays(node, axis))?;
                Ok(c.clone())
            }
            _ => no(),
        }
    }

    /// A step of one operand of a concat: the others are scaled by one, or shifted by zero.
    fn beside(&self, node: NodeId, axis: usize, at: usize, taken: Taken) -> Found {
        let this = self.module.node(node);
        let extents: Option<Vec<i64>> =
            this.operands.iter().map(|&v| self.module.ty(v).shape[axis].as_const()).collect();
        let extents = extents.ok_or(None)?;
        let rank = self.module.ty(this.results[0]).rank();
        let spread = || -> Result<Constant, Refused> {
            let c = self.consts.padded(&taken.by, rank)?;
            let mut dims = c.dims().to_vec();
            dims[axis] = extents[at];
            let c = self.consts.broadcast(&c, &dims)?;
            let only = |n: i64| (0..rank).map(|i| Extent::Const(if i == axis { n } else { 0 })).collect();
            let neutral = number(c.dtype(), if taken.scales { 1.0 } else { 0.0 }).element(0);
            let before = only(extents[..at].iter().sum());
            let after = only(extents[at + 1..].iter().sum());
            self.consts
                .least(&self.consts.one(Pad { before, after, mode: PadMode::Constant(neutral) }, &[c])?)
        };
        let by = spread().map_err(|_| None)?;
        Ok(Taken { by, data: Plan::Through { node, operands: vec![(at, taken.data)] }, ..taken })
    }

    /// Whether a shift is better added to the result of a product than to its data: it meets another one there, or
    /// there are not more elements.
    pub(super) fn pays_after(&self, linear: &Linear, step_node: NodeId) -> Result<(), Refused> {
        let module = self.module;
        let mut value = module.node(linear.node).results[0];
        while let Some(reader) = self.readers.only(value) {
            match (step(module, self.consts, reader), &module.node(reader).op) {
                (Some(Step::Shift { .. }), _) => return Ok(()),
                (Some(Step::Scale { .. }), _) | (None, Op::Reshape(_) | Op::Transpose(_)) => {
                    value = module.node(reader).results[0];
                }
                _ => break,
            }
        }
        let bytes = |node: NodeId| cost::value_bytes(module, module.node(node).results[0]);
        let (before, after) = (bytes(step_node), bytes(linear.node));
        if after <= before {
            return Ok(());
        }
        Err(format!("shifted before: {before} bytes, after: {after} bytes, and no bias is there to join it"))
    }
}
