//! stream - nests whose lanes are neighbours, as calls of wide tiles.
//!
//! ```text
//!   the last space axis, no reduction      a stream that stores, over one row or several
//!   the last reduction axis                a stream that folds, one element a call
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
    form::{Combine, Ix},
    program::{Inst, Program, Ref},
};
use nnc_tile::{
    Tile,
    program::{LaneType, Op, Ref as Lane, VectorProgram},
    stream::{Element, Input, Join, Output, Stream, StreamArg, Walk},
};

use super::{
    LowerError,
    access::Access,
    collapse::Nest,
    cut::Cut,
    lanes,
    levels::{INNER, ITEM, Use, has_load},
    nest::Emitter,
    place::Cursor,
    scalar,
    schedule::Schedule,
    vector::{self, Val},
};
use crate::wide::{self, TileNumber};

/// Fewest elements of a row that a call is made for.
const ROW: i64 = 16;
/// Fewest elements of each of several rows.
const SHORT_ROW: i64 = 8;
/// Partial results of a fold, best first.
const PARTIALS: [u16; 3] = [64, 32, 16];

/// Where an input of a stream comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// Neighbours that a load reads.
    Along(usize),
    /// The one element that a load reads.
    Element(usize),
    /// A value of the program that is the same in all lanes.
    Value(Ref),
}

/// A program as a stream.
struct Streamed {
    spec: Stream,
    /// One for each input.
    sources: Vec<Source>,
}

/// How elements that lanes hold lie in memory.
fn element(dtype: DType) -> Option<Element> {
    Some(match dtype {
        DType::F32 => Element::F32,
        DType::I32 | DType::U32 => Element::I32,
        DType::U8 => Element::U8,
        DType::I8 => Element::I8,
        DType::Bool => Element::Bool,
        _ => return None,
    })
}

/// A program on its way to become a stream.
struct Making<'a> {
    nest: &'a Nest,
    program: &'a Program,
    /// Whether lanes differ, of each value.
    varies: Vec<bool>,
    /// Lanes of each value, once they are needed.
    lanes: Vec<Option<Lane>>,
    made: VectorProgram,
    inputs: Vec<Input>,
    sources: Vec<Source>,
}

impl Making<'_> {
    fn input(&mut self, element: Element, walk: Walk, source: Source) -> Option<Lane> {
        let known = self.sources.iter().position(|s| *s == source);
        let k = known.unwrap_or(self.sources.len());
        if known.is_none() {
            self.inputs.push(Input { element, walk });
            self.sources.push(source);
        }
        Some(self.made.push(Op::Input(u16::try_from(k).ok()?, element.lane_type())))
    }

    /// Lanes of a value that comes before.
    fn get(&mut self, r: Ref) -> Option<Lane> {
        if let Some(lane) = self.lanes[r.index()] {
            return Some(lane);
        }
        let word =
            |dtype| Some(if lanes::lane(dtype)? == LaneType::F32 { Element::F32 } else { Element::I32 });
        let dtype = self.program.dtype(r);
        let lane = match self.program.inst(r) {
            _ if self.varies[r.index()] => return None,
            Inst::Const(c) => lanes::constant(&mut self.made, *c)?,
            Inst::Load(k) if self.nest.loads[*k].dtype.bytes() == 4 => {
                self.input(word(dtype)?, Walk::Same, Source::Element(*k))?
            }
            _ => self.input(word(dtype)?, Walk::Same, Source::Value(r))?,
        };
        self.lanes[r.index()] = Some(lane);
        Some(lane)
    }

    fn inst(&mut self, inst: &Inst, dtype: DType, axis: usize) -> Option<Lane> {
        if let Inst::Load(k) = inst {
            let access = &self.nest.loads[*k];
            let linear = !access.extra.iter().any(|e| self.nest.ix_varies(&e.index, axis));
            let neighbours = access.coefficients[axis].is(1) && linear && self.nest.covered(access, axis);
            return if neighbours {
                self.input(element(access.dtype)?, Walk::Along, Source::Along(*k))
            } else {
                None
            };
        }
        let refs: Vec<Ref> = inst.refs().to_vec();
        for r in &refs {
            self.get(*r)?;
        }
        // Those that were not needed are not looked at.
        let values: Vec<Lane> = self.lanes.iter().map(|l| l.unwrap_or(Lane(0))).collect();
        lanes::inst(&mut self.made, self.program, (inst, dtype), &values)
    }
}

impl Nest {
    /// A program with the axis in lanes, if lanes are neighbours wherever they differ; `outputs` by the types of results.
    fn streamed(
        &self,
        program: &Program,
        axis: usize,
        output: impl Fn(usize, DType) -> Option<Output>,
    ) -> Option<Streamed> {
        let n = program.insts().len();
        let mut making = Making {
            nest: self,
            program,
            varies: vec![false; n],
            lanes: vec![None; n],
            made: VectorProgram::new(),
            inputs: Vec::new(),
            sources: Vec::new(),
        };
        for (at, (inst, dtype)) in program.insts().iter().enumerate() {
            let varies = match inst {
                Inst::Load(k) => self.access_varies(&self.loads[*k], axis),
                Inst::Index(ix) => self.ix_varies(ix, axis),
                Inst::Acc(_) => true,
                _ => inst.refs().iter().any(|r| making.varies[r.index()]),
            };
            if varies {
                making.lanes[at] = Some(making.inst(inst, *dtype, axis)?);
                making.varies[at] = true;
            }
        }
        let mut outputs = Vec::with_capacity(program.results.len());
        for (k, &r) in program.results.iter().enumerate() {
            let lane = making.get(r)?;
            making.made.result(lane);
            outputs.push(output(k, program.dtype(r))?);
        }
        let spec = Stream {
            program: making.made,
            inputs: making.inputs,
            outputs,
            rows: false,
            partials: PARTIALS[0],
        };
        Some(Streamed { spec, sources: making.sources })
    }

    /// The body as a stream that stores.
    fn stored(&self, axis: usize) -> Option<Streamed> {
        if self.combine.is_some()
            || self.scatter.is_some()
            || !self.results.iter().all(|r| r.coefficients[axis].is(1))
        {
            return None;
        }
        self.streamed(&self.body, axis, |k, dtype| {
            let stored = self.results[k].dtype;
            let as_is =
                |e: &Element| stored.bytes() == dtype.bytes() && lanes::lane(dtype) == Some(e.lane_type());
            Some(Output::Store(element(stored).filter(as_is)?))
        })
    }

    /// The body as a stream that folds along the last reduction axis.
    fn folded(&self, combine: Combine) -> Option<Streamed> {
        let join = |dtype: DType| {
            Some(match (combine, dtype) {
                (Combine::Sum, DType::F32) => Join::Sum,
                (Combine::Product, DType::F32) => Join::Product,
                (Combine::Max, DType::F32) => Join::Max,
                (Combine::Min, DType::F32) => Join::Min,
                (Combine::Sum, DType::I32 | DType::U32) => Join::IntSum,
                _ => return None,
            })
        };
        self.streamed(&self.body, self.extents.len() - 1, |_, dtype| Some(Output::Fold(join(dtype)?)))
    }

    /// Whether the result is the accumulator as it is.
    fn gives_accumulator(&self) -> bool {
        let ([result], [place]) = (&self.finish.results[..], &self.results[..]) else { return false };
        matches!(self.finish.inst(*result), Inst::Acc(0)) && place.dtype == self.finish.dtype(*result)
    }

    /// Whether all but the axis in lanes is known of a source where the levels up to `done` are.
    fn settled(&self, source: &Source, uses: &[Use], done: usize) -> bool {
        match source {
            Source::Along(k) | Source::Element(k) => {
                let access = &self.loads[*k];
                let late = |ix: &Ix, checked: bool| (checked || has_load(ix)) && uses[*k].earliest > done;
                !access.extra.iter().any(|e| late(&e.index, e.check.is_some()))
                    && !access.conditions.iter().any(|c| late(&c.index, false))
            }
            Source::Value(r) => self.known_at(&self.body, *r, uses, done),
        }
    }

    /// Whether a value that is the same in all lanes is known at a level.
    fn known_at(&self, program: &Program, r: Ref, uses: &[Use], level: usize) -> bool {
        match program.inst(r) {
            Inst::Load(k) => uses[*k].level <= level,
            Inst::Index(ix) => self.ix_level(ix) <= level,
            Inst::Acc(_) => false,
            other => other.refs().iter().all(|x| self.known_at(program, *x, uses, level)),
        }
    }

    /// Whether a value of a program changes along an axis.
    fn value_varies(&self, program: &Program, r: Ref, axis: usize) -> bool {
        match program.inst(r) {
            Inst::Load(k) => self.access_varies(&self.loads[*k], axis),
            Inst::Index(ix) => self.ix_varies(ix, axis),
            other => other.refs().iter().any(|x| self.value_varies(program, *x, axis)),
        }
    }
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
        let Some(streamed) = nest.stored(axis) else { return Ok(false) };
        let conditional = |s: &Source| matches!(s, Source::Along(k) if cursors[0][*k].condition.is_some());
        let fine = |s: &Source| !conditional(s) && nest.settled(s, self.uses, ITEM);
        if !streamed.sources.iter().all(fine) {
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

    /// The tile of a fold, with as many partial results as there are registers for.
    fn fold_tile(&mut self, spec: &mut Stream) -> Option<TileNumber> {
        for partials in PARTIALS {
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
        let whole = cut.block.is_none() && inner > 0 && cut.digits.len() == inner;
        if self.tiles.level().is_none() || !whole || nest.scatter.is_some() {
            return Ok(false);
        }
        let made = match (self.schedule, nest.combine) {
            (Schedule::Space(lanes), None) if lanes.interior.is_empty() => {
                nest.stored(inner).map(|streamed| (streamed, inner, ITEM))
            }
            (Schedule::Reduce(_), Some(combine)) if nest.extents[inner].is(1) && nest.gives_accumulator() => {
                let axis = nest.extents.len() - 1;
                nest.folded(combine).filter(|_| nest.reductions() == 1).map(|s| (s, axis, ITEM))
            }
            _ => None,
        };
        let Some((mut streamed, axis, done)) = made else { return Ok(false) };
        let row = inner - 1;
        let used = |s: &Source| match s {
            Source::Along(k) | Source::Element(k) => {
                let access = &nest.loads[*k];
                let moves = |ix: &Ix| nest.ix_varies(ix, row);
                access.conditions.is_empty() && !access.extra.iter().any(|e| moves(&e.index))
            }
            Source::Value(r) => !nest.value_varies(&nest.body, *r, row),
        };
        let short = nest.extents[axis].as_const().is_some_and(|n| n < SHORT_ROW);
        if short || !streamed.sources.iter().all(|s| used(s) && nest.settled(s, self.uses, done)) {
            return Ok(false);
        }
        streamed.spec.rows = true;
        let tile = if streamed.spec.folds() {
            self.fold_tile(&mut streamed.spec)
        } else {
            self.wide_tile(&streamed.spec)
        };
        let Some(tile) = tile else { return Ok(false) };
        self.runs_of_rows(cut, (begin, end), &mut |e, count| {
            let loads = e.move_to_item(&nest.loads, loads);
            let results = e.move_to_item(&nest.results, results);
            let loads = e.enter(ITEM, loads);
            let inputs = e.stream_inputs(&streamed, &loads, done)?;
            let outputs: Vec<Value> = results.iter().map(|c| e.address(*c)).collect();
            let n = e.extent(&nest.extents[axis]);
            let step = |e: &mut Self, access: &Access| {
                let bytes = access.coefficients[row].scale(access.dtype.bytes() as i64);
                e.extent(&bytes)
            };
            let args: Vec<Value> = (streamed.spec.args().into_iter())
                .map(|arg| match arg {
                    StreamArg::N => n,
                    StreamArg::Input(k) => inputs[k],
                    StreamArg::Output(k) => outputs[k],
                    StreamArg::Rows => count,
                    StreamArg::InputStep(k) => match streamed.sources[k] {
                        Source::Along(load) | Source::Element(load) => step(e, &nest.loads[load]),
                        Source::Value(_) => e.b.ins().iconst(I64, 0),
                    },
                    StreamArg::OutputStep(k) => step(e, &nest.results[k]),
                })
                .collect();
            wide::call(e.b, tile, &args);
            Ok(())
        })?;
        Ok(true)
    }

    /// Items `begin..end` in runs of neighbours on the last of the items' axes; `body` gets their number.
    fn runs_of_rows(
        &mut self,
        cut: &Cut,
        (begin, end): (Value, Value),
        body: &mut dyn FnMut(&mut Self, Value) -> Result<(), LowerError>,
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
        body(self, count)?;
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
                StreamArg::Rows | StreamArg::InputStep(_) | StreamArg::OutputStep(_) => {
                    unreachable!("there is one row")
                }
            })
            .collect();
        wide::call(self.b, tile, &args);
    }

    fn address(&mut self, cursor: Cursor) -> Value {
        self.b.ins().iadd_imm_s(cursor.addr, i64::from(cursor.disp))
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
