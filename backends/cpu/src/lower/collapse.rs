//! collapse - a form with its accesses, brought to as few axes as its accesses allow.

use nnc_ir::{
    dtype::{DType, Scalar},
    extent::{Extent, product},
    form::{Class, Combine, Ix, LoopForm},
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
}

impl Nest {
    /// The nest of a request.
    pub(super) fn new(request: &NestRequest) -> Nest {
        let form = without_unit_axes(&raw_movement(&request.form));
        let extents: Vec<Extent> = form.space.iter().chain(&form.reduce).cloned().collect();
        let dense = dense_strides(&request.form.space);
        // Strides of results follow the original axes; those of unit axes do not matter.
        let kept = kept_axes(&request.form.space);
        let result = |(k, dtype): (usize, &DType)| {
            let (offset, strides) = match request.placement.get(k).and_then(Option::as_ref) {
                Some(Placement { offset, strides }) => (offset.clone(), strides.clone()),
                None => (Extent::ZERO, dense.clone()),
            };
            let mut strides: Vec<Extent> = kept.iter().map(|&a| strides[a].clone()).collect();
            strides.resize(form.space.len(), Extent::ZERO);
            Access::of_result(*dtype, offset, &strides, extents.len())
        };
        let mut nest = Nest {
            space: form.space.len(),
            loads: form.loads.iter().map(|l| Access::of_load(l, &extents)).collect(),
            operands: form.loads.iter().map(|l| l.operand).collect(),
            results: form.results.iter().enumerate().map(result).collect(),
            body: form.body,
            combine: form.combine,
            finish: form.finish,
            scatter: None,
            extents,
        };
        nest.merge();
        nest
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
            let both_kinds = a + 1 == self.space;
            let mentioned = || self.indices().any(|ix| mentions(ix, a) || mentions(ix, a + 1));
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
        for access in self.loads.iter_mut().chain(&mut self.results) {
            access.coefficients.remove(a);
            let shift = |ix: &Ix| ix.substitute(&|x| Ix::Axis(x - usize::from(x > a)), &|k| k);
            access.extra.iter_mut().for_each(|e| e.index = shift(&e.index));
            access.conditions.iter_mut().for_each(|c| c.index = shift(&c.index));
        }
        let shift = |ix: &Ix| ix.substitute(&|x| Ix::Axis(x - usize::from(x > a)), &|k| k);
        self.body = map_indices(&self.body, &shift);
        self.finish = map_indices(&self.finish, &shift);
    }

    /// Rough number of scalar operations of one point of the space.
    pub(super) fn point_cost(&self) -> Extent {
        let per_program = |p: &Program| Extent::Const(p.insts().len() as i64 + 1);
        let reduce = product(&self.extents[self.space..]);
        &(&reduce * &per_program(&self.body)) + &per_program(&self.finish)
    }
}

/// Whether the expression mentions an axis.
pub(super) fn mentions(ix: &Ix, axis: usize) -> bool {
    let mut found = false;
    ix.visit(&mut |part| found |= *part == Ix::Axis(axis));
    found
}

/// The program with its index expressions replaced.
pub(super) fn map_indices(program: &Program, f: &dyn Fn(&Ix) -> Ix) -> Program {
    let mut b = Builder::new();
    let results = b.splice(program, &mut |b, inst, dtype| match inst {
        Inst::Index(ix) => b.index(f(ix)),
        other => b.push(other.clone(), dtype),
    });
    b.finish(results)
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
    let index = |ix: &Ix| ix.substitute(&place, &|k| k);
    let mut out = form.clone();
    out.space = space.iter().map(|&a| form.space[a].clone()).collect();
    out.space.resize(n_space, Extent::ONE);
    out.reduce = reduce.iter().map(|&a| form.reduce[a].clone()).collect();
    for load in &mut out.loads {
        load.index = load.index.iter().map(index).collect();
    }
    out.body = map_indices(&form.body, &index);
    out.finish = map_indices(&form.finish, &index);
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
