//! numbers - what the frame knows, as CLIF values: slots, extents, sums and products with extents.

use cranelift_codegen::{
    cursor::{Cursor as _, FuncCursor},
    ir::{Block, InstBuilder, MemFlagsData, Value, types::I64},
};
use cranelift_frontend::FunctionBuilder;
use nnc_ir::extent::Extent;
use rustc_hash::FxHashMap;

use crate::frame::{Frame, FrameValue};

/// What a function reads numbers with.
pub(super) struct Numbers<'s, 'b> {
    pub(super) b: &'s mut FunctionBuilder<'b>,
    pub(super) frame: &'s mut Frame,
    /// Where the function begins, and the frame there.
    pub(super) entry: Block,
    pub(super) frame_ptr: Value,
    /// Slots that have been read.
    pub(super) slots: &'s mut FxHashMap<usize, Value>,
}

/// Slots are written before any kernel runs, so that reading them is free of effects.
fn frame_flags() -> MemFlagsData {
    MemFlagsData::trusted().with_readonly().with_can_move()
}

impl Numbers<'_, '_> {
    /// A slot of the frame; read once, where the function begins.
    pub(super) fn slot(&mut self, slot: usize) -> Value {
        if let Some(&value) = self.slots.get(&slot) {
            return value;
        }
        let offset = i32::try_from(slot * 8).expect("frames have far less than 2^28 slots");
        let mut at = FuncCursor::new(self.b.func).at_first_insertion_point(self.entry);
        let value = at.ins().load(I64, frame_flags(), self.frame_ptr, offset);
        self.slots.insert(slot, value);
        value
    }

    /// The value of an extent.
    pub(super) fn extent(&mut self, extent: &Extent) -> Value {
        match self.frame.extent(extent) {
            FrameValue::Const(c) => self.b.ins().iconst(I64, c),
            FrameValue::Slot(slot) => self.slot(slot),
        }
    }

    /// `value * extent`.
    pub(super) fn times(&mut self, value: Value, extent: &Extent) -> Value {
        match extent {
            Extent::Const(1) => value,
            Extent::Const(c) if *c > 0 && c.count_ones() == 1 => {
                self.b.ins().ishl_imm_u(value, i64::from(c.trailing_zeros()))
            }
            Extent::Const(c) => self.b.ins().imul_imm_s(value, *c),
            Extent::Expr(_) => {
                let by = self.extent(extent);
                self.b.ins().imul(value, by)
            }
        }
    }

    /// `value + extent`.
    pub(super) fn plus(&mut self, value: Value, extent: &Extent) -> Value {
        match extent {
            Extent::Const(0) => value,
            Extent::Const(c) => self.b.ins().iadd_imm_s(value, *c),
            Extent::Expr(_) => {
                let other = self.extent(extent);
                self.b.ins().iadd(value, other)
            }
        }
    }
}
