//! lines - rows copied a vector at a time; two vectors at a time where even and odd columns are parted.

use iced_x86::{Code, Register};
use nnc_tile::lines::{Lines, LinesArg};

use crate::{
    Level,
    asm::{Asm, EncodeError, K, Lanes, Mem, V},
    frame::{Frame, TEMP},
};

/// The row, and where its phases go.
const X: Register = Register::RDI;
const TO: [Register; 2] = [Register::R8, Register::R9];
/// Rows left.
const ROWS: Register = Register::RSI;
/// Bytes from row to row and from line to line.
const X_ROW: Register = Register::RCX;
const LINE: Register = Register::RDX;
/// Bytes of a row that are done, of all, and the most where a turn has all of its columns.
const AT: Register = Register::R10;
const END: Register = Register::R11;
const LIMIT: Register = Register::RBX;
/// Columns of a phase that are done take half the bytes.
const HALF: Register = Register::R12;

/// Vectors of a turn that copies.
const VECTORS: usize = 4;

/// Whether there is code for the tile.
pub(crate) fn supports(spec: &Lines, _: Level) -> bool {
    matches!(spec.phases, 1 | 2)
}

/// The function of a tile.
pub(crate) fn emit(spec: &Lines, level: Level) -> Result<Vec<u8>, EncodeError> {
    spec.check();
    let mut asm = Asm::new(level);
    let frame = Frame::open(&mut asm, spec.args(), 0);
    let mut gen_ = Gen { asm: &mut asm, spec: *spec, frame, top: level.registers() as u8 - 1 };
    gen_.rows();
    gen_.frame.close(gen_.asm);
    asm.finish()
}

struct Gen<'a> {
    asm: &'a mut Asm,
    spec: Lines,
    frame: Frame<LinesArg>,
    top: u8,
}

impl Gen<'_> {
    fn load(&mut self, to: Register, arg: LinesArg) {
        let from = self.frame.arg(arg);
        self.asm.mov_load(to, from);
    }

    fn bytes(&self) -> i64 {
        4 * self.asm.level.lanes() as i64
    }

    /// As many of the first lanes as TEMP is after `count`, at least none and at most all.
    fn mask(&mut self, number: u8, count: &dyn Fn(&mut Self)) -> Lanes {
        let lanes = self.asm.level.lanes();
        count(self);
        self.asm.clamp(TEMP, lanes as i64);
        self.asm.counted_lanes(TEMP, K(number + 1), V(self.top - number), AT)
    }

    /// TEMP: elements that fill no turn of so many.
    fn rest(&mut self, turn: usize) {
        self.load(TEMP, LinesArg::Width);
        self.asm.and_imm(TEMP, turn as i32 - 1);
    }

    fn rows(&mut self) {
        let done = self.asm.label();
        self.asm.cmp_imm(ROWS, 0);
        self.asm.jump(Code::Jle_rel32_64, done);
        for (phase, to) in (0..self.spec.phases).zip(TO) {
            self.load(to, LinesArg::To(phase));
        }
        self.load(X_ROW, LinesArg::XRow);
        self.asm.shl(X_ROW, 2);
        self.load(LINE, LinesArg::Line);
        self.asm.shl(LINE, 2);
        self.load(END, LinesArg::Width);
        self.asm.shl(END, 2);
        let lanes = self.asm.level.lanes();
        let masks: Vec<Lanes> = if self.spec.phases == 1 {
            vec![self.mask(0, &|g| g.rest(lanes))]
        } else {
            self.asm.evens_order(V(self.top - 4), AT);
            self.asm.odds_order(V(self.top - 5), AT);
            vec![
                self.mask(0, &|g| g.rest(2 * lanes)),
                self.mask(1, &|g| {
                    g.rest(2 * lanes);
                    g.asm.add_imm(TEMP, -(lanes as i64));
                }),
                self.mask(2, &|g| {
                    g.rest(2 * lanes);
                    g.asm.add_imm(TEMP, 1);
                    g.asm.shift_right(TEMP, 1);
                }),
                self.mask(3, &|g| {
                    g.rest(2 * lanes);
                    g.asm.shift_right(TEMP, 1);
                }),
            ]
        };
        let next = self.asm.here();
        self.asm.mov_imm(AT, 0);
        if self.spec.phases == 1 {
            self.copy(masks[0])
        } else {
            self.part(&masks)
        }
        self.asm.add(X, X_ROW);
        for to in TO.into_iter().take(self.spec.phases.into()) {
            self.asm.add(to, LINE);
        }
        self.asm.add_imm(ROWS, -1);
        self.asm.jump(Code::Jne_rel32_64, next);
        self.asm.place(done);
    }

    /// Turns of `bytes` while a row has as many, then the rest.
    fn turns(&mut self, bytes: i64, body: &dyn Fn(&mut Self)) {
        let (again, done) = (self.asm.label(), self.asm.label());
        self.asm.lea(LIMIT, Mem::at(END, -bytes));
        self.asm.cmp(AT, LIMIT);
        self.asm.jump(Code::Jg_rel32_64, done);
        self.asm.place(again);
        body(self);
        self.asm.add_imm(AT, bytes);
        self.asm.cmp(AT, LIMIT);
        self.asm.jump(Code::Jle_rel32_64, again);
        self.asm.place(done);
    }

    fn copy(&mut self, rest: Lanes) {
        let bytes = self.bytes();
        let at = |base: Register, v: usize| Mem { base, index: Some((AT, 1)), disp: bytes * v as i64 };
        for vectors in [VECTORS, 1] {
            self.turns(bytes * vectors as i64, &|g| {
                for v in 0..vectors {
                    g.asm.load(V(v as u8), at(X, v), Lanes::All);
                    g.asm.store(at(TO[0], v), V(v as u8), Lanes::All);
                }
            });
        }
        let done = self.asm.label();
        self.asm.cmp(AT, END);
        self.asm.jump(Code::Jge_rel32_64, done);
        self.asm.load(V(0), at(X, 0), rest);
        self.asm.store(at(TO[0], 0), V(0), rest);
        self.asm.place(done);
    }

    fn part(&mut self, masks: &[Lanes]) {
        self.asm.mov_imm(HALF, 0);
        let bytes = self.bytes();
        let pair = |g: &mut Self, lanes: [Lanes; 4]| {
            let from = Mem { base: X, index: Some((AT, 1)), disp: 0 };
            g.asm.load(V(0), from, lanes[0]);
            g.asm.load(V(1), from.plus(bytes), lanes[1]);
            g.asm.copy(V(2), V(0));
            g.asm.evens(V(0), V(1), V(g.top - 4));
            g.asm.odds(V(2), V(1), V(g.top - 5));
            for (to, (from, lanes)) in TO.into_iter().zip([(V(0), lanes[2]), (V(2), lanes[3])]) {
                g.asm.store(Mem { base: to, index: Some((HALF, 1)), disp: 0 }, from, lanes);
            }
            g.asm.add_imm(HALF, bytes);
        };
        self.turns(2 * bytes, &|g| pair(g, [Lanes::All; 4]));
        let done = self.asm.label();
        self.asm.cmp(AT, END);
        self.asm.jump(Code::Jge_rel32_64, done);
        pair(self, [masks[0], masks[1], masks[2], masks[3]]);
        self.asm.place(done);
    }
}
