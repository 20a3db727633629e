//! nnc-x86 - tile-kernel specs as x86-64 machine code with 256-bit (AVX2) and 512-bit (AVX-512) vectors.
//!
//! Cranelift's widest vector has 128 bits. The inner blocks where vector width decides are small specs (nnc-tile), and
//! this crate writes their code itself. Every function follows the System V calling convention of x86-64 on every
//! operating system: 64-bit integer arguments in the order of the spec's `args()`, no result; it calls nothing, leaves
//! MXCSR alone, refers to nothing outside of its bytes and can be placed at any address.
//!
//! A spec's chain of operations for each element is the same as in nnc-cpu's CLIF emission, so both give the same bits.

#![forbid(unsafe_code)]

mod asm;
mod depthwise;
mod frame;
mod gemm;
mod lane_conv;
mod lines;
mod pool;
mod program;
mod row_conv;
mod separable;
mod stream;
mod transpose;

pub use asm::EncodeError;
pub use gemm::{edge_vectors, part_rows};
use nnc_tile::Tile;

/// Instructions that may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// AVX2 and FMA: 16 registers of 256 bits.
    Avx2,
    /// AVX-512 F, BW, DQ and VL: 32 registers of 512 bits, and masks.
    Avx512,
}

impl Level {
    /// The best level of a processor with these features, by the names Rust uses.
    #[must_use]
    pub fn of(has: impl Fn(&str) -> bool) -> Option<Level> {
        let avx2 = ["avx2", "fma", "bmi2"].iter().all(|f| has(f));
        let avx512 = ["avx512f", "avx512bw", "avx512dq", "avx512vl"].iter().all(|f| has(f));
        match (avx2, avx512) {
            (true, true) => Some(Level::Avx512),
            (true, false) => Some(Level::Avx2),
            _ => None,
        }
    }

    /// f32 lanes of a vector.
    #[must_use]
    pub fn lanes(self) -> usize {
        match self {
            Level::Avx2 => 8,
            Level::Avx512 => 16,
        }
    }

    /// Vector registers.
    #[must_use]
    pub fn registers(self) -> usize {
        match self {
            Level::Avx2 => 16,
            Level::Avx512 => 32,
        }
    }
}

/// Whether there is wide code for the spec.
#[must_use]
pub fn supports(spec: &Tile, level: Level) -> bool {
    match spec {
        Tile::Gemm(spec) => gemm::supports(spec, level),
        Tile::RowConv(spec) => row_conv::supports(spec, level),
        Tile::LaneConv(spec) => lane_conv::supports(spec, level),
        Tile::Stream(spec) => stream::supports(spec, level),
        Tile::Separable(spec) => separable::supports(spec, level),
        Tile::Lines(spec) => lines::supports(spec, level),
        Tile::Pool(spec) => pool::supports(spec, level),
        Tile::Transpose(_) => true,
    }
}

/// Machine code of a function that computes the tile.
///
/// # Errors
/// A displacement does not fit into an instruction; [`supports`] rules out all other reasons.
pub fn emit(spec: &Tile, level: Level) -> Result<Vec<u8>, EncodeError> {
    match spec {
        Tile::Gemm(spec) => gemm::emit(spec, level),
        Tile::RowConv(spec) => row_conv::emit(spec, level),
        Tile::LaneConv(spec) => lane_conv::emit(spec, level),
        Tile::Stream(spec) => stream::emit(spec, level),
        Tile::Separable(spec) => separable::emit(spec, level),
        Tile::Lines(spec) => lines::emit(spec, level),
        Tile::Pool(spec) => pool::emit(spec, level),
        Tile::Transpose(spec) => transpose::emit(spec, level),
    }
}
