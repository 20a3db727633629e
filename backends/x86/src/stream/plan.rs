//! plan - how many vectors a turn of a stream has, in which order their ops are, and what registers hold.

use nnc_tile::{
    program::{Op, Ref, VectorProgram},
    stream::{Element, Output, Stream, Walk},
};

use super::{AT, POINTERS, REST};
use crate::{
    Level,
    asm::{Lanes, Mem, V, elements::Bytes},
    program::{self, Input},
};

/// Steps from which a program is one that waits for itself: its turns have more vectors, at different steps.
const LONG: usize = 12;

/// How the vectors of a turn are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    /// Vectors of a turn.
    vectors: usize,
    /// Of these, those at the same step.
    abreast: usize,
    /// How many such groups are under way at once: one begins when the one before is that part of its steps ahead.
    groups: usize,
}

impl Shape {
    const fn new(vectors: usize, abreast: usize, groups: usize) -> Shape {
        Shape { vectors, abreast, groups }
    }
}

/// Shapes of turns, best first.
const SHORT_TURNS: [Shape; 3] = [Shape::new(4, 4, 1), Shape::new(2, 2, 1), Shape::new(1, 1, 1)];
/// See [`SHORT_TURNS`].
const LONG_TURNS: [Shape; 6] = [
    Shape::new(16, 2, 3),
    Shape::new(8, 2, 2),
    Shape::new(8, 1, 4),
    Shape::new(8, 1, 2),
    Shape::new(2, 2, 1),
    Shape::new(1, 1, 1),
];

/// The best where a long program is folded, too: its rows begin and end more often than they go on.
const LONG_FOLD: Shape = Shape::new(16, 4, 2);

/// A turn of the loop along a row.
pub(super) struct Turn {
    pub(super) vectors: usize,
    /// The program of all of them.
    pub(super) program: VectorProgram,
}

/// What the vector registers hold.
pub(super) struct Plan {
    /// Loops along a row, those of most vectors first; the last is of as many as there are accumulators of an output.
    pub(super) turns: Vec<Turn>,
    /// Vectors of the rest of a row.
    pub(super) rest: usize,
    /// For each output that is folded, the registers that partial results are in.
    pub(super) accumulators: Vec<Vec<V>>,
    /// Lanes of the rest (AVX2).
    pub(super) mask: V,
    /// What is on its way to an accumulator or to memory.
    pub(super) scratch: V,
    /// Of inputs that are the same all along a row, the register.
    pub(super) same: Vec<Option<V>>,
    pub(super) words: Vec<(u32, V)>,
    /// Registers for whole vectors; those of the rest have neither mask nor scratch.
    pub(super) free: Vec<V>,
    /// Whether results go where they belong as soon as they are there.
    pub(super) handed: bool,
}

impl Plan {
    pub(super) fn of(spec: &Stream, level: Level) -> Option<Plan> {
        let narrow = |e: Element| e.bytes() < 4;
        let bytes = spec.inputs.iter().any(|i| narrow(i.element) && i.walk == Walk::Along)
            || spec.outputs.iter().any(|o| matches!(o, Output::Store(e) if narrow(*e)));
        let narrow_same = spec.inputs.iter().any(|i| narrow(i.element) && i.walk == Walk::Same);
        if (bytes && level == Level::Avx2) || narrow_same || spec.outputs.is_empty() {
            return None;
        }
        if spec.inputs.len() + spec.outputs.len() + spec.ahead > POINTERS.len() {
            return None;
        }
        let mut rest = 1;
        if spec.folds() {
            let (partials, lanes) = (usize::from(spec.partials), level.lanes());
            if partials < lanes || partials > 64 {
                return None;
            }
            rest = partials / lanes;
        }
        let mut given = 0..level.registers() as u8;
        let mut take = || given.next().map(V);
        let mut accumulators = Vec::with_capacity(spec.outputs.len());
        for output in &spec.outputs {
            let of_output = if matches!(output, Output::Fold(_)) { rest } else { 0 };
            accumulators.push((0..of_output).map(|_| take()).collect::<Option<Vec<V>>>()?);
        }
        // Bytes of truth are made in it.
        let truth = spec.outputs.contains(&Output::Store(Element::Bool));
        let scratch = if truth { Some(take()?) } else { None };
        let given: Vec<V> = given.map(V).collect();
        let handed = program::reads_first(&spec.program) && results_differ(spec);
        let shapes: Vec<Shape> = shapes(spec, rest, handed);
        let (shape, program, mut held) = shapes.into_iter().find_map(|shape| {
            let program = side_by_side(spec, shape)?;
            let held = [true, false]
                .into_iter()
                .find_map(|same| Held::of(spec, level, (shape.vectors, &program, handed), &given, same))?;
            Some((shape, program, held))
        })?;
        let mut turns = vec![Turn { vectors: shape.vectors, program }];
        for (fewer, groups) in [(8, 2.min(shape.groups)), (2.max(rest), 1), (rest, 1)] {
            if turns.last().is_some_and(|t| t.vectors > fewer) {
                let shape = Shape { vectors: fewer, abreast: fewer.min(shape.abreast), groups };
                turns.push(Turn { vectors: fewer, program: side_by_side(spec, shape)? });
            }
        }
        if spec.finish.as_ref().is_some_and(|finish| program::registers(finish) > held.free.len()) {
            return None;
        }
        let [mask, other] = held.rest;
        held.free.extend([mask, other]);
        let Held { same, words, free, .. } = held;
        let scratch = scratch.unwrap_or(other);
        Some(Plan { turns, rest, accumulators, mask, scratch, same, words, free, handed })
    }
}

/// Whether each result depends on elements along the row, so that no vector's is there before these are read.
fn results_differ(spec: &Stream) -> bool {
    let mut differs: Vec<bool> = Vec::with_capacity(spec.program.ops().len());
    for op in spec.program.ops() {
        let own = matches!(*op, Op::Input(k, _) if spec.inputs[usize::from(k)].walk == Walk::Along);
        differs.push(own || op.operands().any(|r| differs[usize::from(r.0)]));
    }
    spec.program.results().iter().all(|r| differs[usize::from(r.0)])
}

/// Shapes that the turns of a stream may have.
fn shapes(spec: &Stream, accumulators: usize, handed: bool) -> Vec<Shape> {
    let long = handed && program::steps(&spec.program) >= LONG;
    let all: &[Shape] = if long { &LONG_TURNS } else { &SHORT_TURNS };
    let fits = |shape: &&Shape| shape.vectors.is_multiple_of(accumulators);
    let fold = (long && spec.folds()).then_some(LONG_FOLD);
    let mut out: Vec<Shape> = fold.iter().chain(all).filter(fits).copied().collect();
    if spec.folds() {
        // As many vectors as accumulators, computed side by side as far as there are registers.
        let abreast = SHORT_TURNS.iter().map(|s| s.abreast).filter(|&n| accumulators.is_multiple_of(n));
        out.extend(abreast.map(|n| Shape::new(accumulators, n, 1)));
    }
    out
}

/// What registers hold all the time.
struct Held {
    same: Vec<Option<V>>,
    words: Vec<(u32, V)>,
    free: Vec<V>,
    /// Two that the rest of a row does without.
    rest: [V; 2],
}

impl Held {
    /// As many constants as leave enough registers for the program of `n` vectors, and for that of one of the rest of a row.
    fn of(
        spec: &Stream,
        level: Level,
        (n, program, handed): (usize, &VectorProgram, bool),
        given: &[V],
        hold_same: bool,
    ) -> Option<Held> {
        let mut left = given.iter().copied();
        let mut same = vec![None; spec.inputs.len()];
        for (k, input) in spec.inputs.iter().enumerate().filter(|(_, i)| i.walk == Walk::Same && hold_same) {
            if spec.program.ops().contains(&Op::Input(k as u16, input.element.lane_type())) {
                same[k] = Some(left.next()?);
            }
        }
        let left: Vec<V> = left.collect();
        let rest = if level == Level::Avx2 { Lanes::Signs(V(0)) } else { Lanes::Mask(REST) };
        let inputs = |n: usize, lanes: Lanes| inputs(spec, &same, n, lanes, |_| 0);
        let whole = inputs(n, Lanes::All);
        let masked = inputs(1, rest);
        let all = program::words(&spec.program);
        let mut most = left.len().min(all.len());
        loop {
            let words: Vec<(u32, V)> = all.iter().copied().zip(left.iter().copied()).take(most).collect();
            let of_whole = program::taken(level, (program, handed), &whole, &words);
            let of_rest = 2 + program::taken(level, (&spec.program, handed), &masked, &words);
            let taken = of_whole.max(of_rest);
            if taken + most <= left.len() {
                let (free, rest) = left[most..].split_last_chunk::<2>()?;
                return Some(Held { same, words, free: free.to_vec(), rest: *rest });
            }
            let over = (taken + most - left.len()).min(most);
            most = most.checked_sub(over.max(1))?;
        }
    }
}

/// Where the inputs of `n` vectors are, `ahead` elements after the position each.
pub(super) fn inputs(
    spec: &Stream,
    same: &[Option<V>],
    n: usize,
    lanes: Lanes,
    ahead: impl Fn(usize) -> usize,
) -> Vec<Input> {
    let of = |vector: usize, k: usize| {
        let input = spec.inputs[k];
        match (input.walk, same[k]) {
            (Walk::Same, Some(v)) => Input::Kept(v),
            (Walk::Same, None) => Input::Splat(Mem::at(POINTERS[k], 0)),
            (Walk::Along, _) => {
                let from = place(POINTERS[k], input.element, ahead(vector));
                match input.element {
                    Element::F32 | Element::I32 => Input::Lanes(from, lanes),
                    Element::U8 => Input::Bytes(from, Bytes::Unsigned, lanes),
                    Element::I8 => Input::Bytes(from, Bytes::Signed, lanes),
                    Element::Bool => Input::Bytes(from, Bytes::Truth, lanes),
                }
            }
        }
    };
    (0..n)
        .flat_map(|vector| (0..spec.inputs.len()).map(move |k| (vector, k)))
        .map(|(v, k)| of(v, k))
        .collect()
}

/// An element so many elements after the position in a row.
pub(super) fn place(pointer: iced_x86::Register, element: Element, ahead: usize) -> Mem {
    let bytes = element.bytes();
    Mem { base: pointer, index: Some((AT, bytes as u32)), disp: (ahead * bytes) as i64 }
}

/// The program of the vectors of a turn, in the order of its shape. Inputs and results of one vector come after those of
/// another; what is the same all along a row is an input of the first.
fn side_by_side(spec: &Stream, shape: Shape) -> Option<VectorProgram> {
    let ops = spec.program.ops();
    let apart = if shape.groups > 1 { ops.len().div_ceil(shape.groups) } else { ops.len() };
    let mut order: Vec<(usize, usize, usize)> = Vec::with_capacity(ops.len() * shape.vectors);
    for vector in 0..shape.vectors {
        let begin = vector / shape.abreast * apart;
        order.extend((0..ops.len()).map(|at| (begin + at, vector, at)));
    }
    order.sort_unstable();
    let mut program = VectorProgram::new();
    let mut values: Vec<Vec<Ref>> = vec![Vec::new(); shape.vectors];
    for (_, vector, at) in order {
        let op = match ops[at] {
            Op::Input(k, ty) if spec.inputs[usize::from(k)].walk == Walk::Along => {
                Op::Input(u16::try_from(vector * spec.inputs.len()).ok()?.checked_add(k)?, ty)
            }
            op => op.map_operands(|r| values[vector][usize::from(r.0)]),
        };
        let made = program.push(op);
        values[vector].push(made);
    }
    for values in &values {
        spec.program.results().iter().for_each(|r| program.result(values[usize::from(r.0)]));
    }
    Some(program)
}
