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

use cranelift_codegen::ir::{Block, BlockArg, InstBuilder, Value, condcodes::IntCC, types::I64};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use nnc_ir::{
    compose::rows::{RowForm, Stage},
    extent::{Extent, product},
    form::{Bounds, Ix, Load, LoopForm},
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

/// Bytes that the stages of a block should touch at most: they stay in the first-level cache.
const BLOCK_BYTES: i64 = 32 << 10;
/// Most rows of a block.
const BLOCK_ROWS: i64 = 512;
/// Fewest positions of the last row axis in a block where these are in lanes.
const BLOCK_COLUMNS: i64 = 16;

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

/// How rows become items.
struct Cutting {
    /// Number of row axes.
    rows: usize,
    /// Whether neighbours are of different rows: then the last row axis is in lanes.
    across: bool,
    /// Rows, or positions of the last row axis, in a block.
    block: Extent,
    /// Number of items.
    items: Extent,
}

/// A stage as it is emitted.
struct Part {
    nest: Nest,
    uses: Vec<Use>,
    schedule: Schedule,
    cut: Cut,
    /// Its result, or `None`: scratch memory.
    result: Option<PointerSlot>,
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
    let cutting = Cutting::of(&request.form);
    let (parts, scratch_bytes) = parts(request, &cutting);
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

impl Cutting {
    fn of(form: &RowForm) -> Cutting {
        let rows = form.rows.len();
        let bytes = row_bytes(form).max_with(&Extent::ONE);
        let fitting = Extent::Const(BLOCK_BYTES).floor_div(&bytes);
        match form.rows.split_last() {
            Some((last, outer)) if lies_across(form) => {
                let columns = Extent::Const(BLOCK_COLUMNS);
                let block = fitting.floor_div(&columns).max_with(&Extent::ONE).scale(BLOCK_COLUMNS);
                let block = block.min_with(&Extent::Const(BLOCK_ROWS));
                let items = &product(outer) * &last.ceil_div(&block);
                Cutting { rows, across: true, block, items }
            }
            _ => {
                let block = fitting.max_with(&Extent::ONE).min_with(&Extent::Const(BLOCK_ROWS));
                Cutting { rows, across: false, block, items: product(&form.rows) }
            }
        }
    }

    /// Numbers of the space axes of a stage in the order of its loops.
    fn order(&self, axes: usize) -> Vec<usize> {
        if !self.across {
            return (0..axes).collect();
        }
        let last = self.rows - 1;
        (0..last).chain(self.rows..axes).chain([last]).collect()
    }

    /// Strides of a value in scratch memory along the space axes of its stage.
    fn strides(&self, space: &[Extent]) -> Vec<Extent> {
        if !self.across {
            return dense_strides(space);
        }
        let own = dense_strides(&space[self.rows..]);
        let mut strides = vec![Extent::ZERO; self.rows - 1];
        strides.push(Extent::ONE);
        strides.extend(own.iter().map(|stride| stride * &self.block));
        strides
    }
}

/// The axes of the one result of a row nest, if the items of its kernel go through it from the first element to the last.
pub(crate) fn walk(form: &RowForm) -> Option<Vec<usize>> {
    let stages = || form.stages.iter().map(|stage| &stage.form);
    let extents = |f: &LoopForm| f.space.iter().chain(&f.reduce).all(|e| e.as_const().is_some_and(|n| n > 0));
    let checked = stages().flat_map(|f| &f.loads).any(|load| load.bounds == Bounds::Check);
    let space = &result_of(form)?.form.space;
    (stages().all(extents) && !checked && !lies_across(form)).then(|| (0..space.len()).collect())
}

/// The stage of the one result, if its axes are in their order.
pub(crate) fn result_of(form: &RowForm) -> Option<&Stage> {
    let mut results = form.stages.iter().filter(|stage| stage.result.is_some());
    let stage = results.next()?;
    let wide = stage.axes.iter().zip(&stage.form.space).filter(|(_, extent)| !extent.is(1));
    let in_order = wide.map(|(axis, _)| axis).is_sorted();
    (in_order && results.next().is_none()).then_some(stage)
}

/// Whether most of what is read and written from outside has its neighbours along the last row axis.
fn lies_across(form: &RowForm) -> bool {
    let rows = form.rows.len();
    let (mut along, mut across) = (0, 0);
    for stage in &form.stages {
        let space = &stage.form.space;
        let mut vote = |last: Option<usize>| match last {
            Some(axis) if axis + 1 == rows => across += 1,
            Some(_) => along += 1,
            None => {}
        };
        // What is one number a row has no neighbours to speak of.
        let whole = |load: &&Load| {
            let own = |axis: usize| load.index.iter().any(|ix| ix.mentions(axis));
            load.operand < form.operands && (rows..stage.form.axes()).any(own)
        };
        for load in stage.form.loads.iter().filter(whole) {
            let last = (0..load.index.len()).rev().find(|&a| !load.extents[a].is(1));
            let varies = |ix: &Ix| (0..stage.form.axes()).rev().find(|&a| ix.mentions(a));
            vote(last.and_then(|a| varies(&load.index[a])));
        }
        if stage.result.is_some() && space[rows..].iter().any(|e| !e.is(1)) {
            let wide = (0..space.len()).filter(|&a| !space[a].is(1));
            vote(wide.max_by_key(|&a| stage.axes[a]));
        }
    }
    across > along
}

/// Bytes that all stages touch for one row.
fn row_bytes(form: &RowForm) -> Extent {
    let rows = form.rows.len();
    let mut read = vec![Extent::ZERO; form.operands];
    let mut sum = Extent::ZERO;
    for stage in &form.stages {
        let width = |bytes: usize| i64::try_from(bytes).expect("elements are small");
        sum = &sum + &product(&stage.form.space[rows..]).scale(width(stage.form.results[0].bytes()));
        for load in stage.form.loads.iter().filter(|l| l.operand < form.operands) {
            let varies = |axis: usize| load.index.iter().any(|ix| ix.mentions(axis));
            if (0..rows).any(varies) {
                let own = (rows..stage.form.axes()).filter(|&a| varies(a)).map(|a| stage.form.axis_extent(a));
                read[load.operand] = product(own).scale(width(load.dtype.bytes()));
            }
        }
    }
    read.iter().fold(sum, |sum, bytes| &sum + bytes)
}

/// The stages, and the bytes of scratch memory of a worker.
fn parts(request: &RowsRequest, cutting: &Cutting) -> (Vec<Part>, Extent) {
    let form = &request.form;
    let mut offset = Extent::ZERO;
    let mut parts = Vec::with_capacity(form.stages.len());
    let strides = |operand: usize| {
        let stage = &form.stages[operand.checked_sub(form.operands)?];
        stage.result.is_none().then(|| cutting.strides(&stage.form.space))
    };
    for stage in &form.stages {
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
        let result = stage.result.map(|r| request.results[r]);
        let row_bytes = if cutting.across { element } else { value_bytes.clone() };
        parts.push(Part { nest, uses, schedule, cut, result, row_bytes, offset: offset.clone() });
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
        assert!(!Cutting::of(&centred(1)).across);
        assert!(Cutting::of(&centred(0)).across);
    }
}
