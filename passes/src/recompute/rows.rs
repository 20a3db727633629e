//! rows - which rows of its operands a node reads to compute some rows of its result, and what computes just these.

use nnc_ir::{
    Module,
    extent::Extent,
    form::{Class, Form, LoopForm},
    graph::NodeId,
    ops::Op,
};

/// Positions `from..to` of an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Rows {
    pub(super) from: i64,
    pub(super) to: i64,
}

impl Rows {
    pub(super) fn len(self) -> i64 {
        self.to - self.from
    }

    pub(super) fn hull(self, other: Rows) -> Rows {
        Rows { from: self.from.min(other.from), to: self.to.max(other.to) }
    }

    pub(super) fn moved(self, by: i64) -> Rows {
        Rows { from: self.from + by, to: self.to + by }
    }
}

/// What is needed of an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// All of it.
    Whole,
    /// These positions of an axis, and no others.
    Exactly(usize, Rows),
    /// These positions of an axis; more do no harm.
    AtLeast(usize, Rows),
}

/// What computes some rows of a node's result.
pub(super) struct Plan {
    pub(super) operands: Vec<Need>,
    op: Op,
    /// For windows: which spatial axis they slide along, and their pad as if the operand began at its first row.
    pad: Option<(usize, i64)>,
}

impl Plan {
    /// The operation, where the operand of windows begins with its row `start`.
    pub(super) fn op(&self, start: i64) -> Op {
        let mut op = self.op.clone();
        if let Some((along, pad)) = self.pad {
            match &mut op {
                Op::Conv(conv) => conv.pads_before[along] = pad + start,
                Op::Pool(pool) => pool.pads_before[along] = pad + start,
                _ => {}
            }
        }
        op
    }
}

/// What computes positions `rows` of `axis` of a node's result, if that is known and less than all.
pub(super) fn needs(module: &Module, node: NodeId, axis: usize, rows: Rows) -> Option<Plan> {
    let this = module.node(node);
    let result = module.ty(*this.results.first()?);
    let operand = |k: usize| module.ty(this.operands[k]);
    let (op, pad) = (this.op.clone(), None);
    match &this.op {
        Op::Broadcast(broadcast) => {
            let lead = result.rank() - operand(0).rank();
            let varies = axis >= lead && !operand(0).shape[axis - lead].is(1);
            let need = if varies { Need::Exactly(axis - lead, rows) } else { Need::Whole };
            let mut broadcast = broadcast.clone();
            broadcast.shape[axis] = Extent::Const(rows.len());
            Some(Plan { operands: vec![need], op: broadcast.into(), pad })
        }
        Op::Conv(_) if axis == 0 => {
            Some(Plan { operands: vec![Need::Exactly(0, rows), Need::Whole], op, pad })
        }
        Op::Conv(conv) => {
            let along = axis.checked_sub(2)?;
            let (stride, dilation, pad) =
                (conv.strides[along], conv.dilations[along], conv.pads_before[along]);
            let kernel = operand(1).shape[axis].as_const()?;
            let need = windows(operand(0).shape[axis].as_const()?, rows, (kernel, stride, dilation, pad))?;
            let mut conv = conv.clone();
            conv.spatial[along] = Extent::Const(rows.len());
            let operands = vec![Need::AtLeast(axis, need), Need::Whole];
            Some(Plan { operands, op: conv.into(), pad: Some((along, pad - rows.from * stride)) })
        }
        Op::Pool(pool) => {
            let Some(along) = (axis + pool.kernel.len()).checked_sub(result.rank()) else {
                return Some(Plan { operands: vec![Need::Exactly(axis, rows)], op, pad });
            };
            let (stride, dilation, pad) =
                (pool.strides[along], pool.dilations[along], pool.pads_before[along]);
            let shape = (pool.kernel[along], stride, dilation, pad);
            let need = windows(operand(0).shape[axis].as_const()?, rows, shape)?;
            let mut pool = pool.clone();
            pool.spatial[along] = Extent::Const(rows.len());
            let operands = vec![Need::AtLeast(axis, need)];
            Some(Plan { operands, op: pool.into(), pad: Some((along, pad - rows.from * stride)) })
        }
        Op::MatMul(_) => {
            let alike = operand(0).rank() == result.rank() && operand(1).rank() == 2;
            let one = alike && axis + 1 < result.rank() && operand(0).shape[axis] == result.shape[axis];
            one.then(|| Plan { operands: vec![Need::Exactly(axis, rows), Need::Whole], op, pad })
        }
        _ => {
            let Form::Loops(form) = module.form(node) else { return None };
            let identity = LoopForm::identity(result.rank());
            let plain = form.class() == Class::Pointwise && form.loads.iter().all(|l| l.index == identity);
            let all = || this.operands.iter().map(|_| Need::Exactly(axis, rows)).collect();
            plain.then(|| Plan { operands: all(), op, pad })
        }
    }
}

/// The positions, of so many, that windows `rows` reach.
fn windows(extent: i64, rows: Rows, (kernel, stride, dilation, pad): (i64, i64, i64, i64)) -> Option<Rows> {
    let from = rows.from * stride - pad;
    let to = (rows.to - 1) * stride - pad + (kernel - 1) * dilation + 1;
    let reached = Rows { from: from.clamp(0, extent), to: to.clamp(0, extent) };
    (reached.len() > 0).then_some(reached)
}
