//! pool - windows over planes: columns of rows to lines in scratch memory, then along the lines to the result.
//!
//! All lines of a call are made before the first is read: a vector that begins inside of one that has just been written
//! would wait for it. Windows two apart are joined for every position, and every other one is picked.

use iced_x86::{Code, Register};
use nnc_tile::{
    pool::{Pool, PoolArg},
    stream::{Join, Walk},
};

use crate::{
    Level,
    asm::{Asm, EncodeError, K, Lanes, Mem, Op2, V},
    frame::{Frame, TEMP},
    program::{self, Input},
};

/// The line that is made or read.
const LINE: Register = Register::RDI;
/// Rows left.
const ROWS: Register = Register::RDX;
/// Bytes from the first column that is not done yet.
const AT: Register = Register::R10;
/// Bytes of columns.
const END: Register = Register::R11;
/// Greatest position where a turn has all its columns.
const LIMIT: Register = Register::R14;

/// Of columns: the first row of x in a window.
const TOP: Register = Register::RSI;
/// The first row that is read, and how many are.
const SOURCE: Register = Register::RCX;
const COUNT: Register = Register::R8;
/// Elements from row to row.
const X_ROW: Register = Register::R9;
const TAP: Register = Register::R12;
const LEFT: Register = Register::R13;
/// Where x begins in the line.
const INSIDE: Register = Register::R15;

/// Along lines: the row of the result, and the cell in it and in the line.
const Y: Register = Register::RSI;
const CELLS: Register = Register::RCX;
const X_CELL: Register = Register::R8;
const Y_CELL: Register = Register::R9;
/// Cells of operands.
const OPERANDS: [Register; 4] = [Register::R12, Register::R13, Register::R15, Register::RBX];

/// Vectors of a turn, most first.
const TURNS: [usize; 3] = [4, 2, 1];
/// Lanes of the rest of columns.
const REST: K = K(1);
/// Taps that are unrolled.
const TAPS: u32 = 32;
/// Rows of a window that are unrolled where none is outside of x.
const UNROLLED: u32 = 8;

/// Vectors of the greatest turn along lines.
fn turn(spec: &Pool, level: Level) -> Option<usize> {
    let program = spec.finish.as_ref().map_or(0, program::registers);
    TURNS.into_iter().find(|v| v * spec.stride as usize + program + 2 <= level.registers())
}

/// Whether there is code for the tile.
pub(crate) fn supports(spec: &Pool, level: Level) -> bool {
    let reach = i64::from(spec.width) * i64::from(spec.apart);
    turn(spec, level).is_some()
        && spec.width <= TAPS
        && reach < 1 << 24
        && spec.height < 1 << 24
        && spec.row_stride < 1 << 24
        && spec.operands.len() <= OPERANDS.len()
}

/// The function of a tile.
pub(crate) fn emit(spec: &Pool, level: Level) -> Result<Vec<u8>, EncodeError> {
    spec.check();
    let turn = turn(spec, level).filter(|_| supports(spec, level));
    let turn = turn.ok_or_else(|| EncodeError("more registers than there are".into()))?;
    let mut asm = Asm::new(level);
    let frame = Frame::open(&mut asm, spec.args(), 0);
    let top = level.registers() as u8 - 1;
    let op = match spec.join {
        Join::Max => Op2::MaxF,
        Join::Min => Op2::MinF,
        _ => Op2::AddF,
    };
    let (kept, signs) = (V(top - 1), V(top));
    let mut gen_ = Gen { asm: &mut asm, spec, frame, op, turn, kept, signs };
    let done = gen_.asm.label();
    gen_.load(ROWS, PoolArg::Rows);
    gen_.asm.cmp_imm(ROWS, 0);
    gen_.asm.jump(Code::Jle_rel32_64, done);
    gen_.columns();
    gen_.lines();
    gen_.asm.place(done);
    gen_.frame.close(gen_.asm);
    asm.finish()
}

struct Gen<'a> {
    asm: &'a mut Asm,
    spec: &'a Pool,
    frame: Frame<PoolArg>,
    op: Op2,
    turn: usize,
    /// What changes nothing, and then the order of every other lane.
    kept: V,
    /// Lanes of the rest (AVX2).
    signs: V,
}

impl Gen<'_> {
    fn load(&mut self, to: Register, arg: PoolArg) {
        let from = self.frame.arg(arg);
        self.asm.mov_load(to, from);
    }

    /// `to += 4 * argument`.
    fn advance(&mut self, to: Register, arg: PoolArg) {
        self.load(TEMP, arg);
        self.asm.lea(to, Mem { base: to, index: Some((TEMP, 4)), disp: 0 });
    }

    fn bytes(&self) -> i64 {
        4 * self.asm.level.lanes() as i64
    }

    /// Sets END to the bytes of so many columns; gives the lanes of the last that fill no vector.
    fn extent(&mut self, columns: PoolArg) -> Lanes {
        let lanes = self.asm.level.lanes() as i32;
        self.load(TEMP, columns);
        self.asm.lea(END, Mem { base: TEMP, index: Some((TEMP, 1)), disp: 0 });
        self.asm.shl(END, 1);
        self.asm.and_imm(TEMP, lanes - 1);
        self.asm.counted_lanes(TEMP, REST, self.signs, AT)
    }

    /// Turns of `vectors` and fewer over columns up to END, then those that fill no vector.
    fn over_columns(&mut self, most: usize, rest: Lanes, body: &dyn Fn(&mut Self, usize, Lanes)) {
        self.asm.mov_imm(AT, 0);
        for vectors in TURNS.into_iter().filter(|v| *v <= most) {
            let step = self.bytes() * vectors as i64;
            let done = self.asm.label();
            self.asm.lea(LIMIT, Mem::at(END, -step));
            self.asm.cmp(AT, LIMIT);
            self.asm.jump(Code::Jg_rel32_64, done);
            let again = self.asm.here();
            body(self, vectors, Lanes::All);
            self.asm.add_imm(AT, step);
            if vectors == most {
                self.asm.cmp(AT, LIMIT);
                self.asm.jump(Code::Jle_rel32_64, again);
            }
            self.asm.place(done);
        }
        let done = self.asm.label();
        self.asm.cmp(AT, END);
        self.asm.jump(Code::Jge_rel32_64, done);
        body(self, 1, rest);
        self.asm.place(done);
    }

    /// The lines of all rows.
    fn columns(&mut self) {
        let spec = self.spec;
        let rest = self.extent(PoolArg::XWidth);
        self.asm.constant(self.kept, spec.join.identity());
        self.load(LINE, PoolArg::Lines);
        self.load(TOP, PoolArg::Top);
        self.load(X_ROW, PoolArg::XRow);
        let next = self.asm.here();
        let (outside, right, full) = (self.asm.label(), self.asm.label(), self.asm.label());
        // Taps from `max(0, -top)` to before `min(height, x_height - top)`.
        let positive = self.asm.label();
        self.asm.mov(SOURCE, TOP);
        self.asm.negate(SOURCE);
        self.asm.cmp_imm(SOURCE, 0);
        self.asm.jump(Code::Jge_rel32_64, positive);
        self.asm.mov_imm(SOURCE, 0);
        self.asm.place(positive);
        let below = self.asm.label();
        self.load(COUNT, PoolArg::XHeight);
        self.asm.sub(COUNT, TOP);
        self.asm.cmp_imm(COUNT, spec.height as i32);
        self.asm.jump(Code::Jle_rel32_64, below);
        self.asm.mov_imm(COUNT, i64::from(spec.height));
        self.asm.place(below);
        self.asm.sub(COUNT, SOURCE);
        self.asm.cmp_imm(COUNT, 0);
        self.asm.jump(Code::Jle_rel32_64, outside);
        self.asm.add(SOURCE, TOP);
        self.asm.mul(SOURCE, X_ROW);
        self.asm.shl(SOURCE, 2);
        let x = self.frame.arg(PoolArg::X);
        self.asm.add_load(SOURCE, x);
        self.asm.mov(INSIDE, LINE);
        self.advance(INSIDE, PoolArg::Left);
        self.asm.mov(AT, LINE);
        self.fill_to(INSIDE);
        if spec.height <= UNROLLED {
            self.asm.cmp_imm(COUNT, spec.height as i32);
            self.asm.jump(Code::Je_rel32_64, full);
        }
        self.over_columns(TURNS[0], rest, &|g, vectors, lanes| g.column_of_some(vectors, lanes));
        self.asm.jump(Code::Jmp_rel32_64, right);
        if spec.height <= UNROLLED {
            self.asm.place(full);
            self.over_columns(TURNS[0], rest, &|g, vectors, lanes| g.column_of_all(vectors, lanes));
            self.asm.jump(Code::Jmp_rel32_64, right);
        }
        let filled = self.asm.label();
        self.asm.place(outside);
        self.asm.mov(AT, LINE);
        self.asm.jump(Code::Jmp_rel32_64, filled);
        self.asm.place(right);
        self.asm.lea(AT, Mem { base: INSIDE, index: Some((END, 1)), disp: 0 });
        self.asm.place(filled);
        self.asm.mov(LIMIT, LINE);
        self.advance(LIMIT, PoolArg::Span);
        self.fill_to(LIMIT);
        self.asm.add_imm(TOP, i64::from(spec.row_stride));
        self.advance(LINE, PoolArg::Pitch);
        self.asm.add_imm(ROWS, -1);
        self.asm.jump(Code::Jne_rel32_64, next);
    }

    /// From AT to before `end` what changes nothing, in whole vectors.
    fn fill_to(&mut self, end: Register) {
        let done = self.asm.label();
        self.asm.cmp(AT, end);
        self.asm.jump(Code::Jge_rel32_64, done);
        let again = self.asm.here();
        self.asm.store(Mem::at(AT, 0), self.kept, Lanes::All);
        self.asm.add_imm(AT, self.bytes());
        self.asm.cmp(AT, end);
        self.asm.jump(Code::Jl_rel32_64, again);
        self.asm.place(done);
    }

    /// Vectors of columns in COUNT rows, at least one. What the lanes leave out of the last is filled later.
    fn column_of_some(&mut self, vectors: usize, lanes: Lanes) {
        self.asm.lea(TAP, Mem { base: SOURCE, index: Some((AT, 1)), disp: 0 });
        self.asm.mov(LEFT, COUNT);
        for vector in 0..vectors {
            self.asm.copy(V(vector as u8), self.kept);
        }
        let again = self.asm.here();
        for vector in 0..vectors {
            self.join_row(V(vector as u8), V(vector as u8), vector, lanes);
        }
        self.asm.lea(TAP, Mem { base: TAP, index: Some((X_ROW, 4)), disp: 0 });
        self.asm.add_imm(LEFT, -1);
        self.asm.jump(Code::Jne_rel32_64, again);
        self.store_columns(vectors);
    }

    /// Vectors of columns in all rows of a window.
    fn column_of_all(&mut self, vectors: usize, lanes: Lanes) {
        self.asm.lea(TAP, Mem { base: SOURCE, index: Some((AT, 1)), disp: 0 });
        for row in 0..self.spec.height {
            for vector in 0..vectors {
                let acc = V(vector as u8);
                self.join_row(acc, if row == 0 { self.kept } else { acc }, vector, lanes);
            }
            if row + 1 < self.spec.height {
                self.asm.lea(TAP, Mem { base: TAP, index: Some((X_ROW, 4)), disp: 0 });
            }
        }
        self.store_columns(vectors);
    }

    fn join_row(&mut self, to: V, acc: V, vector: usize, lanes: Lanes) {
        let from = Mem::at(TAP, self.bytes() * vector as i64);
        if lanes == Lanes::All {
            self.asm.op2(self.op, to, acc, from);
        } else {
            let read = V(TURNS[0] as u8);
            self.asm.load(read, from, lanes);
            self.asm.op2(self.op, to, acc, read);
        }
    }

    fn store_columns(&mut self, vectors: usize) {
        for vector in 0..vectors {
            let to = Mem { base: INSIDE, index: Some((AT, 1)), disp: self.bytes() * vector as i64 };
            self.asm.store(to, V(vector as u8), Lanes::All);
        }
    }

    /// The results of all rows.
    fn lines(&mut self) {
        let spec = self.spec;
        let rest = self.extent(PoolArg::N);
        if spec.stride == 2 {
            self.asm.evens_order(self.kept, AT);
        }
        self.load(ROWS, PoolArg::Rows);
        self.load(LINE, PoolArg::Lines);
        self.load(Y, PoolArg::Y);
        let next = self.asm.here();
        let row_done = self.asm.label();
        self.asm.mov(X_CELL, LINE);
        self.asm.mov(Y_CELL, Y);
        for (k, operand) in OPERANDS.into_iter().enumerate().take(spec.operands.len()) {
            self.load(operand, PoolArg::Operand(k));
        }
        if spec.cells {
            self.load(CELLS, PoolArg::Cells);
            self.asm.cmp_imm(CELLS, 0);
            self.asm.jump(Code::Jle_rel32_64, row_done);
        }
        let cell = self.asm.here();
        self.over_columns(self.turn, rest, &|g, vectors, lanes| g.results(vectors, lanes));
        if spec.cells {
            self.advance(X_CELL, PoolArg::XCell);
            self.advance(Y_CELL, PoolArg::YCell);
            for (k, operand) in OPERANDS.into_iter().enumerate().take(spec.operands.len()) {
                self.advance(operand, PoolArg::OperandCell(k));
            }
            self.asm.add_imm(CELLS, -1);
            self.asm.jump(Code::Jne_rel32_64, cell);
        }
        self.asm.place(row_done);
        self.advance(LINE, PoolArg::Pitch);
        self.advance(Y, PoolArg::YRow);
        for (k, operand) in OPERANDS.into_iter().enumerate().take(spec.operands.len()) {
            self.load(operand, PoolArg::Operand(k));
            self.advance(operand, PoolArg::OperandRow(k));
            let to = self.frame.arg(PoolArg::Operand(k));
            self.asm.mov_store(to, operand);
        }
        self.asm.add_imm(ROWS, -1);
        self.asm.jump(Code::Jne_rel32_64, next);
    }

    /// Vectors of the result.
    fn results(&mut self, vectors: usize, lanes: Lanes) {
        let (spec, bytes, stride) = (self.spec, self.bytes(), self.spec.stride as usize);
        let joined = vectors * stride;
        for tap in 0..spec.width {
            for vector in 0..joined {
                let disp = bytes * vector as i64 + 4 * i64::from(tap) * i64::from(spec.apart);
                let from = Mem { base: X_CELL, index: Some((AT, spec.stride)), disp };
                let acc = V(vector as u8);
                if tap == 0 {
                    self.asm.load(acc, from, Lanes::All);
                } else {
                    self.asm.op2(self.op, acc, acc, from);
                }
            }
        }
        for vector in 0..vectors {
            let joined = V((vector * stride) as u8);
            if stride == 2 {
                self.asm.evens(joined, V(joined.0 + 1), self.kept);
            }
            let disp = bytes * vector as i64;
            let result = self.finished(joined, vectors * stride, disp, lanes);
            self.asm.store(Mem { base: Y_CELL, index: Some((AT, 1)), disp }, result, lanes);
        }
    }

    /// What becomes of a joined vector; registers from number `used` on are free.
    fn finished(&mut self, joined: V, used: usize, disp: i64, lanes: Lanes) -> V {
        let spec = self.spec;
        let Some(program) = &spec.finish else { return joined };
        let free: Vec<V> = (used as u8..self.kept.0).map(V).collect();
        let of = |(k, walk): (usize, &Walk)| match walk {
            Walk::Along => Input::Lanes(Mem { base: OPERANDS[k], index: Some((AT, 1)), disp }, lanes),
            Walk::Same => Input::Splat(Mem::at(OPERANDS[k], 0)),
        };
        let operands = spec.operands.iter().enumerate().map(of);
        let inputs: Vec<Input> = std::iter::once(Input::Own(joined)).chain(operands).collect();
        program::emit(self.asm, program, &inputs, &free)[0]
    }
}
