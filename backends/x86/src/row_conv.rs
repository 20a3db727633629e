//! row_conv - rows of a depthwise convolution: several vectors of columns at once, the last under a mask.
//!
//! Weights stay in registers where there are enough, so that each multiply-add is one instruction with x in memory.

use iced_x86::{Code, Register};
use nnc_tile::{
    epilogue::EpilogueInput,
    gemm::{Init, Stride},
    row_conv::{RowConv, RowConvArg, Tap, Width},
};

use crate::{
    Level,
    asm::{Asm, EncodeError, K, Lanes, Mem, V},
    depthwise::{self, OPERANDS},
    frame::{Frame, TEMP},
    program,
};

/// The row of x and of the result, and the weights.
const X: Register = Register::RDI;
const W: Register = Register::RSI;
const C: Register = Register::RDX;
/// Rows left.
const ROWS: Register = Register::RCX;
/// Bytes of columns that are done, of all, and the most where a turn has all of its columns.
const AT: Register = Register::R10;
const END: Register = Register::R11;
const LIMIT: Register = Register::RBX;
/// Rows of x beyond the first, where their distance is an argument.
const FURTHER: [Register; 2] = [Register::R8, Register::R9];

/// Vectors of a turn, most first.
const TURNS: [usize; 3] = [4, 2, 1];
/// Vectors of a row of known width that have no loop.
const UNROLLED: usize = 8;

/// How registers are given out: accumulators, weights that stay, what is free for programs, a weight or x on the way, the mask.
#[derive(Clone, Copy)]
struct Plan {
    turn: usize,
    weights_stay: bool,
}

fn plan(spec: &RowConv, level: Level) -> Option<Plan> {
    let need = spec.epilogue.as_ref().map_or(0, |e| program::registers(&e.program));
    let spare = level.registers() - 3;
    let most = match spec.width {
        Width::Const(n) => (n as usize).div_ceil(level.lanes()).min(TURNS[0]),
        Width::Arg => TURNS[0],
    };
    let fits = |turn: usize, weights: usize| turn + weights + need <= spare;
    let ways = [(most, true), (most.min(2), true), (most, false), (1, false)];
    let (turn, weights_stay) =
        ways.into_iter().find(|&(turn, stay)| fits(turn, if stay { spec.taps.len() } else { 0 }))?;
    // Loops have turns of these only.
    let turn = if spec.width == Width::Arg { *TURNS.iter().find(|t| **t <= turn)? } else { turn };
    Some(Plan { turn, weights_stay })
}

/// Rows of x at distances that are arguments, besides the first.
fn further_rows(spec: &RowConv) -> Vec<u16> {
    if spec.x_row != Stride::Arg {
        return vec![];
    }
    let mut rows: Vec<u16> = spec.taps.iter().map(|t| t.row).filter(|&r| r > 0).collect();
    rows.sort_unstable();
    rows.dedup();
    rows
}

/// Whether there are registers for the tile.
pub(crate) fn supports(spec: &RowConv, level: Level) -> bool {
    let operands = spec.epilogue.as_ref().map_or(0, |e| e.inputs.len());
    let row = if let Stride::Const(row) = spec.x_row { i64::from(row) } else { 0 };
    let near = |t: &Tap| i64::from(t.row) * row + i64::from(t.at) < 1 << 24;
    further_rows(spec).len() <= FURTHER.len()
        && operands <= OPERANDS.len()
        && spec.taps.iter().all(near)
        && plan(spec, level).is_some()
}

/// The function of a tile.
pub(crate) fn emit(spec: &RowConv, level: Level) -> Result<Vec<u8>, EncodeError> {
    spec.check();
    let Some(plan) = plan(spec, level).filter(|_| supports(spec, level)) else {
        return Err(EncodeError("more registers than there are".into()));
    };
    let mut asm = Asm::new(level);
    let frame = Frame::open(&mut asm, spec.args(), 0);
    let further = further_rows(spec);
    let mut gen_ = Gen { asm: &mut asm, spec, plan, frame, further };
    gen_.rows();
    gen_.frame.close(gen_.asm);
    asm.finish()
}

struct Gen<'a> {
    asm: &'a mut Asm,
    spec: &'a RowConv,
    plan: Plan,
    frame: Frame<RowConvArg>,
    further: Vec<u16>,
}

impl Gen<'_> {
    fn load(&mut self, to: Register, arg: RowConvArg) {
        let from = self.frame.arg(arg);
        self.asm.mov_load(to, from);
    }

    /// `to += 4 * argument`.
    fn advance(&mut self, to: Register, arg: RowConvArg) {
        self.load(TEMP, arg);
        self.asm.lea(to, Mem { base: to, index: Some((TEMP, 4)), disp: 0 });
    }

    fn inputs(&self) -> Vec<EpilogueInput> {
        self.spec.epilogue.as_ref().map_or(vec![], |e| e.inputs.clone())
    }

    fn bytes(&self) -> i64 {
        4 * self.asm.level.lanes() as i64
    }

    /// A register from the top.
    fn top(&self, number: usize) -> V {
        V((self.asm.level.registers() - 1 - number) as u8)
    }

    fn rows(&mut self) {
        let done = self.asm.label();
        self.asm.cmp_imm(ROWS, 0);
        self.asm.jump(Code::Jle_rel32_64, done);
        if self.plan.weights_stay {
            for tap in 0..self.spec.taps.len() {
                self.asm.broadcast(self.weight(tap), Mem::at(W, 4 * tap as i64));
            }
        }
        for (index, operand) in OPERANDS.into_iter().enumerate().take(self.inputs().len()) {
            self.load(operand, RowConvArg::Epilogue(index));
        }
        let rest = self.extent();
        let next = self.asm.here();
        for (row, to) in self.further.clone().into_iter().zip(FURTHER) {
            self.load(to, RowConvArg::XRow);
            self.asm.mul_imm(to, 4 * i64::from(row));
            self.asm.add(to, X);
        }
        match self.spec.width {
            Width::Const(n) if (n as usize).div_ceil(self.asm.level.lanes()) <= UNROLLED => {
                self.known_columns(n as usize, rest);
            }
            _ => self.columns(rest),
        }
        self.advance(X, RowConvArg::XStep);
        self.advance(C, RowConvArg::CStep);
        for (index, kind) in self.inputs().into_iter().enumerate() {
            match kind {
                EpilogueInput::Row => self.asm.add_imm(OPERANDS[index], 4),
                EpilogueInput::Tile => self.advance(OPERANDS[index], RowConvArg::EpilogueStride(index)),
                _ => {}
            }
        }
        self.asm.add_imm(ROWS, -1);
        self.asm.jump(Code::Jne_rel32_64, next);
        self.asm.place(done);
    }

    fn weight(&self, tap: usize) -> V {
        V((self.plan.turn + tap) as u8)
    }

    /// Sets END, and the lanes of what fills no vector.
    fn extent(&mut self) -> Lanes {
        let (lanes, signs) = (self.asm.level.lanes(), self.top(0));
        match self.spec.width {
            Width::Const(n) => {
                self.asm.mov_imm(END, 4 * i64::from(n));
                match n as usize % lanes {
                    0 => Lanes::All,
                    rest => self.asm.first_lanes(rest, K(1), signs, TEMP),
                }
            }
            Width::Arg => {
                self.load(TEMP, RowConvArg::Width);
                self.asm.mov(END, TEMP);
                self.asm.shl(END, 2);
                self.asm.and_imm(TEMP, lanes as i32 - 1);
                self.asm.counted_lanes(TEMP, K(1), signs, AT)
            }
        }
    }

    /// A row of known width without a loop.
    fn known_columns(&mut self, n: usize, rest: Lanes) {
        let lanes = self.asm.level.lanes();
        let all = n.div_ceil(lanes);
        let mut from = 0;
        while from < all {
            let vectors = self.plan.turn.min(all - from);
            let last = if from + vectors == all { rest } else { Lanes::All };
            self.vectors(None, self.bytes() * from as i64, vectors, last);
            from += vectors;
        }
    }

    fn columns(&mut self, rest: Lanes) {
        self.asm.mov_imm(AT, 0);
        let most = self.plan.turn;
        for vectors in TURNS.into_iter().filter(|&v| v <= most) {
            let step = self.bytes() * vectors as i64;
            let (again, done) = (self.asm.label(), self.asm.label());
            self.asm.lea(LIMIT, Mem::at(END, -step));
            self.asm.cmp(AT, LIMIT);
            self.asm.jump(Code::Jg_rel32_64, done);
            self.asm.place(again);
            self.vectors(Some((AT, 1)), 0, vectors, Lanes::All);
            self.asm.add_imm(AT, step);
            self.asm.cmp(AT, LIMIT);
            self.asm.jump(Code::Jle_rel32_64, again);
            self.asm.place(done);
        }
        if rest != Lanes::All {
            let done = self.asm.label();
            self.asm.cmp(AT, END);
            self.asm.jump(Code::Jge_rel32_64, done);
            self.vectors(Some((AT, 1)), 0, 1, rest);
            self.asm.place(done);
        }
    }

    /// What a tap reads for the row's first column.
    fn x_at(&self, tap: Tap) -> (Register, i64) {
        let at = 4 * i64::from(tap.at);
        match self.spec.x_row {
            Stride::Const(row) => (X, at + 4 * i64::from(row) * i64::from(tap.row)),
            Stride::Arg => {
                let found = self.further.iter().position(|&r| r == tap.row);
                (found.map_or(X, |number| FURTHER[number]), at)
            }
        }
    }

    /// Vectors of columns from `index + disp` bytes on; the lanes are those of the last.
    fn vectors(&mut self, index: Option<(Register, u32)>, disp: i64, n: usize, last: Lanes) {
        let (bytes, on_the_way) = (self.bytes(), self.top(1));
        let lanes = |v: usize| if v + 1 == n { last } else { Lanes::All };
        let place =
            |base: Register, at: i64, v: usize| Mem { base, index, disp: disp + at + bytes * v as i64 };
        for v in 0..n {
            match self.spec.init {
                Init::Zero => self.asm.zero(V(v as u8)),
                Init::Load => self.asm.load(V(v as u8), place(C, 0, v), lanes(v)),
            }
        }
        for (number, tap) in self.spec.taps.clone().into_iter().enumerate() {
            let weight = if self.plan.weights_stay {
                self.weight(number)
            } else {
                self.asm.broadcast(on_the_way, Mem::at(W, 4 * number as i64));
                on_the_way
            };
            let (base, at) = self.x_at(tap);
            for v in 0..n {
                depthwise::multiply_add(self.asm, V(v as u8), weight, place(base, at, v), lanes(v));
            }
        }
        let first = self.plan.turn + if self.plan.weights_stay { self.spec.taps.len() } else { 0 };
        let free: Vec<V> = (first as u8..self.top(1).0).map(V).collect();
        for v in 0..n {
            let (epilogue, at) = (self.spec.epilogue.as_ref(), |base| place(base, 0, v));
            let value = depthwise::finished(self.asm, epilogue, V(v as u8), &at, lanes(v), &free);
            self.asm.store(place(C, 0, v), value, lanes(v));
        }
    }
}
