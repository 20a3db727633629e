//! columns - the lines of a group of rows: columns of windows joined down.

use iced_x86::{Code, Register};
use nnc_tile::pool::PoolArg;

use super::{AT, CACHE_LINE, FROM, Gen, LIMIT, LINE, ROWS, TO, TURNS};
use crate::{
    asm::{Label, Lanes, Mem, V},
    frame::TEMP,
};

/// Of columns: the first row of x in a window.
const TOP: Register = Register::RSI;
/// The first row that is read, and how many are.
const SOURCE: Register = Register::RCX;
const COUNT: Register = Register::R8;
/// Elements from row to row.
const X_ROW: Register = Register::R9;
const TAP: Register = Register::R12;
const LEFT: Register = Register::R13;
/// Where all rows of a window are inside: bytes from a row to that which is read so many rows of the result later.
const AHEAD: Register = Register::R13;
/// Where x begins in the line, and where its second element is if even and odd positions are apart.
const INSIDE: Register = Register::R15;
const SECOND: Register = Register::RBX;

/// Rows of a window that are unrolled where none is outside of x.
const UNROLLED: u32 = 8;

impl Gen<'_> {
    /// The lines of the group.
    pub(super) fn columns(&mut self) {
        let spec = self.spec;
        let turns = [TURNS[0], spec.stride as usize];
        let rest = self.extent(PoolArg::XWidth, turns[1]);
        self.count();
        self.load(LINE, PoolArg::Lines);
        self.load(TOP, PoolArg::Top);
        self.load(X_ROW, PoolArg::XRow);
        self.begin_inside();
        self.begin_ahead();
        let next = self.asm.here();
        let (outside, made, full) = (self.asm.label(), self.asm.label(), self.asm.label());
        self.taps(outside);
        if spec.height <= UNROLLED {
            self.asm.cmp_imm(COUNT, spec.height as i32);
            self.asm.jump(Code::Je_rel32_64, full);
        }
        self.over_columns(turns, rest, &|g, vectors, lanes| g.column_of_some(vectors, lanes));
        self.begin_ahead();
        self.asm.jump(Code::Jmp_rel32_64, made);
        self.asm.place(outside);
        self.asm.mov_imm(FROM, 0);
        self.load(TO, PoolArg::Span);
        self.fill();
        self.begin_ahead();
        if spec.height <= UNROLLED {
            self.asm.jump(Code::Jmp_rel32_64, made);
            self.asm.place(full);
            self.over_columns(turns, rest, &|g, vectors, lanes| g.column_of_all(vectors, lanes));
        }
        self.asm.place(made);
        self.asm.add_imm(TOP, i64::from(spec.row_stride));
        self.load(TEMP, PoolArg::Pitch);
        for at in &[LINE, INSIDE, SECOND][..1 + spec.stride as usize] {
            self.asm.lea(*at, Mem { base: *at, index: Some((TEMP, 4)), disp: 0 });
        }
        self.asm.add_imm(ROWS, -1);
        self.asm.jump(Code::Jne_rel32_64, next);
        let top = self.frame.arg(PoolArg::Top);
        self.asm.mov_store(top, TOP);
    }

    /// How far on the rows are that are asked for; nothing else may have the register while rows are inside.
    fn begin_ahead(&mut self) {
        let spec = self.spec;
        if spec.ahead > 0 && spec.height <= UNROLLED {
            self.asm.mov_imm(AHEAD, 4 * i64::from(spec.ahead) * i64::from(spec.row_stride));
            self.asm.mul(AHEAD, X_ROW);
        }
    }

    /// Taps from `max(0, -top)` to before `min(height, x_height - top)`: the first row, in SOURCE, and how many are inside
    /// of x, in COUNT.
    fn taps(&mut self, outside: Label) {
        let spec = self.spec;
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
    }

    /// Where the first element of x is in the first line, and the second one.
    fn begin_inside(&mut self) {
        self.load(INSIDE, PoolArg::Left);
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

    /// Vectors of columns in COUNT rows, at least one. What the lanes leave out is what changes nothing.
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
            if self.spec.ahead > 0 && row + self.spec.row_stride >= self.spec.height {
                self.fetch_columns(vectors);
            }
            if row + 1 < self.spec.height {
                self.asm.lea(TAP, Mem { base: TAP, index: Some((X_ROW, 4)), disp: 0 });
            }
        }
        self.store_columns(vectors);
    }

    /// Asks for the columns of a row that is read later.
    fn fetch_columns(&mut self, vectors: usize) {
        for vector in (0..vectors).step_by(CACHE_LINE / self.bytes() as usize) {
            let disp = self.bytes() * vector as i64;
            self.asm.prefetch(Mem { base: TAP, index: Some((AHEAD, 1)), disp });
        }
    }

    fn join_row(&mut self, to: V, acc: V, vector: usize, lanes: [Lanes; 2]) {
        let from = Mem::at(TAP, self.bytes() * vector as i64);
        match lanes[vector % 2] {
            Lanes::All => self.asm.op2(self.op, to, acc, from),
            Lanes::Mask(mask) => {
                self.asm.copy(to, acc);
                self.asm.op2_masked(self.op, to, to, from, mask);
            }
            Lanes::Signs(mask) => {
                let read = V(TURNS[0] as u8);
                self.asm.load(read, from, Lanes::Signs(mask));
                self.asm.op2(self.op, read, acc, read);
                self.asm.blend(to, mask, read, acc);
            }
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
}
