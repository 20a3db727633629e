//! layout - which tensors lie with their channels last.
//!
//! A tensor lies row-major in the order of its axes, `[n, c, y, x]`, but for those that this file gives the order
//! `[n, y, x, c]`. A convolution then has its output channels in vectors, which are always whole, whatever the plane.
//!
//! Only the plan changes: a nest walks along its space in the order of its result, and each load's indices are in the
//! order of its operand. So a nest may read one order and write the other. Free to be either are tensors of our own that
//! nests alone make and read, all by one shape. Those that nests join position by position are decided together: by what
//! convolutions gain, and what nests cost that read one order and write the other (`cost`). Parts of a joined tensor are
//! then made and read in the whole by its strides.

mod cost;
mod rewrite;

use nnc_ir::{
    extent::Extent,
    form::{Bounds, Class, LoopForm},
    program::{Inst, Program},
};
use nnc_x86::Level;

use super::{BufferId, BufferKind, NestStep, Plan, Step};
use crate::{
    kernel::Filtering,
    lower::{access_inside, dense_strides},
};
use rewrite::Tensors;

/// What orders are chosen for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    /// Wide instructions, if there are any.
    pub(crate) level: Option<Level>,
    /// Of convolutions.
    pub(crate) filtering: Filtering,
}

/// What is known of a buffer.
#[derive(Clone, Debug, Default)]
struct Tensor {
    /// The extents that all nests know it by.
    shape: Option<Vec<Extent>>,
    /// Whether something stands against another order.
    fixed: bool,
    /// The buffer that it is a part of, or itself.
    whole: usize,
    /// Where in the whole it begins, one an axis.
    starts: Vec<Extent>,
    /// Bytes of an element.
    bytes: usize,
}

impl Plan {
    /// Puts channels last where that pays.
    pub(crate) fn lay_out(&mut self, machine: Machine) {
        let mut nests: Vec<&NestStep> = Vec::new();
        self.for_each_step(&mut |step| {
            if let Step::Nest(nest) = step {
                nests.push(nest);
            }
        });
        let mut tensors = self.tensors();
        nests.iter().for_each(|nest| self.fix(nest, &mut tensors));
        while self.spread(&nests, &mut tensors) {}
        let mut groups = Groups((0..tensors.len()).collect());
        for nest in &nests {
            self.join(nest, &tensors, &mut groups);
        }
        for (i, tensor) in tensors.iter().enumerate().filter(|(_, t)| t.is_free()) {
            groups.join(i, tensor.whole);
        }
        let member: Vec<usize> = (0..tensors.len()).map(|i| groups.of(i)).collect();
        let mut last = vec![false; tensors.len()];
        for root in 0..tensors.len() {
            let chosen: Vec<bool> =
                (0..tensors.len()).map(|i| member[i] == root && tensors[i].is_free()).collect();
            let view = Tensors { tensors: &tensors, last: &chosen };
            if chosen.contains(&true) && cost::pays(self, &view, &nests, machine) {
                (0..tensors.len()).filter(|&i| chosen[i]).for_each(|i| last[i] = true);
            }
        }
        if last.contains(&true) {
            let mut main = std::mem::take(&mut self.main);
            self.rewrite(&mut main, &mut tensors, &mut last);
            self.main = main;
        }
    }

    /// What nests and other steps say of each buffer.
    fn tensors(&self) -> Vec<Tensor> {
        let mut tensors: Vec<Tensor> =
            (0..self.buffers.len()).map(|i| Tensor { whole: i, ..Tensor::default() }).collect();
        let known = |tensors: &mut Vec<Tensor>, buffer: BufferId, shape: &[Extent], bytes: usize| {
            let tensor = &mut tensors[self.resolve(buffer).0];
            match &tensor.shape {
                None => (tensor.shape, tensor.bytes) = (Some(shape.to_vec()), bytes),
                Some(other) => tensor.fixed |= other[..] != *shape || tensor.bytes != bytes,
            }
        };
        self.for_each_step(&mut |step| match step {
            Step::Nest(nest) => {
                for load in &nest.form.loads {
                    known(&mut tensors, nest.operands[load.operand], &load.extents, load.dtype.bytes());
                }
                for (k, &result) in nest.results.iter().enumerate() {
                    if nest.placement[k].is_none() {
                        known(&mut tensors, result, &nest.form.space, nest.form.results[k].bytes());
                    }
                }
            }
            other => others(other).into_iter().for_each(|b| tensors[self.resolve(b).0].fixed = true),
        });
        self.outputs.iter().for_each(|o| tensors[self.resolve(o.buffer).0].fixed = true);
        for (i, tensor) in tensors.iter_mut().enumerate() {
            let buffer = &self.buffers[i];
            let free = match buffer.kind {
                BufferKind::Own => tensor.shape.as_deref().is_none_or(worth_an_order),
                BufferKind::Part(_) => true,
                _ => false,
            };
            tensor.fixed |= !free || !buffer.is_settled();
            tensor.starts = vec![Extent::ZERO; tensor.shape.as_ref().map_or(0, Vec::len)];
        }
        for i in 0..tensors.len() {
            if let BufferKind::Part(_) = self.buffers[i].kind {
                self.place_part(i, &mut tensors);
            }
        }
        tensors
    }

    /// Finds where a part begins in its whole.
    fn place_part(&self, i: usize, tensors: &mut [Tensor]) {
        let (base, offset) = self.base(BufferId(i));
        let whole = &tensors[base.0];
        let (bytes, alike) = (tensors[i].bytes.max(1), tensors[i].bytes == whole.bytes);
        let elements = offset.floor_div(&Extent::Const(i64::try_from(bytes).unwrap_or(1)));
        let starts = match (&tensors[i].shape, &whole.shape) {
            (Some(part), Some(shape)) if alike => place_in(shape, part, &dense_strides(shape), &elements),
            _ => None,
        };
        tensors[i].whole = base.0;
        match starts {
            Some(starts) => tensors[i].starts = starts,
            None => tensors[i].fixed |= tensors[i].shape.is_some(),
        }
    }

    fn of_load(&self, nest: &NestStep, load: usize) -> usize {
        self.resolve(nest.operands[nest.form.loads[load].operand]).0
    }

    /// The load of what a contraction multiplies with constant weights, or of its largest operand if that is computed.
    fn convolved(&self, nest: &NestStep) -> Option<usize> {
        let form = &nest.form;
        let constant = |l: usize| matches!(self.buffers[self.of_load(nest, l)].kind, BufferKind::Constant(_));
        let is_weight = |factor: &Program| matches!(factor.insts(), [(Inst::Load(l), _)] if constant(*l));
        let [x, y] = form.factors()?;
        let input = match (is_weight(&x), is_weight(&y)) {
            (true, false) => y,
            (false, true) => x,
            _ => return None,
        };
        let loads = (0..form.loads.len()).filter(|&l| is_read(&input, l) && !constant(l));
        loads.rev().max_by_key(|&l| cost::known(&form.loads[l].extents))
    }

    /// Fixes what a nest can only do in one order.
    fn fix(&self, nest: &NestStep, tensors: &mut [Tensor]) {
        let form = &nest.form;
        let all: Vec<Extent> = form.space.iter().chain(&form.reduce).cloned().collect();
        if form.class() == Class::Contraction && self.convolved(nest).is_none() {
            let factors = (0..form.loads.len()).filter(|&l| is_read(&form.body, l));
            let results = nest.results.iter().map(|&r| self.resolve(r).0);
            let all: Vec<usize> = factors.map(|l| self.of_load(nest, l)).chain(results).collect();
            all.into_iter().for_each(|b| tensors[b].fixed = true);
        }
        for (l, load) in form.loads.iter().enumerate() {
            let tensor = &mut tensors[self.of_load(nest, l)];
            // A position beyond a part must not turn into one of its neighbours.
            tensor.fixed |= load.bounds != Bounds::Inside
                && tensor
                    .starts
                    .iter()
                    .zip(load.index.iter().zip(&load.extents))
                    .any(|(start, (ix, extent))| !start.is(0) && !access_inside(ix, extent, &all));
        }
        for (place, &result) in nest.placement.iter().zip(&nest.results) {
            let tensor = &mut tensors[self.resolve(result).0];
            if let Some(place) = place {
                let shape = tensor.shape.as_deref().unwrap_or_default();
                tensor.fixed |= place_in(shape, &form.space, &place.strides, &place.offset).is_none();
            }
        }
    }

    /// What is one memory or one nest's results is fixed together; whether there was something to fix.
    fn spread(&self, nests: &[&NestStep], tensors: &mut [Tensor]) -> bool {
        let mut more = false;
        let mut alike = |tensors: &mut [Tensor], a: usize, b: usize| {
            if tensors[a].fixed != tensors[b].fixed {
                (tensors[a].fixed, tensors[b].fixed) = (true, true);
                more = true;
            }
        };
        for i in 0..tensors.len() {
            if tensors[i].shape.is_some() || tensors[i].fixed {
                let whole = tensors[i].whole;
                alike(tensors, i, whole);
            }
        }
        for nest in nests {
            for pair in nest.results.windows(2) {
                alike(tensors, self.resolve(pair[0]).0, self.resolve(pair[1]).0);
            }
        }
        more
    }

    /// Joins what a nest reads position by position with what it writes.
    fn join(&self, nest: &NestStep, tensors: &[Tensor], groups: &mut Groups) {
        let results: Vec<usize> = nest.results.iter().map(|&b| self.resolve(b).0).collect();
        let Some(&first) = results.first() else { return };
        if !tensors[first].is_free() {
            return;
        }
        results.iter().for_each(|&r| groups.join(first, r));
        for l in 0..nest.form.loads.len() {
            let buffer = self.of_load(nest, l);
            if tensors[buffer].is_free() && is_aligned(&nest.form, l) {
                groups.join(buffer, first);
            }
        }
    }
}

impl Tensor {
    /// Whether it may be in either order.
    fn is_free(&self) -> bool {
        !self.fixed && self.shape.is_some()
    }
}

/// Whether a program reads a load.
pub(super) fn is_read(program: &Program, load: usize) -> bool {
    program.insts().iter().any(|(inst, _)| *inst == Inst::Load(load))
}

/// Whether there are two orders: some channels, of a known number, and some positions.
fn worth_an_order(shape: &[Extent]) -> bool {
    (3..=5).contains(&shape.len())
        && shape[1].as_const().is_some_and(|c| c > 1)
        && shape[2..].iter().any(|e| !e.is(1))
}

/// Whether a load reads each axis of its operand by the same axis of the space, or by one that is reduced.
fn is_aligned(form: &LoopForm, load: usize) -> bool {
    let load = &form.loads[load];
    let own =
        |axis: usize, ix: &nnc_ir::form::Ix| (0..form.space.len()).all(|s| s == axis || !ix.mentions(s));
    load.index.len() == form.space.len() && load.index.iter().enumerate().all(|(axis, ix)| own(axis, ix))
}

/// Where a tensor of `part` begins in one of shape `whole`, if it lies in it by these strides: one position an axis.
fn place_in(whole: &[Extent], part: &[Extent], strides: &[Extent], offset: &Extent) -> Option<Vec<Extent>> {
    if whole.len() != part.len() || strides != dense_strides(whole) {
        return None;
    }
    let mut starts = vec![Extent::ZERO; whole.len()];
    let mut differ = (0..whole.len()).filter(|&axis| whole[axis] != part[axis]);
    match differ.next() {
        None => offset.is(0).then_some(starts),
        Some(axis) => {
            let start = offset.floor_div(&strides[axis]);
            let exact = &start * &strides[axis] == *offset;
            starts[axis] = start;
            (exact && differ.next().is_none()).then_some(starts)
        }
    }
}

/// Buffers that a step other than a nest uses, but for those of the blocks in it.
pub(super) fn others(step: &Step) -> Vec<BufferId> {
    match step {
        Step::Nest(_) | Step::Tiled(_) | Step::Ensure { .. } | Step::Define(_) => vec![],
        Step::Groups(step) => [&step.operands()[..], &step.finish.results].concat(),
        Step::Rows(rows) => [&rows.operands[..], &rows.results].concat(),
        Step::Scatter(scatter) => [&scatter.operands[..], &[scatter.result]].concat(),
        Step::Copy { from, to, .. } => vec![*from, *to],
        Step::StoreExtents { to, .. } => vec![*to],
        Step::ReadExtents { from, .. } => vec![*from],
        Step::Extern(call) => {
            call.operands.iter().map(|o| o.0).chain(call.results.iter().map(|r| r.0)).collect()
        }
        Step::If(step) => vec![step.condition],
        Step::Loop(step) => {
            let mut all =
                vec![step.trips, step.condition, step.iteration, step.condition_param, step.condition_result];
            all.extend(step.carried.iter().flat_map(|c| [c.initial, c.current, c.next]));
            all.extend(step.stacked.iter().flat_map(|s| [s.whole, s.slice]));
            all
        }
        Step::Scan(step) => {
            let mut all: Vec<BufferId> =
                step.carried.iter().flat_map(|c| [c.initial, c.current, c.next]).collect();
            all.extend(step.scanned.iter().chain(&step.stacked).flat_map(|s| [s.whole, s.slice]));
            all
        }
    }
}

/// Sets of buffers, each named by one of them.
struct Groups(Vec<usize>);

impl Groups {
    fn of(&mut self, mut i: usize) -> usize {
        while self.0[i] != i {
            self.0[i] = self.0[self.0[i]];
            i = self.0[i];
        }
        i
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.of(a), self.of(b));
        self.0[a.max(b)] = a.min(b);
    }
}
