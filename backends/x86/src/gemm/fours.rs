//! fours - rows of A that are read four steps of k at a time.
//!
//! A tile of one vector a row takes one element of A for each multiply-add, and a vector of B beside: more than the two loads a cycle
//! that there are. Where A lies densely along k, one load reads four elements of a row and a shuffle spreads each of them when its step
//! comes, on a port that multiply-adds leave free. A few rows are enough: then the multipliers decide again. 24 x 1 over k = 100
//! goes from 94 to 99 % of the peak on a Zen 5 core with three such rows; with one it has 97 %, with four no more.

use nnc_tile::{
    gemm::{GemmTile, Stride},
    product::Product,
};

use super::{Block, Gen, Shape};
use crate::{Level, asm::V};

/// How many rows, where there are registers.
const ROWS: usize = 3;
/// Rows of a tile that is held up by its loads: fewer wait for their sums.
const LEAST_ROWS: usize = 8;
/// Registers for other elements of A and those that are spread.
pub(super) const PASSING: usize = 2;

/// How many rows of a tile are read by fours, with so many registers free.
pub(super) fn rows(spec: &GemmTile, vectors: usize, free: usize, level: Level) -> usize {
    let dense = spec.a_k == Stride::Const(1) && spec.product == Product::F32;
    if level != Level::Avx512 || !dense || vectors != 1 || usize::from(spec.rows) < LEAST_ROWS {
        return 0;
    }
    ROWS.min(free.saturating_sub(PASSING))
}

impl Shape {
    /// The number of a row among those that are read by fours.
    pub(super) fn four_of_row(&self, m: usize) -> Option<usize> {
        (0..self.fours).find(|i| (i + 1) * self.rows / (self.fours + 1) == m)
    }

    /// Where four elements of such a row are: behind what a step uses of B.
    pub(super) fn four(&self, number: usize) -> V {
        let edge = self.edge.map_or(0, |edge| edge.others());
        V((self.accumulators() + self.vectors + edge + number) as u8)
    }
}

impl Gen<'_> {
    /// Four steps of k of the rows that are read so.
    pub(super) fn fours_read(&mut self, block: &Block, a_disp: i64) {
        for m in 0..self.shape.rows {
            if let Some(number) = self.shape.four_of_row(m) {
                self.asm.broadcast_four(self.shape.four(number), block.row(m, a_disp));
            }
        }
    }

    /// The element of A for row `m` in all lanes; `within` is the step among those read at once, if they were.
    pub(super) fn load_a(&mut self, to: V, block: &Block, a_disp: i64, m: usize, within: Option<u32>) {
        match (within, self.shape.four_of_row(m)) {
            (Some(lane), Some(number)) => self.asm.spread_in_fours(to, self.shape.four(number), lane),
            _ => self.asm.broadcast(to, block.row(m, a_disp)),
        }
    }
}
