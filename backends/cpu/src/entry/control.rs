//! control - chosen and repeated blocks.

use cranelift_codegen::ir::{
    InstBuilder, Value,
    condcodes::IntCC,
    types::{I8, I64},
};
use nnc_runtime::abi::fault;

use super::{
    Emitter,
    functions::{Body, FuncId, Functions},
};
use crate::{
    frame::offset,
    plan::{BufferId, Carried, IfStep, LoopStep, ScanStep, Slice},
};

impl<'a> Emitter<'a> {
    pub(super) fn if_step(&mut self, functions: &mut Functions, body: &mut Body<'_>, step: &'a IfStep) {
        let frame = body.params[0];
        let condition = self.pointer(body, step.condition);
        let condition = body.load(I8, condition, 0);
        let blocks = [self.block(functions, &step.then), self.block(functions, &step.otherwise)];
        let [then, otherwise] = [body.b.create_block(), body.b.create_block()];
        let after = body.b.create_block();
        body.b.ins().brif(condition, then, &[], otherwise, &[]);
        for (block, id) in [then, otherwise].into_iter().zip(blocks) {
            body.b.switch_to_block(block);
            body.call_checked(functions, id, &[frame]);
            body.b.ins().jump(after, &[]);
        }
        body.b.switch_to_block(after);
    }

    /// Puts the initial values where the first iteration reads them.
    fn open_carried(&mut self, functions: &mut Functions, body: &mut Body<'_>, carried: &[Carried]) {
        for c in carried {
            self.ensure(functions, body, c.current, &c.bytes);
            self.copy(functions, body, c.initial, c.current, &c.bytes);
        }
    }

    /// What an iteration wrote is what the next one reads.
    fn swap_carried(&self, body: &mut Body<'_>, carried: &[Carried]) {
        for c in carried {
            self.swap(body, c.current, c.next);
        }
    }

    fn swap(&self, body: &mut Body<'_>, a: BufferId, b: BufferId) {
        let frame = body.params[0];
        let (slots, plan) = (self.program.slots, self.program.plan);
        // Both hold values of one type, so both or none are dynamic, but for what is delivered into `next` only.
        let words = if slots.is_dynamic(plan, a) && slots.is_dynamic(plan, b) { 2 } else { 1 };
        for word in 0..words {
            let (at_a, at_b) = (self.slot(a) + offset(word), self.slot(b) + offset(word));
            let (x, y) = (body.load(I64, frame, at_a), body.load(I64, frame, at_b));
            body.store(y, frame, at_a);
            body.store(x, frame, at_b);
        }
    }

    /// Points a slice at position `at` of the whole.
    fn point(&mut self, body: &mut Body<'_>, slice: &Slice, at: Value) {
        let frame = body.params[0];
        let (whole, bytes) = (self.pointer(body, slice.whole), self.extent(body, &slice.bytes));
        let distance = body.b.ins().imul(bytes, at);
        let address = body.b.ins().iadd(whole, distance);
        body.store(address, frame, self.slot(slice.slice));
    }

    pub(super) fn loop_step(&mut self, functions: &mut Functions, body: &mut Body<'_>, step: &'a LoopStep) {
        let frame = body.params[0];
        let block = self.block(functions, &step.body);
        let counter = self.program.slots.counter(step.counter);
        let trips = self.pointer(body, step.trips);
        let trips = body.load(I64, trips, 0);
        let condition = self.pointer(body, step.condition);
        let condition = body.load(I8, condition, 0);
        let condition_at = self.pointer(body, step.condition_param);
        body.store(condition, condition_at, 0);
        let iteration_at = self.pointer(body, step.iteration);
        self.open_carried(functions, body, &step.carried);
        let zero = body.int(0);
        body.store(zero, frame, counter);

        let (header, inside, after) = (body.b.create_block(), body.b.create_block(), body.b.create_block());
        body.b.ins().jump(header, &[]);
        body.b.switch_to_block(header);
        let at = body.load(I64, frame, counter);
        let going = body.load(I8, condition_at, 0);
        let going = body.b.ins().icmp_imm_s(IntCC::NotEqual, going, 0);
        let more = body.b.ins().icmp(IntCC::SignedLessThan, at, trips);
        let both = body.b.ins().band(going, more);
        body.b.ins().brif(both, inside, &[], after, &[]);

        body.b.switch_to_block(inside);
        self.check_cancel(functions, body);
        body.store(at, iteration_at, 0);
        let node = body.int(step.node);
        let limit = step.limit.as_ref().map(|limit| self.extent(body, limit));
        if let Some(limit) = limit {
            let full = body.b.ins().icmp(IntCC::SignedGreaterThanOrEqual, at, limit);
            let count = body.b.ins().iadd_imm_s(at, 1);
            self.fault_if(functions, body, full, fault::EXTENT_CLASH, node, count, limit);
        }
        for slice in &step.stacked {
            let bytes = self.extent(body, &slice.bytes);
            let keep = body.b.ins().imul(bytes, at);
            let all = |_: &mut Self, body: &mut Body<'_>| body.b.ins().iadd(keep, bytes);
            self.ensure_value(functions, body, slice.whole, all, keep);
            self.point(body, slice, at);
        }
        body.call_checked(functions, block, &[frame]);
        let result = self.pointer(body, step.condition_result);
        let result = body.load(I8, result, 0);
        body.store(result, condition_at, 0);
        self.swap_carried(body, &step.carried);
        let next = body.b.ins().iadd_imm_s(at, 1);
        body.store(next, frame, counter);
        body.b.ins().jump(header, &[]);

        body.b.switch_to_block(after);
        if let (None, Some(limit)) = (step.count, &step.limit) {
            let (node, limit) = (body.int(step.node), self.extent(body, limit));
            let differs = body.b.ins().icmp(IntCC::NotEqual, at, limit);
            self.fault_if(functions, body, differs, fault::EXTENT_CLASH, node, at, limit);
        }
        if let Some(symbol) = step.count {
            self.bind_symbols(functions, body, &[(symbol, at)], step.node, fault::EXTENT_CLASH);
        }
    }

    pub(super) fn scan_step(&mut self, functions: &mut Functions, body: &mut Body<'_>, step: &'a ScanStep) {
        let frame = body.params[0];
        let block = self.block(functions, &step.body);
        let counter = self.program.slots.counter(step.counter);
        self.open_carried(functions, body, &step.carried);
        let steps = self.extent(body, &step.steps);
        let zero = body.int(0);
        body.store(zero, frame, counter);
        let (header, inside, after) = (body.b.create_block(), body.b.create_block(), body.b.create_block());
        body.b.ins().jump(header, &[]);
        body.b.switch_to_block(header);
        let at = body.load(I64, frame, counter);
        let more = body.b.ins().icmp(IntCC::SignedLessThan, at, steps);
        body.b.ins().brif(more, inside, &[], after, &[]);

        body.b.switch_to_block(inside);
        self.check_cancel(functions, body);
        let last = body.b.ins().iadd_imm_s(steps, -1);
        let from_end = body.b.ins().isub(last, at);
        for slice in step.scanned.iter().chain(&step.stacked) {
            self.point(body, slice, if slice.reversed { from_end } else { at });
        }
        self.finish_iteration(functions, body, block, &step.carried);
        let next = body.b.ins().iadd_imm_s(at, 1);
        body.store(next, frame, counter);
        body.b.ins().jump(header, &[]);
        body.b.switch_to_block(after);
    }

    fn finish_iteration(
        &mut self,
        functions: &mut Functions,
        body: &mut Body<'_>,
        block: FuncId,
        carried: &[Carried],
    ) {
        let frame = body.params[0];
        body.call_checked(functions, block, &[frame]);
        self.swap_carried(body, carried);
    }
}
