//! stream - the innermost loops of nests as calls of wide tiles.
//!
//! ```text
//!   the last space axis            a stream that stores, over one row or several; a short reduction is done in it
//!   the last reduction axis        a stream that folds, one element a call, or one for each of several rows
//! ```
//!
//! What is the same in all lanes is computed here: an element is passed by its address, anything else is put on the stack.

use cranelift_codegen::ir::{
    InstBuilder, StackSlotData, StackSlotKind, Value,
    condcodes::IntCC,
    types::{F32, I32, I64},
};
use nnc_ir::{
    dtype::DType,
    extent::Extent,
    form::{Combine, Ix},
    program::Inst,
};
use nnc_tile::{
    Tile,
    program::VectorProgram,
    stream::{Element, Join, Output, Stream, StreamArg},
};

use super::{
    LowerError,
    access::Access,
    cut::Cut,
    levels::{INNER, ITEM},
    nest::{Emitter, Pointer},
    place::Cursor,
    scalar,
    schedule::Schedule,
    streamed::{PARTIALS, Source, Streamed},
    vector::{self, Val},
};
use crate::wide::{self, TileNumber};

/// Fewest elements of a row that a call is made for.
const ROW: i64 = 16;
/// Fewest elements of each of several rows.
const SHORT_ROW: i64 = 8;

/// What is folded of the elements that a stage of a row nest stores: one number a row, next to each other.
pub(super) struct FoldAfter {
    pub(super) join: Join,
    /// What becomes of the numbers.
    pub(super) finish: Option<VectorProgram>,
    /// Where that of row 0 is.
    pub(super) base: Value,
}

/// Rows that are asked for while those of a stage are computed, one for each of these.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// Where the row is that goes with item 0, and bytes from one to the next.
    pub(super) base: Value,
    pub(super) step: Extent,
}

impl Emitter<'_, '_> {
    fn wide_tile(&mut self, spec: &Stream) -> Option<TileNumber> {
        self.tiles.number(&Tile::Stream(spec.clone()))
    }

    /// Positions `from..to` of the last space axis as one call, if there is a tile for it. Says whether there is.
    pub(super) fn stream_span(
        &mut self,
        from: Value,
        to: Value,
        known: Option<i64>,
        cursors: [&[Cursor]; 2],
    ) -> Result<bool, LowerError> {
        let nest = self.nest;
        let axis = nest.space - 1;
        if self.tiles.level().is_none() || known.is_some_and(|n| n < ROW) {
            return Ok(false);
        }
        let Some(streamed) = nest.stored() else { return Ok(false) };
        let reads = |s: &Source| match *s {
            Source::Along(k) => cursors[0][k].condition.is_none(),
            // Conditions that are known later hold throughout the item, or do not change along the reduction.
            Source::Tap(k, _) => {
                let mut others = nest.loads[k].conditions.iter().filter(|c| !nest.ix_varies(&c.index, axis));
                cursors[0][k].condition.is_none() && (self.item_holds || others.next().is_none())
            }
            Source::Element(_) | Source::Value(_) => true,
        };
        // An element is read before the reduction.
        let early = |s: &Source| match *s {
            Source::Element(k) => self.uses[k].level <= ITEM || nest.loads[k].conditions.is_empty(),
            _ => true,
        };
        if !streamed.sources.iter().all(|s| reads(s) && early(s) && nest.settled(s, self.uses, ITEM)) {
            return Ok(false);
        }
        let Some(tile) = self.wide_tile(&streamed.spec) else { return Ok(false) };
        let loads = self.move_along(axis, from, &nest.loads, cursors[0]);
        let results = self.move_along(axis, from, &nest.results, cursors[1]);
        let inputs = self.stream_inputs(&streamed, &loads, ITEM)?;
        let outputs: Vec<Value> = results.iter().map(|c| self.address(*c)).collect();
        let n = self.b.ins().isub(to, from);
        self.stream_call(tile, &streamed.spec, n, &inputs, &outputs);
        Ok(true)
    }

    /// Positions `from..to` of the last space axis as the rows of one fold, if there is a tile for it. Says whether there
    /// is.
    pub(super) fn stream_folds(
        &mut self,
        from: Value,
        to: Value,
        cursors: [&[Cursor]; 2],
    ) -> Result<bool, LowerError> {
        let nest = self.nest;
        let (row, axis) = (nest.space - 1, nest.extents.len() - 1);
        let Some(combine) = nest.combine.filter(|_| nest.gives_accumulator()) else { return Ok(false) };
        if self.tiles.level().is_none() || nest.reductions() != 1 || nest.extents[row].is(1) {
            return Ok(false);
        }
        let Some(streamed) = nest.folded(combine) else { return Ok(false) };
        let Some((tile, streamed)) = self.rows_tile(streamed, axis, row) else { return Ok(false) };
        let loads = self.move_along(row, from, &nest.loads, cursors[0]);
        let results = self.move_along(row, from, &nest.results, cursors[1]);
        let rows = self.b.ins().isub(to, from);
        self.rows_call((tile, &streamed), [axis, row], (from, rows), [&loads, &results], None)?;
        Ok(true)
    }

    /// The fold of the last reduction axis as one call, if there is a tile for it: its one element.
    pub(super) fn stream_fold(
        &mut self,
        combine: Combine,
        loads: &[Cursor],
        end: Value,
    ) -> Result<Option<Value>, LowerError> {
        let nest = self.nest;
        let short = nest.extents[nest.extents.len() - 1].as_const().is_some_and(|n| n < ROW);
        let done = INNER + nest.reductions() - 1;
        let Some(mut streamed) = nest.folded(combine).filter(|_| !short) else { return Ok(None) };
        let free = |s: &Source| match s {
            Source::Along(k) | Source::Element(k) if self.uses[*k].level > done => {
                loads[*k].condition.is_none()
            }
            _ => true,
        };
        if !streamed.sources.iter().all(|s| free(s) && nest.settled(s, self.uses, done)) {
            return Ok(None);
        }
        let Some(tile) = self.fold_tile(&mut streamed.spec) else { return Ok(None) };
        let inputs = self.stream_inputs(&streamed, loads, done)?;
        let place = self.stack();
        self.stream_call(tile, &streamed.spec, end, &inputs, &[place]);
        let float = nest.body.dtype(nest.body.results[0]) == DType::F32;
        let ty = if float { F32 } else { I32 };
        Ok(Some(self.b.ins().load(ty, scalar::tensor_flags(), place, 0)))
    }

    /// The tile of a fold, with as many partial results as there are registers for. Where elements are stored, too, two
    /// vectors of them are enough.
    fn fold_tile(&mut self, spec: &mut Stream) -> Option<TileNumber> {
        let stores = spec.outputs.iter().any(|o| matches!(o, Output::Store(_)));
        let most = if stores { 2 * self.tiles.level()?.lanes() } else { usize::from(PARTIALS[0]) };
        for partials in PARTIALS.into_iter().filter(|&p| usize::from(p) <= most) {
            spec.partials = partials;
            let tile = self.wide_tile(spec);
            if tile.is_some() {
                return tile;
            }
        }
        None
    }

    /// Items `begin..end` as calls for as many rows as the last of the items' axes has, if there is a tile for it. Says
    /// whether there is.
    pub(super) fn stream_rows(
        &mut self,
        cut: &Cut,
        (begin, end): (Value, Value),
        [loads, results]: [&[Cursor]; 2],
    ) -> Result<bool, LowerError> {
        let nest = self.nest;
        let inner = nest.space - 1;
        if !self.whole_rows(cut) {
            return Ok(false);
        }
        let mut axis = inner;
        let made = match (self.schedule, nest.combine) {
            (Schedule::Space(lanes), None) if lanes.interior.is_empty() => nest.stored(),
            (Schedule::Reduce(_), Some(combine)) if nest.extents[inner].is(1) && nest.reductions() == 1 => {
                axis = nest.extents.len() - 1;
                let finish = nest.finished().filter(|_| !nest.gives_accumulator());
                let whole = nest.gives_accumulator() || finish.is_some();
                nest.folded(combine).filter(|_| whole).map(|mut streamed| {
                    streamed.spec.finish = finish;
                    streamed
                })
            }
            _ => None,
        };
        let Some(streamed) = made else { return Ok(false) };
        let row = inner - 1;
        let Some((tile, streamed)) = self.rows_tile_ahead(streamed, axis, row) else { return Ok(false) };
        self.runs_of_rows(cut, (begin, end), &mut |e, at, count| {
            let loads = e.move_to_item(&nest.loads, loads);
            let results = e.move_to_item(&nest.results, results);
            let loads = e.enter(ITEM, loads);
            e.rows_call((tile, &streamed), [axis, row], (at, count), [&loads, &results], None)
        })?;
        Ok(true)
    }

    /// Whether items are whole rows, and tiles may do them.
    fn whole_rows(&self, cut: &Cut) -> bool {
        let inner = self.nest.space - 1;
        let whole = cut.block.is_none() && inner > 0 && cut.digits.len() == inner;
        self.tiles.level().is_some() && whole && self.nest.scatter.is_none()
    }

    /// Items `begin..end` as calls for several rows, which also fold what they store, if there is a tile for it. Says
    /// whether there is.
    pub(super) fn stream_rows_and_fold(
        &mut self,
        cut: &Cut,
        (begin, end): (Value, Value),
        results: &[Pointer],
        fold: &FoldAfter,
    ) -> Result<bool, LowerError> {
        let nest = self.nest;
        let inner = nest.space - 1;
        let Schedule::Space(lanes) = self.schedule else { return Ok(false) };
        if !self.whole_rows(cut) || !lanes.interior.is_empty() || nest.combine.is_some() {
            return Ok(false);
        }
        let Some(mut streamed) = nest.stored() else { return Ok(false) };
        let (&[value], &[Output::Store(Element::F32)]) =
            (streamed.spec.program.results(), &streamed.spec.outputs[..])
        else {
            return Ok(false);
        };
        streamed.spec.program.result(value);
        streamed.spec.outputs.push(Output::Fold(fold.join));
        streamed.spec.finish = fold.finish.clone();
        let row = inner - 1;
        let Some((tile, streamed)) = self.rows_tile_ahead(streamed, inner, row) else { return Ok(false) };
        let [loads, results] = self.origins(results);
        self.runs_of_rows(cut, (begin, end), &mut |e, at, count| {
            let loads = e.move_to_item(&nest.loads, &loads);
            let results = e.move_to_item(&nest.results, &results);
            let loads = e.enter(ITEM, loads);
            let before = e.b.ins().imul_imm_s(at, 4);
            let place = e.b.ins().iadd(fold.base, before);
            e.rows_call((tile, &streamed), [inner, row], (at, count), [&loads, &results], Some(place))
        })?;
        Ok(true)
    }

    /// The tile of a stream along `axis` over rows along another axis, if all is known where the items' axes are.
    fn rows_tile(
        &mut self,
        mut streamed: Streamed,
        axis: usize,
        row: usize,
    ) -> Option<(TileNumber, Streamed)> {
        let nest = self.nest;
        let used = |s: &Source| match s {
            Source::Along(k) | Source::Element(k) => {
                let access = &nest.loads[*k];
                let moves = |ix: &Ix| nest.ix_varies(ix, row);
                access.conditions.is_empty() && !access.extra.iter().any(|e| moves(&e.index))
            }
            Source::Tap(..) => false,
            Source::Value(r) => !nest.value_varies(&nest.body, *r, row),
        };
        let short = nest.extents[axis].as_const().is_some_and(|n| n < SHORT_ROW);
        if short || !streamed.sources.iter().all(|s| used(s) && nest.settled(s, self.uses, ITEM)) {
            return None;
        }
        streamed.spec.rows = true;
        let tile = if streamed.spec.folds() {
            self.fold_tile(&mut streamed.spec)
        } else {
            self.wide_tile(&streamed.spec)
        };
        tile.map(|tile| (tile, streamed))
    }

    /// The same with the rows that are asked for, if there are registers for where they are.
    fn rows_tile_ahead(
        &mut self,
        streamed: Streamed,
        axis: usize,
        row: usize,
    ) -> Option<(TileNumber, Streamed)> {
        let mut with = streamed.clone();
        with.spec.ahead = self.ahead.len();
        self.rows_tile(with, axis, row).or_else(|| self.rows_tile(streamed, axis, row))
    }

    /// Calls a tile for so many rows from where the accesses are; what it folds of the elements it stores, it puts there.
    fn rows_call(
        &mut self,
        (tile, streamed): (TileNumber, &Streamed),
        [axis, row]: [usize; 2],
        (first, rows): (Value, Value),
        [loads, results]: [&[Cursor]; 2],
        folded: Option<Value>,
    ) -> Result<(), LowerError> {
        let nest = self.nest;
        let inputs = self.stream_inputs(streamed, loads, ITEM)?;
        let outputs: Vec<Value> = results.iter().map(|c| self.address(*c)).chain(folded).collect();
        let n = self.extent(&nest.extents[axis]);
        let step = |e: &mut Self, access: &Access| {
            let bytes = access.coefficients[row].scale(access.dtype.bytes() as i64);
            e.extent(&bytes)
        };
        let mut args = Vec::new();
        for arg in streamed.spec.args() {
            args.push(match arg {
                StreamArg::N => n,
                StreamArg::Input(k) => inputs[k],
                StreamArg::Output(k) => outputs[k],
                StreamArg::Rows => rows,
                StreamArg::Ahead(k) => {
                    let Asked { base, step } = self.ahead[k].clone();
                    let before = self.times(first, &step);
                    self.b.ins().iadd(base, before)
                }
                StreamArg::AheadStep(k) => {
                    let step = self.ahead[k].step.clone();
                    self.extent(&step)
                }
                StreamArg::InputStep(k) => match streamed.sources[k] {
                    Source::Along(load) | Source::Tap(load, _) | Source::Element(load) => {
                        step(self, &nest.loads[load])
                    }
                    Source::Value(_) => self.b.ins().iconst(I64, 0),
                },
                StreamArg::OutputStep(k) => match nest.results.get(k) {
                    Some(result) => step(self, result),
                    None => self.b.ins().iconst(I64, 4),
                },
            });
        }
        wide::call(self.b, tile, &args);
        Ok(())
    }

    /// Items `begin..end` in runs of neighbours on the last of the items' axes; `body` gets the first and their number.
    fn runs_of_rows(
        &mut self,
        cut: &Cut,
        (begin, end): (Value, Value),
        body: &mut dyn FnMut(&mut Self, Value, Value) -> Result<(), LowerError>,
    ) -> Result<(), LowerError> {
        let inner = self.nest.space - 1;
        let (header, inside, exit) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        let at = self.b.append_block_param(header, I64);
        self.b.ins().jump(header, &[begin.into()]);
        self.b.switch_to_block(header);
        let more = self.b.ins().icmp(IntCC::SignedLessThan, at, end);
        self.b.ins().brif(more, inside, &[], exit, &[]);
        self.b.switch_to_block(inside);
        let digits = self.first_digits(cut, at);
        for (axis, &digit) in self.axes.iter_mut().zip(&digits) {
            *axis = Some(digit);
        }
        let left = self.b.ins().isub(end, at);
        let count = if inner == 1 {
            left
        } else {
            let length = self.extent(&cut.digits[inner - 1]);
            let row = self.b.ins().isub(length, digits[inner - 1]);
            self.b.ins().smin(left, row)
        };
        body(self, at, count)?;
        let next = self.b.ins().iadd(at, count);
        self.b.ins().jump(header, &[next.into()]);
        self.b.switch_to_block(exit);
        Ok(())
    }

    fn stream_call(
        &mut self,
        tile: TileNumber,
        spec: &Stream,
        n: Value,
        inputs: &[Value],
        outputs: &[Value],
    ) {
        let args: Vec<Value> = (spec.args().into_iter())
            .map(|arg| match arg {
                StreamArg::N => n,
                StreamArg::Input(k) => inputs[k],
                StreamArg::Output(k) => outputs[k],
                StreamArg::Rows
                | StreamArg::Ahead(_)
                | StreamArg::InputStep(_)
                | StreamArg::OutputStep(_)
                | StreamArg::AheadStep(_) => {
                    unreachable!("there is one row")
                }
            })
            .collect();
        wide::call(self.b, tile, &args);
    }

    pub(super) fn address(&mut self, cursor: Cursor) -> Value {
        self.b.ins().iadd_imm_s(cursor.addr, i64::from(cursor.disp))
    }

    /// A load at a point of the reduction.
    fn tapped(&mut self, k: usize, tap: usize, start: Cursor) -> Cursor {
        let nest = self.nest;
        let points = nest.points().expect("taps are points of a short reduction");
        points[tap].iter().zip(nest.space..).fold(start, |cursor, (&at, axis)| {
            let access = &nest.loads[k];
            let bytes = access.coefficients[axis].scale(at * access.dtype.bytes() as i64);
            match bytes.as_const().and_then(|c| cursor.shifted(c)) {
                Some(moved) => moved,
                None => Cursor { addr: self.plus(cursor.addr, &bytes), ..cursor },
            }
        })
    }

    /// Address of a word on the stack.
    fn stack(&mut self) -> Value {
        let slot = self.b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, 4, 2));
        self.b.ins().stack_addr(I64, slot, 0)
    }

    /// Addresses of the inputs of a stream, where the levels up to `done` are known.
    fn stream_inputs(
        &mut self,
        streamed: &Streamed,
        loads: &[Cursor],
        done: usize,
    ) -> Result<Vec<Value>, LowerError> {
        let nest = self.nest;
        let any = streamed.sources.iter().any(|s| matches!(s, Source::Value(_)));
        let scalars = if any { self.scalars(done)? } else { Vec::new() };
        let mut out = Vec::with_capacity(streamed.sources.len());
        for source in &streamed.sources {
            let (dtype, value) = match *source {
                Source::Tap(k, tap) => {
                    let cursor = self.tapped(k, tap, loads[k]);
                    out.push(self.address(cursor));
                    continue;
                }
                Source::Along(k) | Source::Element(k) if loads[k].condition.is_none() => {
                    out.push(self.address(loads[k]));
                    continue;
                }
                Source::Along(k) | Source::Element(k) => {
                    let Some(Val::One(value)) = self.values[k].first().copied() else {
                        unreachable!("what is the same in all lanes is one value")
                    };
                    (nest.loads[k].dtype.compute(), value)
                }
                Source::Value(r) => {
                    let value = scalars[r.index()];
                    (nest.body.dtype(r), value.expect("what is the same in all lanes has been computed"))
                }
            };
            let lane = vector::to_lane(self.b, dtype, value);
            let place = self.stack();
            self.b.ins().store(scalar::tensor_flags(), lane, place, 0);
            out.push(place);
        }
        Ok(out)
    }

    /// The values of the body that are known where the levels up to `done` are.
    fn scalars(&mut self, done: usize) -> Result<Vec<Option<Value>>, LowerError> {
        let nest = self.nest;
        let body = &nest.body;
        let mut all: Vec<Option<Value>> = Vec::with_capacity(body.insts().len());
        for (inst, _) in body.insts() {
            let value = match inst {
                Inst::Load(k) if self.uses[*k].level <= done => match self.values[*k].first() {
                    Some(Val::One(value)) => Some(*value),
                    _ => None,
                },
                Inst::Index(ix) if nest.ix_level(ix) <= done => Some(self.ix(ix)),
                Inst::Load(_) | Inst::Index(_) | Inst::Acc(_) => None,
                Inst::Const(c) => Some(scalar::constant(self.b, *c)),
                other if other.refs().iter().all(|r| all[r.index()].is_some()) => {
                    // Only the operands are looked at, and these are there.
                    let zero = self.b.ins().iconst(I64, 0);
                    let values: Vec<Value> = all.iter().map(|v| v.unwrap_or(zero)).collect();
                    Some(scalar::emit(self.b, self.can, body, other, &values)?)
                }
                _ => None,
            };
            all.push(value);
        }
        Ok(all)
    }
}
