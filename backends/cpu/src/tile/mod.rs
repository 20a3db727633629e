//! tile - emission of tile-kernel specs as CLIF, with 128-bit vectors, for every target Cranelift has.
//!
//! Every `emit_*` function emits into the caller's function at its current block and leaves the builder in the block
//! where the code after the tile goes; blocks it makes are left unsealed (`seal_all_blocks` seals them). On x86-64 the target must have AVX and FMA: without them Cranelift
//! turns `fma` and rounding into calls of library functions, which position-independent blobs cannot make.

mod program;
pub use program::{Lanes, emit_program};

mod epilogue;
mod gemm;
mod memory;
pub use epilogue::EpilogueArg;
pub use gemm::{GemmArgs, Schedule, emit_gemm_tile, gemm_tile_function};
