//! nest - the loops of a nest.
//!
//! ```text
//! for item in begin..end              level 1: all space axes but the last (and blocks of it, if it is long)
//!   for j in the last space axis              level 2
//!     for r0, r1, ... in the reduction axes              levels 3, 4, ...
//! ```
//!
//! Addresses, conditions and loads are computed at the outermost level where the axes they depend on are known
//! (`levels`, `place`). A load of the body that may never be evaluated, since a reduction axis may be empty, stays at
//! the innermost. One axis may run in lanes (`schedule`): level 2 (`inner`) or the last level (`reduce`).

use cranelift_codegen::ir::{Block, BlockArg, InstBuilder, Value, condcodes::IntCC, types::I64};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use nnc_ir::{
    extent::{Extent, product},
    program::{Inst, Program},
};
use rustc_hash::FxHashMap;

use super::{
    LowerError,
    access::Access,
    collapse::Nest,
    cut::Cut,
    levels::{ITEM, Use, uses},
    place::Cursor,
    scalar::{self, Abilities},
    schedule::{Lanes, Rows, Schedule},
    stream::Asked,
    vector::{self, Val},
};
use crate::{
    frame::{Frame, PointerSlot},
    kernel::{Kernel, LowerCx, NestRequest, Pace, empty_kernel, open_kernel},
    wide::WideTiles,
};

/// What emission of one kernel needs.
pub(super) struct Emitter<'a, 'b> {
    pub(super) b: &'a mut FunctionBuilder<'b>,
    pub(super) frame: &'a mut Frame,
    /// Tiles that the kernel may call.
    pub(super) tiles: &'a mut WideTiles,
    pub(super) nest: &'a Nest,
    pub(super) entry: Block,
    pub(super) frame_ptr: Value,
    /// Slots that have been read.
    pub(super) slots: FxHashMap<usize, Value>,
    /// Positions on the axes whose loops are open; of an axis in lanes that of the first lane.
    pub(super) axes: Vec<Option<Value>>,
    pub(super) fault_node: i64,
    pub(super) can: Abilities,
    pub(super) uses: &'a [Use],
    pub(super) schedule: &'a Schedule,
    /// The axis that is in lanes at this place, if one is.
    pub(super) lanes: Option<Lanes>,
    /// Elements that loads have given at open levels: one for all vectors at once, or one each.
    pub(super) values: Vec<Vec<Val>>,
    /// The item meets the conditions that [`Nest::item_ranges`] tells of: they are not looked at.
    pub(super) item_holds: bool,
    pub(super) operands: Vec<Pointer>,
    /// Rows that the calls of a stage ask for.
    pub(super) ahead: Vec<Asked>,
}

/// Where an address is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pointer {
    /// In the frame.
    Slot(PointerSlot),
    /// Here.
    Value(Value),
}

/// See [`super::lower_nest`].
pub(super) fn lower(request: &NestRequest, cx: &mut LowerCx<'_>) -> Result<Kernel, LowerError> {
    lower_made(&Nest::new(request), request, cx)
}

/// The kernel of a nest that has been made already; `request` gives name and buffers.
pub(super) fn lower_made(
    nest: &Nest,
    request: &NestRequest,
    cx: &mut LowerCx<'_>,
) -> Result<Kernel, LowerError> {
    let can = Abilities::of(cx.isa)?;
    let uses = uses(nest);
    let schedule = Schedule::of(nest, &uses).for_tiles(cx.tiles.level());
    let cut = Cut::new(nest, &schedule);
    let serial = nest.scatter.is_some();
    let mut function = empty_kernel(cx.isa);
    let mut frontend = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut function, &mut frontend);
    let (entry, params) = open_kernel(&mut b);
    let operand = |&k: &usize| Pointer::Slot(request.operands[k].pointer);
    let mut emitter = Emitter {
        b: &mut b,
        frame: cx.frame,
        tiles: cx.tiles,
        entry,
        frame_ptr: params[0],
        slots: FxHashMap::default(),
        axes: vec![None; nest.extents.len()],
        fault_node: request.fault_node,
        operands: nest.operands.iter().map(operand).collect(),
        can,
        uses: &uses,
        schedule: &schedule,
        lanes: None,
        item_holds: false,
        values: vec![Vec::new(); nest.loads.len()],
        nest,
        ahead: Vec::new(),
    };
    let (mut begin, mut end) = (params[1], params[2]);
    let results: Vec<Pointer> = request.results.iter().map(|&slot| Pointer::Slot(slot)).collect();
    let items = product(&cut.digits);
    let pace = match (&schedule, cut.block) {
        (Schedule::Transpose(_), _) => None,
        (_, None) => {
            Pace::new(&product(&nest.extents[..nest.space]), &nest.extents[nest.space - 1], &Extent::ONE)
        }
        (_, Some(block)) => Pace::new(&nest.extents[nest.space - 1], &Extent::Const(block), &Extent::ONE),
    };
    if serial {
        begin = emitter.times(begin, &items);
        end = emitter.times(end, &items);
    }
    emitter.items(&cut, begin, end, None, &results)?;
    b.ins().return_(&[]);
    b.seal_all_blocks();
    b.finalize(cx.isa.frontend_config());
    Ok(Kernel {
        function,
        name: request.name.clone(),
        item_cost: if serial { &cut.cost * &items } else { cut.cost },
        items: if serial { Extent::ONE } else { items },
        scratch_bytes: Extent::ZERO,
        may_fault: serial || nest.loads.iter().any(Access::may_fault),
        scheduled: false,
        plain: None,
        pace: pace.filter(|_| !serial),
    })
}

impl Emitter<'_, '_> {
    /// Address of the operand that load `k` reads.
    pub(super) fn operand_pointer(&mut self, k: usize) -> Value {
        self.pointer(self.operands[k])
    }

    pub(super) fn pointer(&mut self, pointer: Pointer) -> Value {
        match pointer {
            Pointer::Slot(slot) => self.slot(slot.0),
            Pointer::Value(value) => value,
        }
    }

    fn args(values: &[Value]) -> Vec<BlockArg> {
        values.iter().map(|&v| BlockArg::from(v)).collect()
    }

    /// `for i in from..to step step`, with carried values; tested at the head, so that none of them has two uses.
    pub(super) fn counted(
        &mut self,
        from: Value,
        to: Value,
        step: i64,
        carried: &[Value],
        body: impl FnOnce(&mut Self, Value, &[Value]) -> Result<Vec<Value>, LowerError>,
    ) -> Result<Vec<Value>, LowerError> {
        let (header, inside, exit) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        let start: Vec<Value> = std::iter::once(from).chain(carried.iter().copied()).collect();
        for &value in &start {
            let ty = self.b.func.dfg.value_type(value);
            self.b.append_block_param(header, ty);
        }
        self.b.ins().jump(header, &Self::args(&start));
        self.b.switch_to_block(header);
        let params = self.b.block_params(header).to_vec();
        let more = self.b.ins().icmp(IntCC::SignedLessThan, params[0], to);
        self.b.ins().brif(more, inside, &[], exit, &[]);
        self.b.switch_to_block(inside);
        let next = body(self, params[0], &params[1..])?;
        let index = self.b.ins().iadd_imm_s(params[0], step);
        let next: Vec<Value> = std::iter::once(index).chain(next).collect();
        self.b.ins().jump(header, &Self::args(&next));
        self.b.switch_to_block(exit);
        Ok(params[1..].to_vec())
    }

    /// Where loads and results are at the first position of all axes.
    pub(super) fn origins(&mut self, results: &[Pointer]) -> [Vec<Cursor>; 2] {
        let nest = self.nest;
        let loads = (0..nest.loads.len()).map(|k| {
            let pointer = self.operand_pointer(k);
            self.origin(pointer, &nest.loads[k])
        });
        let loads = loads.collect();
        let results = results.iter().zip(&nest.results).map(|(&pointer, access)| {
            let pointer = self.pointer(pointer);
            self.origin(pointer, access)
        });
        [loads, results.collect()]
    }

    /// The kernel: items `begin..end`. Axes between those of the items' digits and the last have loops of their own. The
    /// last axis is walked as `cut` says, or over `span`.
    pub(super) fn items(
        &mut self,
        cut: &Cut,
        begin: Value,
        end: Value,
        span: Option<(Value, Value)>,
        results: &[Pointer],
    ) -> Result<(), LowerError> {
        let nest = self.nest;
        let [loads, results] = self.origins(results);
        if span.is_none() && self.stream_rows(cut, (begin, end), [&loads, &results])? {
            return Ok(());
        }
        let first = self.first_digits(cut, begin);
        let inner = nest.space - 1;
        self.counted(begin, end, 1, &first, |e, _, digits| {
            for (axis, &digit) in e.axes.iter_mut().zip(digits).take(inner) {
                *axis = Some(digit);
            }
            if let Schedule::Transpose(Rows { axis, rows, .. }) = *e.schedule {
                e.axes[axis] = Some(e.b.ins().imul_imm_s(digits[axis], rows));
            }
            let length = e.extent(&nest.extents[inner]);
            let (from, to) = match (span, cut.block) {
                (Some(span), _) => span,
                (None, None) => (e.b.ins().iconst(I64, 0), length),
                (None, Some(block)) => {
                    let from = e.b.ins().imul_imm_s(digits[inner], block);
                    let to = e.b.ins().iadd_imm_s(from, block);
                    (from, e.b.ins().smin(to, length))
                }
            };
            e.middle(digits.len().min(inner), &|e| {
                let loads = e.move_to_item(&nest.loads, &loads);
                let results = e.move_to_item(&nest.results, &results);
                let loads = e.enter(ITEM, loads);
                e.inner(from, to, cut, &loads, &results)
            })?;
            Ok(e.next_digits(cut, digits))
        })?;
        Ok(())
    }

    /// Loops over the space axes from number `axis` on but the last.
    fn middle(
        &mut self,
        axis: usize,
        body: &dyn Fn(&mut Self) -> Result<(), LowerError>,
    ) -> Result<(), LowerError> {
        if axis + 1 >= self.nest.space {
            return body(self);
        }
        let (zero, end) = (self.b.ins().iconst(I64, 0), self.extent(&self.nest.extents[axis]));
        self.counted(zero, end, 1, &[], |e, position, _| {
            e.axes[axis] = Some(position);
            e.middle(axis + 1, body)?;
            Ok(vec![])
        })?;
        Ok(())
    }

    /// The digits of item `begin`.
    pub(super) fn first_digits(&mut self, cut: &Cut, begin: Value) -> Vec<Value> {
        let mut rest = begin;
        let mut digits = vec![begin; cut.digits.len()];
        for (i, extent) in cut.digits.iter().enumerate().rev() {
            if i == 0 {
                digits[0] = rest;
                continue;
            }
            let extent = self.extent(extent);
            let one = self.b.ins().iconst(I64, 1);
            let extent = self.b.ins().smax(extent, one);
            let quotient = self.b.ins().udiv(rest, extent);
            let product = self.b.ins().imul(quotient, extent);
            digits[i] = self.b.ins().isub(rest, product);
            rest = quotient;
        }
        digits
    }

    /// The digits of the item after.
    fn next_digits(&mut self, cut: &Cut, digits: &[Value]) -> Vec<Value> {
        let mut next = digits.to_vec();
        let mut carry: Option<Value> = None;
        for (i, extent) in cut.digits.iter().enumerate().rev() {
            let bumped = match carry {
                None => self.b.ins().iadd_imm_s(digits[i], 1),
                Some(carry) => {
                    let carry = self.b.ins().uextend(I64, carry);
                    self.b.ins().iadd(digits[i], carry)
                }
            };
            if i == 0 {
                next[0] = bumped;
                continue;
            }
            let extent = self.extent(extent);
            let wraps = self.b.ins().icmp(IntCC::Equal, bumped, extent);
            let zero = self.b.ins().iconst(I64, 0);
            next[i] = self.b.ins().select(wraps, zero, bumped);
            carry = Some(wraps);
        }
        next
    }

    /// One loop over an axis; `body` gets the cursors of loads and results moved to the position.
    pub(super) fn axis_loop(
        &mut self,
        axis: usize,
        (from, to, step): (Value, Value, i64),
        cursors: [&[Cursor]; 2],
        carried: &[Value],
        body: impl FnOnce(&mut Self, [Vec<Cursor>; 2], &[Value]) -> Result<Vec<Value>, LowerError>,
    ) -> Result<Vec<Value>, LowerError> {
        let nest = self.nest;
        // One running offset for each distinct stride in bytes.
        let mut strides: Vec<Extent> = Vec::new();
        let mut running = |access: &Access| {
            let stride = access.coefficients[axis].scale(access.dtype.bytes() as i64);
            (!stride.is(0)).then(|| {
                strides.iter().position(|s| *s == stride).unwrap_or_else(|| {
                    strides.push(stride);
                    strides.len() - 1
                })
            })
        };
        let uses = self.uses;
        let loads: Vec<Option<usize>> =
            nest.loads.iter().zip(uses).map(|(a, used)| if used.any() { running(a) } else { None }).collect();
        let results: Vec<Option<usize>> =
            nest.results.iter().take(cursors[1].len()).map(&mut running).collect();
        let mut start: Vec<Value> = strides.iter().map(|s| self.times(from, s)).collect();
        start.extend(carried);
        let out = self.counted(from, to, step, &start, |e, position, state| {
            let (offsets, carried) = state.split_at(strides.len());
            e.axes[axis] = Some(position);
            let mut moved = cursors.map(<[Cursor]>::to_vec);
            for (cursors, running) in moved.iter_mut().zip([&loads, &results]) {
                for (cursor, running) in cursors.iter_mut().zip(running) {
                    if let Some(s) = running {
                        cursor.addr = e.b.ins().iadd(cursor.addr, offsets[*s]);
                    }
                }
            }
            let carried = body(e, moved, carried)?;
            let mut next: Vec<Value> =
                strides.iter().zip(offsets).map(|(s, &offset)| e.plus(offset, &s.scale(step))).collect();
            next.extend(carried);
            e.axes[axis] = None;
            Ok(next)
        })?;
        Ok(out[strides.len()..].to_vec())
    }

    /// Vectors at once, or one scalar.
    pub(super) fn copies(&self) -> usize {
        self.lanes.as_ref().map_or(1, |l| l.copies)
    }

    /// Results of a program at the current position, for each of the vectors at once. The accumulator has one value
    /// for each of these, too.
    pub(super) fn program(&mut self, program: &Program, accs: &[Val]) -> Result<Vec<Vec<Val>>, LowerError> {
        let mut out = Vec::with_capacity(self.copies());
        for (copy, acc) in (0..self.copies()).map(|copy| (copy, accs.get(copy))) {
            let mut values: Vec<Val> = Vec::with_capacity(program.insts().len());
            for (inst, _) in program.insts() {
                let value = match inst {
                    Inst::Load(k) => {
                        let of_load = &self.values[*k];
                        *of_load.get(copy).unwrap_or_else(|| &of_load[0])
                    }
                    Inst::Acc(_) => *acc.expect("accumulators are read after the reduction"),
                    Inst::Index(ix) => Val::One(self.ix(ix)),
                    Inst::Const(c) => Val::One(scalar::constant(self.b, *c)),
                    other => vector::emit(self.b, self.can, program, other, &values)?,
                };
                values.push(value);
            }
            out.push(program.results.iter().map(|r| values[r.index()]).collect());
        }
        Ok(out)
    }
}
