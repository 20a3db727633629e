//! setup - `run`: fills the frame, runs the main block, tells the caller what data decided.

use cranelift_codegen::ir::{
    InstBuilder, Value,
    types::{I32, I64},
};
use nnc_ir::{
    entity::EntityId,
    extent::{Extent, SymbolId},
};
use nnc_runtime::abi::{context_offset as context, fault};
use rustc_hash::FxHashMap;

use super::{
    Emitter,
    extent::Eval,
    functions::{Body, FuncId, Functions},
    slots::{Memory, OUTPUT_DIMS, OUTPUTS},
};
use crate::{
    frame::{CONTEXT, SCRATCH, SCRATCH_BYTES, offset},
    plan::{BufferKind, data_free},
    weights::ConstantId,
};

/// Alignment of the parts of the workspace.
const ALIGN: i64 = 64;

impl<'a> Emitter<'a> {
    /// Bytes of the frame.
    fn frame_bytes(&self) -> i64 {
        (i64::from(offset(self.frame.slots())) + ALIGN - 1) & -ALIGN
    }

    /// Asks for the extents that the caller is told after the run.
    pub(super) fn output_extents(&mut self) {
        let plan = self.program.plan;
        for (_, extent) in plan.outputs.iter().flat_map(|o| &o.extents) {
            self.value(extent);
        }
    }

    /// `workspace_bytes(symbols, max workers)`.
    pub(super) fn workspace_bytes(&mut self, functions: &mut Functions) -> FuncId {
        let id = functions.declare("nnc_workspace_bytes", 2, Some(I64));
        functions.define(id, |_, body| {
            let (symbols, workers) = (body.params[0], body.params[1]);
            let at = |s: SymbolId| offset(s.index());
            let mut eval = Eval::new(symbols, &at);
            let (_, mut total) = self.areas(body, &mut eval);
            let scratch = self.scratch(body, &mut eval);
            let one = body.int(1);
            let workers = body.b.ins().smax(workers, one);
            let scratch = body.b.ins().imul(scratch, workers);
            let frame = body.int(self.frame_bytes());
            total = body.b.ins().iadd(total, frame);
            total = body.b.ins().iadd(total, scratch);
            if let Some(overflow) = eval.overflowed(body) {
                let none = body.int(-1);
                total = body.b.ins().select(overflow, none, total);
            }
            body.b.ins().return_(&[total]);
        });
        id
    }

    /// Bytes of scratch a worker.
    fn scratch(&self, body: &mut Body<'_>, eval: &mut Eval<'_>) -> Value {
        let bytes = eval.extent(body, &self.program.scratch_bytes);
        let up = body.b.ins().iadd_imm_s(bytes, ALIGN - 1);
        body.b.ins().band_imm_s(up, -ALIGN)
    }

    /// Bytes of a unit and distance from the first area of each area, and bytes of all.
    fn areas(&self, body: &mut Body<'_>, eval: &mut Eval<'_>) -> (Vec<(Value, Value)>, Value) {
        let packing = &self.program.slots.packing;
        let mut at = body.int(0);
        let mut areas = vec![(at, at); packing.areas.len()];
        for share in &packing.shares {
            let mut most: Option<Value> = None;
            for &number in share {
                let area = &packing.areas[number];
                let mut unit = eval.extent(body, &area.key);
                if area.key.as_const().is_none() {
                    let zero = body.int(0);
                    unit = body.b.ins().smax(unit, zero);
                }
                if area.quantum > 1 {
                    let up = body.b.ins().iadd_imm_s(unit, area.quantum - 1);
                    unit = body.b.ins().band_imm_s(up, -area.quantum);
                }
                areas[number] = (unit, at);
                let units = body.int(area.units);
                let bytes = eval.product(body, unit, units);
                most = Some(most.map_or(bytes, |most| body.b.ins().smax(most, bytes)));
            }
            if let Some(most) = most {
                at = eval.sum(body, at, most);
            }
        }
        (areas, at)
    }

    /// `run(context, symbols, inputs, outputs, output dims, workspace)`.
    pub(super) fn run(&mut self, functions: &mut Functions, main: Option<FuncId>) -> FuncId {
        let id = functions.declare("nnc_run", 6, Some(I32));
        (self.here, self.frame_param) = (id, 5);
        if main.is_none() {
            self.values = Some(FxHashMap::default());
        }
        functions.define(id, |functions, body| self.write_run(functions, body, main));
        id
    }

    /// Puts a value into the slot of the frame at this byte offset, or keeps it at hand.
    fn put(&mut self, body: &mut Body<'_>, value: Value, at: i32) {
        match &mut self.values {
            Some(values) => {
                values.insert(at, value);
            }
            None => body.store(value, body.params[5], at),
        }
    }

    fn write_run(&mut self, functions: &mut Functions, body: &mut Body<'_>, main: Option<FuncId>) {
        let [ctx, symbols, inputs, outputs, output_dims, frame] = body.params[..] else {
            unreachable!("declared with six parameters");
        };
        let program = self.program;
        let module = program.module;
        for (slot, value) in [(CONTEXT, ctx), (OUTPUTS, outputs), (OUTPUT_DIMS, output_dims)] {
            self.put(body, value, offset(slot));
        }
        let zero = body.int(0);
        for symbol in module.symbols.ids() {
            let value =
                if self.is_input(symbol) { body.load(I64, symbols, offset(symbol.index())) } else { zero };
            self.put(body, value, program.slots.symbol(symbol));
        }
        let at = |s: SymbolId| offset(s.index());
        let mut eval = Eval::new(symbols, &at);
        let extents: Vec<(usize, Extent)> = self.frame.extents().map(|(slot, e)| (slot, e.clone())).collect();
        for (slot, extent) in extents.iter().filter(|(_, e)| data_free(&module.symbols, e)) {
            let value = eval.extent(body, extent);
            self.put(body, value, offset(*slot));
        }
        let (areas, arena_bytes) = self.areas(body, &mut eval);
        let scratch_bytes = self.scratch(body, &mut eval);
        if let Some(overflow) = eval.overflowed(body) {
            body.fail_with(overflow, fault::OUT_OF_MEMORY);
        }
        let arena = body.b.ins().iadd_imm_s(frame, self.frame_bytes());
        let scratch = body.b.ins().iadd(arena, arena_bytes);
        self.put(body, scratch, offset(SCRATCH));
        self.put(body, scratch_bytes, offset(SCRATCH_BYTES));
        let bases: Vec<_> = areas.iter().map(|&(unit, at)| (unit, body.b.ins().iadd(arena, at))).collect();
        let weights = body.load(I64, ctx, context::WEIGHTS);
        for (i, buffer) in program.plan.buffers.iter().enumerate() {
            if matches!(buffer.kind, BufferKind::Same(_) | BufferKind::Part(_)) {
                continue;
            }
            let slot = self.slot(crate::plan::BufferId(i));
            let address = match (buffer.kind, program.slots.memory[i]) {
                (BufferKind::Input(n), _) => body.load(I64, inputs, offset(n)),
                (BufferKind::Output(n), _) => body.load(I64, outputs, offset(n)),
                (BufferKind::Constant(c), _) => match self.weight(body, weights, c) {
                    Some(address) => address,
                    None => continue,
                },
                (_, Memory::Arena(area, units)) => {
                    let (unit, base) = bases[area];
                    match program.slots.packing.areas[area].key.as_const() {
                        Some(_) => body.b.ins().iadd_imm_s(base, units),
                        None => {
                            let distance = body.b.ins().imul_imm_s(unit, units);
                            body.b.ins().iadd(base, distance)
                        }
                    }
                }
                (_, Memory::Dynamic) => {
                    // Without room, but at a place that exists.
                    self.put(body, zero, slot + 8);
                    arena
                }
                (_, Memory::Elsewhere) => arena,
            };
            self.put(body, address, slot);
        }
        for (i, buffer) in program.plan.buffers.iter().enumerate() {
            if matches!(buffer.kind, BufferKind::Part(_)) {
                let part = crate::plan::BufferId(i);
                let (whole, distance) = program.plan.base(part);
                let whole = self.read(body, self.slot(whole));
                let distance = eval.extent(body, &distance);
                let address = body.b.ins().iadd(whole, distance);
                self.put(body, address, self.slot(part));
            }
        }
        for shifted in program.shifted {
            let from = self.read(body, offset(shifted.from.0));
            let distance = eval.extent(body, &shifted.bytes);
            let address = body.b.ins().iadd(from, distance);
            self.put(body, address, offset(shifted.slot.0));
        }
        for &(slot, constant) in program.packed {
            let address = self.weight(body, weights, constant).expect("what is packed is used");
            self.put(body, address, offset(slot.0));
        }
        match main {
            Some(main) => body.call_checked(functions, main, &[frame]),
            None => program.plan.main.steps.iter().for_each(|step| self.step(functions, body, step)),
        }
        self.tell(body, outputs, output_dims);
        body.finish();
    }

    /// Address of a constant, if it is one that is used.
    fn weight(&self, body: &mut Body<'_>, weights: Value, constant: ConstantId) -> Option<Value> {
        let place = self.program.weights[constant.0]?;
        let section = body.load(I64, weights, offset(place.section));
        let bytes = i64::try_from(place.offset).expect("the pool is small");
        Some(body.b.ins().iadd_imm_s(section, bytes))
    }

    /// Tells the caller what it could not know.
    fn tell(&self, body: &mut Body<'_>, outputs: Value, output_dims: Value) {
        let frame = body.params[5];
        let slots: FxHashMap<&Extent, usize> = self.frame.extents().map(|(slot, e)| (e, slot)).collect();
        for (i, output) in self.program.plan.outputs.iter().enumerate() {
            if output.unbounded {
                let address = body.load(I64, frame, self.slot(output.buffer));
                body.store(address, outputs, offset(i));
            }
            if output.extents.is_empty() {
                continue;
            }
            let dims = body.load(I64, output_dims, offset(i));
            for (axis, extent) in &output.extents {
                let value = body.load(I64, frame, offset(slots[extent]));
                body.store(value, dims, offset(*axis));
            }
        }
    }
}
