//! in_place - results written over operands that nobody reads any more.
//!
//! A kernel may write a result where an operand is if this is the operand's last use and it reads the operand only at the
//! places it writes (`nnc_ir::overwrite`): no other item, thread or lane ever wants what was overwritten. Tiles compute
//! all sums of an element before they read the operands of their epilogue, and no element twice; nests in lanes compute
//! elements twice only where `finish` reads nothing (`Lanes::overlap`).
//!
//! A copy that has become one of a buffer to itself is left out: a scatter then
//! writes into the tensor it was given.

use nnc_ir::{
    entity::Arena,
    extent::{Symbol, SymbolId},
    form::Class,
    overwrite::reads_in_place,
};

use super::{Block, BufferId, BufferKind, NestStep, Plan, Step, data_free};

impl Plan {
    /// Has kernels write over what they are the last to read.
    pub(crate) fn reuse_operands(&mut self, symbols: &Arena<SymbolId, Symbol>) {
        let mut main = std::mem::take(&mut self.main);
        self.reuse_in(&mut main, symbols);
        self.drop_copies(&mut main);
        self.kernels = 0;
        self.number(&mut main);
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

    /// Leaves out copies of a buffer to itself.
    fn drop_copies(&mut self, block: &mut Block) {
        let steps = std::mem::take(&mut block.steps);
        for mut step in steps {
            match &mut step {
                Step::Nest(nest) => {
                    let moves = nest.form.class() == Class::Movement && nest.in_place;
                    if moves && self.resolve(nest.operands[0]) == self.resolve(nest.results[0]) {
                        continue;
                    }
                }
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

    pub(super) fn next_kernel(&mut self) -> usize {
        self.kernels += 1;
        self.kernels - 1
    }
}

#[cfg(test)]
mod tests {
    use nnc_ir::text;

    use super::*;
    use crate::plan::build;

    /// Numbers of nests in order, of those in place, and of buffers that need memory.
    fn plan(text: &str) -> (usize, usize, usize) {
        let module = text::parse(text, &|_| None).unwrap();
        let plan = build(&module, None, &crate::CompileOptions::default()).unwrap();
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
