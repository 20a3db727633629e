//! pool - windows over planes: columns of rows to lines in scratch memory, then along the lines to the result.
//!
//! ```text
//!   what lines have beside the elements of x        once: rows leave it as it is
//!   groups of as many rows as there are lines
//!     columns     the lines of the group
//!     results     its rows
//! ```
//!
//! All lines of a group are made before the first is read: a vector that begins inside of one that has just been written
//! would wait for it. Where windows are two apart, lines have even and odd positions apart, so that what a tap reads for all
//! windows of a row lies side by side.

mod columns;
mod results;

use iced_x86::{Code, Register};
use nnc_tile::{
    pool::{Pool, PoolArg},
    stream::Join,
};

use crate::{
    Level,
    asm::{Asm, EncodeError, K, Label, Lanes, Mem, Op2, V},
    frame::{Frame, TEMP},
    program,
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

/// Cells of operands, while results are made.
const OPERANDS: [Register; 4] = [Register::R12, Register::R13, Register::R15, Register::RBX];
/// Of what is filled: the first position and that after the last.
const FROM: Register = Register::R13;
const TO: Register = Register::R12;

/// Vectors of a turn, most first.
const TURNS: [usize; 3] = [4, 2, 1];
/// Lanes of the rest of columns: of the first vector and of the second.
const REST: [K; 2] = [K(1), K(2)];
/// Bytes of a line of the cache.
const CACHE_LINE: usize = 64;
/// Taps that are unrolled.
const TAPS: u32 = 32;

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
    gen_.prepare();
    let group = gen_.asm.here();
    gen_.columns();
    gen_.results();
    gen_.next_group(group);
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

    /// Sets ROWS to the rows of the group that begins.
    fn count(&mut self) {
        let some = self.asm.label();
        self.load(ROWS, PoolArg::Rows);
        self.load(TEMP, PoolArg::Group);
        self.asm.cmp(ROWS, TEMP);
        self.asm.jump(Code::Jle_rel32_64, some);
        self.asm.mov(ROWS, TEMP);
        self.asm.place(some);
    }

    /// Registers that keep what they have, and what lines have beside the elements of x.
    fn prepare(&mut self) {
        if self.spec.stride == 2 {
            self.asm.evens_order(self.orders[0], AT);
            self.asm.odds_order(self.orders[1], AT);
        }
        self.asm.constant(self.kept, self.spec.join.identity());
        let (some, none) = (self.asm.label(), self.asm.label());
        self.load(FROM, PoolArg::Left);
        self.asm.cmp_imm(FROM, 0);
        self.asm.jump(Code::Jne_rel32_64, some);
        self.load(FROM, PoolArg::XWidth);
        self.load(TO, PoolArg::Span);
        self.asm.cmp(TO, FROM);
        self.asm.jump(Code::Jle_rel32_64, none);
        self.asm.place(some);
        self.count();
        self.load(LINE, PoolArg::Lines);
        let next = self.asm.here();
        self.asm.mov_imm(FROM, 0);
        self.load(TO, PoolArg::Left);
        self.fill();
        self.load(FROM, PoolArg::Left);
        let width = self.frame.arg(PoolArg::XWidth);
        self.asm.add_load(FROM, width);
        self.load(TO, PoolArg::Span);
        self.fill();
        self.advance(LINE, PoolArg::Pitch);
        self.asm.add_imm(ROWS, -1);
        self.asm.jump(Code::Jne_rel32_64, next);
        self.asm.place(none);
    }

    /// Goes on with the rows that are left.
    fn next_group(&mut self, group: Label) {
        let rows = self.frame.arg(PoolArg::Rows);
        self.load(ROWS, PoolArg::Rows);
        self.load(TEMP, PoolArg::Group);
        self.asm.sub(ROWS, TEMP);
        self.asm.mov_store(rows, ROWS);
        self.asm.cmp_imm(ROWS, 0);
        self.asm.jump(Code::Jg_rel32_64, group);
    }

    /// What changes nothing at the positions from FROM to before TO, in whole vectors: of each parity, if these are apart.
    fn fill(&mut self) {
        for parity in 0..i64::from(self.spec.stride) {
            for (to, position) in [(AT, FROM), (LIMIT, TO)] {
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
}
