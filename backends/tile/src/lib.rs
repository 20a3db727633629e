//! nnc-tile - inner blocks of kernels as data: small hashable specs, each with a scalar reference.
//!
//! A spec says what an inner block computes and how its operands lie in memory; it says nothing about instructions.
//! An emitter turns a spec into machine code, and the reference beside the spec is what every emitter is tested
//! against. Nothing here depends on the rest of nnc.
#![forbid(unsafe_code)]

pub mod program;

pub mod copies;
pub mod epilogue;
pub mod gemm;
pub mod lane_conv;
pub mod lines;
pub mod pool;
pub mod product;
pub mod row_conv;
pub mod separable;
pub mod stream;
pub mod transpose;
pub mod winograd;

/// Any inner block: what emitters that make whole functions are asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Tile {
    /// A block of a matrix product.
    Gemm(gemm::GemmTile),
    /// Rows of a depthwise convolution.
    RowConv(row_conv::RowConv),
    /// Columns of a depthwise convolution with channels last.
    LaneConv(lane_conv::LaneConv),
    /// Pointwise arithmetic along rows.
    Stream(stream::Stream),
    /// A transform of a square of pixels along both axes.
    Separable(separable::Separable),
    /// Rows that become columns.
    Transpose(transpose::Transpose),
    /// Rows of a plane, copied.
    Lines(lines::Lines),
    /// Windows that slide over the rows of a plane.
    Pool(pool::Pool),
}

impl Tile {
    /// How many 64-bit arguments its function takes.
    #[must_use]
    pub fn n_args(&self) -> usize {
        match self {
            Tile::Gemm(spec) => spec.args().len(),
            Tile::RowConv(spec) => spec.args().len(),
            Tile::LaneConv(spec) => spec.args().len(),
            Tile::Stream(spec) => spec.args().len(),
            Tile::Separable(spec) => spec.args().len(),
            Tile::Lines(spec) => spec.args().len(),
            Tile::Pool(spec) => spec.args().len(),
            Tile::Transpose(spec) => spec.args().len(),
        }
    }
}
