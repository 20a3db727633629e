//! lane_conv - columns of a depthwise convolution with channels last.
//!
//! With fixed taps a vector of channels walks along the columns, several at once, with its weights in registers where there
//! are enough: one load for each multiply-add. With a list of taps, which is for columns at the border, one column
//! at a time has several vectors of channels.

use iced_x86::{Code, Register};
use nnc_tile::{
    epilogue::EpilogueInput,
    gemm::{Init, Stride},
    lane_conv::{LaneConv, LaneConvArg, Taps},
    row_conv::Width,
};

use crate::{
    Level,
    asm::{Asm, EncodeError, K, Lanes, Mem, V},
    depthwise::{self, OPERANDS},
    frame::{Frame, TEMP},
    program,
};

/// The block of channels in x, in the weights and in the result.
const X: Register = Register::RDI;
const W: Register = Register::RSI;
const C: Register = Register::RDX;
/// Blocks of channels that remain.
const BLOCKS: Register = Register::RCX;
/// The column in x and in the result.
const XI: Register = Register::R8;
const CI: Register = Register::R9;
/// Bytes of x from column to column, where they are an argument.
const X_STEP: Register = Register::R10;
/// Columns that remain.
const COLUMNS: Register = Register::R11;
/// Three columns after XI, or the weight's place.
const OTHER: Register = Register::RBX;

/// Columns at once, at most.
const MOST_COLUMNS: usize = 8;
/// Columns at once where their distance is an argument: two bases for three each.
const MOST_APART: usize = 6;
/// Vectors of channels of a listed column, at most: as many chains as hide the latency.
const VECTORS: usize = 8;

/// Whether there are registers for the tile.
pub(crate) fn supports(spec: &LaneConv, level: Level) -> bool {
    let operands = spec.epilogue.as_ref().map_or(0, |e| e.inputs.len());
    let listed = spec.taps == Taps::Listed;
    operands <= OPERANDS.len() - if listed { 2 } else { 0 } && plan(spec, level).is_some()
}

/// How registers are given out.
#[derive(Clone, Copy)]
struct Plan {
    /// Columns at once.
    columns: usize,
    /// Vectors of channels at once.
    vectors: usize,
    /// Whether weights stay in registers.
    weights_stay: bool,
}

fn plan(spec: &LaneConv, level: Level) -> Option<Plan> {
    let need = spec.epilogue.as_ref().map_or(0, |e| program::registers(&e.program));
    // AVX2 needs two for masks and what they let through, and everyone one for a weight.
    let spare = level.registers() - 3;
    let Taps::Fixed { at, .. } = &spec.taps else {
        let all = VECTORS.min((spec.channels as usize).div_ceil(level.lanes()));
        let vectors = (1..=all).rev().find(|vectors| vectors + need <= spare)?;
        return Some(Plan { columns: 1, vectors, weights_stay: false });
    };
    let most = if spec.x_step == Stride::Arg { MOST_APART } else { MOST_COLUMNS };
    let columns = match spec.width {
        Width::Const(n) => (n as usize).div_ceil((n as usize).div_ceil(most)),
        Width::Arg => most,
    };
    let fits = |columns: usize, weights: usize| columns + weights + need <= spare;
    let ways =
        [(columns, true), (columns.min(4), true), (columns, false), (columns.min(4), false), (1, false)];
    let (columns, weights_stay) =
        ways.into_iter().find(|&(columns, stay)| fits(columns, if stay { at.len() } else { 0 }))?;
    Some(Plan { columns, vectors: 1, weights_stay })
}

/// The function of a tile.
pub(crate) fn emit(spec: &LaneConv, level: Level) -> Result<Vec<u8>, EncodeError> {
    spec.check();
    let Some(plan) = plan(spec, level).filter(|_| supports(spec, level)) else {
        return Err(EncodeError("more registers than there are".into()));
    };
    let mut asm = Asm::new(level);
    let frame = Frame::open(&mut asm, spec.args(), 0);
    let mut gen_ = Gen { asm: &mut asm, spec, plan, frame };
    gen_.all_channels();
    gen_.frame.close(gen_.asm);
    asm.finish()
}

struct Gen<'a> {
    asm: &'a mut Asm,
    spec: &'a LaneConv,
    plan: Plan,
    frame: Frame<LaneConvArg>,
}

impl Gen<'_> {
    fn inputs(&self) -> Vec<EpilogueInput> {
        self.spec.epilogue.as_ref().map_or(vec![], |e| e.inputs.clone())
    }

    /// Block after block of channels.
    fn all_channels(&mut self) {
        let lanes = self.asm.level.lanes();
        self.scale_strides();
        let channels = self.spec.channels as usize;
        let block = self.plan.vectors * lanes;
        let (whole, rest) = (channels / block, channels % block);
        if whole > 0 {
            self.asm.mov_imm(BLOCKS, whole as i64);
            let again = self.asm.here();
            self.block(self.plan.vectors, Lanes::All);
            self.next_channels(4 * block as i64);
            self.asm.add_imm(BLOCKS, -1);
            self.asm.jump(Code::Jne_rel32_64, again);
        }
        if rest > 0 {
            let last = rest % lanes;
            let signs = V((self.asm.level.registers() - 1) as u8);
            let mask = if last == 0 { Lanes::All } else { self.asm.first_lanes(last, K(1), signs, TEMP) };
            self.block(rest.div_ceil(lanes), mask);
        }
    }

    /// Strides of elements become strides of bytes, where they lie.
    fn scale_strides(&mut self) {
        let mut strides = vec![];
        if self.spec.c_step == Stride::Arg {
            strides.push(LaneConvArg::CStep);
        }
        for (index, input) in self.inputs().iter().enumerate() {
            if *input == EpilogueInput::Tile {
                strides.push(LaneConvArg::EpilogueStride(index));
            }
        }
        for stride in strides {
            let place = self.frame.arg(stride);
            self.asm.mov_load(TEMP, place);
            self.asm.shl(TEMP, 2);
            self.asm.mov_store(place, TEMP);
        }
        if self.spec.x_step == Stride::Arg {
            let place = self.frame.arg(LaneConvArg::XStep);
            self.asm.mov_load(X_STEP, place);
            self.asm.shl(X_STEP, 2);
        }
    }

    fn next_channels(&mut self, bytes: i64) {
        for pointer in [X, W, C] {
            self.asm.add_imm(pointer, bytes);
        }
        for (index, input) in self.inputs().iter().enumerate() {
            if matches!(input, EpilogueInput::Col | EpilogueInput::Tile) {
                let place = self.frame.arg(LaneConvArg::Epilogue(index));
                self.asm.add_to_memory(place, bytes);
            }
        }
    }

    /// All columns of a block of channels.
    fn block(&mut self, vectors: usize, last: Lanes) {
        self.asm.mov(XI, X);
        self.asm.mov(CI, C);
        for (index, operand) in OPERANDS.into_iter().take(self.inputs().len()).enumerate() {
            let place = self.frame.arg(LaneConvArg::Epilogue(index));
            self.asm.mov_load(operand, place);
        }
        if self.plan.weights_stay {
            self.load_weights(last);
        }
        let at_once = self.plan.columns;
        match self.spec.width {
            Width::Const(n) => {
                let (turns, rest) = (n as usize / at_once, n as usize % at_once);
                if turns > 1 {
                    self.asm.mov_imm(COLUMNS, turns as i64);
                    let again = self.asm.here();
                    self.columns(at_once, vectors, last);
                    self.asm.add_imm(COLUMNS, -1);
                    self.asm.jump(Code::Jne_rel32_64, again);
                } else if turns == 1 {
                    self.columns(at_once, vectors, last);
                }
                if rest > 0 {
                    self.columns(rest, vectors, last);
                }
            }
            Width::Arg => {
                let width = self.frame.arg(LaneConvArg::Width);
                self.asm.mov_load(COLUMNS, width);
                let mut step = at_once;
                loop {
                    self.counted(step, vectors, last);
                    if step == 1 {
                        break;
                    }
                    step = (step / 2).max(1);
                }
            }
        }
    }

    /// Columns `step` at once while there are as many.
    fn counted(&mut self, step: usize, vectors: usize, last: Lanes) {
        let (again, few) = (self.asm.label(), self.asm.label());
        self.asm.add_imm(COLUMNS, -(step as i64));
        self.asm.jump(Code::Jl_rel32_64, few);
        self.asm.place(again);
        self.columns(step, vectors, last);
        self.asm.add_imm(COLUMNS, -(step as i64));
        self.asm.jump(Code::Jge_rel32_64, again);
        self.asm.place(few);
        self.asm.add_imm(COLUMNS, step as i64);
    }

    /// Registers of weights that stay come after the accumulators.
    fn load_weights(&mut self, lanes: Lanes) {
        let Taps::Fixed { at, w_step } = &self.spec.taps else { return };
        for tap in 0..at.len() {
            let from = Mem::at(W, 4 * i64::from(*w_step) * tap as i64);
            self.asm.load(V((self.plan.columns + tap) as u8), from, lanes);
        }
    }

    /// x for a column and a displacement from it.
    fn x_at(&self, column: usize, disp: i64) -> Mem {
        match self.spec.x_step {
            Stride::Const(step) => Mem::at(XI, 4 * i64::from(step) * column as i64 + disp),
            Stride::Arg => {
                let base = if column < 3 { XI } else { OTHER };
                let index = match column % 3 {
                    0 => None,
                    scale => Some((X_STEP, scale as u32)),
                };
                Mem { base, index, disp }
            }
        }
    }

    /// Several columns with `vectors` of channels each, and on to the next.
    fn columns(&mut self, n: usize, vectors: usize, last: Lanes) {
        let lanes_of = |v: usize| if v + 1 == vectors { last } else { Lanes::All };
        if self.spec.init == Init::Zero {
            (0..n * vectors).for_each(|acc| self.asm.zero(V(acc as u8)));
        } else {
            self.asm.mov(TEMP, CI);
            for j in 0..n {
                for v in 0..vectors {
                    let from = Mem::at(TEMP, self.vector_bytes(v));
                    self.asm.load(V((j * vectors + v) as u8), from, lanes_of(v));
                }
                if j + 1 < n {
                    self.advance_c(TEMP);
                }
            }
        }
        match &self.spec.taps {
            Taps::Fixed { at, w_step } => self.fixed_taps(n, last, at, *w_step),
            Taps::Listed => self.listed_taps(vectors, last),
        }
        self.finish(n, vectors, last);
        let step = self.spec.x_step;
        match step {
            Stride::Const(step) => self.asm.add_imm(XI, 4 * i64::from(step) * n as i64),
            Stride::Arg => (0..n).for_each(|_| self.asm.add(XI, X_STEP)),
        }
    }

    fn vector_bytes(&self, v: usize) -> i64 {
        4 * (self.asm.level.lanes() * v) as i64
    }

    fn fixed_taps(&mut self, n: usize, lanes: Lanes, at: &[u32], w_step: u32) {
        if self.spec.x_step == Stride::Arg && n > 3 {
            self.asm.lea(OTHER, Mem { base: XI, index: Some((X_STEP, 2)), disp: 0 });
            self.asm.add(OTHER, X_STEP);
        }
        let weight = V((self.asm.level.registers() - 2) as u8);
        for (tap, &x) in at.iter().enumerate() {
            let w = if self.plan.weights_stay {
                V((self.plan.columns + tap) as u8)
            } else {
                self.asm.load(weight, Mem::at(W, 4 * i64::from(w_step) * tap as i64), lanes);
                weight
            };
            for j in 0..n {
                let from = self.x_at(j, 4 * i64::from(x));
                depthwise::multiply_add(self.asm, V(j as u8), w, from, lanes);
            }
        }
    }

    fn listed_taps(&mut self, vectors: usize, last: Lanes) {
        // With lists the epilogue has no use for the last two.
        let [.., entry, left] = OPERANDS;
        let (list, count) = (self.frame.arg(LaneConvArg::Taps), self.frame.arg(LaneConvArg::TapCount));
        let (again, done) = (self.asm.label(), self.asm.label());
        self.asm.mov_load(entry, list);
        self.asm.mov_load(left, count);
        self.asm.add_imm(left, -1);
        self.asm.jump(Code::Jl_rel32_64, done);
        self.asm.place(again);
        self.asm.mov_load(TEMP, Mem::at(entry, 0));
        self.asm.mov_load(OTHER, Mem::at(entry, 8));
        let weight = V((self.asm.level.registers() - 2) as u8);
        for v in 0..vectors {
            let lanes = if v + 1 == vectors { last } else { Lanes::All };
            let disp = self.vector_bytes(v);
            self.asm.load(weight, Mem { base: W, index: Some((OTHER, 4)), disp }, lanes);
            let from = Mem { base: XI, index: Some((TEMP, 4)), disp };
            depthwise::multiply_add(self.asm, V(v as u8), weight, from, lanes);
        }
        self.asm.add_imm(entry, 16);
        self.asm.add_imm(left, -1);
        self.asm.jump(Code::Jge_rel32_64, again);
        self.asm.place(done);
    }

    fn advance_c(&mut self, pointer: Register) {
        match self.spec.c_step {
            Stride::Const(step) => self.asm.add_imm(pointer, 4 * i64::from(step)),
            Stride::Arg => {
                let place = self.frame.arg(LaneConvArg::CStep);
                self.asm.add_load(pointer, place);
            }
        }
    }

    /// The epilogue and the stores, column by column.
    fn finish(&mut self, n: usize, vectors: usize, last: Lanes) {
        let inputs = self.inputs();
        let first = if self.plan.weights_stay {
            let Taps::Fixed { at, .. } = &self.spec.taps else { unreachable!("listed weights do not stay") };
            self.plan.columns + at.len()
        } else {
            n * vectors
        };
        // Below the registers of masks.
        let free: Vec<V> = (first..self.asm.level.registers() - 1).map(|v| V(v as u8)).collect();
        for j in 0..n {
            for v in 0..vectors {
                let lanes = if v + 1 == vectors { last } else { Lanes::All };
                let (acc, disp) = (V((j * vectors + v) as u8), self.vector_bytes(v));
                let (epilogue, at) = (self.spec.epilogue.as_ref(), |base| Mem::at(base, disp));
                let value = depthwise::finished(self.asm, epilogue, acc, &at, lanes, &free);
                self.asm.store(Mem::at(CI, disp), value, lanes);
            }
            self.advance_c(CI);
            for (index, kind) in inputs.iter().enumerate() {
                match kind {
                    EpilogueInput::Row => self.asm.add_imm(OPERANDS[index], 4),
                    EpilogueInput::Tile => {
                        let place = self.frame.arg(LaneConvArg::EpilogueStride(index));
                        self.asm.add_load(OPERANDS[index], place);
                    }
                    _ => {}
                }
            }
        }
    }
}
