//! rows - a kernel of a row nest: blocks of rows, and for each block one stage after another.
//!
//! ```text
//! for block of rows in begin..end
//!   for stage in stages
//!     the loops of the stage's nest, for the rows of the block
//! ```
//!
//! What stages hand to each other lies in the worker's scratch memory, so many rows at a time that it stays in the
//! first-level cache. Its address is moved back by the rows before the block, so that a stage indexes it as if it were all
//! there. Two ways to cut rows into items:
//!
//! * *along*: an item is a row, whose elements are neighbours; axes of rows come first in each nest;
//! * *across*: where neighbours are of different rows (softmax over channels), the last row axis is the innermost of each
//!   nest, in lanes, and an item is a block of it.
//!
//! What a row gives does not depend on the rows that run with it, so threads may take any part.

mod asked;
mod cutting;
mod hosts;

use cranelift_codegen::ir::{Block, BlockArg, InstBuilder, Value, condcodes::IntCC, types::I64};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use nnc_ir::{
    compose::rows::{RowForm, Stage},
    extent::{Extent, product},
};
use nnc_tile::{
    program::{LaneType, VectorProgram},
    stream::{Join, Output},
};
use rustc_hash::FxHashMap;

use super::{
    LowerError,
    access::{Access, dense_strides},
    collapse::Nest,
    cut::Cut,
    levels::{Use, uses},
    nest::{Emitter, Pointer},
    scalar::Abilities,
    schedule::Schedule,
    splat::without_splats,
    stream::FoldAfter,
};
use crate::{
    frame::{Frame, PointerSlot, SCRATCH, SCRATCH_BYTES},
    kernel::{Kernel, LowerCx, OperandRef, Pace, Placement, empty_kernel, open_kernel},
    wide::WideTiles,
};
use asked::Ask;
use cutting::{BLOCK_COLUMNS, Cutting, lies_across};
pub(crate) use cutting::{result_of, walk};
use hosts::hosts;

/// A row nest to be made into a kernel.
#[derive(Clone, Debug)]
pub struct RowsRequest {
    /// Symbol name, unique in the program.
    pub name: String,
    /// The nest.
    pub form: RowForm,
    /// Operands from outside by number.
    pub operands: Vec<OperandRef>,
    /// Results of the fusion by number.
    pub results: Vec<PointerSlot>,
    /// Number that the fault record names the node by.
    pub fault_node: i64,
}

/// A stage as it is emitted.
struct Part {
    nest: Nest,
    uses: Vec<Use>,
    schedule: Schedule,
    cut: Cut,
    /// The result that its value is, or lies where it will be; `None`: scratch memory.
    result: Option<PointerSlot>,
    /// What is asked for while it runs.
    asks: Vec<Ask>,
    /// Bytes of its value from one row (across: position of the last row axis) to the next.
    row_bytes: Extent,
    /// Where its value begins in scratch memory.
    offset: Extent,
}

/// Makes a kernel of a row nest.
///
/// # Errors
/// The target lacks an instruction.
pub fn lower_rows(request: &RowsRequest, cx: &mut LowerCx<'_>) -> Result<Kernel, LowerError> {
    let can = Abilities::of(cx.isa)?;
    let mut form = request.form.settled(can.arithmetic.mul_adds());
    for stage in &mut form.stages {
        if let Some(plain) = without_splats(&stage.form, &request.operands) {
            stage.form = plain;
        }
    }
    let request = &RowsRequest { form, ..request.clone() };
    let hosts = hosts(&request.form);
    let cutting = Cutting::of(&request.form, &hosts);
    let (mut parts, scratch_bytes) = parts(request, &cutting, &hosts);
    asked::plan(&mut parts, request, &cutting);
    let mut function = empty_kernel(cx.isa);
    let mut frontend = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut function, &mut frontend);
    let (entry, params) = open_kernel(&mut b);
    let driver = Driver { request, cutting: &cutting, parts: &parts, entry, params: &params, can };
    driver.emit(&mut b, cx.frame, cx.tiles)?;
    b.ins().return_(&[]);
    b.seal_all_blocks();
    b.finalize(cx.isa.frontend_config());
    let pace = match result_of(&request.form) {
        Some(stage) if !cutting.across => {
            let row = product(&stage.form.space[cutting.rows..]);
            Pace::new(&product(&stage.form.space), &row, &Extent::ONE)
        }
        _ => None,
    };
    let cost = parts.iter().fold(Extent::ZERO, |sum, part| &sum + &part.cut.cost);
    Ok(Kernel {
        function,
        name: request.name.clone(),
        items: cutting.items,
        item_cost: cost,
        scratch_bytes,
        may_fault: parts.iter().any(|p| p.nest.loads.iter().any(Access::may_fault)),
        scheduled: false,
        plain: None,
        pace,
    })
}

/// The stages, and the bytes of scratch memory of a worker.
fn parts(request: &RowsRequest, cutting: &Cutting, hosts: &[Option<usize>]) -> (Vec<Part>, Extent) {
    let form = &request.form;
    let mut offset = Extent::ZERO;
    let mut parts = Vec::with_capacity(form.stages.len());
    let strides = |operand: usize| {
        let stage = &form.stages[operand.checked_sub(form.operands)?];
        stage.result.is_none().then(|| cutting.strides(&stage.form.space))
    };
    for (stage, host) in form.stages.iter().zip(hosts) {
        let order = cutting.order(stage.form.space.len());
        let own = stage.form.in_order(&order);
        let place = Placement {
            offset: Extent::ZERO,
            strides: order.iter().map(|&a| value_strides(stage, cutting)[a].clone()).collect(),
        };
        let outer = cutting.rows - usize::from(cutting.across);
        let nest = Nest::of_stage(&own, (outer, cutting.across), &place, &strides);
        let uses = uses(&nest);
        let schedule = Schedule::of_stage(&nest, &uses);
        let element =
            Extent::Const(i64::try_from(stage.form.results[0].bytes()).expect("elements are small"));
        let elements = product(&stage.form.space[cutting.rows..]);
        let value_bytes = &elements * &element;
        let points = if cutting.across { &elements * &cutting.block } else { elements };
        let cut = Cut {
            block: cutting.across.then_some(BLOCK_COLUMNS),
            digits: nest.extents[..nest.rows].to_vec(),
            cost: &nest.point_cost() * &points,
        };
        let result = stage.result.or(*host).map(|r| request.results[r]);
        let row_bytes = if cutting.across { element } else { value_bytes.clone() };
        let asks = Vec::new();
        parts.push(Part { nest, uses, schedule, cut, result, asks, row_bytes, offset: offset.clone() });
        if result.is_none() {
            let bytes = &cutting.block * &value_bytes;
            offset = &offset + &bytes.ceil_div(&Extent::Const(64)).scale(64);
        }
    }
    (parts, offset)
}

/// Strides of a stage's value along the stage's space axes.
fn value_strides(stage: &Stage, cutting: &Cutting) -> Vec<Extent> {
    if stage.result.is_none() {
        return cutting.strides(&stage.form.space);
    }
    let mut shape = vec![Extent::ONE; stage.axes.len()];
    for (extent, &axis) in stage.form.space.iter().zip(&stage.axes) {
        shape[axis] = extent.clone();
    }
    let dense = dense_strides(&shape);
    stage.axes.iter().map(|&axis| dense[axis].clone()).collect()
}

/// What the loop over blocks needs.
struct Driver<'a> {
    request: &'a RowsRequest,
    cutting: &'a Cutting,
    parts: &'a [Part],
    entry: Block,
    params: &'a [Value],
    can: Abilities,
}

/// Slots that have been read.
type Read = FxHashMap<usize, Value>;

impl Driver<'_> {
    /// Runs `f` with the emitter of a stage.
    fn with<R>(
        &self,
        b: &mut FunctionBuilder<'_>,
        (frame, tiles): (&mut Frame, &mut WideTiles),
        read: &mut Read,
        (part, operands): (&Part, Vec<Pointer>),
        f: impl FnOnce(&mut Emitter<'_, '_>) -> R,
    ) -> R {
        let mut emitter = Emitter {
            b,
            frame,
            tiles,
            nest: &part.nest,
            entry: self.entry,
            frame_ptr: self.params[0],
            slots: std::mem::take(read),
            axes: vec![None; part.nest.extents.len()],
            fault_node: self.request.fault_node,
            can: self.can,
            uses: &part.uses,
            schedule: &part.schedule,
            lanes: None,
            values: vec![Vec::new(); part.nest.loads.len()],
            item_holds: false,
            operands,
            ahead: Vec::new(),
        };
        let out = f(&mut emitter);
        *read = emitter.slots;
        out
    }

    fn emit(
        &self,
        b: &mut FunctionBuilder<'_>,
        frame: &mut Frame,
        tiles: &mut WideTiles,
    ) -> Result<(), LowerError> {
        let Some(first) = self.parts.first() else { return Ok(()) };
        let mut read = Read::default();
        let (begin, end, worker) = (self.params[1], self.params[2], self.params[3]);
        let (block, blocks, locals) = self.with(b, (frame, tiles), &mut read, (first, Vec::new()), |e| {
            let block = e.extent(&self.cutting.block);
            let blocks = self.blocks().map(|(length, count)| (e.extent(&length), e.extent(&count)));
            let (base, bytes) = (e.slot(SCRATCH), e.slot(SCRATCH_BYTES));
            let own = e.b.ins().imul(worker, bytes);
            let scratch = e.b.ins().iadd(base, own);
            let locals: Vec<Value> = self.parts.iter().map(|part| e.plus(scratch, &part.offset)).collect();
            (block, blocks, locals)
        });
        let (header, inside, exit) = (b.create_block(), b.create_block(), b.create_block());
        b.append_block_param(header, I64);
        b.ins().jump(header, &[BlockArg::from(begin)]);
        b.switch_to_block(header);
        let at = b.block_params(header)[0];
        let more = b.ins().icmp(IntCC::SignedLessThan, at, end);
        b.ins().brif(more, inside, &[], exit, &[]);
        b.switch_to_block(inside);
        // Items of this turn, the row that scratch memory begins with, and the positions of the last row axis.
        let (items, next, origin, span) = match blocks {
            None => {
                let to = b.ins().iadd(at, block);
                let to = b.ins().smin(to, end);
                ((at, to), to, at, None)
            }
            Some((length, count)) => {
                let next = b.ins().iadd_imm_s(at, 1);
                let one = b.ins().iconst(I64, 1);
                let count = b.ins().smax(count, one);
                let row = b.ins().udiv(at, count);
                let before = b.ins().imul(row, count);
                let number = b.ins().isub(at, before);
                let from = b.ins().imul(number, block);
                let to = b.ins().iadd(from, block);
                let to = b.ins().smin(to, length);
                let after = b.ins().iadd_imm_s(row, 1);
                ((row, after), next, from, Some((from, to)))
            }
        };
        // Numbers that a stage gives one of a row, before those of this block.
        let first_element = b.ins().imul_imm_s(origin, 4);
        let mut values: Vec<Pointer> = Vec::with_capacity(self.parts.len());
        let mut folded = false;
        for (at, (part, &local)) in self.parts.iter().zip(&locals).enumerate() {
            let value = match part.result {
                Some(slot) => Pointer::Slot(slot),
                None => Pointer::Value(self.with(b, (frame, tiles), &mut read, (part, Vec::new()), |e| {
                    let before = e.times(origin, &part.row_bytes);
                    e.b.ins().isub(local, before)
                })),
            };
            values.push(value);
            if std::mem::take(&mut folded) {
                continue;
            }
            let operand = |&k: &usize| match self.request.operands.get(k) {
                Some(operand) => Pointer::Slot(operand.pointer),
                None => values[k - self.request.operands.len()],
            };
            let operands = part.nest.operands.iter().map(operand).collect();
            let fold = self.fold_after(at);
            folded = self.with(b, (frame, tiles), &mut read, (part, operands), |e| {
                e.ahead = part.asks.iter().map(|ask| ask.emit(e, (items, end))).collect();
                if let Some((join, finish)) = fold {
                    let base = e.b.ins().isub(locals[at + 1], first_element);
                    let fold = FoldAfter { join, finish, base };
                    if e.stream_rows_and_fold(&part.cut, (items.0, items.1), &[value], &fold)? {
                        return Ok(true);
                    }
                }
                e.items(&part.cut, items.0, items.1, span, &[value]).map(|()| false)
            })?;
        }
        b.ins().jump(header, &[BlockArg::from(next)]);
        b.switch_to_block(exit);
        Ok(())
    }

    /// What is folded of the values that stage `at` gives, if that is all that the next stage does.
    fn fold_after(&self, at: usize) -> Option<(Join, Option<VectorProgram>)> {
        let (part, next) = (&self.parts[at], self.parts.get(at + 1)?);
        let (made, nest) = (&part.nest, &next.nest);
        let &[load] = &(0..nest.loads.len()).filter(|&k| next.uses[k].any()).collect::<Vec<_>>()[..] else {
            return None;
        };
        let reads = nest.operands[load] == self.request.operands.len() + at;
        let one = nest.reductions() == 1 && nest.space == made.space && nest.extents[nest.space - 1].is(1);
        if self.cutting.across || next.result.is_some() || !next.row_bytes.is(4) || !reads || !one {
            return None;
        }
        let (read, [stored]) = (&nest.loads[load], &made.results[..]) else { return None };
        let (row_axes, inner) = (nest.space - 1, made.space - 1);
        let same_rows = read.coefficients[..row_axes] == stored.coefficients[..row_axes];
        let same_row = read.coefficients[nest.space].is(1) && nest.extents[nest.space] == made.extents[inner];
        let plain = read.conditions.is_empty() && read.extra.is_empty() && read.base == stored.base;
        let spec = nest.folded(nest.combine?)?.spec;
        let &[Output::Fold(join)] = &spec.outputs[..] else { return None };
        let as_it_is = spec.program.ops().len() == 1 && join.lane_type() == LaneType::F32;
        if !same_rows || !same_row || !plain || !as_it_is {
            return None;
        }
        if nest.gives_accumulator() { Some((join, None)) } else { Some((join, Some(nest.finished()?))) }
    }

    /// Length of the last row axis and number of its blocks, where that one is in lanes.
    fn blocks(&self) -> Option<(Extent, Extent)> {
        let last = self.request.form.rows.last().filter(|_| self.cutting.across)?;
        Some((last.clone(), last.ceil_div(&self.cutting.block)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nnc_ir::{
        compose::rows::rows_of_nodes,
        dtype::DType,
        graph::{Module, loc},
        ops::{Broadcast, Mul, Reduce, ReduceKind, Sub},
        types::TensorType,
    };

    /// `(x - max over axis) * weight`, a weight for each of the other axis.
    fn centred(axis: usize) -> RowForm {
        let mut m = Module::new();
        let (body, l) = (m.body(), loc("t"));
        let weights = if axis == 1 { [64, 1] } else { [1, 64] };
        let x = m.add_input("x", TensorType::of(DType::F32, &[64, 64]));
        let w = m.add_input("w", TensorType::of(DType::F32, &weights));
        let spread = Broadcast { shape: m.ty(x).shape.clone() };
        let max = Reduce { kind: ReduceKind::Max, axes: vec![axis], keep: true };
        let max = m.append(body, max, &[x], &[], &l).expect("max")[0];
        let max = m.append(body, spread.clone(), &[max], &[], &l).expect("spread")[0];
        let y = m.append(body, Sub {}, &[x, max], &[], &l).expect("sub")[0];
        let w = m.append(body, spread, &[w], &[], &l).expect("spread")[0];
        let y = m.append(body, Mul {}, &[y, w], &[], &l).expect("mul")[0];
        rows_of_nodes(&m, &m.region(body).nodes, &[y]).expect("a row nest").0
    }

    #[test]
    fn lanes_follow_neighbours_and_not_the_scalars_of_rows() {
        let across = |form: RowForm| Cutting::of(&form, &hosts(&form)).across;
        assert!(!across(centred(1)));
        assert!(across(centred(0)));
    }
}
