//! wide_cover - which wide tiles cover a matrix product of m rows and n columns best.
//!
//! All panels have tiles of one height, the last panel fewer vectors: a mask of its last vector leaves no work
//! beyond the columns but the empty lanes. Products of few columns that leave lanes empty are one panel of parts (`parts_cover`),
//! or have panels of chains at their end (`narrow`), where that saves enough. Costs come from a small model of the core and not from a table: two
//! multiply-adds and two loads a cycle, a latency of four cycles for each accumulator's chain.

use nnc_x86::Level;

use super::{
    Panel,
    narrow::{self, MOST_COLUMNS, OF_TILE},
    parts_cover::parts_cover,
};

/// Vectors of a panel, at most. A run-time number of columns has masks for four.
const MOST_VECTORS: usize = 16;
/// Vectors of a panel whose columns are counted at run time.
pub(crate) const MOST_COUNTED: usize = 4;
/// Rows for which a tile has room for addresses.
const MOST_ROWS: usize = 24;
/// So many rows are too few to read B seldom.
const FEW: usize = 5;
/// Columns that are looked at one by one; of more, the first are covered as the others.
const SEEN: usize = 1024;

/// A product to cover: m rows and n columns; for an unknown m take a large one.
#[derive(Clone, Copy, Debug)]
pub struct Extents {
    /// Rows.
    pub m: usize,
    /// Columns.
    pub n: usize,
    /// Steps of the sums, where panels may have chains of them.
    pub chained: Option<usize>,
}

/// Panels from left to right that cover n columns.
#[must_use]
pub fn wide_cover(level: Level, of: Extents, most_vectors: Option<usize>) -> Vec<Panel> {
    let seen = Extents { m: of.m.clamp(1, 480), n: of.n.min(SEEN), ..of };
    let shape = best(level, seen, most_vectors.unwrap_or(MOST_VECTORS), 1);
    match in_parts(level, seen, shape) {
        Some(panel) => vec![panel],
        None => wide_cover_by(level, of, shape),
    }
}

/// The panel of all columns in parts, if it is enough faster than panels of single chains and faster than those of the shape.
fn in_parts(level: Level, of: Extents, shape: (usize, usize)) -> Option<Panel> {
    let k = of.chained?;
    let (time, panel) = parts_cover(level, (of.m, of.n, k))?;
    let least = plain_best(level, of, MOST_VECTORS, 1);
    let worth = is_worth(time, least) && time < cost(level, of, shape, 1, least);
    worth.then_some(panel)
}

/// Panels from left to right that cover n columns by tiles of so many rows and vectors; what remains beyond the last panel of
/// as many vectors may have others.
#[must_use]
pub fn wide_cover_by(level: Level, of: Extents, shape: (usize, usize)) -> Vec<Panel> {
    // Whole quads are read of a packed panel; the rest of a vector is masked.
    let quantum = if level == Level::Avx512 { 4 } else { 8 };
    let last = last_columns(level, of, shape, plain_best(level, of, MOST_VECTORS, 1));
    let Some((_, narrow)) = last else { return cut(of.n, shape, level.lanes(), quantum) };
    let before = narrow.first().map_or(of.n, |panel| panel.start);
    let mut panels = cut(before, shape, level.lanes(), quantum);
    panels.extend(narrow);
    panels
}

/// Part of a product's time that chains must save: then its last columns are summed in another order than the first, so that columns with
/// equal elements may differ by rounding.
const WORTH_ANOTHER_ORDER: u64 = 20;

/// Panels of chains at the end of the columns and the time of all panels beyond whole ones, if the product takes enough less with them than
/// the least that it takes with single chains.
fn last_columns(level: Level, of: Extents, shape: (usize, usize), least: u64) -> Option<(u64, Vec<Panel>)> {
    let (k, m) = (of.chained.filter(|_| least > 0)?, of.m.clamp(1, 480));
    let (rows, lanes) = (shape.0.min(m), level.lanes());
    let last = of.n % (shape.1 * lanes);
    if last.is_multiple_of(lanes) {
        return None;
    }
    let before = of.n - last;
    let whole = last / lanes;
    let one = |columns: usize| of_panel(level, m, columns, rows, 1) * k as u64 + of_tiles(m, rows);
    let ways = (whole.saturating_sub(1)..=whole).filter(|vectors| last - vectors * lanes <= MOST_COLUMNS);
    let narrow = ways.filter_map(|vectors| {
        let columns = vectors * lanes;
        let plain = match vectors {
            0 => 0,
            _ => one(columns) + narrow::reread(level, (m, k), (columns, of.n), rows),
        };
        let (cost, panels) = narrow::narrow_cover(level, (m, k), (before + columns, last - columns), rows)?;
        Some((cost.saturating_add(plain), panels))
    });
    let width = shape.1 * lanes;
    let first = (before / width) as u64 * one(width);
    let least_of = narrow.min_by_key(|(cost, _)| *cost);
    least_of.filter(|(cost, _)| is_worth(first.saturating_add(*cost), least))
}

/// Whether a product that takes so long with chains is enough faster than with single ones.
fn is_worth(chained: u64, single: u64) -> bool {
    chained <= single - single / WORTH_ANOTHER_ORDER
}

/// What tiles of m rows take beyond their steps.
fn of_tiles(m: usize, rows: usize) -> u64 {
    m.div_ceil(rows) as u64 * OF_TILE
}

/// Panels over the columns of one of several groups, each of which has as many columns and the same panels: an
/// epilogue joins them. Panels of each group are whole vectors wide.
///
/// Few rows are as fast as B is read. Then what counts is that chains of sums, and those of the epilogue, do not wait for
/// each other, and that a panel is small enough to be read again from the first-level cache.
#[must_use]
pub fn wide_cover_of_groups(level: Level, m: usize, n: usize, groups: usize) -> Vec<Panel> {
    let lanes = level.lanes();
    let chains = |most: usize| (most / groups).clamp(1, n.div_ceil(lanes).max(1));
    let fits = |rows: &usize, of_row: usize| (rows + 1) * of_row < level.registers();
    let shape = match (m, level) {
        (1, _) => (1, chains(8)),
        (2, Level::Avx512) => (2, chains(8)),
        // B is read once only if a tile has all rows.
        (..FEW, Level::Avx512) => (m, chains((level.registers() - 1) / (m + 1))),
        (..FEW, Level::Avx2) => {
            let of_row = chains(4) * groups;
            ((1..=m).rev().find(|rows| fits(rows, of_row)).unwrap_or(1), chains(4))
        }
        _ => best(
            level,
            Extents { m: m.min(480), n: n.min(SEEN), chained: None },
            MOST_VECTORS / groups,
            groups,
        ),
    };
    cut(n, shape, lanes, lanes)
}

/// Panels of so many rows and vectors, their widths multiples of `quantum`.
fn cut(n: usize, (rows, vectors): (usize, usize), lanes: usize, quantum: usize) -> Vec<Panel> {
    let width = vectors * lanes;
    let mut panels = vec![];
    let mut start = 0;
    while start < n {
        let cols = (n - start).min(width);
        let padded = cols.next_multiple_of(quantum);
        let [cols, padded, rows] = [cols, padded, rows].map(|x| u16::try_from(x).unwrap_or(u16::MAX));
        panels.push(Panel { start, width: padded, cols, rows, chains: 1, in_parts: false });
        start += width;
    }
    panels
}

/// Time of the panels that cover n columns, for m rows and one step of k, in thousandths of a cycle.
#[must_use]
pub fn wide_cover_cost(level: Level, m: usize, n: usize) -> u64 {
    let of = Extents { m: m.clamp(1, 480), n: n.min(SEEN), chained: None };
    let shape = best(level, of, MOST_VECTORS, 1);
    cost(level, Extents { m, n, chained: None }, shape, 1, 0)
}

/// Rows and vectors of the tiles that cost least, and of those that cost little more: at most eight, by cost.
#[must_use]
pub fn wide_shapes(level: Level, of: Extents, most_vectors: Option<usize>) -> Vec<(usize, usize)> {
    let of = Extents { m: of.m.clamp(1, 480), n: of.n.min(SEEN), ..of };
    let mut all = shapes(level, of, most_vectors.unwrap_or(MOST_VECTORS), 1);
    all.sort_unstable();
    let least = all.first().map_or(0, |(cost, _)| *cost);
    all.retain(|(cost, _)| *cost <= least + least / 3);
    all.into_iter().take(8).map(|(_, shape)| shape).collect()
}

/// The height of tiles and the vectors of a panel, of each group, with the least cost.
fn best(level: Level, of: Extents, most_vectors: usize, groups: usize) -> (usize, usize) {
    shapes(level, of, most_vectors, groups).into_iter().min().map_or((1, 1), |(_, shape)| shape)
}

/// Every height of tiles and number of vectors that registers have room for, with its cost.
fn shapes(level: Level, of: Extents, most_vectors: usize, groups: usize) -> Vec<(u64, (usize, usize))> {
    let least = plain_best(level, of, most_vectors, groups);
    all_shapes(level, of, most_vectors, groups, &|shape| cost(level, of, shape, groups, least))
}

/// The least time with single chains of sums.
fn plain_best(level: Level, of: Extents, most_vectors: usize, groups: usize) -> u64 {
    if of.chained.is_none() {
        return 0;
    }
    let of = Extents { m: of.m.clamp(1, 480), ..of };
    let all = all_shapes(level, of, most_vectors, groups, &|shape| cost(level, of, shape, groups, 0));
    all.into_iter().map(|(cost, _)| cost).min().unwrap_or(0)
}

/// The same with costs that are given.
fn all_shapes(
    level: Level,
    of: Extents,
    most_vectors: usize,
    groups: usize,
    cost: &dyn Fn((usize, usize)) -> u64,
) -> Vec<(u64, (usize, usize))> {
    let mut found = Vec::new();
    for vectors in 1..=most_vectors.min(of.n.div_ceil(level.lanes()).max(1)) {
        for rows in 1..=of.m.min(MOST_ROWS) {
            let of_row = vectors * groups;
            let b = if rows == 1 { 1 } else { of_row };
            if rows * of_row + b + 1 > level.registers() {
                break;
            }
            found.push((cost((rows, vectors)), (rows, vectors)));
        }
    }
    found
}

/// Time of all panels; of one step of k where its steps are not known. `least` is that of single chains, below which some panels may
/// have more.
fn cost(level: Level, of: Extents, (rows, vectors): (usize, usize), groups: usize, least: u64) -> u64 {
    let Extents { m, n, chained } = of;
    let width = vectors * level.lanes();
    let one = |columns: usize| {
        let step = of_panel(level, m, columns, rows, groups);
        chained.map_or(step, |k| step * k as u64 + of_tiles(m, rows))
    };
    let last = match last_columns(level, of, (rows, vectors), least) {
        Some((cost, _)) => cost,
        None if n % width == 0 => 0,
        None => one(n % width),
    };
    (n / width) as u64 * one(width) + last
}

/// Time of a panel of columns for one step of k, in thousandths of a cycle.
fn of_panel(level: Level, m: usize, columns: usize, rows: usize, groups: usize) -> u64 {
    let of_tile = |rows: usize| {
        let padded = columns.next_multiple_of(4);
        match nnc_x86::edge_vectors(level, rows, padded).filter(|_| groups == 1) {
            Some(edge) => tile_with_edge(rows, padded / level.lanes(), edge),
            None => tile(level, rows, columns.div_ceil(level.lanes()) * groups),
        }
    };
    let rest = m % rows;
    (m / rows) as u64 * of_tile(rows) + if rest > 0 { of_tile(rest) } else { 0 }
}

/// Likewise where a few columns share so many vectors. A is read once more for these, four steps at a time by loads that shuffle, and
/// spread in registers. An A that lies otherwise has no edges, and its cost is taken for too little.
fn tile_with_edge(rows: usize, vectors: usize, edge: usize) -> u64 {
    let (rows, vectors, edge) = (rows as u64, vectors as u64, edge as u64);
    let multiply = 500 * (rows * vectors + edge);
    let broadcast = if vectors > 0 { rows } else { 0 };
    let load = 500 * (broadcast + vectors + 1 + rows.div_ceil(4));
    // Four units take multiply-adds, spreads and what puts rows together; loads that shuffle hold up multiply-adds.
    let shuffles = rows.div_ceil(4) + 1;
    let units = 250 * (rows * vectors + 2 * edge + (rows - rows.min(edge)).div_ceil(4) + shuffles);
    let latency = if rows * vectors + edge < 10 { 4600 } else { 0 };
    multiply.max(load).max(units).max(latency) + 230 * shuffles + 120 * (vectors + 1) + 30 * rows
}

/// One step of k of a tile, in thousandths of a cycle.
fn tile(level: Level, rows: usize, vectors: usize) -> u64 {
    // Three rows of a tile of one vector are read by fours (nnc-x86, `gemm/fours.rs`).
    let by_fours = level == Level::Avx512 && vectors == 1 && rows >= 8;
    let (rows, vectors) = (rows as u64, vectors as u64);
    let multiply = 500 * rows * vectors;
    let load = 500 * (rows + vectors) - if by_fours { 1_125 } else { 0 };
    let latency = if rows * vectors < 10 { 4600 } else { 0 };
    // What comes from beyond the first-level cache: B once for each tile, and a little for A.
    multiply.max(load).max(latency) + 120 * vectors + 30 * rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_are_contiguous_and_cover_all_columns() {
        for level in [Level::Avx2, Level::Avx512] {
            for m in [1, 2, 3, 7, 64, 1000] {
                for n in 0..300 {
                    let mut next = 0;
                    let of = Extents { m, n, chained: [None, Some(100)][n % 2] };
                    for panel in wide_cover(level, of, None) {
                        assert_eq!(panel.start, next, "m {m} n {n}");
                        assert!(panel.cols > 0 && panel.cols <= panel.width);
                        assert!(panel.chains > 1 || panel.width % 4 == 0);
                        next += usize::from(panel.cols);
                    }
                    assert_eq!(next, n, "m {m} n {n}");
                }
            }
        }
    }

    #[test]
    fn a_few_columns_of_many_rows_have_chains() {
        let panels = |n| {
            let panels = wide_cover(Level::Avx512, Extents { m: 480, n, chained: Some(200) }, None);
            panels.iter().map(|p| (p.cols, p.chains)).collect::<Vec<_>>()
        };
        assert_eq!(panels(16), [(16, 1)]);
        assert_eq!(panels(17), [(17, 16)]);
        assert_eq!(panels(5), [(5, 16)]);
        assert_eq!(panels(20), [(20, 16)]);
        assert_eq!(panels(12), [(12, 8)]);
        assert_eq!(panels(32), [(32, 1)]);
        assert_eq!(panels(8), [(8, 2)]);
    }

    /// Classes with equal weights have equal logits: what reads them may be steep.
    #[test]
    fn many_columns_are_summed_in_one_order() {
        for level in [Level::Avx2, Level::Avx512] {
            for m in [1, 8, 480] {
                let panels = wide_cover(level, Extents { m, n: 1000, chained: Some(4096) }, None);
                assert!(panels.iter().all(|panel| panel.chains == 1), "{level:?} m {m}");
            }
        }
    }

    /// Shapes of tiles that are bad for single chains do not make chains look good.
    #[test]
    fn another_order_is_held_against_the_best_of_one_order() {
        let panels = wide_cover(Level::Avx512, Extents { m: 240, n: 108, chained: Some(36) }, None);
        assert!(panels.iter().all(|panel| panel.chains == 1));
    }

    #[test]
    fn groups_share_the_registers() {
        let shape = |level, m, groups| {
            let panel = wide_cover_of_groups(level, m, 100, groups)[0];
            (panel.rows, panel.width)
        };
        assert_eq!(shape(Level::Avx512, 1, 4), (1, 32));
        assert_eq!(shape(Level::Avx512, 2, 3), (2, 32));
        assert_eq!(shape(Level::Avx512, 240, 4), (6, 16));
        assert_eq!(shape(Level::Avx2, 1, 4), (1, 16));
        assert_eq!(shape(Level::Avx2, 4, 3), (4, 8));
        assert_eq!(shape(Level::Avx2, 240, 4), (2, 8));
    }

    #[test]
    fn many_rows_fill_the_registers() {
        let shape = |level, m, n| {
            let panel = wide_cover(level, Extents { m, n, chained: None }, None)[0];
            (panel.rows, panel.width)
        };
        assert_eq!(shape(Level::Avx2, 480, 480), (6, 16));
        assert_eq!(shape(Level::Avx512, 476, 448), (14, 32));
        assert_eq!(shape(Level::Avx512, 1, 1000).0, 1);
    }
}
