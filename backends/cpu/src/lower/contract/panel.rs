//! panel - columns in panels, rows in tiles: the two inner loops around every tile.

use cranelift_codegen::ir::{InstBuilder, Value, condcodes::IntCC};
use nnc_ir::extent::Extent;
use nnc_tile::gemm::{Chains, Cols};
use nnc_x86::Level;

use super::emit::Gen;
use crate::{
    choice::{Choice, Choices, Knob},
    tile::{
        Arithmetic, Extents, MOST_COUNTED, Panel, cover, wide_cover, wide_cover_by, wide_cover_of_groups,
        wide_shapes,
    },
};

/// How columns are cut into panels.
#[derive(Clone, Debug)]
pub(super) enum Panels {
    /// Known when compiling: runs of equal panels.
    Fixed(Vec<Run>),
    /// Panels of one width, and the columns that remain.
    Counted {
        /// Columns of a panel.
        width: u16,
        /// Rows of a tile.
        rows: u16,
    },
}

/// Equal panels next to each other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// Number of the first.
    pub(super) first: usize,
    /// How many.
    pub(super) count: usize,
    /// First column.
    pub(super) start: usize,
    /// Columns that are computed with.
    pub(super) width: u16,
    /// Columns of the result.
    pub(super) cols: u16,
    /// Rows of a tile.
    pub(super) rows: u16,
    /// Chains of a sum; of columns in parts, the most.
    pub(super) chains: u16,
    /// Whether columns are in parts.
    pub(super) in_parts: bool,
}

/// A panel where its loop is.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    /// First column.
    pub(super) start: Value,
    /// Columns that are computed with.
    pub(super) width: u16,
    /// Columns of the result.
    pub(super) cols: Cols,
    /// Their number, if only the run knows it.
    pub(super) cols_value: Option<Value>,
    /// Rows of a tile.
    pub(super) rows: u16,
    /// Chains of a sum; of columns in parts, the most.
    pub(super) chains: u16,
    /// Whether columns are in parts.
    pub(super) in_parts: bool,
}

impl At {
    /// The chains of sums of k terms, where there are several.
    pub(super) fn chains(&self, k: &Extent) -> Option<Chains> {
        let chains = Chains::of(self.chains, usize::try_from(k.as_const()?).ok()?)?;
        Some(if self.in_parts { chains.in_parts() } else { chains })
    }

    /// Whether one tile is done for several blocks of rows, one below the other.
    pub(super) fn is_stacked(&self) -> bool {
        self.chains > 1 && !self.in_parts
    }
}

/// A product whose columns are cut into panels; an extent that only the run knows is `None`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Product {
    /// Rows.
    pub(super) m: Option<i64>,
    /// Columns.
    pub(super) n: Option<i64>,
    /// Steps of its sums, where panels may have chains of them.
    pub(super) chained: Option<i64>,
}

impl Product {
    /// One whose sums are single chains.
    pub(super) fn plain(m: Option<i64>, n: Option<i64>) -> Product {
        Product { m, n, chained: None }
    }

    fn extents(&self, m: usize, n: usize) -> Extents {
        Extents { m, n, chained: self.chained.and_then(|k| usize::try_from(k).ok()) }
    }
}

/// What the code of tiles is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Code {
    /// Wide, of that level.
    Wide(Level),
    /// CLIF.
    Clif(Arithmetic),
}

/// Rows assumed where their number is not known.
pub(super) const MANY: usize = 240;
/// Rows of a step of a loop likewise: what is a batch there.
pub(super) const FEW: usize = 2;

impl Panels {
    /// Panels for m rows and n columns.
    pub(super) fn new(m: Option<i64>, n: Option<i64>, code: Code) -> Panels {
        Panels::by(Product::plain(m, n), code, None)
    }

    /// Likewise, of tiles that may be chosen.
    pub(super) fn choose(of: Product, code: Code, choices: &mut Choices) -> Panels {
        let default = Panels::by(of, code, None);
        let (Code::Wide(level), Some(best)) = (code, default.tile()) else { return default };
        let lanes = level.lanes();
        let size = |x: Option<i64>| x.and_then(|x| usize::try_from(x).ok());
        let most = if of.n.is_none() { Some(MOST_COUNTED) } else { None };
        let number = |x: usize| u16::try_from(x).unwrap_or(u16::MAX);
        let others = || {
            let extents = of.extents(size(of.m).unwrap_or(MANY), size(of.n).unwrap_or(480));
            let shapes = wide_shapes(level, extents, most);
            shapes.into_iter().map(|(r, v)| Choice::Tile(number(r), number(v * lanes))).collect()
        };
        // Of a single panel, the last vector may be cut off.
        let taken = Choice::Tile(best.0, number(usize::from(best.1).next_multiple_of(lanes)));
        match choices.take(Knob::Tile, taken, others) {
            Choice::Tile(rows, columns) if Choice::Tile(rows, columns) != taken => {
                let shape = (usize::from(rows), usize::from(columns) / lanes);
                Panels::by(of, code, Some(shape))
            }
            _ => default,
        }
    }

    /// Rows and columns of the first tile.
    fn tile(&self) -> Option<(u16, u16)> {
        match self {
            Panels::Fixed(runs) => runs.first().map(|r| (r.rows, r.width)),
            Panels::Counted { width, rows } => Some((*rows, *width)),
        }
    }

    /// Panels of tiles of so many rows and vectors, or of those that cost least.
    fn by(of: Product, code: Code, shape: Option<(usize, usize)>) -> Panels {
        let wide = |level: Level, m: usize, n: usize, most: Option<usize>| match shape {
            Some(shape) => wide_cover_by(level, of.extents(m, n), shape),
            None => wide_cover(level, of.extents(m, n), most),
        };
        let m = of.m.and_then(|m| usize::try_from(m).ok()).unwrap_or(MANY);
        let Some(n) = of.n.and_then(|n| usize::try_from(n).ok()) else {
            let first = match code {
                Code::Wide(level) => wide(level, m, 480, Some(MOST_COUNTED))[0],
                Code::Clif(arithmetic) => cover(m, 240, arithmetic)[0],
            };
            return Panels::Counted { width: first.width, rows: first.rows };
        };
        let mut runs: Vec<Run> = Vec::new();
        // What lies far away from the end is covered by the panel that is best for many columns.
        let (seen, whole) = match code {
            Code::Wide(level) => (2048, wide(level, m, n.clamp(1, 2048), None)[0]),
            Code::Clif(arithmetic) => (480, cover(m, 240, arithmetic)[0]),
        };
        let (mut start, mut number) = (0, 0);
        let width = usize::from(whole.width);
        if n > seen {
            let count = (n - seen / 2) / width;
            let Panel { width: cols, rows, chains, in_parts, .. } = whole;
            runs.push(Run { first: 0, count, start: 0, width: cols, cols, rows, chains, in_parts });
            (start, number) = (count * width, count);
        }
        let rest = match code {
            Code::Wide(level) => wide(level, m, n - start, None),
            Code::Clif(arithmetic) => cover(m, n - start, arithmetic),
        };
        runs.extend(runs_of(&rest, number, start));
        Panels::Fixed(runs)
    }

    /// Panels for m rows and n columns of each group, by wide tiles.
    pub(super) fn of_groups(m: usize, n: usize, level: Level, groups: usize) -> Panels {
        Panels::Fixed(runs_of(&wide_cover_of_groups(level, m, n, groups), 0, 0))
    }

    /// How many there are for n columns.
    pub(super) fn count(&self, n: &Extent) -> Extent {
        match self {
            Panels::Fixed(runs) => Extent::Const(runs.iter().map(|r| r.count as i64).sum()),
            Panels::Counted { width, .. } => n.ceil_div(&Extent::Const(i64::from(*width))),
        }
    }

    /// The greatest width.
    pub(super) fn widest(&self) -> i64 {
        match self {
            Panels::Fixed(runs) => runs.iter().map(|r| i64::from(r.width)).max().unwrap_or(4),
            Panels::Counted { width, .. } => i64::from(*width),
        }
    }

    /// Columns with those that panels have too many.
    pub(super) fn padded(&self) -> usize {
        match self {
            Panels::Fixed(runs) => runs.iter().map(|r| r.count * usize::from(r.width)).sum(),
            Panels::Counted { .. } => 0,
        }
    }

    /// Whether sums of some panel are several chains.
    pub(super) fn has_chains(&self) -> bool {
        matches!(self, Panels::Fixed(runs) if runs.iter().any(|r| r.chains > 1))
    }

    /// Rows of B that each panel has room for: those of the sums, and what chains have too many.
    pub(super) fn padded_steps(&self, k: &Extent) -> Extent {
        let chains = match self {
            Panels::Fixed(runs) => runs.iter().map(|r| i64::from(r.chains)).max().unwrap_or(1),
            Panels::Counted { .. } => 1,
        };
        k.ceil_div(&Extent::Const(chains)).scale(chains)
    }

    /// A number of rows that every tile height divides.
    pub(super) fn rows_multiple(&self) -> i64 {
        let lcm = |a: i64, b: i64| {
            let gcd = |mut a: i64, mut b: i64| {
                while b != 0 {
                    (a, b) = (b, a % b);
                }
                a
            };
            a / gcd(a, b) * b
        };
        match self {
            Panels::Fixed(runs) => runs.iter().fold(1, |x, r| lcm(x, i64::from(r.rows))),
            Panels::Counted { rows, .. } => i64::from(*rows),
        }
    }

    /// Runs `body` for the panels `from..to` of `n` columns.
    pub(super) fn each(
        &self,
        g: &mut Gen<'_, '_>,
        n: Value,
        (from, to): (Value, Value),
        body: &mut dyn FnMut(&mut Gen<'_, '_>, At),
    ) {
        match self {
            Panels::Fixed(runs) => {
                for run in runs {
                    let (from, to) = run.within(g, (from, to));
                    g.range(from, to, |g, p| {
                        let at = run.at(g, p);
                        body(g, at);
                    });
                }
            }
            Panels::Counted { width, rows } => {
                let wide = i64::from(*width);
                let (whole, _) = g.div_rem(n, &Extent::Const(wide));
                let last = g.min(to, whole);
                g.range(from, last, |g, p| {
                    let start = g.b.ins().imul_imm_s(p, wide);
                    let cols = Cols::Const(*width);
                    body(
                        g,
                        At {
                            start,
                            width: *width,
                            cols,
                            cols_value: None,
                            rows: *rows,
                            chains: 1,
                            in_parts: false,
                        },
                    );
                });
                // Beyond the whole ones there is at most one.
                let more = g.b.ins().icmp(IntCC::SignedLessThan, whole, to);
                g.when(more, |g| {
                    let start = g.b.ins().imul_imm_s(whole, wide);
                    let cols = g.b.ins().isub(n, start);
                    let (cols, cols_value) = (Cols::Arg, Some(cols));
                    body(
                        g,
                        At {
                            start,
                            width: *width,
                            cols,
                            cols_value,
                            rows: *rows,
                            chains: 1,
                            in_parts: false,
                        },
                    );
                });
            }
        }
    }
}

impl Panels {
    /// Likewise from right to left; their number is known when compiling.
    pub(super) fn each_from_last(
        &self,
        g: &mut Gen<'_, '_>,
        (from, to): (Value, Value),
        body: &mut dyn FnMut(&mut Gen<'_, '_>, At),
    ) {
        let Panels::Fixed(runs) = self else { unreachable!("the columns are known") };
        for run in runs.iter().rev() {
            let (from, to) = run.within(g, (from, to));
            let ends = g.b.ins().iadd(from, to);
            let last = g.b.ins().iadd_imm_s(ends, -1);
            g.range(from, to, |g, p| {
                let p = g.b.ins().isub(last, p);
                let at = run.at(g, p);
                body(g, at);
            });
        }
    }
}

impl Run {
    /// The part of a range of panels that is in the run.
    fn within(&self, g: &mut Gen<'_, '_>, (from, to): (Value, Value)) -> (Value, Value) {
        let (first, end) = (g.int(self.first as i64), g.int((self.first + self.count) as i64));
        (g.max(from, first), g.min(to, end))
    }

    /// Panel number `p` of all.
    fn at(&self, g: &mut Gen<'_, '_>, p: Value) -> At {
        let p = g.b.ins().iadd_imm_s(p, -(self.first as i64));
        let start = g.b.ins().imul_imm_s(p, i64::from(self.width));
        let start = g.b.ins().iadd_imm_s(start, self.start as i64);
        let (cols, chains, in_parts) = (Cols::Const(self.cols), self.chains, self.in_parts);
        At { start, width: self.width, cols, cols_value: None, rows: self.rows, chains, in_parts }
    }
}

/// Neighbours that are equal as one run; the first panel has this number and begins at this column.
fn runs_of(panels: &[Panel], number: usize, start: usize) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (at, panel) in panels.iter().enumerate() {
        match runs.last_mut() {
            Some(run)
                if (run.width, run.cols, run.rows) == (panel.width, panel.cols, panel.rows)
                    && (run.chains, run.in_parts) == (panel.chains, panel.in_parts) =>
            {
                run.count += 1;
            }
            _ => runs.push(Run {
                first: number + at,
                count: 1,
                start: start + panel.start,
                width: panel.width,
                cols: panel.cols,
                rows: panel.rows,
                chains: panel.chains,
                in_parts: panel.in_parts,
            }),
        }
    }
    runs
}

/// Rows cut into blocks, each an item of its own.
#[derive(Clone, Debug)]
pub(super) struct RowBlocks {
    /// All rows.
    pub(super) m: Extent,
    /// Rows of a block; every tile height divides it if there are several blocks.
    pub(super) block: Extent,
}

impl RowBlocks {
    /// How many.
    pub(super) fn count(&self) -> Extent {
        self.m.ceil_div(&self.block)
    }

    /// First row of block `number`, and how many rows it has.
    pub(super) fn at(&self, g: &mut Gen<'_, '_>, number: Value) -> (Value, Value) {
        let m = g.extent(&self.m);
        if self.count().is(1) {
            return (g.int(0), m);
        }
        let first = g.times(number, &self.block);
        let rest = g.b.ins().isub(m, first);
        let block = g.extent(&self.block);
        (first, g.min(rest, block))
    }

    /// Runs `body` with the height and first row of blocks of `count` rows, and how many are one below the other.
    pub(super) fn each_stack(
        &self,
        g: &mut Gen<'_, '_>,
        count: Value,
        rows: u16,
        body: &mut dyn FnMut(&mut Gen<'_, '_>, u16, Value, Value),
    ) {
        let height = i64::from(rows);
        let known = self.m.as_const();
        let (whole, more) = g.div_rem(count, &Extent::Const(height));
        if known.is_none_or(|m| m >= height) {
            g.when(whole, |g| {
                let zero = g.int(0);
                body(g, rows, zero, whole);
            });
        }
        if rows == 1 || known.is_some_and(|m| m % height == 0) {
            return;
        }
        g.when(more, |g| {
            let first = g.b.ins().imul_imm_s(whole, height);
            match known {
                Some(m) => {
                    let one = g.int(1);
                    body(g, u16::try_from(m % height).unwrap_or(1), first, one);
                }
                None => body(g, 1, first, more),
            }
        });
    }

    /// Runs `body` with the height and first row of every tile of `count` rows.
    pub(super) fn each(
        &self,
        g: &mut Gen<'_, '_>,
        count: Value,
        rows: u16,
        body: &mut dyn FnMut(&mut Gen<'_, '_>, u16, Value),
    ) {
        let height = i64::from(rows);
        let known = self.m.as_const();
        if known.is_none_or(|m| m >= height) {
            let zero = g.int(0);
            let last = g.b.ins().iadd_imm_s(count, 1 - height);
            g.carry((zero, last), height, &[], |g, i, _| {
                body(g, rows, i);
                vec![]
            });
        }
        if rows == 1 {
            return;
        }
        match known {
            Some(m) if m % height == 0 => {}
            Some(m) => {
                let rest = m % height;
                let of_height = Extent::Const(height);
                let (whole, more) = g.div_rem(count, &of_height);
                g.when(more, |g| {
                    let first = g.b.ins().imul_imm_s(whole, height);
                    body(g, u16::try_from(rest).unwrap_or(1), first);
                });
            }
            None => {
                let (whole, _) = g.div_rem(count, &Extent::Const(height));
                let first = g.b.ins().imul_imm_s(whole, height);
                let mut rest = first;
                // Of a tall tile, what remains is done by halves.
                for power in (1..=4).rev().map(|p| 1u16 << p).filter(|p| *p < rows && rows > 3) {
                    let size = i64::from(power);
                    let last = g.b.ins().iadd_imm_s(count, 1 - size);
                    (rest, _) = g.carry_index((rest, last), size, &[], |g, i, _| {
                        body(g, power, i);
                        vec![]
                    });
                }
                g.range(rest, count, |g, i| body(g, 1, i));
            }
        }
    }
}
