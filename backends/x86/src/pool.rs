//! pool - windows over planes: columns of rows to lines in scratch memory, then along the lines to the result.
//!
//! All lines of a call are made before the first is read: a vector that begins inside of one that has just been written
//! would wait for it. Where windows are two apart, lines have even and odd positions apart, so that what a tap reads for all
//! windows of a row lies side by side.

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
/// Where x begins in the line, and where its second element is if even and odd positions are apart.
const INSIDE: Register = Register::R15;
const SECOND: Register = Register::RBX;

/// Along lines: the row of the result, and the cell in it and in the line.
const Y: Register = Register::RSI;
const CELLS: Register = Register::RCX;
/// Odd positions of the line, where there are no cells.
const ODD: Register = Register::RCX;
const X_CELL: Register = Register::R8;
const Y_CELL: Register = Register::R9;
/// Cells of operands.
const OPERANDS: [Register; 4] = [Register::R12, Register::R13, Register::R15, Register::RBX];

/// Vectors of a turn, most first.
const TURNS: [usize; 3] = [4, 2, 1];
/// Lanes of the rest of columns: of the first vector and of the second.
const REST: [K; 2] = [K(1), K(2)];
/// Taps that are unrolled.
const TAPS: u32 = 32;
/// Rows of a window that are unrolled where none is outside of x.
const UNROLLED: u32 = 8;

/// Registers that keep what they have: what changes nothing, masks, orders.
const KEPT: usize = 5;

/// Vectors of the greatest turn along lines.
fn turn(spec: &Pool, level: Level) -> Option<usize> {
    let program = spec.finish.as_ref().map_or(0, program::registers);
    TURNS.into_iter().find(|v| v + program + KEPT <= level.registers())
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
    let [signs, orders] = [[V(top), V(top - 1)], [V(top - 2), V(top - 3)]];
    let mut gen_ = Gen { asm: &mut asm, spec, frame, op, turn, kept: V(top - 4), signs, orders };
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
    /// What changes nothing: the lowest of the registers that keep what they have.
    kept: V,
    /// Lanes of the rest (AVX2).
    signs: [V; 2],
    /// Orders of every other lane.
    orders: [V; 2],
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

    /// Sets END to the bytes of so many columns; gives the lanes of those that fill no turn of one or two vectors.
    fn extent(&mut self, columns: PoolArg, vectors: usize) -> [Lanes; 2] {
        let lanes = self.asm.level.lanes() as i32;
        self.load(END, columns);
        self.asm.shl(END, 2);
        [0, 1].map(|number| {
            if number == vectors {
                return Lanes::All;
            }
            self.load(TEMP, columns);
            self.asm.and_imm(TEMP, vectors as i32 * lanes - 1);
            self.asm.add_imm(TEMP, -i64::from(lanes) * number as i64);
            self.asm.clamp(TEMP, i64::from(lanes));
            self.asm.counted_lanes(TEMP, REST[number], self.signs[number], AT)
        })
    }

    /// Turns of `most` vectors and fewer over columns up to END, then those that fill no turn of `least`.
    fn over_columns(
        &mut self,
        [most, least]: [usize; 2],
        rest: [Lanes; 2],
        body: &dyn Fn(&mut Self, usize, [Lanes; 2]),
    ) {
        self.asm.mov_imm(AT, 0);
        for vectors in TURNS.into_iter().filter(|v| (least..=most).contains(v)) {
            let step = self.bytes() * vectors as i64;
            let done = self.asm.label();
            self.asm.lea(LIMIT, Mem::at(END, -step));
            self.asm.cmp(AT, LIMIT);
            self.asm.jump(Code::Jg_rel32_64, done);
            let again = self.asm.here();
            body(self, vectors, [Lanes::All; 2]);
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
        body(self, least, rest);
        self.asm.place(done);
    }

    /// The lines of all rows.
    fn columns(&mut self) {
        let spec = self.spec;
        let turns = [TURNS[0], spec.stride as usize];
        let rest = self.extent(PoolArg::XWidth, turns[1]);
        if spec.stride == 2 {
            self.asm.evens_order(self.orders[0], AT);
            self.asm.odds_order(self.orders[1], AT);
        }
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
        self.asm.mov_imm(LEFT, 0);
        self.load(INSIDE, PoolArg::Left);
        self.fill();
        self.begin_inside();
        if spec.height <= UNROLLED {
            self.asm.cmp_imm(COUNT, spec.height as i32);
            self.asm.jump(Code::Je_rel32_64, full);
        }
        self.over_columns(turns, rest, &|g, vectors, lanes| g.column_of_some(vectors, lanes));
        self.asm.jump(Code::Jmp_rel32_64, right);
        if spec.height <= UNROLLED {
            self.asm.place(full);
            self.over_columns(turns, rest, &|g, vectors, lanes| g.column_of_all(vectors, lanes));
            self.asm.jump(Code::Jmp_rel32_64, right);
        }
        let filled = self.asm.label();
        self.asm.place(outside);
        self.asm.mov_imm(LEFT, 0);
        self.asm.jump(Code::Jmp_rel32_64, filled);
        self.asm.place(right);
        self.load(LEFT, PoolArg::Left);
        let width = self.frame.arg(PoolArg::XWidth);
        self.asm.add_load(LEFT, width);
        self.asm.place(filled);
        self.load(INSIDE, PoolArg::Span);
        self.fill();
        self.asm.add_imm(TOP, i64::from(spec.row_stride));
        self.advance(LINE, PoolArg::Pitch);
        self.asm.add_imm(ROWS, -1);
        self.asm.jump(Code::Jne_rel32_64, next);
    }

    /// What changes nothing at the positions from LEFT to before INSIDE, in whole vectors: of each parity, if these are apart.
    fn fill(&mut self) {
        for parity in 0..i64::from(self.spec.stride) {
            for (to, position) in [(AT, LEFT), (LIMIT, INSIDE)] {
                if self.spec.stride == 1 {
                    self.asm.lea(to, Mem { base: LINE, index: Some((position, 4)), disp: 0 });
                    continue;
                }
                // The first position from there on that has the parity.
                self.asm.lea(to, Mem::at(position, 1 - parity));
                self.asm.shift_right(to, 1);
                if parity == 1 {
                    let half = self.frame.arg(PoolArg::Half);
                    self.asm.add_load(to, half);
                }
                self.asm.lea(to, Mem { base: LINE, index: Some((to, 4)), disp: 0 });
            }
            let done = self.asm.label();
            self.asm.cmp(AT, LIMIT);
            self.asm.jump(Code::Jge_rel32_64, done);
            let again = self.asm.here();
            self.asm.store(Mem::at(AT, 0), self.kept, Lanes::All);
            self.asm.add_imm(AT, self.bytes());
            self.asm.cmp(AT, LIMIT);
            self.asm.jump(Code::Jl_rel32_64, again);
            self.asm.place(done);
        }
    }

    /// From the position of the first element of x, in INSIDE, to where it and the second one are.
    fn begin_inside(&mut self) {
        if self.spec.stride == 1 {
            return self.asm.lea(INSIDE, Mem { base: LINE, index: Some((INSIDE, 4)), disp: 0 });
        }
        let half = self.frame.arg(PoolArg::Half);
        for (to, after) in [(SECOND, 1), (TAP, 0)] {
            self.asm.lea(to, Mem::at(INSIDE, after));
            self.asm.mov(TEMP, to);
            self.asm.and_imm(TEMP, 1);
            self.asm.mov_load(LIMIT, half);
            self.asm.mul(TEMP, LIMIT);
            self.asm.shift_right(to, 1);
            self.asm.add(to, TEMP);
            self.asm.lea(to, Mem { base: LINE, index: Some((to, 4)), disp: 0 });
        }
        self.asm.mov(INSIDE, TAP);
    }

    /// Vectors of columns in COUNT rows, at least one. What the lanes leave out of the last is filled later.
    fn column_of_some(&mut self, vectors: usize, lanes: [Lanes; 2]) {
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
    fn column_of_all(&mut self, vectors: usize, lanes: [Lanes; 2]) {
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

    fn join_row(&mut self, to: V, acc: V, vector: usize, lanes: [Lanes; 2]) {
        let lanes = lanes[vector % 2];
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
        let bytes = self.bytes();
        if self.spec.stride == 2 {
            let odd = V(TURNS[0] as u8 + 1);
            self.asm.mov(TAP, AT);
            self.asm.shift_right(TAP, 1);
            for pair in 0..vectors / 2 {
                let (a, b) = (V(2 * pair as u8), V(2 * pair as u8 + 1));
                self.asm.copy(odd, a);
                self.asm.evens(a, b, self.orders[0]);
                self.asm.odds(odd, b, self.orders[1]);
                for (base, from) in [(INSIDE, a), (SECOND, odd)] {
                    let to = Mem { base, index: Some((TAP, 1)), disp: bytes * pair as i64 };
                    self.asm.store(to, from, Lanes::All);
                }
            }
            return;
        }
        for vector in 0..vectors {
            let to = Mem { base: INSIDE, index: Some((AT, 1)), disp: bytes * vector as i64 };
            self.asm.store(to, V(vector as u8), Lanes::All);
        }
    }

    /// The results of all rows.
    fn lines(&mut self) {
        let spec = self.spec;
        let rest = self.extent(PoolArg::N, 1);
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
        if spec.stride == 2 {
            self.asm.mov(ODD, LINE);
            self.advance(ODD, PoolArg::Half);
        }
        if spec.cells {
            self.load(CELLS, PoolArg::Cells);
            self.asm.cmp_imm(CELLS, 0);
            self.asm.jump(Code::Jle_rel32_64, row_done);
        }
        let cell = self.asm.here();
        let turns = [self.turn, 1];
        self.over_columns(turns, rest, &|g, vectors, lanes| g.results(vectors, lanes[0]));
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
        let (spec, bytes) = (self.spec, self.bytes());
        for tap in 0..spec.width {
            let position = i64::from(tap) * i64::from(spec.apart);
            let (base, position) = match spec.stride {
                2 => (if position % 2 == 0 { X_CELL } else { ODD }, position / 2),
                _ => (X_CELL, position),
            };
            for vector in 0..vectors {
                let disp = bytes * vector as i64 + 4 * position;
                let from = Mem { base, index: Some((AT, 1)), disp };
                let acc = V(vector as u8);
                if tap == 0 {
                    self.asm.load(acc, from, Lanes::All);
                } else {
                    self.asm.op2(self.op, acc, acc, from);
                }
            }
        }
        for vector in 0..vectors {
            let disp = bytes * vector as i64;
            let result = self.finished(V(vector as u8), vectors, disp, lanes);
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
