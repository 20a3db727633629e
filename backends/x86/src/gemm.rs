//! gemm - blocks of matrix products: accumulators in registers, B in vectors, A one element for all lanes.
//!
//! ```text
//! for k:   v vectors of B are loaded;   for each row: one element of A is broadcast, v multiply-adds
//! ```
//!
//! Of several groups of columns, each row has the vectors of the first group, then those of the second, and so on.
//!
//! A few columns beyond whole vectors: `edge`; rows of A that are read several steps at a time: `fours`; panels of a few columns, whose
//! lanes are steps of k as well: `chains`, and `flat` for what follows; such columns beside whole vectors: `parts`.
//!
//! With `rows * v` of 24 or more accumulators in AVX-512 (10 or more in AVX2) the multipliers never wait. A single row takes B
//! from memory in the multiply-add itself. Which shapes: nnc-cpu's `tile/wide_cover.rs`.
//!
//! Source of the scheme: Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008, section 4, with
//! the micro-kernel of Van Zee and van de Geijn, "BLIS", 2015, turned so that rows are broadcast.

mod chains;
mod edge;
mod finish;
mod flat;
mod fours;
mod multiply;
mod parts;
mod shape;
mod steps;

pub(crate) use self::shape::supports;
pub use self::{edge::edge_vectors, parts::part_rows};

use iced_x86::Register;
use nnc_tile::{
    epilogue::Epilogue,
    gemm::{GemmArg, GemmTile, Init},
};

use self::{
    shape::{Shape, scratch_of_stores},
    steps::{Block, Step},
};
use crate::{
    Level,
    asm::{Asm, EncodeError, K, Lanes, Mem, V},
    frame::{Frame, POOL, TEMP},
    program,
};

/// Base of A and of the first rows.
const A: Register = Register::RDI;
/// Where B is read, or what the table counts from.
const B: Register = Register::RSI;
/// Steps of k that remain.
const STEPS: Register = Register::RCX;

/// Vector registers and instructions for which a program is written once for each accumulator; beyond, once for each vector
/// of a row, in a loop over rows.
const UNROLLED_OPS: usize = 400;

/// The function of a tile.
pub(crate) fn emit(spec: &GemmTile, level: Level) -> Result<Vec<u8>, EncodeError> {
    spec.check();
    if !supports(spec, level) {
        return Err(EncodeError("more registers than there are".into()));
    }
    let shape = Shape::of(spec, level);
    let staged =
        spec.epilogue.as_ref().is_some_and(|e| staged(e, &shape, level, scratch_of_stores(spec, level)));
    let mut asm = Asm::new(level);
    let scratch = if staged || shape.is_laid_out() { shape.scratch_bytes(level) } else { 0 };
    let scratch = scratch + flat::scratch_bytes(spec, &shape, level);
    let frame = Frame::open(&mut asm, spec.args(), scratch);
    let mut gen_ = Gen { asm: &mut asm, spec, shape, frame, free: POOL.to_vec() };
    gen_.masks();
    gen_.repeat_columns();
    gen_.blocks(&mut |g| {
        g.init();
        g.sums();
        match &spec.epilogue {
            Some(e) if staged => g.finish_staged(e),
            _ => g.finish(),
        }
    });
    gen_.frame.close(gen_.asm);
    asm.finish()
}

/// Whether the epilogue runs over sums in memory rather than in the registers they are in.
fn staged(epilogue: &Epilogue, shape: &Shape, level: Level, own: usize) -> bool {
    let free = level.registers() - shape.held();
    let sums = if shape.chains.is_some() { shape.rows * shape.own } else { shape.accumulators() };
    let ops = epilogue.program.ops().len();
    program::registers(&epilogue.program) + 2 * own > free || ops * sums > UNROLLED_OPS
}

struct Gen<'a> {
    asm: &'a mut Asm,
    spec: &'a GemmTile,
    shape: Shape,
    frame: Frame<GemmArg>,
    /// Registers nobody uses.
    free: Vec<Register>,
}

impl Gen<'_> {
    fn take(&mut self) -> Register {
        self.free.pop().expect("`supports` has counted registers")
    }

    fn arg(&mut self, arg: GemmArg) -> Register {
        let (to, from) = (self.take(), self.frame.arg(arg));
        self.asm.mov_load(to, from);
        to
    }

    /// Lanes of vector `i` of a row of C. AVX2 puts its mask into `scratch`.
    fn lanes_of_c(&mut self, i: usize, scratch: V) -> Lanes {
        let all = self.asm.level.lanes();
        match self.shape.last_cols {
            Some(n) if i + 1 < self.shape.own || n == all => Lanes::All,
            Some(_) if self.asm.level == Level::Avx512 => Lanes::Mask(K(1)),
            Some(n) => self.asm.first_signs(n, scratch, TEMP),
            None if self.asm.level == Level::Avx512 => Lanes::Mask(K(3 + i as u8)),
            None => {
                // All ones and then all zeros: what begins `cols` before the zeros is the mask of the row.
                let width = all * self.shape.own;
                let words: Vec<u32> = (0..2 * width).map(|w| if w < width { u32::MAX } else { 0 }).collect();
                let place = self.frame.arg(GemmArg::Cols);
                let first = 4 * (width + all * i) as i64;
                self.asm.mov_load(TEMP, place);
                self.asm.mul_imm(TEMP, -4);
                let table = Register::RCX;
                self.asm.address_of(table, &words);
                self.asm.add(TEMP, table);
                self.asm.load(scratch, Mem::at(TEMP, first), Lanes::All);
                Lanes::Signs(scratch)
            }
        }
    }

    /// Masks that stay.
    fn masks(&mut self) {
        let all = self.asm.level.lanes();
        if self.asm.level == Level::Avx512 {
            match self.shape.last_cols {
                Some(n) if n < all => self.asm.mask_first(K(1), n as u32, TEMP),
                Some(_) => {}
                None => self.row_masks(),
            }
            if self.shape.last_b < all {
                self.asm.mask_first(K(2), self.shape.last_b as u32, TEMP);
            }
        }
        self.edge_masks();
        self.chain_masks();
    }

    /// What the accumulators start from.
    fn init(&mut self) {
        let all = self.asm.level.lanes();
        if self.spec.init == Init::Zero {
            for number in 0..self.shape.accumulators() {
                self.asm.zero(V(number as u8));
            }
            return;
        }
        let (row, ldc) = (POOL[0], POOL[1]);
        self.row_of_c(row, ldc);
        let scratch = V((self.asm.level.registers() - 1) as u8);
        for i in 0..self.shape.vectors {
            if i > 0 && self.shape.rows > 1 {
                self.row_of_c(row, ldc);
            }
            let lanes = self.lanes_of_c(i, scratch);
            for m in 0..self.shape.rows {
                let from = Mem::at(row, (4 * all * i) as i64);
                self.asm.load(self.shape.acc(m, i), from, lanes);
                if m + 1 < self.shape.rows {
                    self.asm.add(row, ldc);
                }
            }
        }
        // The registers of the first arguments are as they were again.
        for (register, arg) in [(POOL[0], 2), (POOL[1], 4), (STEPS, 3)] {
            let from = self.frame.at(arg);
            self.asm.mov_load(register, from);
        }
    }

    /// Address of the first row of C, and bytes to the next.
    fn row_of_c(&mut self, row: Register, ldc: Register) {
        let (c, stride) = (self.frame.arg(GemmArg::C), self.frame.arg(GemmArg::Ldc));
        self.asm.mov_load(row, c);
        self.asm.mov_load(ldc, stride);
        self.asm.shl(ldc, 2);
    }

    /// Masks 3, 4, ... of the vectors of a row of which a run-time number of columns count.
    fn row_masks(&mut self) {
        let cols = self.frame.arg(GemmArg::Cols);
        let bits = Register::R10;
        self.asm.mov_load(TEMP, cols);
        self.asm.mov_imm(bits, -1);
        self.asm.keep_low_bits(bits, bits, TEMP);
        for i in 0..self.shape.vectors {
            self.asm.mask_from(K(3 + i as u8), bits);
            self.asm.shift_right(bits, 16);
        }
    }
}
