//! emit - small things that the code around tiles is made of: numbers from the frame, loops, branches.
//!
//! Functions with tiles are compiled without Cranelift's optimiser, so what is here computes nothing twice that a caller
//! could have computed before a loop.

use cranelift_codegen::ir::{
    Block, BlockArg, Function, InstBuilder, MemFlagsData, Value, condcodes::IntCC, types::I64,
};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use nnc_ir::extent::Extent;
use nnc_tile::{Tile, gemm::GemmTile, lane_conv::LaneConv, row_conv::RowConv, separable::Separable};
use rustc_hash::FxHashMap;

use super::numbers::Numbers;
use crate::{
    frame::{Frame, PointerSlot},
    kernel::{LowerCx, empty_kernel, open_kernel},
    tile::{
        Arithmetic, GemmArgs, LaneConvArgs, RowConvArgs, Schedule, SeparableArgs, emit_gemm_tile,
        emit_lane_conv, emit_row_conv, emit_separable,
    },
    wide::{self, TileNumber, WideTiles},
};

/// The function being written.
pub(super) struct Gen<'a, 'b> {
    pub(super) b: &'a mut FunctionBuilder<'b>,
    /// How the target multiplies and adds.
    pub(super) arithmetic: Arithmetic,
    frame: &'a mut Frame,
    tiles: &'a mut WideTiles,
    entry: Block,
    frame_ptr: Value,
    slots: FxHashMap<usize, Value>,
}

/// Writes a kernel: `body` gets the first item, the end of the items and the worker.
pub(super) fn kernel_function(
    cx: &mut LowerCx<'_>,
    body: impl FnOnce(&mut Gen<'_, '_>, Value, Value, Value),
) -> Function {
    let LowerCx { isa, frame, tiles, .. } = cx;
    let mut function = empty_kernel(*isa);
    let mut frontend = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut function, &mut frontend);
    let (entry, params) = open_kernel(&mut b);
    let arithmetic = Arithmetic::of(*isa);
    let mut g =
        Gen { b: &mut b, arithmetic, frame, tiles, entry, frame_ptr: params[0], slots: FxHashMap::default() };
    body(&mut g, params[1], params[2], params[3]);
    b.ins().return_(&[]);
    b.seal_all_blocks();
    b.finalize(isa.frontend_config());
    function
}

fn args(values: &[Value]) -> Vec<BlockArg> {
    values.iter().map(|&v| BlockArg::from(v)).collect()
}

impl<'b> Gen<'_, 'b> {
    /// A block of a matrix product: by a call where there is wide code for it.
    pub(super) fn gemm_tile(&mut self, spec: &GemmTile, args: &GemmArgs) {
        match self.tiles.number(&Tile::Gemm(spec.clone())) {
            Some(tile) => wide::call(self.b, tile, &args.values(spec)),
            None => {
                let schedule = Schedule::of(spec, self.arithmetic);
                emit_gemm_tile(self.b, self.arithmetic, spec, args, schedule);
            }
        }
    }

    /// Rows of a depthwise convolution: by a call where there is wide code for them.
    pub(super) fn row_conv(&mut self, spec: &RowConv, args: &RowConvArgs) {
        match self.tiles.number(&Tile::RowConv(spec.clone())) {
            Some(tile) => wide::call(self.b, tile, &args.values(spec)),
            None => emit_row_conv(self.b, self.arithmetic, spec, args),
        }
    }

    /// The number of a tile, if there is wide code for it.
    pub(super) fn wide_tile(&mut self, spec: &Tile) -> Option<TileNumber> {
        self.tiles.number(spec)
    }

    /// Columns of a depthwise convolution: by a call where there is wide code for them.
    pub(super) fn lane_conv(&mut self, spec: &LaneConv, args: &LaneConvArgs) {
        match self.tiles.number(&Tile::LaneConv(spec.clone())) {
            Some(tile) => wide::call(self.b, tile, &args.values(spec)),
            None => emit_lane_conv(self.b, self.arithmetic, spec, args),
        }
    }

    /// A transform of a square: by a call where there is wide code for it.
    pub(super) fn separable_tile(&mut self, spec: &Separable, args: &SeparableArgs) {
        match self.tiles.number(&Tile::Separable(spec.clone())) {
            Some(tile) => wide::call(self.b, tile, &args.values(spec)),
            None => emit_separable(self.b, self.arithmetic, spec, args),
        }
    }

    fn numbers(&mut self) -> Numbers<'_, 'b> {
        let (entry, frame_ptr) = (self.entry, self.frame_ptr);
        Numbers { b: self.b, frame: self.frame, entry, frame_ptr, slots: &mut self.slots }
    }

    fn slot(&mut self, slot: usize) -> Value {
        self.numbers().slot(slot)
    }

    /// Address of a buffer.
    pub(super) fn pointer(&mut self, slot: PointerSlot) -> Value {
        self.slot(slot.0)
    }

    /// Address of the scratch memory of a worker.
    pub(super) fn scratch(&mut self, worker: Value) -> Value {
        let (base, bytes) = (self.slot(crate::frame::SCRATCH), self.slot(crate::frame::SCRATCH_BYTES));
        let at = self.b.ins().imul(worker, bytes);
        self.b.ins().iadd(base, at)
    }

    /// A constant.
    pub(super) fn int(&mut self, x: i64) -> Value {
        self.b.ins().iconst(I64, x)
    }

    /// The value of an extent.
    pub(super) fn extent(&mut self, extent: &Extent) -> Value {
        self.numbers().extent(extent)
    }

    /// `value * extent`.
    pub(super) fn times(&mut self, value: Value, extent: &Extent) -> Value {
        self.numbers().times(value, extent)
    }

    /// `value + extent`.
    pub(super) fn plus(&mut self, value: Value, extent: &Extent) -> Value {
        self.numbers().plus(value, extent)
    }

    /// Writes numbers to memory, one behind the other.
    pub(super) fn write_numbers(&mut self, numbers: &[Extent], to: Value) {
        for (i, number) in numbers.iter().enumerate() {
            let number = self.extent(number);
            self.b.ins().store(MemFlagsData::new().with_notrap(), number, to, 8 * i as i32);
        }
    }

    /// `base + sum of value * extent`, extents in elements of four bytes.
    pub(super) fn address(&mut self, base: Value, parts: &[(Value, Extent)]) -> Value {
        self.address_of(base, parts, 4)
    }

    /// Likewise of elements of so many bytes.
    pub(super) fn address_of(&mut self, base: Value, parts: &[(Value, Extent)], bytes: i64) -> Value {
        parts.iter().filter(|(_, by)| !by.is(0)).fold(base, |at, (value, by)| {
            let step = self.times(*value, &by.scale(bytes));
            self.b.ins().iadd(at, step)
        })
    }

    /// `for i in from..to step step`, with carried values.
    pub(super) fn carry(
        &mut self,
        (from, to): (Value, Value),
        step: i64,
        init: &[Value],
        body: impl FnOnce(&mut Self, Value, &[Value]) -> Vec<Value>,
    ) -> Vec<Value> {
        self.carry_index((from, to), step, init, body).1
    }

    /// Likewise; also gives the first `i` that is not below `to`.
    pub(super) fn carry_index(
        &mut self,
        (from, to): (Value, Value),
        step: i64,
        init: &[Value],
        body: impl FnOnce(&mut Self, Value, &[Value]) -> Vec<Value>,
    ) -> (Value, Vec<Value>) {
        let (header, inside, exit) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        let start: Vec<Value> = std::iter::once(from).chain(init.iter().copied()).collect();
        for &value in &start {
            let ty = self.b.func.dfg.value_type(value);
            self.b.append_block_param(header, ty);
        }
        self.b.ins().jump(header, &args(&start));
        self.b.switch_to_block(header);
        let params = self.b.block_params(header).to_vec();
        let more = self.b.ins().icmp(IntCC::SignedLessThan, params[0], to);
        self.b.ins().brif(more, inside, &[], exit, &[]);
        self.b.switch_to_block(inside);
        let next = body(self, params[0], &params[1..]);
        let index = self.b.ins().iadd_imm_s(params[0], step);
        let next: Vec<Value> = std::iter::once(index).chain(next).collect();
        self.b.ins().jump(header, &args(&next));
        self.b.switch_to_block(exit);
        (params[0], params[1..].to_vec())
    }

    /// `for i in from..to`.
    pub(super) fn range(&mut self, from: Value, to: Value, body: impl FnOnce(&mut Self, Value)) {
        self.carry((from, to), 1, &[], |g, i, _| {
            body(g, i);
            vec![]
        });
    }

    /// Nested loops over `0..extent` of each.
    pub(super) fn space(&mut self, extents: &[Extent], body: &mut dyn FnMut(&mut Self, &[Value])) {
        self.nested(extents, &[], body);
    }

    fn nested(&mut self, extents: &[Extent], at: &[Value], body: &mut dyn FnMut(&mut Self, &[Value])) {
        let Some((extent, rest)) = extents.split_first() else { return body(self, at) };
        let (zero, to) = (self.int(0), self.extent(extent));
        self.range(zero, to, |g, i| g.nested(rest, &[at, &[i]].concat(), body));
    }

    /// `if condition { then }`.
    pub(super) fn when(&mut self, condition: Value, then: impl FnOnce(&mut Self)) {
        let (inside, exit) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(condition, inside, &[], exit, &[]);
        self.b.switch_to_block(inside);
        then(self);
        self.b.ins().jump(exit, &[]);
        self.b.switch_to_block(exit);
    }

    /// `if condition { then } else { otherwise }`.
    pub(super) fn either(
        &mut self,
        condition: Value,
        then: impl FnOnce(&mut Self),
        otherwise: impl FnOnce(&mut Self),
    ) {
        let (yes, no, exit) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        self.b.ins().brif(condition, yes, &[], no, &[]);
        self.b.switch_to_block(yes);
        then(self);
        self.b.ins().jump(exit, &[]);
        self.b.switch_to_block(no);
        otherwise(self);
        self.b.ins().jump(exit, &[]);
        self.b.switch_to_block(exit);
    }

    /// Quotient and remainder by an extent that is at least 1 wherever there is anything to do; neither is negative.
    pub(super) fn div_rem(&mut self, value: Value, by: &Extent) -> (Value, Value) {
        match by {
            Extent::Const(c) if *c <= 1 => {
                let zero = self.int(0);
                (value, zero)
            }
            Extent::Const(c) if c.count_ones() == 1 => {
                let quotient = self.b.ins().ushr_imm_u(value, i64::from(c.trailing_zeros()));
                (quotient, self.b.ins().band_imm_s(value, c - 1))
            }
            _ => {
                let (extent, one) = (self.extent(by), self.int(1));
                let divisor = self.b.ins().smax(extent, one);
                let quotient = self.b.ins().udiv(value, divisor);
                let product = self.b.ins().imul(quotient, divisor);
                (quotient, self.b.ins().isub(value, product))
            }
        }
    }

    /// The digits of `number`, the last running fastest.
    pub(super) fn digits(&mut self, number: Value, extents: &[Extent]) -> Vec<Value> {
        let mut rest = number;
        let mut digits = vec![number; extents.len()];
        for (i, extent) in extents.iter().enumerate().rev() {
            if i == 0 {
                digits[0] = rest;
            } else {
                (rest, digits[i]) = self.div_rem(rest, extent);
            }
        }
        digits
    }

    /// The lesser.
    pub(super) fn min(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().smin(a, b)
    }

    /// The greater.
    pub(super) fn max(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().smax(a, b)
    }
}
