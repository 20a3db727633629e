//! stream - pointwise arithmetic along rows: whole vectors, several in one turn, and the rest by a mask.
//!
//! ```text
//! for each row
//!   several vectors in one turn, then whole vectors, then a masked one
//!   folds: accumulators joined, one element stored
//! ```
//!
//! A vector is a chain of instructions that wait for each other, longer than what the processor looks ahead; so as many
//! vectors of a turn as registers allow are computed side by side, an op of each in turn. Constants and elements that are the
//! same all along a row stay in registers as far as there are any. With folds a turn is one vector for each accumulator, so
//! that the rest of a row is vectors of one turn.

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
/// Vectors computed side by side, most first.
const SIDE_BY_SIDE: [usize; 3] = [4, 2, 1];

/// What the vector registers hold.
struct Plan {
    /// Vectors of a turn.
    vectors: usize,
    /// Of these, those computed side by side, and their program.
    together: (usize, VectorProgram),
    /// For each output that is folded, one for each vector of a turn.
    accumulators: Vec<Vec<V>>,
    /// Lanes of the rest (AVX2).
    mask: V,
    /// What is on its way to an accumulator or to memory.
    scratch: V,
    /// Of inputs that are the same all along a row, the register.
    same: Vec<Option<V>>,
    words: Vec<(u32, V)>,
    free: Vec<V>,
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
        let vectors = if spec.folds() {
            let (partials, lanes) = (usize::from(spec.partials), level.lanes());
            if partials < lanes || partials > 64 {
                return None;
            }
            Some(partials / lanes)
        } else {
            None
        };
        let mut given = 0..level.registers() as u8;
        let mut take = || given.next().map(V);
        let mut accumulators = Vec::with_capacity(spec.outputs.len());
        for output in &spec.outputs {
            let folded = vectors.filter(|_| matches!(output, Output::Fold(_)));
            let of_output = folded.unwrap_or(0);
            accumulators.push((0..of_output).map(|_| take()).collect::<Option<Vec<V>>>()?);
        }
        let (mask, scratch) = if level == Level::Avx2 { (take()?, take()?) } else { (V(0), take()?) };
        let given: Vec<V> = given.map(V).collect();
        let most = vectors.unwrap_or(SIDE_BY_SIDE[0]);
        let counts = SIDE_BY_SIDE.into_iter().filter(|&n| n <= most && most.is_multiple_of(n));
        let (n, program, held) = counts.into_iter().find_map(|n| {
            let program = side_by_side(spec, n)?;
            let held = [true, false]
                .into_iter()
                .find_map(|same| Held::of(spec, level, (n, &program), &given, same))?;
            Some((n, program, held))
        })?;
        let vectors = vectors.unwrap_or(n);
        let Held { same, words, free } = held;
        Some(Plan { vectors, together: (n, program), accumulators, mask, scratch, same, words, free })
    }
}

/// What registers hold all the time.
struct Held {
    same: Vec<Option<V>>,
    words: Vec<(u32, V)>,
    free: Vec<V>,
}

impl Held {
    /// As many constants as leave enough registers for the program of `n` vectors, and for that of one of the rest of a row.
    fn of(
        spec: &Stream,
        level: Level,
        (n, program): (usize, &VectorProgram),
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
            let taken = program::taken(level, program, &whole, &words).max(program::taken(
                level,
                &spec.program,
                &masked,
                &words,
            ));
            if taken + most <= left.len() {
                return Some(Held { same, words, free: left[most..].to_vec() });
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

/// The program of `n` vectors, an op of each in turn. Inputs and results of one vector come after those of another; what is
/// the same all along a row is an input of the first.
fn side_by_side(spec: &Stream, n: usize) -> Option<VectorProgram> {
    let mut program = VectorProgram::new();
    let mut values: Vec<Vec<Ref>> = vec![Vec::new(); n];
    for op in spec.program.ops() {
        for (vector, values) in values.iter_mut().enumerate() {
            let op = match *op {
                Op::Input(k, ty) if spec.inputs[usize::from(k)].walk == Walk::Along => {
                    Op::Input(u16::try_from(vector * spec.inputs.len()).ok()?.checked_add(k)?, ty)
                }
                op => op.map_operands(|r| values[usize::from(r.0)]),
            };
            values.push(program.push(op));
        }
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
        let vectors = self.plan.vectors;
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
        self.turns(vectors);
        let done = self.asm.label();
        if self.spec.folds() {
            for vector in 0..vectors {
                self.asm.cmp(AT, N);
                self.asm.jump(Code::Jge_rel32_64, done);
                self.rest_of_row();
                self.vectors(vector, 1, true);
                if vector + 1 < vectors {
                    self.asm.add_imm(AT, lanes);
                }
            }
        } else {
            if vectors > 1 {
                self.turns(1);
            }
            self.asm.cmp(AT, N);
            self.asm.jump(Code::Jge_rel32_64, done);
            self.rest_of_row();
            self.vectors(0, 1, true);
        }
        self.asm.place(done);
        self.fold();
    }

    /// Turns of so many whole vectors, as long as there are as many elements.
    fn turns(&mut self, vectors: usize) {
        let lanes = self.asm.level.lanes();
        let elements = (vectors * lanes) as i64;
        let (next, done) = (self.asm.label(), self.asm.label());
        self.asm.lea(LIMIT, Mem::at(N, -elements));
        self.asm.cmp(AT, LIMIT);
        self.asm.jump(Code::Jg_rel32_64, done);
        self.asm.place(next);
        let together = self.plan.together.0.min(vectors);
        for first in (0..vectors).step_by(together) {
            self.vectors(first, together, false);
        }
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

    /// `n` vectors of a turn from number `first` on; those of the rest of a row are at the position itself.
    fn vectors(&mut self, first: usize, n: usize, rest: bool) {
        let lanes = match (rest, self.asm.level) {
            (false, _) => Lanes::All,
            (true, Level::Avx512) => Lanes::Mask(REST),
            (true, Level::Avx2) => Lanes::Signs(self.plan.mask),
        };
        let level = self.asm.level;
        let ahead = move |vector: usize| if rest { 0 } else { (first + vector) * level.lanes() };
        let inputs = inputs(self.spec, &self.plan.same, n, lanes, ahead);
        let program = if n == 1 { &self.spec.program } else { &self.plan.together.1 };
        let results = program::emit_with(self.asm, program, &inputs, &self.plan.words, &self.plan.free);
        let outputs = self.spec.outputs.len();
        for (at, value) in results.into_iter().enumerate() {
            let (vector, k) = (at / outputs, at % outputs);
            match self.spec.outputs[k] {
                Output::Store(element) => {
                    let to = place(self.output(k), element, ahead(vector));
                    self.store(to, element, value, lanes);
                }
                Output::Fold(join) => {
                    let acc = self.plan.accumulators[k][first + vector];
                    let op = op_of(join);
                    match lanes {
                        Lanes::All => self.asm.op2(op, acc, acc, value),
                        Lanes::Mask(mask) => self.asm.op2_masked(op, acc, acc, value, mask),
                        Lanes::Signs(mask) => {
                            let scratch = self.plan.scratch;
                            self.asm.op2(op, scratch, acc, value);
                            self.asm.blend(acc, mask, scratch, acc);
                        }
                    }
                }
            }
        }
    }

    fn store(&mut self, to: Mem, element: Element, value: V, lanes: Lanes) {
        match element {
            Element::F32 | Element::I32 => self.asm.store(to, value, lanes),
            Element::U8 | Element::I8 => self.asm.store_bytes(to, value, lanes),
            Element::Bool => self.asm.store_truth(to, value, self.plan.scratch, lanes),
        }
    }

    /// Joins the accumulators of each fold, and stores its element.
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
            self.asm.store_first(Mem::at(to, 0), acc);
        }
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
