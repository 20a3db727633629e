//! cover - which tiles cover a matrix product of m rows and n columns best.
//!
//! A panel is a run of columns, and each panel has its own height of tiles: wide panels take two rows, narrow ones more,
//! since about ten accumulators keep the multipliers busy whatever their arrangement. That needs an A that tiles of any
//! height can read, so A is read as it lies (rows of the activation or of the weight) and not packed.

use nnc_tile::gemm::GemmTile;

use super::arithmetic::Arithmetic;

/// Columns of C that are computed together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Panel {
    /// First column.
    pub start: usize,
    /// Columns computed with, a multiple of 4 but where there are chains.
    pub width: u16,
    /// Columns of C: fewer than the width in the last panel only, if n is not a multiple of 4.
    pub cols: u16,
    /// Rows of the tiles; those that remain below are one tile of `m % rows` rows.
    pub rows: u16,
    /// Chains of a sum; of columns in parts, the most.
    pub chains: u16,
    /// Whether columns are in parts ([`nnc_tile::gemm::Chains`]).
    pub in_parts: bool,
}

/// Measured speed of `rows x width` as a share of the 128-bit peak, in per mille; what is not listed has fewer
/// accumulators than hide the latency, and reaches 124 for each (`cargo bench -p nnc-cpu --bench tile -- shapes`).
const SPEED: [(u16, u16, u32); 17] = [
    (1, 28, 820),
    (1, 32, 840),
    (1, 40, 886),
    (2, 12, 688),
    (2, 16, 833),
    (2, 20, 917),
    (2, 24, 905),
    (3, 8, 688),
    (3, 12, 900),
    (4, 8, 845),
    (5, 8, 865),
    (6, 4, 700),
    (6, 8, 820),
    (7, 4, 800),
    (8, 4, 857),
    (9, 4, 870),
    (10, 4, 889),
];

/// Likewise without multiply-adds, of an A that is spread (`-- spread plain`) where such tiles gain by it. Tiles of one row
/// are taken to be slower than they are: each of them reads all of B.
const SEPARATE: [(u16, u16, u32); 21] = [
    (1, 24, 760),
    (1, 28, 780),
    (1, 32, 800),
    (1, 40, 820),
    (2, 8, 700),
    (2, 12, 780),
    (2, 16, 823),
    (2, 20, 850),
    (2, 24, 890),
    (3, 4, 620),
    (3, 8, 780),
    (3, 12, 830),
    (4, 4, 640),
    (4, 8, 780),
    (5, 8, 690),
    (6, 4, 640),
    (6, 8, 700),
    (7, 4, 620),
    (8, 4, 540),
    (9, 4, 610),
    (10, 4, 620),
];

/// Widths of panels, and the greatest height of a tile of each.
const WIDTHS: [(u16, u16); 9] =
    [(4, 10), (8, 6), (12, 3), (16, 2), (20, 2), (24, 2), (28, 1), (32, 1), (40, 1)];

/// What a panel costs beside its arithmetic, as a share of a column of 4 in per mille: reading A once more.
const PANEL_COST: u64 = 100;

/// Panels from left to right that cover n columns, for m rows; for an unknown m take a large one.
#[must_use]
pub fn cover(m: usize, n: usize, arithmetic: Arithmetic) -> Vec<Panel> {
    let m = m.clamp(1, 240);
    let costs = WIDTHS.map(|(width, tallest)| {
        let best = (1..=tallest).map(|rows| (panel_cost(m, (rows, width), arithmetic), rows)).min();
        let (cost, rows) = best.unwrap_or((u64::MAX, 1));
        (usize::from(width / 4), cost, rows)
    });
    // Best way to cover 1, 2, ... quads of columns, by its last panel.
    let n_quads = n.div_ceil(4);
    let mut best: Vec<(u64, usize)> = vec![(0, 0)];
    for quads in 1..=n_quads {
        let fitting = costs.iter().enumerate().filter(|(_, (width, ..))| *width <= quads);
        let ways = fitting.map(|(idx, (width, cost, _))| (best[quads - width].0 + cost, idx));
        best.push(ways.min().unwrap_or((u64::MAX, 0)));
    }
    let mut panels = vec![];
    let mut quads = n_quads;
    while quads > 0 {
        let (width_quads, _, rows) = costs[best[quads].1];
        quads -= width_quads;
        let width = WIDTHS[best[quads + width_quads].1].0;
        let cols = u16::try_from((n - 4 * quads).min(usize::from(width))).unwrap_or(width);
        panels.push(Panel { start: 4 * quads, width, cols, rows, chains: 1, in_parts: false });
    }
    panels.reverse();
    panels
}

/// Time of the panels that cover n columns, for m rows and one step of k, in thousandths of a vector's multiply-add at full
/// speed.
#[must_use]
pub fn cover_cost(m: usize, n: usize, arithmetic: Arithmetic) -> u64 {
    let rows = m.clamp(1, 240);
    let cost = |p: &Panel| panel_cost(rows, (p.rows, p.width), arithmetic);
    let panels: u64 = cover(rows, n, arithmetic).iter().map(cost).sum();
    panels * m as u64 / rows as u64
}

/// Time of a panel of m rows in tiles of `rows`, in thousandths of a vector's multiply-add at full speed.
fn panel_cost(m: usize, (rows, width): (u16, u16), arithmetic: Arithmetic) -> u64 {
    let tile =
        |rows: u16| 1_000_000 * u64::from(rows * (width / 4)) / u64::from(speed(rows, width, arithmetic));
    let (whole, rest) = (m / usize::from(rows), m % usize::from(rows));
    let rest = u16::try_from(rest).unwrap_or(0);
    let tail = if rest > 0 { tile(rest) } else { 0 };
    whole as u64 * tile(rows) + tail + PANEL_COST * m as u64
}

fn speed(rows: u16, width: u16, arithmetic: Arithmetic) -> u32 {
    let table: &[_] = if arithmetic.fused { &SPEED } else { &SEPARATE };
    let listed = table.iter().find(|(r, w, _)| (*r, *w) == (rows, width));
    listed.map_or_else(|| (124 * u32::from(rows) * u32::from(width / 4)).min(800), |(_, _, speed)| *speed)
}

impl Panel {
    /// The tile of a full height, or of the `m % rows` rows that remain, from a spec that says all but the shape.
    #[must_use]
    pub fn tile(&self, rows: u16, base: &GemmTile) -> GemmTile {
        GemmTile { rows, panel: self.width, cols: nnc_tile::gemm::Cols::Const(self.cols), ..base.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FUSED: Arithmetic = Arithmetic { fused: true };

    fn widths(m: usize, n: usize) -> Vec<(u16, u16)> {
        cover(m, n, FUSED).iter().map(|p| (p.rows, p.width)).collect()
    }

    #[test]
    fn panels_are_contiguous_and_cover_all_columns() {
        for m in [1, 2, 3, 7, 64, 1000] {
            for n in 0..300 {
                let mut next = 0;
                for panel in cover(m, n, FUSED) {
                    assert_eq!(panel.start, next, "m {m} n {n}");
                    assert!(panel.cols > 0 && panel.cols <= panel.width && panel.width - panel.cols < 4);
                    next += usize::from(panel.cols);
                }
                assert_eq!(next, n, "m {m} n {n}");
            }
        }
    }

    #[test]
    fn many_rows_take_panels_of_20_columns() {
        assert_eq!(widths(64, 60), [(2, 20); 3]);
        assert_eq!(widths(64, 64), [(2, 24), (2, 20), (2, 20)]);
    }

    #[test]
    fn without_multiply_adds_panels_have_24_columns() {
        let widths =
            |n: usize| cover(64, n, Arithmetic { fused: false }).iter().map(|p| p.width).collect::<Vec<_>>();
        assert_eq!(widths(96), [24; 4]);
        assert_eq!(widths(60).iter().sum::<u16>(), 60);
    }

    #[test]
    fn narrow_matrices_take_tall_tiles() {
        assert_eq!(widths(100, 4), [(10, 4)]);
        assert_eq!(widths(100, 12), [(3, 12)]);
    }

    #[test]
    fn one_row_takes_wide_panels() {
        assert_eq!(widths(1, 1000), [(1, 40); 25]);
    }
}
