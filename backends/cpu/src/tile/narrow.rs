//! narrow - panels of chains for columns that do not fill vectors.
//!
//! A panel of c columns in s chains has c * s / lanes vectors of sums a row, all of them full. Which widths cover some columns best is
//! found from left to right, as the best way to cover fewer of them and one panel more.
//!
//! Costs are of the core's ports, as in [`super::wide_cover`]. What a load of A takes depends on how many steps it serves: one
//! element and two are spread by the load itself, four and eight of a vector of 16 by a shuffle that takes part of a multiplier's slot, and a whole
//! vector is read from two cache lines where rows do not begin on one. B is read again for each block of rows: from the first-level cache, if it
//! stays there beside the rows of a block, so of long rows a block has few. Measured by `cargo bench --profile dev -p nnc-cpu
//! --bench wide` on a Zen 5 core.

use nnc_x86::Level;

use super::Panel;

/// Columns that panels of chains cover, at most.
pub(super) const MOST_COLUMNS: usize = 40;
/// What a tile takes beyond its steps, in thousandths of a cycle: its call, the start and the end of its sums.
pub(super) const OF_TILE: u64 = 40_000;
/// Likewise a block of rows of a tile of chains.
const OF_BLOCK: u64 = 3_000;
/// Laying out a row of the result.
const OF_ROW: u64 = 100;

/// Elements of A that are near while several panels read them.
const FEW_ROWS: usize = 6 << 10;
/// Bytes of B and of a block's rows of A that the first-level cache holds.
const NEAR: u64 = 48 << 10;
/// A line from the second-level cache beside others.
const OF_LINE: u64 = 2_000;

/// A panel of chains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Way {
    /// Time of all rows in thousandths of a cycle.
    cost: u64,
    columns: usize,
    chains: usize,
    rows: usize,
}

/// The best panels for some columns from `start` on and their time for m rows and all of k, in thousandths of a cycle. The rows of each
/// divide `base`, so that blocks of a few rows suit all panels.
pub(super) fn narrow_cover(
    level: Level,
    (m, k): (usize, usize),
    (start, columns): (usize, usize),
    base: usize,
) -> Option<(u64, Vec<Panel>)> {
    if columns > MOST_COLUMNS || k == 0 {
        return None;
    }
    let total = start + columns;
    let ways = (1..=columns).filter_map(|of_way| {
        let way = best_way(level, (m, k), of_way, base)?;
        let calls = if of_way == total { 1 } else { turns(m, k, base) };
        let again = reread(level, (m, k), (of_way, total), base);
        Some(Way { cost: way.cost + calls * OF_TILE + again, ..way })
    });
    let ways: Vec<Way> = ways.collect();
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

/// How often a panel is called that is one of several: for a few rows at a time, while these are near.
fn turns(m: usize, k: usize, base: usize) -> u64 {
    m.div_ceil((FEW_ROWS / k).max(base)) as u64
}

/// Time that a panel of so many of all columns takes to read B from farther away at each turn. What has no room at all is read from
/// there by each block of rows.
pub(super) fn reread(
    level: Level,
    (m, k): (usize, usize),
    (columns, total): (usize, usize),
    base: usize,
) -> u64 {
    let bytes = |columns: usize| 4 * (columns * k) as u64;
    let stays = bytes(total) + 4 * FEW_ROWS as u64 <= NEAR;
    if columns == total || stays || bytes(columns) > NEAR || k == 0 {
        return 0;
    }
    // Narrower vectors multiply for longer meanwhile.
    turns(m, k, base) * (OF_LINE * level.lanes() as u64 / 16) * bytes(columns).div_ceil(64)
}

/// The best panel of exactly so many columns.
fn best_way(level: Level, (m, k): (usize, usize), columns: usize, base: usize) -> Option<Way> {
    let lanes = level.lanes();
    let mut found: Option<Way> = None;
    for chains in [2, 4, 8, 16].into_iter().filter(|s| *s <= lanes && (columns * s).is_multiple_of(lanes)) {
        let vectors = columns * chains / lanes;
        let fits = |rows: usize| rows * vectors + rows.min(vectors) < level.registers();
        let suits = |rows: &usize| base.is_multiple_of(*rows) && fits(*rows);
        for rows in (1..=base.min(m)).filter(suits) {
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
    let multiply = 500 * sums + 100 * rows * shuffles;
    // Shuffles have one port of their own, and share one with multiply-adds.
    let shuffle = 360 * (sums + rows) * shuffles;
    let load = 250 * (rows * load + 2 * vectors);
    let latency = if sums < 10 { 4600 } else { 0 };
    // What comes from beyond the first-level cache: A, and B if both have no room there.
    let lines = 16 * vectors + rows * chains as u64;
    let is_far = 4 * rows * k as u64 + of_b > NEAR;
    let far = if is_far { OF_LINE * lines / 16 } else { 0 };
    let of_a = if is_far { 20 } else { 10 } * rows * chains as u64;
    let step = multiply.max(shuffle).max(load).max(latency).max(far) + of_a;
    // Fewer steps than chains are read by a mask and then repeated.
    let rest = match (chains, k.is_multiple_of(chains)) {
        (_, true) | (16, _) => 0,
        (2, _) => 1_500,
        _ => 300,
    };
    // Adding chains, beside the multiplications of the next block: up to 16 vectors of sums leave room for these.
    let of_vector = match chains {
        2 => 1_500,
        4 => 1_100,
        _ if sums > 16 => 900,
        _ => 450,
    };
    steps * step + OF_BLOCK + of_vector * sums + (OF_ROW + rest) * rows
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
                        assert!(base % rows == 0, "base {base} n {n}");
                        next += usize::from(panel.cols);
                    }
                    assert_eq!(next, 64 + n);
                }
            }
        }
    }
}
