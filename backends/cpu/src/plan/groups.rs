//! groups - a product and the only nest that reads it become one step, where the nest joins groups of its columns.
//!
//! ```text
//! t = a x b + x;  y[m, j] = f(t[m, j], t[m, n + j], ...)      one kernel: each tile has the sums of all groups, and f
//! ```
//!
//! So it is in a recurrent cell, whose gates are one product, and in gated units. Within a loop, the kernel is told where
//! its steps are counted.

use nnc_ir::form::Class;
use nnc_x86::Level;

use super::{Block, BufferId, BufferKind, GroupsStep, NestStep, Plan, Step, layout::others};
use crate::{
    frame::PointerSlot,
    kernel::{NestRequest, OperandRef},
    lower::{Pair, joins},
};

impl Plan {
    /// Joins products with what follows, wherever tiles of the level can do both at once.
    pub(crate) fn join_groups(&mut self, level: Option<Level>) {
        // Narrow tiles have too few registers for it to pay.
        let Some(level) = level else { return };
        let mut uses = vec![0; self.buffers.len()];
        self.for_each_step(&mut |step| match step {
            Step::Nest(nest) => {
                nest.operands.iter().chain(&nest.results).for_each(|&b| uses[self.resolve(b).0] += 1);
            }
            other => others(other).into_iter().for_each(|b| uses[self.resolve(b).0] += 1),
        });
        self.outputs.iter().for_each(|o| uses[self.resolve(o.buffer).0] += 1);
        for buffer in &self.buffers {
            if let BufferKind::Part(whole) = buffer.kind {
                uses[self.resolve(whole).0] += 1;
            }
        }
        let mut main = std::mem::take(&mut self.main);
        if self.join_in(&mut main, None, &uses, level) {
            self.kernels = 0;
            self.number(&mut main);
        }
        self.main = main;
    }

    /// Whether there was anything to join.
    fn join_in(&mut self, block: &mut Block, counter: Option<usize>, uses: &[usize], level: Level) -> bool {
        let mut joined = false;
        for at in 0..block.steps.len() {
            match &mut block.steps[at] {
                Step::If(step) => {
                    joined |= self.join_in(&mut step.then, counter, uses, level);
                    joined |= self.join_in(&mut step.otherwise, counter, uses, level);
                }
                Step::Loop(step) => joined |= self.join_in(&mut step.body, Some(step.counter), uses, level),
                Step::Scan(step) => joined |= self.join_in(&mut step.body, Some(step.counter), uses, level),
                _ => {}
            }
        }
        let mut at = 0;
        while at < block.steps.len() {
            if let Some((then, read)) = self.pair_at(block, at, uses, level) {
                let (Step::Nest(finish), Step::Nest(product)) =
                    (block.steps.remove(then), block.steps.remove(at))
                else {
                    unreachable!("pairs are nests")
                };
                let step = self.joined(*product, *finish, read, counter);
                block.steps.insert(then - 1, Step::Groups(Box::new(step)));
                joined = true;
            }
            at += 1;
        }
        joined
    }

    /// The step that reads the product at `at` and can be one with it, and the number of its operand there.
    fn pair_at(&self, block: &Block, at: usize, uses: &[usize], level: Level) -> Option<(usize, usize)> {
        let Step::Nest(product) = &block.steps[at] else { return None };
        let [result] = product.results[..] else { return None };
        if product.form.class() != Class::Contraction {
            return None;
        }
        let between = self.resolve(result);
        let buffer = &self.buffers[between.0];
        if buffer.kind != BufferKind::Own || !buffer.is_settled() || uses[between.0] != 2 {
            return None;
        }
        let then = (at + 1..block.steps.len()).find(|&i| !matches!(block.steps[i], Step::Ensure { .. }))?;
        let Step::Nest(finish) = &block.steps[then] else { return None };
        let read = finish.operands.iter().position(|&b| self.resolve(b) == between)?;
        let (product, finish) = (self.request(product), self.request(finish));
        let pair = Pair { product: &product, finish: &finish, read };
        joins(&pair, level).then_some((then, read))
    }

    pub(super) fn request(&self, nest: &NestStep) -> NestRequest {
        let operand = |&buffer: &BufferId| OperandRef {
            pointer: PointerSlot(0),
            constant: self.constant(buffer).cloned(),
            range: None,
        };
        NestRequest {
            name: String::new(),
            form: nest.form.clone(),
            operands: nest.operands.iter().map(operand).collect(),
            results: vec![PointerSlot(0); nest.results.len()],
            placement: nest.placement.clone(),
            fault_node: -1,
        }
    }

    /// Both as one step: what the product reads must last until the nest has run, what it made is gone.
    fn joined(
        &mut self,
        product: NestStep,
        finish: NestStep,
        read: usize,
        counter: Option<usize>,
    ) -> GroupsStep {
        let between = self.resolve(product.results[0]);
        self.buffers[between.0].live = None;
        for &operand in &product.operands {
            for buffer in [self.resolve(operand), self.base(operand).0] {
                if let Some((_, last)) = &mut self.buffers[buffer.0].live {
                    *last = (*last).max(finish.at);
                }
            }
        }
        let mut nodes = product.nodes.clone();
        nodes.extend(finish.nodes.iter().filter(|n| !product.nodes.contains(n)));
        let what = format!("{}_{}", product.what, finish.what);
        GroupsStep { kernel: 0, what, product, finish, read, nodes, counter }
    }

    /// Numbers the kernels anew.
    pub(super) fn number(&mut self, block: &mut Block) {
        for step in &mut block.steps {
            match step {
                Step::Nest(nest) => nest.kernel = self.next_kernel(),
                Step::Groups(step) => step.kernel = self.next_kernel(),
                Step::Rows(rows) => rows.kernel = self.next_kernel(),
                Step::Scatter(scatter) => scatter.kernel = self.next_kernel(),
                Step::Tiled(tiled) => {
                    self.number(&mut tiled.members);
                    tiled.kernel = self.next_kernel();
                }
                Step::If(step) => {
                    self.number(&mut step.then);
                    self.number(&mut step.otherwise);
                }
                Step::Loop(step) => self.number(&mut step.body),
                Step::Scan(step) => self.number(&mut step.body),
                _ => {}
            }
        }
    }
}
