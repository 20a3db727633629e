//! steps - straight lines: calls of kernels and of the runtime, copies, extents.

use cranelift_codegen::ir::{
    InstBuilder, StackSlotData, StackSlotKind, Value,
    condcodes::IntCC,
    types::{I32, I64},
};
use nnc_ir::extent::Extent;
use nnc_runtime::abi::{call_offset as call, context_offset as context, fault, tensor_offset as tensor};

use super::{
    Emitter,
    functions::{Body, Functions},
    helpers::PARALLEL_FROM,
    inline,
};
use crate::{
    frame::{CONTEXT, FrameValue, offset},
    plan::{BufferId, ExternStep, Step},
};

/// Steps of one function; the others go to functions of their own, so that none gets large.
const STEPS: usize = 200;

/// Whether a kernel is not worth a second thread, whatever the sizes.
pub(crate) fn is_small(items: &Extent, item_cost: &Extent) -> bool {
    (items * item_cost).as_const().is_some_and(|total| total < PARALLEL_FROM)
}

impl<'a> Emitter<'a> {
    /// Writes the function of a block.
    pub(super) fn steps(&mut self, functions: &mut Functions, body: &mut Body<'_>, steps: &'a [Step]) {
        let frame = body.params[0];
        if steps.len() > STEPS {
            // In order of calls, but the last is written first: the order is the same in every run all the same.
            for part in steps.chunks(STEPS) {
                let id = self.steps_function(functions, part);
                body.call_checked(functions, id, &[frame]);
            }
        } else {
            for step in steps {
                self.step(functions, body, step);
            }
        }
        body.finish();
    }

    pub(super) fn step(&mut self, functions: &mut Functions, body: &mut Body<'_>, step: &'a Step) {
        match step {
            Step::Nest(nest) => self.kernel(functions, body, nest.kernel),
            Step::Groups(step) => self.kernel(functions, body, step.kernel),
            Step::Rows(rows) => self.kernel(functions, body, rows.kernel),
            Step::Tiled(tiled) => self.kernel(functions, body, tiled.kernel),
            Step::Scatter(scatter) => self.kernel(functions, body, scatter.kernel),
            Step::Ensure { buffer, bytes } => self.ensure(functions, body, *buffer, bytes),
            Step::Copy { from, to, bytes } => self.copy(functions, body, *from, *to, bytes),
            Step::StoreExtents { to, values } => {
                let to = self.pointer(body, *to);
                for (i, value) in values.iter().enumerate() {
                    let value = self.extent(body, value);
                    body.store(value, to, offset(i));
                }
            }
            Step::ReadExtents { from, symbols, node } => {
                let from = self.pointer(body, *from);
                let values: Vec<_> =
                    symbols.iter().enumerate().map(|(i, &s)| (s, body.load(I64, from, offset(i)))).collect();
                self.bind_symbols(functions, body, &values, *node, fault::BAD_SHAPE);
            }
            Step::Define(define) => {
                let values: Vec<_> = define.symbols.iter().map(|(s, e)| (*s, self.extent(body, e))).collect();
                self.bind_symbols(functions, body, &values, define.node, fault::EXTENT_CLASH);
            }
            Step::Extern(step) => self.call_runtime(functions, body, step),
            Step::If(step) => self.if_step(functions, body, step),
            Step::Loop(step) => self.loop_step(functions, body, step),
            Step::Scan(step) => self.scan_step(functions, body, step),
        }
    }

    /// Byte offset of a buffer's slot.
    pub(super) fn slot(&self, buffer: BufferId) -> i32 {
        offset(self.program.slots.buffer(self.program.plan, buffer).0)
    }

    /// Address of a buffer.
    pub(super) fn pointer(&self, body: &mut Body<'_>, buffer: BufferId) -> Value {
        self.read(body, self.slot(buffer))
    }

    /// What is in the slot of the frame at this byte offset.
    pub(super) fn read(&self, body: &mut Body<'_>, at: i32) -> Value {
        match self.values.as_ref().and_then(|values| values.get(&at)) {
            Some(&value) => value,
            None => body.load(I64, body.params[self.frame_param], at),
        }
    }

    /// Value of an extent as the frame has it.
    pub(super) fn extent(&mut self, body: &mut Body<'_>, extent: &Extent) -> Value {
        match self.value(extent) {
            FrameValue::Const(c) => body.int(c),
            FrameValue::Slot(slot) => self.read(body, offset(slot)),
        }
    }

    fn kernel(&mut self, functions: &mut Functions, body: &mut Body<'_>, kernel: usize) {
        let program = self.program;
        let callee = &program.kernels[kernel];
        let frame = body.params[self.frame_param];
        if callee.items.is(0) {
            return;
        }
        let inlined = program.inlined.has(kernel);
        let small = is_small(&callee.items, &callee.item_cost) || callee.items.is(1);
        let argument = match &callee.arguments {
            Some(slots) => self.arguments(body, kernel, slots),
            None => frame,
        };
        let items = self.extent(body, &callee.items);
        if inlined {
            let zero = body.int(0);
            let mut args = vec![frame, zero, items, zero];
            args.extend(program.inlined.slots(kernel).iter().map(|&slot| self.read(body, slot)));
            inline::call(body, program.inlined, kernel, &args);
            self.homes.push((kernel, self.here));
        } else if small && !program.trace {
            let zero = body.int(0);
            body.call(functions, callee.function, &[argument, zero, items, zero]);
        } else {
            let cost = self.extent(body, &callee.item_cost);
            let address = body.address(functions, callee.function);
            body.call(functions, self.helpers.dispatch, &[frame, argument, address, items, cost]);
        }
        if callee.may_fault {
            let ctx = self.read(body, offset(CONTEXT));
            let code = body.load(I64, ctx, context::FAULT_CODE);
            let code = body.b.ins().ireduce(I32, code);
            body.fail_if(code, code);
        }
    }

    /// Copies the slots that a kernel reads next to each other, after its number; gives where they are.
    fn arguments(&mut self, body: &mut Body<'_>, kernel: usize, slots: &[i32]) -> Value {
        let (frame, at) = (body.params[0], offset(self.arguments.0));
        let number = body.int(i64::try_from(kernel).expect("fewer kernels than nodes"));
        body.store(number, frame, at);
        for (i, &slot) in slots.iter().enumerate() {
            let value = body.load(I64, frame, slot);
            body.store(value, frame, at + offset(i + 1));
        }
        body.b.ins().iadd_imm_s(frame, i64::from(at))
    }

    /// Sees to it that a buffer has room, if its memory is taken while running.
    pub(super) fn ensure(
        &mut self,
        functions: &mut Functions,
        body: &mut Body<'_>,
        buffer: BufferId,
        bytes: &Extent,
    ) {
        let zero = body.int(0);
        let bytes = |this: &mut Self, body: &mut Body<'_>| this.extent(body, bytes);
        self.ensure_value(functions, body, buffer, bytes, zero);
    }

    pub(super) fn ensure_value(
        &mut self,
        functions: &mut Functions,
        body: &mut Body<'_>,
        buffer: BufferId,
        bytes: impl FnOnce(&mut Self, &mut Body<'_>) -> Value,
        keep: Value,
    ) {
        if self.program.slots.is_dynamic(self.program.plan, buffer) {
            let bytes = bytes(self, body);
            let frame = body.params[0];
            let slot = body.b.ins().iadd_imm_s(frame, i64::from(self.slot(buffer)));
            body.call_checked(functions, self.helpers.ensure, &[frame, slot, bytes, keep]);
        }
    }

    pub(super) fn copy(
        &mut self,
        functions: &mut Functions,
        body: &mut Body<'_>,
        from: BufferId,
        to: BufferId,
        bytes: &Extent,
    ) {
        let plan = self.program.plan;
        if bytes.is(0) || plan.resolve(from) == plan.resolve(to) {
            return;
        }
        let (from, to, bytes) = (self.pointer(body, from), self.pointer(body, to), self.extent(body, bytes));
        body.call(functions, self.helpers.copy, &[to, from, bytes]);
    }

    /// Returns the code 808 if the caller wants the run to stop.
    pub(super) fn check_cancel(&mut self, functions: &Functions, body: &mut Body<'_>) {
        let frame = body.params[0];
        let ctx = body.load(I64, frame, offset(CONTEXT));
        let flag = body.load(I64, ctx, context::CANCEL);
        let present = body.b.ins().icmp_imm_s(IntCC::NotEqual, flag, 0);
        let helpers = self.helpers;
        let (look, after, stop) = (body.b.create_block(), body.b.create_block(), body.b.create_block());
        body.b.ins().brif(present, look, &[], after, &[]);
        body.b.switch_to_block(look);
        let wish = body.load(I32, flag, 0);
        body.b.ins().brif(wish, stop, &[], after, &[]);
        body.b.switch_to_block(stop);
        let (code, zero, none) = (body.int(fault::CANCELLED), body.int(0), body.int(-1));
        let code =
            body.call(functions, helpers.fail, &[frame, code, none, zero, zero]).expect("gives a code");
        body.fail_if(code, code);
        body.b.ins().jump(after, &[]);
        body.b.switch_to_block(after);
    }

    /// Address of fresh stack memory of so many slots.
    fn stack(body: &mut Body<'_>, slots: usize) -> Value {
        let bytes = u32::try_from(8 * slots.max(1)).expect("a call has few operands");
        let slot = body.b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, bytes, 3));
        body.b.ins().stack_addr(I64, slot, 0)
    }

    fn call_runtime(&mut self, functions: &mut Functions, body: &mut Body<'_>, step: &ExternStep) {
        let frame = body.params[0];
        let attrs = Self::stack(body, step.attrs.len());
        for (i, &attr) in step.attrs.iter().enumerate() {
            let attr = body.int(attr);
            body.store(attr, attrs, offset(i));
        }
        let tensor_slots = usize::try_from(tensor::SIZE / 8).expect("positive");
        let inputs = Self::stack(body, step.operands.len() * tensor_slots);
        for (i, (buffer, elem, shape)) in step.operands.iter().enumerate() {
            let dims = Self::stack(body, shape.len());
            for (axis, extent) in shape.iter().enumerate() {
                let extent = self.extent(body, extent);
                body.store(extent, dims, offset(axis));
            }
            let size = nnc_runtime::ElemType::from_code(u32::from(*elem)).map_or(1, |e| e.size());
            let elements = nnc_ir::extent::product(shape);
            let bytes = self.extent(body, &elements.scale(i64::try_from(size).expect("at most 8")));
            self.tensor(body, inputs, i, (*buffer, *elem, shape.len()), bytes, dims);
        }
        let outputs = Self::stack(body, step.results.len() * tensor_slots);
        let mut result_dims = Vec::with_capacity(step.results.len());
        for (i, (buffer, elem, rank, bytes)) in step.results.iter().enumerate() {
            let dims = Self::stack(body, *rank);
            let bytes = self.extent(body, bytes);
            self.tensor(body, outputs, i, (*buffer, *elem, *rank), bytes, dims);
            result_dims.push(dims);
        }
        let record = Self::stack(body, usize::try_from(call::SIZE / 8).expect("positive"));
        let count = |n: usize| i64::try_from(n).expect("a call has few operands");
        for (at, value) in [
            (call::NODE, step.node),
            (call::N_ATTRS, count(step.attrs.len())),
            (call::N_INPUTS, count(step.operands.len())),
            (call::N_OUTPUTS, count(step.results.len())),
        ] {
            let value = body.int(value);
            body.store(value, record, at);
        }
        for (at, value) in [(call::ATTRS, attrs), (call::INPUTS, inputs), (call::OUTPUTS, outputs)] {
            body.store(value, record, at);
        }
        let ctx = body.load(I64, frame, offset(CONTEXT));
        let table = body.load(I64, ctx, context::EXTERNS);
        let function = body.load(I64, table, offset(step.function.index() as usize));
        let signature = functions.signature(2, Some(I32));
        let signature = body.import(signature);
        let result = body.b.ins().call_indirect(signature, function, &[ctx, record]);
        let code = body.b.inst_results(result)[0];
        body.fail_if(code, code);
        if !step.defines.is_empty() {
            let values: Vec<_> = (step.defines.iter())
                .map(|&(result, axis, symbol)| (symbol, body.load(I64, result_dims[result], offset(axis))))
                .collect();
            self.bind_symbols(functions, body, &values, step.node, fault::EXTENT_CLASH);
        }
    }

    fn tensor(
        &self,
        body: &mut Body<'_>,
        table: Value,
        index: usize,
        (buffer, elem, rank): (BufferId, u8, usize),
        bytes: Value,
        dims: Value,
    ) {
        let base = i32::try_from(index).expect("a call has few operands") * tensor::SIZE;
        let data = self.pointer(body, buffer);
        let (elem, rank) =
            (body.int(i64::from(elem)), body.int(i64::try_from(rank).expect("ranks are small")));
        for (at, value) in [
            (tensor::DATA, data),
            (tensor::ELEM, elem),
            (tensor::BYTES, bytes),
            (tensor::RANK, rank),
            (tensor::DIMS, dims),
        ] {
            body.store(value, table, base + at);
        }
    }
}
