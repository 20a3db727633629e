//! narrow - panels of chains for columns that do not fill vectors.
//!
//! A panel of c columns in s chains has c * s / lanes vectors of sums a row, all of them full. Which widths cover some columns best is
//! found from left to right, as the best way to cover fewer of them and one panel more.
//!
//! Costs are of the core's ports, as in [`super::wide_cover`]. What a load of A takes depends on how many steps it serves: one
//! element and two are spread by the load itself, four and eight of a vector of 16 by a shuffle that takes part of a multiplier's slot, and a whole
//! vector is read from two cache lines where rows do not begin on one. Measured by `cargo bench --profile dev -p nnc-cpu
//! --bench wide` on a Zen 5 core.

use nnc_x86::Level;

use super::Panel;

/// Columns that panels of chains cover, at most.
pub(super) const MOST_COLUMNS: usize = 40;
/// Rows of a tile, at most.
const MOST_ROWS: usize = 28;
/// What a tile takes beyond its steps, in thousandths of a cycle: its call, the start and the end of its sums.
pub(super) const OF_TILE: u64 = 40_000;
/// Adding chains, for each vector of them.
const OF_VECTOR: u64 = 500;
/// Laying out a row of the result.
const OF_ROW: u64 = 1_500;

/// Bytes of B that stay in the first-level cache beside those of A.
const NEAR: u64 = 32 << 10;

/// A panel of chains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Way {
    /// Time of all rows in thousandths of a cycle.
    cost: u64,
    columns: usize,
    chains: usize,
    rows: usize,
}

/// The best panels for some columns from `start` on and their time for m rows and all of k, in thousandths of a cycle. Of the rows of each and
/// `base` one divides the other, so that blocks of rows suit all panels.
pub(super) fn narrow_cover(
    level: Level,
    (m, k): (usize, usize),
    (start, columns): (usize, usize),
    base: usize,
) -> Option<(u64, Vec<Panel>)> {
    if columns > MOST_COLUMNS || k == 0 {
        return None;
    }
    let ways: Vec<Way> = (1..=columns).filter_map(|columns| best_way(level, (m, k), columns, base)).collect();
    // Best time to cover 1, 2, ... columns, and the last panel of it.
    let mut best: Vec<(u64, Option<Way>)> = vec![(0, None)];
    for n in 1..=columns {
        let last = ways.iter().filter(|way| way.columns <= n);
        let ends = last.map(|way| (best[n - way.columns].0.saturating_add(way.cost), Some(*way)));
        best.push(ends.min().unwrap_or((u64::MAX, None)));
    }
    let mut panels = vec![];
    let mut left = columns;
    while left > 0 {
        let way = best[left].1?;
        left -= way.columns;
        let [cols, rows, chains] =
            [way.columns, way.rows, way.chains].map(|x| u16::try_from(x).unwrap_or(u16::MAX));
        panels.push(Panel { start: start + left, width: cols, cols, rows, chains, in_parts: false });
    }
    panels.reverse();
    Some((best[columns].0, panels))
}

/// The best panel of exactly so many columns.
fn best_way(level: Level, (m, k): (usize, usize), columns: usize, base: usize) -> Option<Way> {
    let lanes = level.lanes();
    let mut found: Option<Way> = None;
    for chains in [2, 4, 8, 16].into_iter().filter(|s| *s <= lanes && (columns * s).is_multiple_of(lanes)) {
        let vectors = columns * chains / lanes;
        let fits = |rows: usize| rows * vectors + rows.min(vectors) < level.registers();
        let suits = |rows: &usize| (rows.is_multiple_of(base) || base.is_multiple_of(*rows)) && fits(*rows);
        for rows in (1..=MOST_ROWS.min(m)).filter(suits) {
            let tile = |rows: usize| of_tile(level, (rows, vectors), chains, k);
            let rest = if m % rows > 0 { tile(m % rows) } else { 0 };
            let cost = (m / rows) as u64 * tile(rows) + rest;
            let way = Way { cost, columns, chains, rows };
            found = Some(found.map_or(way, |other| other.min(way)));
        }
    }
    found
}

/// Time of a tile over all of k.
fn of_tile(level: Level, (rows, vectors): (usize, usize), chains: usize, k: usize) -> u64 {
    let steps = k.div_ceil(chains) as u64;
    let of_b = 4 * level.lanes() as u64 * vectors as u64 * steps;
    let wide = level == Level::Avx512;
    // Loads of a row and step of all chains in halves, and shuffles.
    let (load, shuffles) = match chains {
        _ if chains == level.lanes() => (if k.is_multiple_of(chains) { 2 } else { 4 }, 0),
        4 | 8 if wide => (2, 1),
        _ => (2, 0),
    };
    let (sums, rows, vectors) = ((rows * vectors) as u64, rows as u64, vectors as u64);
    let multiply = 500 * sums + 60 * rows * shuffles;
    // Shuffles have one port of their own, and share one with multiply-adds.
    let shuffle = 380 * (sums + rows) * shuffles;
    let load = 250 * (rows * load + 2 * vectors);
    let latency = if sums < 10 { 4600 } else { 0 };
    // What comes from beyond the first-level cache: A, and B if both have no room there.
    let far = vectors * if of_b > NEAR { 600 } else { 120 } + 45 * rows * chains as u64;
    let step = multiply.max(shuffle).max(load).max(latency) + far;
    steps * step + OF_TILE + OF_VECTOR * sums + OF_ROW * rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_are_contiguous_and_cover_all_columns() {
        for level in [Level::Avx2, Level::Avx512] {
            for base in [1, 5, 12, 24] {
                for n in 1..=MOST_COLUMNS {
                    let (_, panels) = narrow_cover(level, (300, 100), (64, n), base).unwrap();
                    let mut next = 64;
                    for panel in panels {
                        assert_eq!(panel.start, next, "base {base} n {n}");
                        assert_eq!(panel.cols, panel.width);
                        let rows = usize::from(panel.rows);
                        assert!(rows % base == 0 || base % rows == 0, "base {base} n {n}");
                        next += usize::from(panel.cols);
                    }
                    assert_eq!(next, 64 + n);
                }
            }
        }
    }
}
