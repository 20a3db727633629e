//! tile - emission of tile-kernel specs as CLIF, with 128-bit vectors, for every target Cranelift has.
//!
//! Every `emit_*` function emits into the caller's function at its current block and leaves the builder in the block
//! where the code after the tile goes; blocks it makes are left unsealed (`seal_all_blocks` seals them). On x86-64 the
//! target must have SSE4.1: without it Cranelift turns rounding into calls of library functions, which
//! position-independent blobs cannot make. [`Arithmetic`] says whether it has multiply-adds too. Compile functions with
//! GEMM tiles at `opt_level=none`: the emission has scheduled them, and Cranelift's optimiser makes them half as fast.

mod arithmetic;
pub use arithmetic::Arithmetic;
pub(crate) use arithmetic::has_feature;

mod program;
pub(crate) use program::Bound;
pub use program::{Lanes, emit_program};

mod epilogue;
mod loops;
mod memory;
mod multiply;
pub use epilogue::EpilogueArg;

mod chains;
mod gemm;
pub use gemm::{GemmArgs, OutputArg, Schedule, emit_gemm_tile, gemm_tile_function};

mod cover;
pub use cover::{Panel, cover, cover_cost};

mod narrow;
mod parts_cover;
mod wide_cover;
pub(crate) use wide_cover::MOST_COUNTED;
pub use wide_cover::{
    Extents, wide_cover, wide_cover_by, wide_cover_cost, wide_cover_of_groups, wide_shapes,
};

mod lane_conv;
pub use lane_conv::{LaneConvArgs, emit_lane_conv, lane_conv_function};

mod row_conv;
pub use row_conv::{RowConvArgs, emit_row_conv, row_conv_function};

mod separable;
pub use separable::{SeparableArgs, SquareArg, emit_separable, separable_function};
