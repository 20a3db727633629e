//! nest - perfect loop nests.
//!
//! A nest is walked in rows along one axis, the *lane*: the program's dispatch is paid once a row. Reductions join
//! elements in row-major order of the reduction axes, whichever axis is the lane.

use std::ops::Range;

use crate::{
    dtype::{DType, Scalar},
    eval::{
        combine::Accumulator,
        error::{Budget, EvalError},
        index::{At, Index},
        program::{Leaf, Machine},
        read::{IndexRow, Readers},
        tensor::{Slot, put, strides},
    },
    extent::Extent,
    form::{Ix, LoopForm},
    program::{Inst, Program},
};

/// Most elements of a row.
const WIDTH: usize = 256;

/// A space axis this long is a good lane.
const GOOD_LANE: i64 = 16;

/// Results of a nest.
pub(super) fn evaluate(
    form: &LoopForm,
    operands: &[Slot],
    extent: &dyn Fn(&Extent) -> Result<i64, EvalError>,
    budget: &mut Budget,
) -> Result<Vec<Slot>, EvalError> {
    let dims: Vec<i64> = form.space.iter().chain(&form.reduce).map(extent).collect::<Result<_, _>>()?;
    let (space, _) = dims.split_at(form.space.len());
    budget.take_points(&dims)?;
    let mut results: Vec<Slot> =
        form.results.iter().map(|&d| Slot::zeros(d, space, budget)).collect::<Result<_, _>>()?;
    let readers = Readers::new(&form.loads, operands, &dims, extent)?;
    let mut outputs: Vec<(DType, &mut Vec<u8>)> =
        results.iter_mut().map(|slot| (slot.dtype, slot.bytes_mut())).collect();
    let space_strides = strides(space);
    let mut store = |at: &At, n: usize, machine: &Machine<'_>, program: &Program| {
        let start: i64 = at.position.iter().zip(&space_strides).map(|(p, s)| p * s).sum();
        let step = at.lane.and_then(|lane| space_strides.get(lane)).copied().unwrap_or(0);
        for ((dtype, bytes), &r) in outputs.iter_mut().zip(&program.results) {
            put(*dtype, bytes, start as usize, step as usize, &machine.row(r)[..n]);
        }
    };

    let mut body = Stage::new(&form.body, dims.len(), extent)?;
    let mut at = At { position: vec![0; dims.len()], lane: choose_lane(&dims, space.len()) };
    let (space_axes, reduce_axes) = (0..space.len(), space.len()..dims.len());
    let Some(combine) = form.combine else {
        for_each_row(&mut at, space_axes, &dims, &mut |at, n| {
            body.run(at, n, &readers, &[])?;
            store(at, n, &body.machine, &form.body);
            Ok(())
        })?;
        return Ok(results);
    };

    let body_dtype =
        form.body.result_dtypes().next().ok_or_else(|| EvalError::bug("reduction of nothing"))?;
    let mut acc = Accumulator::new(combine, body_dtype, WIDTH);
    let mut finish = Stage::new(&form.finish, dims.len(), extent)?;
    let along_space = at.lane.is_none_or(|lane| lane < space.len());
    for_each_row(&mut at, space_axes, &dims, &mut |at, n| {
        acc.start(n);
        for_each_row(at, reduce_axes.clone(), &dims, &mut |at, m| {
            let n = if along_space { n } else { m };
            body.run(at, n, &readers, &[])?;
            let row = &body.machine.row(form.body.results[0])[..n];
            if along_space {
                acc.join(row)
            } else {
                acc.fold(row)
            }
            Ok(())
        })?;
        finish.run(at, n, &readers, acc.values())?;
        store(at, n, &finish.machine, &form.finish);
        Ok(())
    })?;
    Ok(results)
}

/// The axis that rows run along: the last space axis of useful length, else the longer of the longest space axis and
/// the innermost reduction axis.
fn choose_lane(dims: &[i64], space: usize) -> Option<usize> {
    if let Some(axis) = (0..space).rev().find(|&a| dims[a] >= GOOD_LANE) {
        return Some(axis);
    }
    let innermost = (dims.len() > space).then(|| dims.len() - 1);
    (0..space).chain(innermost).max_by_key(|&a| dims[a])
}

/// Calls `f` with each row over `axes`, in row-major order, and its number of elements; 1 where the lane is not among them.
pub(super) fn for_each_row(
    at: &mut At,
    axes: Range<usize>,
    dims: &[i64],
    f: &mut dyn FnMut(&mut At, usize) -> Result<(), EvalError>,
) -> Result<(), EvalError> {
    at.position[axes.clone()].fill(0);
    if dims[axes.clone()].contains(&0) {
        return Ok(());
    }
    let lane = at.lane.filter(|lane| axes.contains(lane));
    loop {
        let n = lane.map_or(1, |lane| (dims[lane] - at.position[lane]).min(WIDTH as i64) as usize);
        f(at, n)?;
        let mut axis = axes.end;
        loop {
            if axis == axes.start {
                return Ok(());
            }
            axis -= 1;
            at.position[axis] += if lane == Some(axis) { WIDTH as i64 } else { 1 };
            if at.position[axis] < dims[axis] {
                break;
            }
            at.position[axis] = 0;
        }
    }
}

/// A program of the nest with its index expressions.
struct Stage<'f> {
    machine: Machine<'f>,
    indices: Vec<(&'f Ix, Index)>,
}

impl<'f> Stage<'f> {
    fn new(
        program: &'f Program,
        axes: usize,
        extent: &dyn Fn(&Extent) -> Result<i64, EvalError>,
    ) -> Result<Self, EvalError> {
        let machine = Machine::new(program, WIDTH).map_err(EvalError::bug)?;
        let mut indices = Vec::new();
        for (inst, _) in program.insts() {
            if let Inst::Index(ix) = inst {
                indices.push((ix, Index::new(ix, axes, extent)?));
            }
        }
        Ok(Self { machine, indices })
    }

    fn run(&mut self, at: &At, n: usize, readers: &Readers<'_>, accs: &[u64]) -> Result<(), EvalError> {
        let indices = &self.indices;
        self.machine.run(n, |leaf, row| match leaf {
            Leaf::Load(k) => readers.row(k, at, row),
            Leaf::Acc(_) => {
                row.copy_from_slice(&accs[..row.len()]);
                Ok(())
            }
            Leaf::Index(ix) => {
                let (_, index) = indices.iter().find(|(i, _)| *i == ix).expect("every index was prepared");
                let mut values = IndexRow::from_elem(0, row.len());
                readers.index(index, at, &mut values)?;
                row.iter_mut().zip(values).for_each(|(out, x)| *out = x.cast_unsigned());
                Ok(())
            }
        })
    }
}

/// The element every point of a nest without reduction gives, if all points give the same: every load reads an operand
/// of one repeated value, and no index is looked at.
pub(super) fn splat(form: &LoopForm, operands: &[Option<Scalar>]) -> Option<Vec<Scalar>> {
    let same = |load: &crate::form::Load| {
        let value = operands[load.operand]?;
        match load.bounds {
            crate::form::Bounds::Inside => Some(value),
            crate::form::Bounds::Guard(guard) => (guard == value).then_some(value),
            crate::form::Bounds::Check => None,
        }
    };
    let values: Vec<Scalar> = form.loads.iter().map(same).collect::<Option<_>>()?;
    let indexed = form.body.insts().iter().any(|(inst, _)| matches!(inst, Inst::Index(_)));
    (form.combine.is_none() && !indexed)
        .then(|| crate::eval::eval_program(&form.body, &|k| values[k], &[], &|_| 0))
}

#[cfg(test)]
mod tests;
