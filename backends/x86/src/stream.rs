//! stream - pointwise arithmetic along rows: whole vectors, several in one turn, and the rest by a mask.
//!
//! ```text
//! for each row
//!   several vectors in one turn, then whole vectors, then a masked one
//!   folds: accumulators joined, one element finished and stored
//! ```
//!
//! A vector is a chain of instructions that wait for each other, longer than what the processor looks ahead: it holds some 150
//! that wait. So vectors of a turn are computed side by side, an op of each in turn, and where the chain is long, groups of
//! vectors one after another: a group begins when that before is a part of its ops ahead, so that what stands next to each
//! other seldom waits. Constants and elements that are the same all along a row stay in registers as far as there are any. With
//! folds a turn is a multiple of the accumulators, so that the rest of a row is as many vectors as there are of these.

use iced_x86::{Code, Register};
use nnc_tile::{
    program::{Op, Ref, VectorProgram},
    stream::{Element, Join, Output, Stream, StreamArg, Walk},
};

use crate::{
    Level,
    asm::{ARGS, Asm, EncodeError, K, Lanes, Mem, Op2, V, elements::Bytes},
    frame::{Frame, TEMP},
    program::{self, Input},
};

/// Registers that hold addresses of operands.
const POINTERS: [Register; 10] = [
    Register::RSI,
    Register::RDX,
    Register::RCX,
    Register::R8,
    Register::R9,
    Register::RBX,
    Register::R12,
    Register::R13,
    Register::R14,
    Register::R15,
];
/// Elements of a row.
const N: Register = Register::RDI;
/// Position in a row.
const AT: Register = Register::R10;
/// Greatest position where a turn of the loop has all its elements.
const LIMIT: Register = Register::R11;
/// Lanes of the rest.
const REST: K = K(1);
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

/// A turn of the loop along a row.
struct Turn {
    vectors: usize,
    /// The program of all of them.
    program: VectorProgram,
}

/// What the vector registers hold.
struct Plan {
    /// Loops along a row, those of most vectors first; the last is of as many as there are accumulators of an output.
    turns: Vec<Turn>,
    /// Vectors of the rest of a row.
    rest: usize,
    /// For each output that is folded, the registers that partial results are in.
    accumulators: Vec<Vec<V>>,
    /// Lanes of the rest (AVX2).
    mask: V,
    /// What is on its way to an accumulator or to memory.
    scratch: V,
    /// Of inputs that are the same all along a row, the register.
    same: Vec<Option<V>>,
    words: Vec<(u32, V)>,
    /// Registers for whole vectors; those of the rest have neither mask nor scratch.
    free: Vec<V>,
    /// Whether results go where they belong as soon as they are there.
    handed: bool,
}

impl Plan {
    fn of(spec: &Stream, level: Level) -> Option<Plan> {
        let narrow = |e: Element| e.bytes() < 4;
        let bytes = spec.inputs.iter().any(|i| narrow(i.element) && i.walk == Walk::Along)
            || spec.outputs.iter().any(|o| matches!(o, Output::Store(e) if narrow(*e)));
        let narrow_same = spec.inputs.iter().any(|i| narrow(i.element) && i.walk == Walk::Same);
        if (bytes && level == Level::Avx2) || narrow_same || spec.outputs.is_empty() {
            return None;
        }
        if spec.inputs.len() + spec.outputs.len() > POINTERS.len() {
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
    let mut out: Vec<Shape> = all.iter().filter(fits).copied().collect();
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
fn inputs(
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
fn place(pointer: Register, element: Element, ahead: usize) -> Mem {
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

/// Whether there are registers for the tile.
pub(crate) fn supports(spec: &Stream, level: Level) -> bool {
    Plan::of(spec, level).is_some()
}

/// The function of a tile.
pub(crate) fn emit(spec: &Stream, level: Level) -> Result<Vec<u8>, EncodeError> {
    spec.check();
    let Some(plan) = Plan::of(spec, level) else {
        return Err(EncodeError("more registers than there are".into()));
    };
    let mut asm = Asm::new(level);
    let frame = Frame::open(&mut asm, spec.args(), 0);
    let mut gen_ = Gen { asm: &mut asm, spec, plan, frame };
    gen_.rows();
    gen_.frame.close(gen_.asm);
    asm.finish()
}

struct Gen<'a> {
    asm: &'a mut Asm,
    spec: &'a Stream,
    plan: Plan,
    frame: Frame<StreamArg>,
}

impl Gen<'_> {
    /// The register of an output: those of inputs come before.
    fn output(&self, k: usize) -> Register {
        POINTERS[self.spec.inputs.len() + k]
    }

    fn rows(&mut self) {
        let (inputs, outputs) = (self.spec.inputs.len(), self.spec.outputs.len());
        // The first of them are where they are needed already.
        for (k, pointer) in POINTERS.iter().enumerate().take(inputs + outputs).skip(ARGS.len() - 1) {
            let from = self.frame.at(1 + k);
            self.asm.mov_load(*pointer, from);
        }
        for (word, v) in self.plan.words.clone() {
            self.asm.constant(v, word);
        }
        if !self.spec.rows {
            return self.row();
        }
        let (done, rows) = (self.asm.label(), self.frame.arg(StreamArg::Rows));
        self.asm.mov_load(TEMP, rows);
        self.asm.cmp_imm(TEMP, 0);
        self.asm.jump(Code::Jle_rel32_64, done);
        let next = self.asm.here();
        self.row();
        for (k, pointer) in POINTERS.iter().enumerate().take(inputs) {
            let step = self.frame.arg(StreamArg::InputStep(k));
            self.asm.add_load(*pointer, step);
        }
        for k in 0..outputs {
            let (to, step) = (self.output(k), self.frame.arg(StreamArg::OutputStep(k)));
            self.asm.add_load(to, step);
        }
        self.asm.decrement(rows);
        self.asm.jump(Code::Jne_rel32_64, next);
        self.asm.place(done);
    }

    fn row(&mut self) {
        let lanes = self.asm.level.lanes() as i64;
        if self.plan.same.iter().any(Option::is_some) {
            // An empty row has no element, not even this one.
            let empty = self.asm.label();
            self.asm.cmp_imm(N, 0);
            self.asm.jump(Code::Jle_rel32_64, empty);
            for (k, v) in self.plan.same.clone().into_iter().enumerate() {
                if let Some(v) = v {
                    self.asm.broadcast(v, Mem::at(POINTERS[k], 0));
                }
            }
            self.asm.place(empty);
        }
        for (k, output) in self.spec.outputs.iter().enumerate() {
            if let Output::Fold(join) = output {
                for &acc in &self.plan.accumulators[k] {
                    self.asm.constant(acc, join.identity());
                }
            }
        }
        self.asm.mov_imm(AT, 0);
        for turn in 0..self.plan.turns.len() {
            self.turns(turn);
        }
        let done = self.asm.label();
        for vector in 0..self.plan.rest {
            self.asm.cmp(AT, N);
            self.asm.jump(Code::Jge_rel32_64, done);
            self.rest_of_row();
            self.vectors(None, vector);
            if vector + 1 < self.plan.rest {
                self.asm.add_imm(AT, lanes);
            }
        }
        self.asm.place(done);
        self.fold();
    }

    /// Turns of a number of whole vectors, as long as there are as many elements.
    fn turns(&mut self, turn: usize) {
        let lanes = self.asm.level.lanes();
        let elements = (self.plan.turns[turn].vectors * lanes) as i64;
        let (next, done) = (self.asm.label(), self.asm.label());
        self.asm.lea(LIMIT, Mem::at(N, -elements));
        self.asm.cmp(AT, LIMIT);
        self.asm.jump(Code::Jg_rel32_64, done);
        self.asm.place(next);
        self.vectors(Some(turn), 0);
        self.asm.add_imm(AT, elements);
        self.asm.cmp(AT, LIMIT);
        self.asm.jump(Code::Jle_rel32_64, next);
        self.asm.place(done);
    }

    /// The mask of a vector at the position of which not all elements need be in the row. At least one is, and at most 64.
    fn rest_of_row(&mut self) {
        self.asm.mov(TEMP, N);
        self.asm.sub(TEMP, AT);
        if self.asm.level == Level::Avx512 {
            self.asm.mov_imm(LIMIT, -1);
            self.asm.keep_low_bits(LIMIT, LIMIT, TEMP);
            self.asm.mask_from(REST, LIMIT);
        } else {
            // All ones and then all zeros: what begins as many before the zeros as are left is the mask.
            let ones =
                if self.spec.folds() { usize::from(self.spec.partials) } else { self.asm.level.lanes() };
            let words: Vec<u32> =
                (0..ones + self.asm.level.lanes()).map(|w| if w < ones { u32::MAX } else { 0 }).collect();
            self.asm.negate(TEMP);
            self.asm.address_of(LIMIT, &words);
            let at = Mem { base: LIMIT, index: Some((TEMP, 4)), disp: 4 * ones as i64 };
            self.asm.load(self.plan.mask, at, Lanes::All);
        }
    }

    /// The vectors of a turn, or one of the rest of a row, at the position itself, which is number `first`.
    fn vectors(&mut self, turn: Option<usize>, first: usize) {
        let Gen { asm, spec, plan, .. } = self;
        let (spec, level) = (*spec, asm.level);
        let (n, program, lanes, free) = match turn {
            Some(turn) => {
                let Turn { vectors, program } = &plan.turns[turn];
                (*vectors, program, Lanes::All, &plan.free[..])
            }
            None => {
                let lanes = match level {
                    Level::Avx512 => Lanes::Mask(REST),
                    Level::Avx2 => Lanes::Signs(plan.mask),
                };
                (1, &spec.program, lanes, &plan.free[..plan.free.len() - 2])
            }
        };
        let ahead = move |vector: usize| if turn.is_none() { 0 } else { vector * level.lanes() };
        let inputs = inputs(spec, &plan.same, n, lanes, ahead);
        let outputs = spec.outputs.len();
        let mut hand = |asm: &mut Asm, at: usize, value: V| {
            let (vector, k) = (at / outputs, at % outputs);
            match spec.outputs[k] {
                Output::Store(element) => {
                    let to = place(POINTERS[spec.inputs.len() + k], element, ahead(vector));
                    store(asm, to, element, (value, plan.scratch), lanes);
                }
                Output::Fold(join) => {
                    let of_output = &plan.accumulators[k];
                    let acc = of_output[(first + vector) % of_output.len()];
                    let op = op_of(join);
                    match lanes {
                        Lanes::All => asm.op2(op, acc, acc, value),
                        Lanes::Mask(mask) => asm.op2_masked(op, acc, acc, value, mask),
                        Lanes::Signs(mask) => {
                            asm.op2(op, plan.scratch, acc, value);
                            asm.blend(acc, mask, plan.scratch, acc);
                        }
                    }
                }
            }
        };
        if plan.handed {
            program::emit_each(asm, program, &inputs, &plan.words, free, &mut hand);
        } else {
            let results = program::emit_with(asm, program, &inputs, &plan.words, free);
            results.into_iter().enumerate().for_each(|(at, value)| hand(asm, at, value));
        }
    }

    /// Joins the accumulators of each fold, and stores its element, finished.
    fn fold(&mut self) {
        for (k, output) in self.spec.outputs.iter().enumerate() {
            let Output::Fold(join) = *output else { continue };
            let op = op_of(join);
            let accumulators = self.plan.accumulators[k].clone();
            let mut left = accumulators.len();
            while left > 1 {
                left /= 2;
                for (&a, &b) in accumulators[..left].iter().zip(&accumulators[left..]) {
                    self.asm.op2(op, a, a, b);
                }
            }
            let acc = accumulators[0];
            let upper = self.plan.scratch;
            let mut lanes = self.asm.level.lanes();
            while lanes > 1 {
                self.asm.upper_half(upper, acc, lanes);
                self.asm.op2(op, acc, acc, upper);
                lanes /= 2;
            }
            let to = self.output(k);
            let result = match &self.spec.finish {
                None => acc,
                Some(finish) => program::emit(self.asm, finish, &[Input::Own(acc)], &self.plan.free)[0],
            };
            self.asm.store_first(Mem::at(to, 0), result);
        }
    }
}

fn store(asm: &mut Asm, to: Mem, element: Element, (value, scratch): (V, V), lanes: Lanes) {
    match element {
        Element::F32 | Element::I32 => asm.store(to, value, lanes),
        Element::U8 | Element::I8 => asm.store_bytes(to, value, lanes),
        Element::Bool => asm.store_truth(to, value, scratch, lanes),
    }
}

fn op_of(join: Join) -> Op2 {
    match join {
        Join::Sum => Op2::AddF,
        Join::Product => Op2::MulF,
        Join::Max => Op2::MaxF,
        Join::Min => Op2::MinF,
        Join::IntSum => Op2::AddI,
    }
}
