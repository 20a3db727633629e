//! transpose - blocks of as many rows and columns as a vector has lanes, transposed in registers; two rows woven into one.
//!
//! At the edges a block has fewer rows, which masks leave out, and fewer columns, whose rows of x are not read.

use iced_x86::{Code, Register};
use nnc_tile::transpose::{Transpose, TransposeArg};

use crate::{
    Level,
    asm::{Asm, EncodeError, K, Lanes, Mem, V},
    frame::{Frame, TEMP},
};

/// The block's first row of x and of the result, and the row on the way.
const X: Register = Register::RDI;
const Y: Register = Register::RSI;
const AT: Register = Register::R8;
/// Rows of the result that are left, and columns.
const ROWS: Register = Register::RDX;
const COLUMNS: Register = Register::R9;
/// Bytes from row to row.
const X_STEP: Register = Register::RCX;
const Y_STEP: Register = Register::R10;
/// Where a band of rows begins.
const X_BAND: Register = Register::R12;
const Y_BAND: Register = Register::R13;
/// Rows of the block.
const HEIGHT: Register = Register::R11;
const SCRATCH: Register = Register::RBX;
/// Rows of the block, and its columns, as lanes.
const MASKS: [K; 2] = [K(1), K(2)];

/// The function of a tile.
pub(crate) fn emit(spec: &Transpose, level: Level) -> Result<Vec<u8>, EncodeError> {
    let mut asm = Asm::new(level);
    let frame = Frame::open(&mut asm, spec.args(), 0);
    let mut gen_ = Gen { asm: &mut asm, frame };
    gen_.asm.shl(X_STEP, 2);
    if spec.pairs {
        gen_.woven()
    } else {
        gen_.bands()
    }
    gen_.frame.close(gen_.asm);
    asm.finish()
}

/// What a block has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    Whole,
    /// Fewer rows or columns than lanes.
    Edge,
}

struct Gen<'a> {
    asm: &'a mut Asm,
    frame: Frame<TransposeArg>,
}

impl Gen<'_> {
    fn lanes(&self) -> i64 {
        self.asm.level.lanes() as i64
    }

    /// Bands of rows, and in each block after block of columns.
    fn bands(&mut self) {
        let (lanes, done) = (self.lanes(), self.asm.label());
        let from = self.frame.arg(TransposeArg::YStep);
        self.asm.mov_load(Y_STEP, from);
        self.asm.shl(Y_STEP, 2);
        self.asm.mov(X_BAND, X);
        self.asm.mov(Y_BAND, Y);
        let next = self.asm.here();
        self.asm.cmp_imm(ROWS, 0);
        self.asm.jump(Code::Jle_rel32_64, done);
        self.asm.mov(HEIGHT, ROWS);
        self.asm.clamp(HEIGHT, lanes);
        self.asm.mov(X, X_BAND);
        self.asm.mov(Y, Y_BAND);
        let from = self.frame.arg(TransposeArg::Columns);
        self.asm.mov_load(COLUMNS, from);
        let (again, edge, band_done) = (self.asm.label(), self.asm.label(), self.asm.label());
        self.asm.place(again);
        self.asm.cmp_imm(COLUMNS, 0);
        self.asm.jump(Code::Jle_rel32_64, band_done);
        for count in [HEIGHT, COLUMNS] {
            self.asm.cmp_imm(count, lanes as i32);
            self.asm.jump(Code::Jl_rel32_64, edge);
        }
        self.block(Block::Whole);
        self.asm.add_imm(COLUMNS, -lanes);
        self.asm.jump(Code::Jmp_rel32_64, again);
        self.asm.place(edge);
        self.block(Block::Edge);
        self.asm.add_imm(COLUMNS, -lanes);
        self.asm.jump(Code::Jmp_rel32_64, again);
        self.asm.place(band_done);
        self.asm.add_imm(X_BAND, 4 * lanes);
        self.asm.mov(TEMP, Y_STEP);
        self.asm.mul_imm(TEMP, lanes);
        self.asm.add(Y_BAND, TEMP);
        self.asm.add_imm(ROWS, -lanes);
        self.asm.jump(Code::Jmp_rel32_64, next);
        self.asm.place(done);
    }

    /// A block; X and Y move on to the next columns.
    fn block(&mut self, block: Block) {
        let lanes = self.lanes() as usize;
        // AVX2 has no register to spare: masks come from memory when the rows are written.
        let rows = match block {
            Block::Whole => Lanes::All,
            Block::Edge => self.mask(HEIGHT, 0),
        };
        let read = self.asm.label();
        for c in 0..lanes {
            if block == Block::Edge {
                self.asm.cmp_imm(COLUMNS, c as i32);
                self.asm.jump(Code::Jle_rel32_64, read);
            }
            self.asm.load(V(c as u8), Mem::at(X, 0), rows);
            self.asm.add(X, X_STEP);
        }
        self.asm.place(read);
        let turned = self.asm.transpose();
        let columns = match block {
            Block::Whole => Lanes::All,
            Block::Edge => self.mask(COLUMNS, 1),
        };
        let written = self.asm.label();
        self.asm.mov(AT, Y);
        for (r, row) in turned.into_iter().enumerate() {
            if block == Block::Edge {
                self.asm.cmp_imm(HEIGHT, r as i32);
                self.asm.jump(Code::Jle_rel32_64, written);
            }
            self.asm.store(Mem::at(AT, 0), row, columns);
            self.asm.add(AT, Y_STEP);
        }
        self.asm.place(written);
        self.asm.add_imm(Y, 4 * self.lanes());
    }

    /// As many lanes as a count says.
    fn mask(&mut self, count: Register, number: usize) -> Lanes {
        let (lanes, last) = (self.lanes(), V(self.asm.level.registers() as u8 - 1));
        self.asm.mov(TEMP, count);
        self.asm.clamp(TEMP, lanes);
        self.asm.counted_lanes(TEMP, MASKS[number], last, SCRATCH)
    }

    /// Two rows of x, an element of each by turns.
    fn woven(&mut self) {
        let lanes = self.lanes();
        let (rest, done) = (self.asm.label(), self.asm.label());
        self.asm.weave_orders([V(8), V(9)], SCRATCH);
        self.asm.add_imm(ROWS, -lanes);
        self.asm.jump(Code::Jl_rel32_64, rest);
        let again = self.asm.here();
        self.pair([Lanes::All; 3]);
        self.asm.add_imm(X, 4 * lanes);
        self.asm.add_imm(Y, 8 * lanes);
        self.asm.add_imm(ROWS, -lanes);
        self.asm.jump(Code::Jge_rel32_64, again);
        self.asm.place(rest);
        self.asm.add_imm(ROWS, lanes);
        self.asm.jump(Code::Jle_rel32_64, done);
        let masks = [(1, 0), (2, 0), (2, lanes)].into_iter().enumerate().map(|(number, (times, before))| {
            self.asm.mov(TEMP, ROWS);
            self.asm.mul_imm(TEMP, times);
            self.asm.add_imm(TEMP, -before);
            self.asm.clamp(TEMP, lanes);
            self.asm.counted_lanes(TEMP, K(1 + number as u8), V(10 + number as u8), SCRATCH)
        });
        let masks: Vec<Lanes> = masks.collect();
        self.pair([masks[0], masks[1], masks[2]]);
        self.asm.place(done);
    }

    fn pair(&mut self, [read, first, second]: [Lanes; 3]) {
        let bytes = 4 * self.lanes();
        self.asm.load(V(0), Mem::at(X, 0), read);
        self.asm.load(V(1), Mem { base: X, index: Some((X_STEP, 1)), disp: 0 }, read);
        let woven = self.asm.weave([V(0), V(1)], [V(2), V(3)], [V(8), V(9)]);
        self.asm.store(Mem::at(Y, 0), woven[0], first);
        self.asm.store(Mem::at(Y, bytes), woven[1], second);
    }
}
