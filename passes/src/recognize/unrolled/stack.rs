//! stack - values of several steps as one, with the steps along a new first axis.

use nnc_ir::{
    Module,
    extent::Extent,
    graph::{Provenance, RegionId, ValueId},
    ops::{Broadcast, Concat, MatMul, Op, Reshape, Slice, Transpose},
};

use super::super::pattern::{def, unviewed};
use crate::pass::Bug;

/// Operations that are stacked instead of their results at most, one in another.
const MAX_DEPTH: usize = 8;

/// Makes stacks at the end of a region.
pub(super) struct Stacker<'m> {
    pub(super) module: &'m mut Module,
    pub(super) region: RegionId,
    pub(super) loc: &'m Provenance,
}

impl Stacker<'_> {
    /// Values of one type, stacked.
    pub(super) fn stack(&mut self, values: &[ValueId]) -> Result<ValueId, Bug> {
        self.stack_within(values, MAX_DEPTH)
    }

    fn stack_within(&mut self, values: &[ValueId], depth: usize) -> Result<ValueId, Bug> {
        let steps = i64::try_from(values.len()).unwrap_or(i64::MAX);
        let mut shape = vec![Extent::Const(steps)];
        shape.extend(self.module.ty(values[0]).shape.iter().cloned());
        if values.iter().all(|v| *v == values[0]) {
            return self.emit(Broadcast { shape }, &[values[0]]);
        }
        if let Some((slice, x, axis)) = sliced(self.module, values) {
            let rank = slice.shape.len();
            let mut y = self.emit(slice, &[x])?;
            if axis > 0 {
                let perm = [axis].into_iter().chain((0..rank).filter(|&a| a != axis)).collect();
                y = self.emit(Transpose { perm }, &[y])?;
            }
            return self.emit(Reshape { shape }, &[y]);
        }
        if depth > 0
            && let Some(y) = self.of_operands(values, &shape, depth - 1)?
        {
            return Ok(y);
        }
        let single = [&[Extent::ONE], &shape[1..]].concat();
        let mut parts = Vec::with_capacity(values.len());
        for &value in values {
            parts.push(self.emit(Reshape { shape: single.clone() }, &[value])?);
        }
        self.emit(Concat { axis: 0 }, &parts)
    }

    /// The operation that makes all of them, on stacked operands.
    fn of_operands(
        &mut self,
        values: &[ValueId],
        shape: &[Extent],
        depth: usize,
    ) -> Result<Option<ValueId>, Bug> {
        let module = &*self.module;
        let Some((op, first)) = def(module, values[0]) else { return Ok(None) };
        let op = op.clone();
        let rows: Vec<Vec<ValueId>> = (0..first.len())
            .map(|at| {
                let of = |&v: &ValueId| def(module, v).filter(|(o, _)| **o == op).map(|(_, all)| all[at]);
                values.iter().filter_map(of).collect()
            })
            .collect();
        let typed = |row: &Vec<ValueId>| row.iter().all(|&v| module.ty(v) == module.ty(row[0]));
        if rows.iter().any(|row| row.len() != values.len() || !typed(row)) {
            return Ok(None);
        }
        match (&op, &rows[..]) {
            (Op::Add(_) | Op::Sub(_) | Op::Mul(_) | Op::Relu(_) | Op::Tanh(_), _) => {
                let mut operands = Vec::with_capacity(rows.len());
                for row in &rows {
                    operands.push(self.stack_within(row, depth)?);
                }
                self.emit(op, &operands).map(Some)
            }
            (Op::Broadcast(_), [row]) if row.iter().all(|v| *v == row[0]) => {
                self.emit(Broadcast { shape: shape.to_vec() }, &[row[0]]).map(Some)
            }
            (Op::MatMul(_), [a, b])
                if b.iter().all(|v| *v == b[0])
                    && module.ty(a[0]).rank() == 2
                    && module.ty(b[0]).rank() == 2 =>
            {
                let (rows, inner) = (module.ty(a[0]).shape[0].clone(), module.ty(a[0]).shape[1].clone());
                let (b, joined) = (b[0], &shape[0] * &rows);
                let a = self.stack_within(&a.clone(), depth)?;
                let a = self.emit(Reshape { shape: vec![joined, inner] }, &[a])?;
                let y = self.emit(MatMul {}, &[a, b])?;
                self.emit(Reshape { shape: shape.to_vec() }, &[y]).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn emit(&mut self, op: impl Into<Op>, operands: &[ValueId]) -> Result<ValueId, Bug> {
        let made = self.module.append(self.region, op, operands, &[], self.loc);
        made.map(|all| all[0]).map_err(|message| Bug { pass: "recognize".into(), message })
    }
}

/// Slices of extent 1 at even distances along one axis of one tensor, as one slice; the tensor, and the axis.
pub(in crate::recognize) fn sliced(module: &Module, values: &[ValueId]) -> Option<(Slice, ValueId, usize)> {
    let cut = |v: ValueId| {
        let (slice, node) = module.defined_by::<Slice>(unviewed(module, v))?;
        Some((slice, node.operands[0]))
    };
    let (first, x) = cut(values[0])?;
    let (second, _) = cut(values[1])?;
    let axis = (0..first.starts.len()).find(|&a| first.starts[a] != second.starts[a])?;
    let start = |slice: &Slice| slice.starts[axis].as_const();
    let (from, step) = (start(first)?, start(second)? - start(first)?);
    for (t, &value) in values.iter().enumerate() {
        let (slice, of) = cut(value)?;
        let others = (0..first.starts.len()).filter(|&a| a != axis);
        let same = others
            .into_iter()
            .all(|a| slice.starts[a] == first.starts[a] && slice.steps[a] == first.steps[a]);
        let at = from.checked_add(step.checked_mul(i64::try_from(t).ok()?)?)?;
        if of != x || !same || slice.shape != first.shape || !slice.shape[axis].is(1) || start(slice)? != at {
            return None;
        }
    }
    let mut slice = first.clone();
    slice.steps[axis] = step;
    slice.shape[axis] = Extent::Const(i64::try_from(values.len()).ok()?);
    Some((slice, x, axis))
}
