//! nest - the loops of a nest, and what is computed at which of them.
//!
//! ```text
//! for item in begin..end        level 1: all space axes but the last (and blocks of it, if it is long)
//!   for j in the last space axis        level 2
//!     for r0, r1, ... in the reduction axes        levels 3, 4, ...
//! ```
//!
//! Addresses, conditions and loads are computed at the outermost level where the axes they depend on are known. A load
//! of the body that may never be evaluated, since a reduction axis may be empty, stays at the innermost.

use cranelift_codegen::ir::{
    AbiParam, Block, BlockArg, Function, InstBuilder, Signature, UserFuncName, Value,
    condcodes::{FloatCC, IntCC},
    types::I64,
};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use nnc_ir::{
    dtype::{DType, Scalar},
    extent::{Extent, product},
    form::{Combine, Ix},
    program::{Binary, Inst, Program},
};
use rustc_hash::FxHashMap;

use super::{
    LowerError,
    access::{Access, Condition, Extra},
    collapse::Nest,
    scalar::{self, Abilities},
    scatter::Target,
};
use crate::{
    frame::{Frame, PointerSlot},
    kernel::{Kernel, LowerCx, NestRequest},
};

/// Level of the items.
const ITEM: usize = 1;
/// Level of the last space axis.
const INNER: usize = 2;

/// Scalar operations one item should have at least where the nest can be cut so.
const ITEM_OPERATIONS: i64 = 1 << 15;
/// Scalar operations assumed of a reduction whose length is not known.
const UNKNOWN_LENGTH: i64 = 64;

/// What emission of one kernel needs.
pub(super) struct Emitter<'a, 'b> {
    pub(super) b: &'a mut FunctionBuilder<'b>,
    pub(super) frame: &'a mut Frame,
    pub(super) nest: &'a Nest,
    pub(super) entry: Block,
    pub(super) frame_ptr: Value,
    /// Slots that have been read.
    pub(super) slots: FxHashMap<usize, Value>,
    /// Positions on the axes whose loops are open.
    pub(super) axes: Vec<Option<Value>>,
    pub(super) fault_node: i64,
    operands: Vec<PointerSlot>,
    can: Abilities,
    uses: Vec<Use>,
    /// Elements that loads have given at open levels.
    values: Vec<Option<Value>>,
}

/// What a load is for.
#[derive(Clone, Copy, Debug)]
struct Use {
    body: bool,
    finish: bool,
    /// Level where its element is read.
    level: usize,
    /// Level before which nothing of it may be read or checked.
    earliest: usize,
}

/// How far the address of an access is known.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    addr: Value,
    disp: i32,
    condition: Option<Value>,
}

/// How a nest is cut into items.
struct Cut {
    /// Positions of the last space axis in one block; `None`: all of them.
    block: Option<i64>,
    /// Extents of the item's digits: outer space axes, and the number of blocks.
    digits: Vec<Extent>,
    cost: Extent,
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
    let cut = Cut::new(nest);
    let serial = nest.scatter.is_some();
    let mut signature = Signature::new(cx.isa.default_call_conv());
    signature.params = vec![AbiParam::new(I64); 4];
    let mut function = Function::with_name_signature(UserFuncName::default(), signature);
    let mut frontend = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut function, &mut frontend);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    let params = b.block_params(entry).to_vec();
    // The entry holds what is read from the frame, and nothing else.
    let start = b.create_block();
    b.ins().jump(start, &[]);
    b.switch_to_block(start);
    let mut emitter = Emitter {
        b: &mut b,
        frame: cx.frame,
        entry,
        frame_ptr: params[0],
        slots: FxHashMap::default(),
        axes: vec![None; nest.extents.len()],
        fault_node: request.fault_node,
        operands: nest.operands.iter().map(|&k| request.operands[k].pointer).collect(),
        can,
        uses: uses(nest),
        values: vec![None; nest.loads.len()],
        nest,
    };
    let (mut begin, mut end) = (params[1], params[2]);
    let items = product(&cut.digits);
    if serial {
        begin = emitter.times(begin, &items);
        end = emitter.times(end, &items);
    }
    emitter.items(&cut, begin, end, &request.results)?;
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
    })
}

impl Cut {
    fn new(nest: &Nest) -> Cut {
        let inner = nest.space - 1;
        let length = &nest.extents[inner];
        let point = nest.point_cost();
        let operations = point.as_const().unwrap_or(UNKNOWN_LENGTH).max(1);
        let block = (ITEM_OPERATIONS / operations).max(1);
        let block = if block > 64 { block / 64 * 64 } else { block };
        let mut digits = nest.extents[..inner].to_vec();
        if length.as_const().is_some_and(|n| n <= 2 * block) {
            // An item for nothing at all costs a call, so an empty axis gives no item.
            if length.is(0) {
                digits.push(Extent::ZERO);
            }
            return Cut { block: None, digits, cost: &point * length };
        }
        digits.push(length.ceil_div(&Extent::Const(block)));
        Cut { block: Some(block), digits, cost: point.scale(block) }
    }
}

fn positive(extent: &Extent) -> bool {
    extent.as_const().is_some_and(|c| c > 0)
}

/// What each load is for, and the level of its element.
fn uses(nest: &Nest) -> Vec<Use> {
    let innermost = INNER + nest.reductions();
    let maybe_empty = !nest.extents[nest.space..].iter().all(positive);
    let used = |p: &Program, k: usize| p.insts().iter().any(|(inst, _)| *inst == Inst::Load(k));
    let of_load = |k: usize| {
        let (body, finish) = (used(&nest.body, k), used(&nest.finish, k));
        let earliest = if maybe_empty && !finish { innermost } else { ITEM };
        let level = nest.access_level(&nest.loads[k]).max(earliest);
        Use { body, finish, level, earliest }
    };
    (0..nest.loads.len()).map(of_load).collect()
}

impl Nest {
    /// Level at which the position on an axis is known.
    fn axis_level(&self, axis: usize) -> usize {
        match axis {
            _ if axis + 1 < self.space => ITEM,
            _ => INNER + axis + 1 - self.space,
        }
    }

    /// Level at which an index is known.
    fn ix_level(&self, ix: &Ix) -> usize {
        let mut level = ITEM;
        ix.visit(&mut |part| match part {
            Ix::Axis(a) => level = level.max(self.axis_level(*a)),
            Ix::Load(k) => level = level.max(self.access_level(&self.loads[*k])),
            _ => {}
        });
        level
    }

    /// Level at which the address of an access is known.
    fn access_level(&self, access: &Access) -> usize {
        let linear =
            (0..self.extents.len()).filter(|&a| !access.coefficients[a].is(0)).map(|a| self.axis_level(a));
        linear.chain(access.indices().map(|ix| self.ix_level(ix))).max().unwrap_or(ITEM)
    }
}

fn has_load(ix: &Ix) -> bool {
    let mut found = false;
    ix.visit(&mut |part| found |= matches!(part, Ix::Load(_)));
    found
}

impl<'a> Emitter<'a, '_> {
    /// Address of the operand that load `k` reads.
    pub(super) fn operand_pointer(&mut self, k: usize) -> Value {
        self.slot(self.operands[k].0)
    }

    fn args(values: &[Value]) -> Vec<BlockArg> {
        values.iter().map(|&v| BlockArg::from(v)).collect()
    }

    /// `for i in from..to step step`, with carried values; tested at the head, so that none of them has two uses.
    fn counted(
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

    /// The kernel: items `begin..end`.
    fn items(
        &mut self,
        cut: &Cut,
        begin: Value,
        end: Value,
        results: &[PointerSlot],
    ) -> Result<(), LowerError> {
        let nest = self.nest;
        let loads: Vec<Cursor> = (0..nest.loads.len())
            .map(|k| {
                let pointer = self.operand_pointer(k);
                self.origin(pointer, &nest.loads[k])
            })
            .collect();
        let results: Vec<Cursor> = results
            .iter()
            .zip(&nest.results)
            .map(|(pointer, access)| {
                let pointer = self.slot(pointer.0);
                self.origin(pointer, access)
            })
            .collect();
        let first = self.first_digits(cut, begin);
        let inner = nest.space - 1;
        self.counted(begin, end, 1, &first, |e, _, digits| {
            for (axis, &digit) in e.axes.iter_mut().zip(digits).take(inner) {
                *axis = Some(digit);
            }
            let length = e.extent(&nest.extents[inner]);
            let (from, to) = match cut.block {
                None => (e.b.ins().iconst(I64, 0), length),
                Some(block) => {
                    let from = e.b.ins().imul_imm_s(digits[inner], block);
                    let to = e.b.ins().iadd_imm_s(from, block);
                    (from, e.b.ins().smin(to, length))
                }
            };
            let loads = e.enter_items(&nest.loads, loads);
            let results = e.enter_items(&nest.results, results);
            let loads = e.enter(ITEM, loads)?;
            e.inner_loop(from, to, &loads, &results)?;
            Ok(e.next_digits(cut, digits))
        })?;
        Ok(())
    }

    /// The digits of item `begin`.
    fn first_digits(&mut self, cut: &Cut, begin: Value) -> Vec<Value> {
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

    /// An access at the origin of the nest.
    fn origin(&mut self, pointer: Value, access: &Access) -> Cursor {
        let base = access.base.scale(access.dtype.bytes() as i64);
        match base.as_const().and_then(|c| i32::try_from(c).ok()) {
            Some(disp) if disp.abs() < 1 << 28 => Cursor { addr: pointer, disp, condition: None },
            _ => Cursor { addr: self.plus(pointer, &base), disp: 0, condition: None },
        }
    }

    /// Moves accesses to the current item.
    fn enter_items(&mut self, accesses: &[Access], mut cursors: Vec<Cursor>) -> Vec<Cursor> {
        for (access, cursor) in accesses.iter().zip(&mut cursors) {
            for axis in 0..self.nest.space - 1 {
                if !access.coefficients[axis].is(0) {
                    let at = self.axes[axis].expect("the item's axes are known");
                    let step = self.times(at, &access.coefficients[axis].scale(access.dtype.bytes() as i64));
                    cursor.addr = self.b.ins().iadd(cursor.addr, step);
                }
            }
        }
        cursors
    }

    /// Computes what becomes known at a level: indices, conditions, elements.
    fn enter(&mut self, level: usize, mut cursors: Vec<Cursor>) -> Result<Vec<Cursor>, LowerError> {
        let nest = self.nest;
        for (k, access) in nest.loads.iter().enumerate() {
            let Use { body, finish, level: own, earliest } = self.uses[k];
            if !body && !finish {
                continue;
            }
            let at = |ix: &Ix, checked: bool| {
                let level = nest.ix_level(ix);
                if checked || has_load(ix) { level.max(earliest) } else { level }
            };
            for extra in &access.extra {
                if at(&extra.index, extra.check.is_some()) == level {
                    cursors[k].addr = self.add_extra(cursors[k].addr, extra, access.dtype.bytes() as i64);
                }
            }
            let here = access.conditions.iter().filter(|c| at(&c.index, false) == level);
            cursors[k].condition = self.all_conditions(here, cursors[k].condition);
            if own == level {
                let Cursor { addr, disp, condition } = cursors[k];
                self.values[k] = Some(self.load_if(access, addr, disp, condition));
            }
        }
        Ok(cursors)
    }

    /// One loop over an axis: `body` gets the cursors moved to the position.
    fn axis_loop(
        &mut self,
        axis: usize,
        (from, to): (Value, Value),
        cursors: &[Vec<Cursor>],
        carried: &[Value],
        body: impl FnOnce(&mut Self, Vec<Vec<Cursor>>, &[Value]) -> Result<Vec<Value>, LowerError>,
    ) -> Result<Vec<Value>, LowerError> {
        let nest = self.nest;
        let groups: [&[Access]; 2] = [&nest.loads, &nest.results];
        // One running offset for each distinct stride in bytes.
        let mut strides: Vec<Extent> = Vec::new();
        let mut moved: Vec<Vec<Option<usize>>> = Vec::new();
        for (group, cursors) in groups.into_iter().zip(cursors) {
            let mut of_group = Vec::new();
            for (k, access) in group.iter().enumerate().take(cursors.len()) {
                let stride = access.coefficients[axis].scale(access.dtype.bytes() as i64);
                let unused =
                    std::ptr::eq(group, &nest.loads[..]) && !self.uses[k].body && !self.uses[k].finish;
                of_group.push(if stride.is(0) || unused {
                    None
                } else {
                    Some(strides.iter().position(|s| *s == stride).unwrap_or_else(|| {
                        strides.push(stride);
                        strides.len() - 1
                    }))
                });
            }
            moved.push(of_group);
        }
        let mut start: Vec<Value> = strides.iter().map(|s| self.times(from, s)).collect();
        start.extend(carried);
        let cursors = cursors.to_vec();
        let out = self.counted(from, to, 1, &start, |e, position, state| {
            let (offsets, carried) = state.split_at(strides.len());
            e.axes[axis] = Some(position);
            let mut cursors = cursors;
            for (cursors, moved) in cursors.iter_mut().zip(&moved) {
                for (cursor, moved) in cursors.iter_mut().zip(moved) {
                    if let Some(s) = moved {
                        cursor.addr = e.b.ins().iadd(cursor.addr, offsets[*s]);
                    }
                }
            }
            let carried = body(e, cursors, carried)?;
            let mut next: Vec<Value> =
                strides.iter().zip(offsets).map(|(s, &offset)| e.plus(offset, s)).collect();
            next.extend(carried);
            e.axes[axis] = None;
            Ok(next)
        })?;
        Ok(out[strides.len()..].to_vec())
    }

    fn inner_loop(
        &mut self,
        from: Value,
        to: Value,
        loads: &[Cursor],
        results: &[Cursor],
    ) -> Result<(), LowerError> {
        let nest = self.nest;
        let cursors = [loads.to_vec(), results.to_vec()];
        self.axis_loop(nest.space - 1, (from, to), &cursors, &[], |e, mut cursors, _| {
            let results = cursors.pop().expect("two groups go in");
            let loads = cursors.pop().expect("two groups go in");
            let loads = e.enter(INNER, loads)?;
            let values = match nest.combine {
                None => e.program(&nest.body, None)?,
                Some(combine) => {
                    let start = e.initial(combine);
                    let end = e.reduction(0, combine, loads, start)?;
                    let acc = match combine {
                        Combine::ArgMax { .. } | Combine::ArgMin { .. } => end[1],
                        _ => end[0],
                    };
                    e.program(&nest.finish, Some(acc))?
                }
            };
            if let Some(target) = &nest.scatter {
                e.scatter(target, values[0], results[0], nest.results[0].dtype);
                return Ok(vec![]);
            }
            for ((value, access), cursor) in values.into_iter().zip(&nest.results).zip(results) {
                scalar::store(e.b, access.dtype, value, cursor.addr, cursor.disp);
            }
            Ok(vec![])
        })?;
        Ok(())
    }

    /// Writes an update at its computed place, or nowhere if that is outside of the result.
    fn scatter(&mut self, target: &Target, update: Value, result: Cursor, dtype: DType) {
        let mut addr = self.b.ins().iadd_imm_s(result.addr, i64::from(result.disp));
        let mut conditions = Vec::new();
        for ((index, extent), stride) in target.index.iter().zip(&target.extents).zip(&target.strides) {
            let check = Some(extent.clone());
            let extra = Extra { index: index.clone(), stride: stride.clone(), check };
            addr = self.add_extra(addr, &extra, dtype.bytes() as i64);
            conditions.push(Condition { index: index.clone(), extent: extent.clone() });
        }
        let condition = self.all_conditions(&conditions, None);
        let (write, go_on) = (self.b.create_block(), self.b.create_block());
        match condition {
            Some(condition) => self.b.ins().brif(condition, write, &[], go_on, &[]),
            None => self.b.ins().jump(write, &[]),
        };
        self.b.switch_to_block(write);
        let value = match target.combine {
            None => update,
            Some(op) => {
                let present = scalar::load(self.b, dtype, addr, 0);
                scalar::binary(self.b, op, dtype.compute(), present, update)
            }
        };
        scalar::store(self.b, dtype, value, addr, 0);
        self.b.ins().jump(go_on, &[]);
        self.b.switch_to_block(go_on);
    }

    /// Accumulators at the start: the value, or value, position of the best, and current position.
    fn initial(&mut self, combine: Combine) -> Vec<Value> {
        let dtype = self.nest.body.dtype(self.nest.body.results[0]);
        let first = match combine {
            Combine::Sum => Scalar::zero(dtype),
            Combine::Product => Scalar::int(dtype, 1),
            Combine::Max | Combine::ArgMax { .. } => Scalar::lowest(dtype),
            Combine::Min | Combine::ArgMin { .. } => Scalar::highest(dtype),
        };
        let first = scalar::constant(self.b, first);
        match combine {
            Combine::ArgMax { .. } | Combine::ArgMin { .. } => {
                let zero = self.b.ins().iconst(I64, 0);
                vec![first, zero, zero]
            }
            _ => vec![first],
        }
    }

    /// Reduction axes from number `depth` on.
    fn reduction(
        &mut self,
        depth: usize,
        combine: Combine,
        loads: Vec<Cursor>,
        accs: Vec<Value>,
    ) -> Result<Vec<Value>, LowerError> {
        let nest = self.nest;
        if depth == nest.reductions() {
            let value = self.program(&nest.body, None)?[0];
            return Ok(self.join(combine, &accs, value));
        }
        let axis = nest.space + depth;
        let zero = self.b.ins().iconst(I64, 0);
        let end = self.extent(&nest.extents[axis]);
        self.axis_loop(axis, (zero, end), &[loads], &accs, |e, mut cursors, accs| {
            let loads = cursors.pop().expect("one group goes in");
            let loads = e.enter(INNER + 1 + depth, loads)?;
            e.reduction(depth + 1, combine, loads, accs.to_vec())
        })
    }

    /// Joins `value` to the accumulators.
    fn join(&mut self, combine: Combine, accs: &[Value], value: Value) -> Vec<Value> {
        let dtype = self.nest.body.dtype(self.nest.body.results[0]);
        let op = match combine {
            Combine::Sum => Binary::Add,
            Combine::Product => Binary::Mul,
            Combine::Max => Binary::Max,
            Combine::Min => Binary::Min,
            Combine::ArgMax { last } | Combine::ArgMin { last } => {
                let greatest = matches!(combine, Combine::ArgMax { .. });
                let better = self.better(dtype, greatest, last, accs[0], value);
                let best = self.b.ins().select(better, value, accs[0]);
                let place = self.b.ins().select(better, accs[2], accs[1]);
                let next = self.b.ins().iadd_imm_s(accs[2], 1);
                return vec![best, place, next];
            }
        };
        vec![scalar::binary(self.b, op, dtype, accs[0], value)]
    }

    /// Whether `value` takes the place of `best`; NaN is the best there is.
    fn better(&mut self, dtype: DType, greatest: bool, last: bool, best: Value, value: Value) -> Value {
        let (lesser, greater) = if greatest { (best, value) } else { (value, best) };
        let op = if last { Binary::Le } else { Binary::Lt };
        let better = scalar::binary(self.b, op, dtype, lesser, greater);
        if !dtype.is_float() {
            return better;
        }
        let nan = self.b.ins().fcmp(FloatCC::Unordered, value, value);
        let takes = if last {
            nan
        } else {
            let best_is_number = self.b.ins().fcmp(FloatCC::Ordered, best, best);
            self.b.ins().band(nan, best_is_number)
        };
        self.b.ins().bor(better, takes)
    }

    /// Results of a program at the current position.
    fn program(&mut self, program: &Program, acc: Option<Value>) -> Result<Vec<Value>, LowerError> {
        let mut values: Vec<Value> = Vec::with_capacity(program.insts().len());
        for (inst, _) in program.insts() {
            let value = match inst {
                Inst::Load(k) => self.values[*k].expect("loads are done when programs begin"),
                Inst::Acc(_) => acc.expect("accumulators are read after the reduction"),
                Inst::Index(ix) => self.ix(ix),
                other => scalar::emit(self.b, self.can, program, other, &values)?,
            };
            values.push(value);
        }
        Ok(program.results.iter().map(|r| values[r.index()]).collect())
    }
}
