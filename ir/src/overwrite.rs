//! overwrite - whether a nest may write its result over an operand that nobody reads later.
//!
//! It may if it reads an element of the operand only to compute the element of the result that takes its place:
//!
//! * a nest without reduction that reads the operand at the place it writes,
//! * a reducing nest whose `finish` alone reads it there, such as a contraction's residual operand.
//!
//! Both must have elements of one width.

use crate::{
    extent::{Extent, product},
    form::{Bounds, LoopForm},
    program::{Inst, Program},
};

/// Whether the nest reads the operands of these numbers, which are one buffer, nowhere but where it writes result
/// `result`, and before.
#[must_use]
pub fn reads_in_place(form: &LoopForm, operands: &[usize], result: usize) -> bool {
    let mut loads = (0..form.loads.len()).filter(|&l| operands.contains(&form.loads[l].operand));
    loads.all(|l| {
        let load = &form.loads[l];
        load.bounds == Bounds::Inside
            && load.dtype.bytes() == form.results[result].bytes()
            && is_where_written(form, l)
            && (form.combine.is_none() || only_finish_reads(form, l))
    })
}

/// Whether load `l` reads the element at the place, in row-major order, that the point of the space is written to.
fn is_where_written(form: &LoopForm, l: usize) -> bool {
    let load = &form.loads[l];
    let strides =
        |shape: &[Extent]| -> Vec<Extent> { (0..shape.len()).map(|i| product(&shape[i + 1..])).collect() };
    let mut base = Extent::ZERO;
    let mut along = vec![Extent::ZERO; form.axes()];
    for (ix, stride) in load.index.iter().zip(strides(&load.extents)) {
        let Some(affine) = ix.affine(form.axes()) else { return false };
        base = &base + &(&affine.base * &stride);
        for (sum, c) in along.iter_mut().zip(&affine.coefficients) {
            *sum = &*sum + &(c * &stride);
        }
    }
    let written = strides(&form.space);
    let same = |axis: usize| match written.get(axis) {
        // An axis of one position is not walked along.
        Some(stride) => along[axis] == *stride || form.space[axis].is(1),
        None => along[axis].is(0),
    };
    base.is(0) && (0..form.axes()).all(same)
}

/// Whether the element of load `l` is read by `finish` and by nothing else, such as an index.
fn only_finish_reads(form: &LoopForm, l: usize) -> bool {
    let in_program = |p: &Program| p.insts().iter().any(|(inst, _)| *inst == Inst::Load(l));
    let in_index = |p: &Program| {
        p.insts().iter().any(|(inst, _)| matches!(inst, Inst::Index(ix) if ix.loads().contains(&l)))
    };
    let of_loads = form.loads.iter().flat_map(|load| &load.index).any(|ix| ix.loads().contains(&l));
    !in_program(&form.body) && !in_index(&form.body) && !in_index(&form.finish) && !of_loads
}
