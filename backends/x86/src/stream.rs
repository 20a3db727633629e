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
//! folds a turn is a multiple of the accumulators, so that the rest of a row is as many vectors as there are of these. Rows that later
//! calls read are asked for a line of the cache at a time, with the vectors that stand where it does.

mod plan;

use iced_x86::{Code, Register};
use nnc_tile::stream::{Element, Join, Output, Stream, StreamArg};

use crate::{
    Level,
    asm::{ARGS, Asm, EncodeError, K, Lanes, Mem, Op2, V},
    frame::{Frame, TEMP},
    program::{self, Input},
};
use plan::{Plan, Turn, inputs, place};

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
/// Elements of a line of the cache.
const CACHE_LINE: usize = 16;
/// Lanes of the rest.
const REST: K = K(1);

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

    /// The register of a row that is asked for: those of outputs come before.
    fn ahead(&self, k: usize) -> Register {
        POINTERS[self.spec.inputs.len() + self.spec.outputs.len() + k]
    }

    fn rows(&mut self) {
        let (inputs, outputs, ahead) = (self.spec.inputs.len(), self.spec.outputs.len(), self.spec.ahead);
        // The first of them are where they are needed already.
        for (k, pointer) in POINTERS.iter().enumerate().take(inputs + outputs + ahead).skip(ARGS.len() - 1) {
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
        for k in 0..ahead {
            let (to, step) = (self.ahead(k), self.frame.arg(StreamArg::AheadStep(k)));
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
        // Once a line of the cache.
        let step = (CACHE_LINE / level.lanes()).max(1);
        let pointers = &POINTERS[spec.inputs.len() + outputs..];
        let mut hand = |asm: &mut Asm, at: usize, value: V| {
            let (vector, k) = (at / outputs, at % outputs);
            if k == 0 && vector % step == 0 {
                for pointer in &pointers[..spec.ahead] {
                    asm.prefetch(place(*pointer, Element::F32, ahead(vector)));
                }
            }
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
