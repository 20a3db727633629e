//! control - the steps of if, loop and scan.

use nnc_ir::{
    definitions::bare_symbol,
    dtype::DType,
    extent::{Extent, SymbolId},
    graph::{Node, NodeId, RegionId, ValueId},
    ops::{Loop, Scan},
    types::TensorType,
};

use super::{
    Block, BufferId, BufferKind, Carried, Define, IfStep, LoopStep, ScanStep, Slice, Step, build::Planner,
};

impl Planner<'_> {
    /// The buffers of the results, whose size the steps of the node take care of.
    fn open_results(&mut self, values: &[ValueId]) -> Vec<BufferId> {
        let module = self.module;
        let one = |&value: &ValueId| {
            let buffer = self.own(module.ty(value));
            self.bind(value, buffer);
            self.touch(buffer);
            buffer
        };
        values.iter().map(one).collect()
    }

    fn bind_params(&mut self, params: &[ValueId], operands: &[ValueId]) {
        for (&param, &operand) in params.iter().zip(operands) {
            let buffer = self.buffer(operand);
            self.bind(param, buffer);
        }
    }

    fn touch_all(&mut self, values: &[ValueId]) {
        for &value in values {
            self.touch(self.buffer(value));
        }
    }

    pub(super) fn if_node(&mut self, id: NodeId, block: &mut Block) {
        let module = self.module;
        let node = module.node(id);
        let number = self.node_number(node);
        let definitions = self.definitions.clone();
        let defined = definitions.of_node(id);
        let condition = self.buffer(node.operands[0]);
        let results: Vec<BufferId> = node.results.iter().map(|&v| self.own(module.ty(v))).collect();
        let branch = |this: &mut Self, which: usize| {
            let region = module.region(node.regions[which]);
            this.bind_params(&region.params, &node.operands[1..]);
            let since = this.buffers.len();
            let mut steps = this.region(node.regions[which]);
            let mut symbols = Vec::new();
            for ((&value, &to), &joined) in region.results.iter().zip(&results).zip(&node.results) {
                let from = this.buffer(value);
                this.deliver(&mut steps, from, to, &module.ty(value).bytes(), since);
                join(defined, module.ty(joined), module.ty(value), &mut symbols);
            }
            if !symbols.is_empty() {
                steps.steps.push(Step::Define(Define { symbols, node: number }));
            }
            steps
        };
        let then = branch(self, 0);
        let otherwise = branch(self, 1);
        self.touch_all(&node.operands);
        for (&value, &buffer) in node.results.iter().zip(&results) {
            self.bind(value, buffer);
            self.touch(buffer);
        }
        block.steps.push(Step::If(Box::new(IfStep { condition, then, otherwise })));
    }

    /// Two buffers for each carried value, the first of which the parameter and the result are.
    fn open_carried(
        &mut self,
        operands: &[ValueId],
        params: &[ValueId],
        results: &[ValueId],
    ) -> Vec<Carried> {
        let module = self.module;
        let mut carried = Vec::with_capacity(operands.len());
        for ((&operand, &param), &result) in operands.iter().zip(params).zip(results) {
            let (current, next) = (self.own(module.ty(param)), self.own(module.ty(param)));
            self.buffers[current.0].partner = Some(next);
            for buffer in [current, next] {
                self.buffers[buffer.0].pinned = true;
                self.touch(buffer);
            }
            self.pairs.push((current, next));
            self.bind(param, current);
            self.bind(result, current);
            let bytes = module.ty(operand).bytes();
            carried.push(Carried { initial: self.buffer(operand), current, next, bytes });
        }
        carried
    }

    /// Has the carried values in `next` at the end of a body.
    fn close_carried(&mut self, body: &mut Block, carried: &[Carried], results: &[ValueId], since: usize) {
        for (c, &value) in carried.iter().zip(results) {
            let (from, bytes) = (self.buffer(value), self.module.ty(value).bytes());
            self.deliver(body, from, c.next, &bytes, since);
            // The two change places, so both must have room for all that either holds.
            self.buffers[c.current.0].sizes = self.buffers[c.next.0].sizes.clone();
        }
    }

    /// A buffer for slices of `whole`.
    fn slice(&mut self, whole: BufferId, ty: &TensorType, reversed: bool) -> Slice {
        let slice = self.new_buffer(BufferKind::Slice, ty.bytes());
        self.buffers[slice.0].pinned = true;
        Slice { whole, slice, bytes: ty.bytes(), reversed }
    }

    /// Has the stacked values in their slices at the end of a body.
    fn close_stacked(&mut self, body: &mut Block, stacked: &[Slice], results: &[ValueId], since: usize) {
        for (s, &value) in stacked.iter().zip(results) {
            let (from, bytes) = (self.buffer(value), self.module.ty(value).bytes());
            self.deliver(body, from, s.slice, &bytes, since);
        }
    }

    /// Keeps what a repeated block reads and writes alive until its end.
    fn keep_alive(&mut self, node: &Node, carried: &[Carried]) {
        self.touch_all(&node.operands);
        self.touch_all(&node.results);
        for c in carried {
            self.touch(c.current);
            self.touch(c.next);
        }
    }

    /// Whether the body of a repeated block itself decides the shape of what it gives.
    fn changes_shape(&self, body: RegionId) -> bool {
        let defined = self.definitions.within(body);
        let mut found = false;
        for &value in &self.module.region(body).results {
            for extent in &self.module.ty(value).shape {
                extent.for_each_symbol(&mut |s| found |= defined.contains(&s));
            }
        }
        found
    }

    pub(super) fn loop_node(&mut self, id: NodeId, op: &Loop, block: &mut Block) {
        let module = self.module;
        let node = module.node(id);
        let number = self.node_number(node);
        let region = module.region(node.regions[0]);
        if self.changes_shape(node.regions[0]) {
            return self.refuse(node, "the shape of a value changes from one iteration to the next");
        }
        let (last, stacked) = node.results.split_at(op.carried);
        let carried_end = 2 + op.carried;
        let iteration = self.own(&TensorType::of(DType::I64, &[]));
        let condition_param = self.own(&TensorType::of(DType::Bool, &[]));
        for (&param, buffer) in region.params.iter().zip([iteration, condition_param]) {
            self.buffers[buffer.0].pinned = true;
            self.bind(param, buffer);
            self.touch(buffer);
        }
        let carried = self.open_carried(&node.operands[2..carried_end], &region.params[2..carried_end], last);
        self.bind_params(&region.params[carried_end..], &node.operands[carried_end..]);
        let wholes = self.open_results(stacked);
        let (last_results, stacked_results) = region.results[1..].split_at(op.carried);
        let slices: Vec<Slice> = (wholes.iter().zip(stacked_results))
            .map(|(&whole, &value)| self.slice(whole, module.ty(value), false))
            .collect();
        let since = self.buffers.len();
        let mut body = self.region(node.regions[0]);
        let condition_result = self.buffer(region.results[0]);
        self.close_carried(&mut body, &carried, last_results, since);
        self.close_stacked(&mut body, &slices, stacked_results, since);
        self.clock += 1;
        self.keep_alive(node, &carried);
        for buffer in [iteration, condition_param, condition_result] {
            self.touch(buffer);
        }
        let count = self.definitions.of_node(id).first().copied();
        let limit = match count {
            Some(symbol) => module.symbols[symbol].bound.clone(),
            None => Some(op.count.clone()),
        };
        block.steps.push(Step::Loop(Box::new(LoopStep {
            trips: self.buffer(node.operands[0]),
            condition: self.buffer(node.operands[1]),
            iteration,
            condition_param,
            carried,
            stacked: slices,
            body,
            condition_result,
            counter: self.next_counter(),
            count,
            limit: limit.filter(|_| !stacked.is_empty()),
            node: number,
        })));
    }

    pub(super) fn scan_node(&mut self, node: &Node, op: &Scan, block: &mut Block) {
        let module = self.module;
        let region = module.region(node.regions[0]);
        if self.changes_shape(node.regions[0]) {
            return self.refuse(node, "the shape of a value changes from one step to the next");
        }
        let scanned_end = op.carried + op.reversed_inputs.len();
        let (last, stacked) = node.results.split_at(op.carried);
        let carried = self.open_carried(&node.operands[..op.carried], &region.params[..op.carried], last);
        let mut scanned = Vec::new();
        for (i, &reversed) in op.reversed_inputs.iter().enumerate() {
            let (operand, param) = (node.operands[op.carried + i], region.params[op.carried + i]);
            let whole = self.buffer(operand);
            let slice = self.slice(whole, module.ty(param), reversed);
            self.bind(param, slice.slice);
            scanned.push(slice);
        }
        self.bind_params(&region.params[scanned_end..], &node.operands[scanned_end..]);
        let wholes = self.open_results(stacked);
        let (last_results, stacked_results) = region.results.split_at(op.carried);
        let slices: Vec<Slice> = (wholes.iter().zip(stacked_results).zip(&op.reversed_outputs))
            .map(|((&whole, &value), &reversed)| self.slice(whole, module.ty(value), reversed))
            .collect();
        for (&whole, &value) in wholes.iter().zip(stacked) {
            block.steps.push(Step::Ensure { buffer: whole, bytes: module.ty(value).bytes() });
        }
        let since = self.buffers.len();
        let mut body = self.region(node.regions[0]);
        self.close_carried(&mut body, &carried, last_results, since);
        self.close_stacked(&mut body, &slices, stacked_results, since);
        self.clock += 1;
        self.keep_alive(node, &carried);
        let (steps, counter) = (op.steps.clone(), self.next_counter());
        block.steps.push(Step::Scan(Box::new(ScanStep {
            counter,
            steps,
            carried,
            scanned,
            stacked: slices,
            body,
        })));
    }
}

/// The symbols among `defined` that extents of a joined type consist of, as `branch` has them.
fn join(
    defined: &[SymbolId],
    joined: &TensorType,
    branch: &TensorType,
    symbols: &mut Vec<(SymbolId, Extent)>,
) {
    for (to, from) in joined.shape.iter().zip(&branch.shape) {
        if let Some(symbol) = bare_symbol(to)
            && defined.contains(&symbol)
            && symbols.iter().all(|(s, _)| *s != symbol)
        {
            symbols.push((symbol, from.clone()));
        }
    }
}
