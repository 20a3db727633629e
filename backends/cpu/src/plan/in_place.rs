//! in_place - results written over operands that nobody reads any more.
//!
//! A kernel may write a result where an operand is if this is the operand's last use and the kernel reads an element of it
//! only to compute the element of the result that takes its place: then no other item, thread or lane ever wants what
//! was overwritten. That holds for
//!
//! * a nest without reduction that reads the operand at the place it writes,
//! * a reducing nest whose `finish` alone reads it there: a contraction's residual operand. Tiles compute all sums of an
//!   element before they read the operands of their epilogue, and no element twice; nests in lanes compute elements
//!   twice only where `finish` reads nothing (`Lanes::overlap`).
//!
//! Both must have elements of one width. A copy that has become one of a buffer to itself is left out: a scatter then
//! writes into the tensor it was given.

use nnc_ir::{
    entity::Arena,
    extent::{Extent, Symbol, SymbolId, product},
    form::{Bounds, Class, LoopForm},
    program::{Inst, Program},
};

use super::{Block, BufferId, BufferKind, NestStep, Plan, Step, data_free};

impl Plan {
    /// Has kernels write over what they are the last to read.
    pub(crate) fn reuse_operands(&mut self, symbols: &Arena<SymbolId, Symbol>) {
        let mut main = std::mem::take(&mut self.main);
        self.reuse_in(&mut main, symbols);
        self.kernels = 0;
        self.drop_copies(&mut main);
        self.main = main;
    }

    fn reuse_in(&mut self, block: &mut Block, symbols: &Arena<SymbolId, Symbol>) {
        for at in 0..block.steps.len() {
            // What the step after reads besides, when both are one node's.
            let also = match block.steps.get(at + 1) {
                Some(Step::Scatter(scatter)) => scatter.operands[1..].to_vec(),
                _ => Vec::new(),
            };
            match &mut block.steps[at] {
                Step::Nest(nest) => self.reuse_for(nest, &also, symbols),
                Step::If(step) => {
                    self.reuse_in(&mut step.then, symbols);
                    self.reuse_in(&mut step.otherwise, symbols);
                }
                Step::Loop(step) => self.reuse_in(&mut step.body, symbols),
                Step::Scan(step) => self.reuse_in(&mut step.body, symbols),
                _ => {}
            }
        }
    }

    fn reuse_for(&mut self, nest: &mut NestStep, also: &[BufferId], symbols: &Arena<SymbolId, Symbol>) {
        for k in 0..nest.results.len() {
            let result = self.resolve(nest.results[k]);
            if nest.placement[k].is_some() || !self.begins_here(result, nest.at, symbols) {
                continue;
            }
            let results: Vec<BufferId> = nest.results.iter().map(|&b| self.resolve(b)).collect();
            let free = |&&operand: &&BufferId| {
                let operand = self.resolve(operand);
                let reads: Vec<usize> =
                    (0..nest.operands.len()).filter(|&i| self.resolve(nest.operands[i]) == operand).collect();
                !results.contains(&operand)
                    && also.iter().all(|&b| self.resolve(b) != operand)
                    && self.ends_here(operand, nest.at)
                    && self.is_room_in_time(operand, result)
                    && self.buffers[operand.0].sizes == self.buffers[result.0].sizes
                    && reads_in_place(&nest.form, &reads, k)
            };
            let Some(operand) = nest.operands.iter().find(free).map(|&b| self.resolve(b)) else { continue };
            let (first, _) = self.buffers[operand.0].live.expect("it was found by its life");
            self.buffers[operand.0].kind = BufferKind::Same(result);
            if let Some(live) = &mut self.buffers[result.0].live {
                live.0 = live.0.min(first);
            }
            nest.in_place = true;
        }
    }

    /// Whether a result's buffer is first written at `at`, and its place is the same during the whole run.
    fn begins_here(&self, buffer: BufferId, at: usize, symbols: &Arena<SymbolId, Symbol>) -> bool {
        let b = &self.buffers[buffer.0];
        matches!(b.kind, BufferKind::Own | BufferKind::Output(_) | BufferKind::Part(_))
            && b.live.is_some_and(|(first, _)| first == at)
            && b.is_settled()
            && data_free(symbols, &b.sizes[0])
    }

    /// Whether an operand's buffer is ours and last read at `at`.
    fn ends_here(&self, buffer: BufferId, at: usize) -> bool {
        let b = &self.buffers[buffer.0];
        b.kind == BufferKind::Own
            && b.live.is_some_and(|(first, last)| first < at && last == at)
            && b.is_settled()
    }

    /// Whether a result that is part of a larger buffer has its place when the operand is made: it is not worth having
    /// the larger one for longer.
    fn is_room_in_time(&self, operand: BufferId, result: BufferId) -> bool {
        let (whole, _) = self.base(result);
        let begin = |b: BufferId| self.buffers[b.0].live.map(|(first, _)| first);
        whole == result || begin(whole) <= begin(operand)
    }

    /// Leaves out copies of a buffer to itself, and numbers the kernels anew.
    fn drop_copies(&mut self, block: &mut Block) {
        let steps = std::mem::take(&mut block.steps);
        for mut step in steps {
            match &mut step {
                Step::Nest(nest) => {
                    let moves = nest.form.class() == Class::Movement && nest.in_place;
                    if moves && self.resolve(nest.operands[0]) == self.resolve(nest.results[0]) {
                        continue;
                    }
                    nest.kernel = self.next_kernel();
                }
                Step::Rows(rows) => rows.kernel = self.next_kernel(),
                Step::Scatter(scatter) => scatter.kernel = self.next_kernel(),
                Step::If(step) => {
                    self.drop_copies(&mut step.then);
                    self.drop_copies(&mut step.otherwise);
                }
                Step::Loop(step) => self.drop_copies(&mut step.body),
                Step::Scan(step) => self.drop_copies(&mut step.body),
                _ => {}
            }
            block.steps.push(step);
        }
    }

    fn next_kernel(&mut self) -> usize {
        self.kernels += 1;
        self.kernels - 1
    }
}

/// Whether the nest reads the operands of these numbers, which are one buffer, nowhere but where it writes result
/// `result`, and before.
fn reads_in_place(form: &LoopForm, operands: &[usize], result: usize) -> bool {
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

#[cfg(test)]
mod tests {
    use nnc_ir::text;

    use super::*;
    use crate::plan::build;

    /// Numbers of nests in order, of those in place, and of buffers that need memory.
    fn plan(text: &str) -> (usize, usize, usize) {
        let module = text::parse(text, &|_| None).unwrap();
        let plan = build(&module, &crate::CompileOptions::default()).unwrap();
        let nests = plan.main.steps.iter().filter_map(|s| if let Step::Nest(n) = s { Some(n) } else { None });
        let in_place = nests.clone().filter(|n| n.in_place).count();
        let own = plan.buffers.iter().filter(|b| b.kind == BufferKind::Own && b.live.is_some());
        (nests.count(), in_place, own.count())
    }

    fn module(nodes: &str) -> String {
        format!("nnir 1\nphase canonical\nmodule (%0 \"x\" : f32[4,6], %1 \"y\" : f32[6,4]) {{\n{nodes}}}\n")
    }

    #[test]
    fn a_pointwise_nest_writes_over_what_it_reads_last() {
        let chain =
            "%2 = exp %0 : f32[4,6]\n%3 = neg %2 : f32[4,6]\n%4 = exp %3 : f32[4,6]\nreturn %4 \"z\"\n";
        assert_eq!(plan(&module(chain)), (3, 2, 0));
        let kept =
            "%2 = exp %0 : f32[4,6]\n%3 = neg %2 : f32[4,6]\n%4 = add %3, %2 : f32[4,6]\nreturn %4 \"z\"\n";
        assert_eq!(plan(&module(kept)), (3, 1, 1), "what is read later stays");
    }

    #[test]
    fn inputs_stay_and_so_does_what_is_read_at_another_place() {
        let input = "%2 = exp %0 : f32[4,6]\nreturn %2 \"z\"\n";
        assert_eq!(plan(&module(input)), (1, 0, 0));
        let moved = "%2 = exp %0 : f32[4,6]\n%3 = transpose %2 {perm=[1,0]} : f32[6,4]\nreturn %3 \"z\"\n";
        assert_eq!(plan(&module(moved)), (2, 0, 1));
        let narrow = "%2 = exp %0 : f32[4,6]\n%3 = cast %2 {to=f64} : f64[4,6]\nreturn %3 \"z\"\n";
        assert_eq!(plan(&module(narrow)), (2, 0, 1));
    }
}
