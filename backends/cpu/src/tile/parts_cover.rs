//! parts_cover - a panel whose columns are in parts, for products of few columns that do not fill vectors.
//!
//! Such a tile has a vector of sums for each part of a row: 27 columns are 16 + 8 + 2 + 1, four vectors, and take 27
//! multiply-adds for 16 steps of k where whole vectors take 32. As each part reads the same lines of A, one panel has all columns.
//!
//! Costs are of the multipliers, since rows are read so that loads do not hold them up (nnc-x86, `gemm/parts.rs`).

use nnc_x86::Level;

use super::{Panel, narrow::OF_TILE};

/// Columns of products that are covered so: fewer are of panels of chains, more fill whole vectors for the most part.
const COLUMNS: std::ops::Range<usize> = 13..48;
/// Adding the chains of a row's part and writing it, in thousandths of a cycle.
const OF_PIECE: u64 = 500;

/// The panel of all columns and the time of m rows and k steps, in thousandths of a cycle, where the target has such tiles.
pub(super) fn parts_cover(level: Level, (m, n, k): (usize, usize, usize)) -> Option<(u64, Panel)> {
    let lanes = level.lanes();
    // Half a vector is an edge of two rows in one vector: as fast, and in one order.
    if level != Level::Avx512 || !COLUMNS.contains(&n) || n.is_multiple_of(lanes / 2) {
        return None;
    }
    let rows = nnc_x86::part_rows(level, n).min(m);
    let tile = |rows: usize| if rows > 0 { tile(lanes, (rows, n), k) } else { 0 };
    let cost = (m / rows) as u64 * tile(rows) + tile(m % rows);
    let [cols, rows, chains] = [n, rows, lanes].map(|x| u16::try_from(x).unwrap_or(u16::MAX));
    Some((cost, Panel { start: 0, width: cols, cols, rows, chains, in_parts: true }))
}

/// Time of a tile for k steps, in thousandths of a cycle.
fn tile(lanes: usize, (rows, columns): (usize, usize), k: usize) -> u64 {
    let multiply = 500 * rows * columns;
    // Where there are whole vectors, a chain of each row goes on every step.
    let latency = if columns > lanes && rows * columns < 8 * lanes { 4_600 * lanes } else { 0 };
    let turn = multiply.max(latency) + 60 * columns + 20 * lanes * rows;
    let pieces = rows as u64 * u64::from((columns % lanes).count_ones());
    turn as u64 * k as u64 / lanes as u64 + OF_TILE + OF_PIECE * pieces
}
