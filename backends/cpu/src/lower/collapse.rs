//! collapse - a form with its accesses, brought to as few axes as its accesses allow.

use nnc_ir::{
    dtype::{DType, Scalar},
    extent::{Extent, product},
    form::{Class, Combine, Ix, Load, LoopForm},
    program::{Builder, Inst, Program},
};

use super::{
    access::{Access, dense_strides},
    scatter::Target,
};
use crate::kernel::{NestRequest, Placement};

/// A nest as it is emitted. Axes are numbered through the space axes, of which there is at least one, and then the
/// reduction axes.
#[derive(Clone, Debug)]
pub(super) struct Nest {
    /// Extents of the axes.
    pub(super) extents: Vec<Extent>,
    /// How many of them are space axes.
    pub(super) space: usize,
    /// Evaluated at each point.
    pub(super) body: Program,
    /// Joins what the body gives.
    pub(super) combine: Option<Combine>,
    /// From the accumulator to the results.
    pub(super) finish: Program,
    /// Reads, by number in the programs.
    pub(super) loads: Vec<Access>,
    /// Operand that each load reads.
    pub(super) operands: Vec<usize>,
    /// Writes.
    pub(super) results: Vec<Access>,
    /// Result 0 is written at computed places instead.
    pub(super) scatter: Option<Target>,
    /// How many of the first axes are row axes, which are not joined with others.
    pub(super) rows: usize,
    /// Whether the last space axis is a row axis, too.
    pub(super) columns: bool,
}

impl Nest {
    /// The nest of a request.
    pub(super) fn new(request: &NestRequest) -> Nest {
        let dense = dense_strides(&request.form.space);
        let place = |k: usize| match request.placement.get(k).and_then(Option::as_ref) {
            Some(place) => place.clone(),
            None => Placement { offset: Extent::ZERO, strides: dense.clone() },
        };
        let places: Vec<Placement> = (0..request.form.results.len()).map(place).collect();
        let form = without_unit_axes(&raw_movement(&request.form));
        let mut nest = Nest::of_form(form, &kept_axes(&request.form.space), &places, &|_| None);
        nest.split_quotients();
        nest.merge();
        nest
    }

    /// The nest of a stage over rows: as many of the first axes as `rows` are row axes, and if `columns`, the last one,
    /// too. An operand has the strides that `strides` gives, or is dense.
    pub(super) fn of_stage(
        form: &LoopForm,
        (rows, columns): (usize, bool),
        place: &Placement,
        strides: &dyn Fn(usize) -> Option<Vec<Extent>>,
    ) -> Nest {
        let kept = kept_axes(&form.space);
        let mut out = without_unit_axes(&raw_movement(form));
        let rows = kept.iter().filter(|&&a| a < rows).count();
        // The last space axis is walked by an item, so it is no row axis.
        if rows == out.space.len() {
            let space = out.space.len();
            let after = |axis: usize| Ix::Axis(axis + usize::from(axis >= space));
            out = out.map_indices(&|ix| ix.substitute(&after, &|k| k));
            out.space.push(Extent::ONE);
        }
        let mut nest = Nest::of_form(out, &kept, std::slice::from_ref(place), strides);
        (nest.rows, nest.columns) = (rows, columns);
        nest.merge();
        nest
    }

    /// The nest of a form without axes of extent 1. Strides of results follow the axes before these were dropped; those
    /// of unit axes do not matter.
    fn of_form(
        form: LoopForm,
        kept: &[usize],
        places: &[Placement],
        strides: &dyn Fn(usize) -> Option<Vec<Extent>>,
    ) -> Nest {
        let extents: Vec<Extent> = form.space.iter().chain(&form.reduce).cloned().collect();
        let result = |(dtype, place): (&DType, &Placement)| {
            let mut strides: Vec<Extent> = kept.iter().map(|&a| place.strides[a].clone()).collect();
            strides.resize(form.space.len(), Extent::ZERO);
            Access::of_result(*dtype, place.offset.clone(), &strides, extents.len())
        };
        let load = |load: &Load| match strides(load.operand) {
            Some(strides) => Access::of_strided(load, &strides, &extents),
            None => Access::of_load(load, &extents),
        };
        Nest {
            space: form.space.len(),
            loads: form.loads.iter().map(load).collect(),
            operands: form.loads.iter().map(|l| l.operand).collect(),
            results: form.results.iter().zip(places).map(result).collect(),
            body: form.body,
            combine: form.combine,
            finish: form.finish,
            scatter: None,
            rows: 0,
            columns: false,
            extents,
        }
    }

    /// Number of reduction axes.
    pub(super) fn reductions(&self) -> usize {
        self.extents.len() - self.space
    }

    /// Every index expression computed at run time.
    fn indices(&self) -> impl Iterator<Item = &Ix> {
        let programs = self.body.insts().iter().chain(self.finish.insts());
        let computed =
            programs.filter_map(|(inst, _)| if let Inst::Index(ix) = inst { Some(ix) } else { None });
        self.loads.iter().flat_map(Access::indices).chain(computed)
    }

    /// Joins neighbouring axes that every access walks as one.
    fn merge(&mut self) {
        let mut a = 0;
        while a + 1 < self.extents.len() {
            let both_kinds = a + 1 == self.space
                || (self.rows > 0 && a + 1 == self.rows)
                || (self.columns && a + 2 == self.space);
            let mentioned = || self.indices().any(|ix| ix.mentions(a) || ix.mentions(a + 1));
            let walks_as_one = |access: &Access| {
                access.coefficients[a] == &access.coefficients[a + 1] * &self.extents[a + 1]
            };
            if both_kinds || !self.loads.iter().chain(&self.results).all(walks_as_one) || mentioned() {
                a += 1;
                continue;
            }
            self.join(a);
        }
    }

    fn join(&mut self, a: usize) {
        let outer = self.extents.remove(a);
        self.extents[a] = &outer * &self.extents[a];
        self.space -= usize::from(a < self.space);
        self.rows -= usize::from(a < self.rows);
        for access in self.loads.iter_mut().chain(&mut self.results) {
            access.coefficients.remove(a);
            let shift = |ix: &Ix| ix.substitute(&|x| Ix::Axis(x - usize::from(x > a)), &|k| k);
            access.extra.iter_mut().for_each(|e| e.index = shift(&e.index));
            access.conditions.iter_mut().for_each(|c| c.index = shift(&c.index));
        }
        let shift = |ix: &Ix| ix.substitute(&|x| Ix::Axis(x - usize::from(x > a)), &|k| k);
        self.body = self.body.map_indices(&shift);
        self.finish = self.finish.map_indices(&shift);
    }

    /// Rough number of scalar operations of one point of the space.
    pub(super) fn point_cost(&self) -> Extent {
        let per_program = |p: &Program| Extent::Const(p.insts().len() as i64 + 1);
        let reduce = product(&self.extents[self.space..]);
        &(&reduce * &per_program(&self.body)) + &per_program(&self.finish)
    }
}

/// Numbers of the axes that have not the constant extent 1.
fn kept_axes(extents: &[Extent]) -> Vec<usize> {
    (0..extents.len()).filter(|&a| !extents[a].is(1)).collect()
}

/// Axes of extent 1 are at 0 always. One space axis stays in any case, and one reduction axis if there was one.
fn without_unit_axes(form: &LoopForm) -> LoopForm {
    let space = kept_axes(&form.space);
    let mut reduce = kept_axes(&form.reduce);
    if reduce.is_empty() && !form.reduce.is_empty() {
        reduce.push(0);
    }
    let n_space = space.len().max(1);
    let place = |axis: usize| {
        let old = form.space.len();
        let found = if axis < old {
            space.iter().position(|&a| a == axis)
        } else {
            reduce.iter().position(|&a| a == axis - old).map(|r| n_space + r)
        };
        found.map_or(Ix::int(0), Ix::Axis)
    };
    let mut out = form.map_indices(&|ix| ix.substitute(&place, &|k| k));
    out.space = space.iter().map(|&a| form.space[a].clone()).collect();
    out.space.resize(n_space, Extent::ONE);
    out.reduce = reduce.iter().map(|&a| form.reduce[a].clone()).collect();
    out
}

/// Elements that only move need no arithmetic: they are read and written as unsigned integers of their width.
fn raw_movement(form: &LoopForm) -> LoopForm {
    let same = |(r, dtype): (&nnc_ir::program::Ref, &DType)| match form.body.inst(*r) {
        Inst::Load(k) => form.loads[*k].dtype == *dtype,
        _ => false,
    };
    if form.class() != Class::Movement || !form.body.results.iter().zip(&form.results).all(same) {
        return form.clone();
    }
    let mut out = form.clone();
    let used: Vec<bool> = (0..form.loads.len())
        .map(|k| form.body.insts().iter().any(|(inst, _)| *inst == Inst::Load(k)))
        .collect();
    for (k, load) in out.loads.iter_mut().enumerate() {
        // Loads that indices refer to stay integers of their sign.
        let indexes = form.loads.iter().flat_map(|l| &l.index).any(|ix| {
            let mut found = false;
            ix.visit(&mut |part| found |= *part == Ix::Load(k));
            found
        });
        if !used[k] || indexes {
            if used[k] {
                return form.clone();
            }
            continue;
        }
        if let nnc_ir::form::Bounds::Guard(value) = load.bounds {
            let mut bytes = [0; 8];
            value.store(load.dtype, &mut bytes);
            load.bounds = nnc_ir::form::Bounds::Guard(Scalar {
                dtype: raw(load.dtype),
                bits: u64::from_le_bytes(bytes),
            });
        }
        load.dtype = raw(load.dtype);
    }
    let mut b = Builder::new();
    let results = b.splice(&form.body, &mut |b, inst, dtype| match inst {
        Inst::Load(k) => b.load(*k, out.loads[*k].dtype),
        other => b.push(other.clone(), dtype),
    });
    out.body = b.finish(results);
    out.results = form.results.iter().map(|&d| raw(d)).collect();
    out
}

fn raw(dtype: DType) -> DType {
    match dtype.bytes() {
        1 => DType::U8,
        2 => DType::U16,
        4 => DType::U32,
        _ => DType::U64,
    }
}
