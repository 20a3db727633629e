//! streamed - which programs of a nest are streams, and where their inputs come from.

use nnc_ir::{
    dtype::{DType, Scalar},
    form::{Combine, Ix},
    program::{Inst, Program, Ref},
};
use nnc_tile::{
    program::{LaneType, Op, Ref as Lane, VectorProgram},
    stream::{Element, Input, Join, Output, Stream, Walk},
};

use super::{
    collapse::Nest,
    lanes,
    levels::{Use, has_load},
};

/// Partial results of a fold, best first.
pub(super) const PARTIALS: [u16; 3] = [64, 32, 16];
/// Most points of a reduction that a stream does at once.
const POINTS: i64 = 16;

/// Where an input of a stream comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Neighbours that a load reads.
    Along(usize),
    /// Neighbours that a load reads at a point of the reduction, by its number.
    Tap(usize, usize),
    /// The one element that a load reads.
    Element(usize),
    /// A value of the body that is the same in all lanes.
    Value(Ref),
}

/// A program as a stream.
#[derive(Clone)]
pub(super) struct Streamed {
    pub(super) spec: Stream,
    /// One for each input.
    pub(super) sources: Vec<Source>,
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

/// A stream in the making.
struct Making<'a> {
    nest: &'a Nest,
    /// The axis in lanes.
    axis: usize,
    made: VectorProgram,
    inputs: Vec<Input>,
    sources: Vec<Source>,
}

/// A program that becomes part of a stream.
struct Part<'a> {
    program: &'a Program,
    /// The point of the reduction where it is evaluated, if it is one of several.
    tap: Option<usize>,
    /// The accumulator it may read.
    acc: Option<Lane>,
    /// Whether lanes differ, of each value.
    varies: Vec<bool>,
    /// Lanes of each value, once they are needed.
    lanes: Vec<Option<Lane>>,
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

    /// The results of a program.
    fn program(&mut self, program: &Program, tap: Option<usize>, acc: Option<Lane>) -> Option<Vec<Lane>> {
        let n = program.insts().len();
        let mut part = Part { program, tap, acc, varies: vec![false; n], lanes: vec![None; n] };
        for (at, (inst, dtype)) in program.insts().iter().enumerate() {
            part.varies[at] = match inst {
                Inst::Load(k) => self.load_varies(*k, tap),
                Inst::Index(ix) => self.nest.ix_varies(ix, self.axis) || (tap.is_some() && self.steps(ix)),
                Inst::Acc(_) => true,
                _ => inst.refs().iter().any(|r| part.varies[r.index()]),
            };
            if part.varies[at] {
                part.lanes[at] = Some(self.inst(&mut part, inst, *dtype)?);
            }
        }
        program.results.iter().map(|&r| self.get(&mut part, r)).collect()
    }

    fn load_varies(&self, k: usize, tap: Option<usize>) -> bool {
        let (nest, access) = (self.nest, &self.nest.loads[k]);
        let reductions = nest.space..nest.extents.len();
        nest.access_varies(access, self.axis)
            || (tap.is_some() && reductions.clone().any(|axis| nest.access_varies(access, axis)))
    }

    /// Whether an index changes along an axis of the reduction.
    fn steps(&self, ix: &Ix) -> bool {
        (self.nest.space..self.nest.extents.len()).any(|axis| self.nest.ix_varies(ix, axis))
    }

    /// Lanes of a value that comes before.
    fn get(&mut self, part: &mut Part<'_>, r: Ref) -> Option<Lane> {
        if let Some(lane) = part.lanes[r.index()] {
            return Some(lane);
        }
        let word =
            |dtype| Some(if lanes::lane(dtype)? == LaneType::F32 { Element::F32 } else { Element::I32 });
        let dtype = part.program.dtype(r);
        let lane = match part.program.inst(r) {
            _ if part.varies[r.index()] => return None,
            Inst::Const(c) => lanes::constant(&mut self.made, *c)?,
            Inst::Load(k) if self.nest.loads[*k].dtype.bytes() == 4 => {
                self.input(word(dtype)?, Walk::Same, Source::Element(*k))?
            }
            // Values are those of the body where it is evaluated once.
            _ if part.tap.is_some() || part.acc.is_some() => return None,
            _ => self.input(word(dtype)?, Walk::Same, Source::Value(r))?,
        };
        part.lanes[r.index()] = Some(lane);
        Some(lane)
    }

    fn inst(&mut self, part: &mut Part<'_>, inst: &Inst, dtype: DType) -> Option<Lane> {
        let nest = self.nest;
        if let Inst::Acc(_) = inst {
            return part.acc;
        }
        if let Inst::Load(k) = inst {
            let access = &nest.loads[*k];
            let moves = |ix: &Ix| nest.ix_varies(ix, self.axis) || (part.tap.is_some() && self.steps(ix));
            let linear = !access.extra.iter().any(|e| moves(&e.index));
            let neighbours =
                access.coefficients[self.axis].is(1) && linear && nest.covered(access, self.axis);
            let source = part.tap.map_or(Source::Along(*k), |tap| Source::Tap(*k, tap));
            return if neighbours { self.input(element(access.dtype)?, Walk::Along, source) } else { None };
        }
        for r in inst.refs() {
            self.get(part, r)?;
        }
        // Those that were not needed are not looked at.
        let values: Vec<Lane> = part.lanes.iter().map(|l| l.unwrap_or(Lane(0))).collect();
        lanes::inst(&mut self.made, part.program, (inst, dtype), &values)
    }

    fn finish(mut self, results: Vec<Lane>, outputs: Vec<Output>) -> Streamed {
        results.into_iter().for_each(|lane| self.made.result(lane));
        let spec = Stream {
            program: self.made,
            inputs: self.inputs,
            outputs,
            ahead: 0,
            rows: false,
            partials: PARTIALS[0],
            finish: None,
        };
        Streamed { spec, sources: self.sources }
    }
}

impl Nest {
    fn making(&self, axis: usize) -> Making<'_> {
        let (inputs, sources) = (Vec::new(), Vec::new());
        Making { nest: self, axis, made: VectorProgram::new(), inputs, sources }
    }

    /// The last space axis as a stream that stores, if lanes are neighbours wherever they differ; short reductions are
    /// done in it.
    pub(super) fn stored(&self) -> Option<Streamed> {
        let axis = self.space - 1;
        if self.scatter.is_some() || !self.results.iter().all(|r| r.coefficients[axis].is(1)) {
            return None;
        }
        let mut making = self.making(axis);
        let (program, results) = match self.combine {
            None => (&self.body, making.program(&self.body, None, None)?),
            Some(combine) => (&self.finish, self.reduced(&mut making, combine)?),
        };
        let mut outputs = Vec::with_capacity(results.len());
        for (place, &r) in self.results.iter().zip(&program.results) {
            let (stored, dtype) = (place.dtype, program.dtype(r));
            let kind = element(stored)?;
            if stored.bytes() != dtype.bytes() || lanes::lane(dtype) != Some(kind.lane_type()) {
                return None;
            }
            outputs.push(Output::Store(kind));
        }
        Some(making.finish(results, outputs))
    }

    /// The results of a nest whose reduction has few points, in the order in which loops join them.
    fn reduced(&self, making: &mut Making<'_>, combine: Combine) -> Option<Vec<Lane>> {
        let [result] = self.body.results[..] else { return None };
        let dtype = self.body.dtype(result);
        let (identity, join): (Scalar, fn(Lane, Lane) -> Op) = match (combine, dtype) {
            (Combine::Sum, DType::F32) => (Scalar::zero(dtype), Op::Add),
            (Combine::Product, DType::F32) => (Scalar::int(dtype, 1), Op::Mul),
            (Combine::Max, DType::F32) => (Scalar::lowest(dtype), Op::Max),
            (Combine::Min, DType::F32) => (Scalar::highest(dtype), Op::Min),
            _ => return None,
        };
        let mut acc = lanes::constant(&mut making.made, identity)?;
        for tap in 0..self.points()?.len() {
            let value = making.program(&self.body, Some(tap), None)?[0];
            acc = making.made.push(join(acc, value));
        }
        making.program(&self.finish, None, Some(acc))
    }

    /// The points of a short reduction in order.
    pub(super) fn points(&self) -> Option<Vec<Vec<i64>>> {
        let mut points: Vec<Vec<i64>> = vec![vec![]];
        for extent in &self.extents[self.space..] {
            let n = extent.as_const().filter(|&n| n > 0 && n * points.len() as i64 <= POINTS)?;
            points = points.iter().flat_map(|p| (0..n).map(move |at| [&p[..], &[at]].concat())).collect();
        }
        Some(points)
    }

    /// The body as a stream that folds along the last reduction axis.
    pub(super) fn folded(&self, combine: Combine) -> Option<Streamed> {
        let [result] = self.body.results[..] else { return None };
        let join = match (combine, self.body.dtype(result)) {
            (Combine::Sum, DType::F32) => Join::Sum,
            (Combine::Product, DType::F32) => Join::Product,
            (Combine::Max, DType::F32) => Join::Max,
            (Combine::Min, DType::F32) => Join::Min,
            (Combine::Sum, DType::I32 | DType::U32) => Join::IntSum,
            _ => return None,
        };
        let mut making = self.making(self.extents.len() - 1);
        let results = making.program(&self.body, None, None)?;
        Some(making.finish(results, vec![Output::Fold(join)]))
    }

    /// What becomes of the accumulator, if nothing else is read.
    pub(super) fn finished(&self) -> Option<VectorProgram> {
        let [result] = self.finish.results[..] else { return None };
        let float = |dtype| dtype == DType::F32;
        if !float(self.finish.dtype(result)) || !self.results.iter().all(|r| float(r.dtype)) {
            return None;
        }
        let mut making = self.making(self.space - 1);
        let acc = making.input(Element::F32, Walk::Along, Source::Along(0))?;
        let results = making.program(&self.finish, None, Some(acc))?;
        let alone = making.sources.len() == 1;
        alone.then(|| making.finish(results, vec![Output::Store(Element::F32)]).spec.program)
    }

    /// Whether the result is the accumulator as it is.
    pub(super) fn gives_accumulator(&self) -> bool {
        let ([result], [place]) = (&self.finish.results[..], &self.results[..]) else { return false };
        matches!(self.finish.inst(*result), Inst::Acc(0)) && place.dtype == self.finish.dtype(*result)
    }

    /// Whether all but the axis in lanes is known of a source where the levels up to `done` are.
    pub(super) fn settled(&self, source: &Source, uses: &[Use], done: usize) -> bool {
        match source {
            Source::Along(k) | Source::Tap(k, _) | Source::Element(k) => {
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
    pub(super) fn value_varies(&self, program: &Program, r: Ref, axis: usize) -> bool {
        match program.inst(r) {
            Inst::Load(k) => self.access_varies(&self.loads[*k], axis),
            Inst::Index(ix) => self.ix_varies(ix, axis),
            other => other.refs().iter().any(|x| self.value_varies(program, *x, axis)),
        }
    }
}
