//! shape - how a tile's registers are given out, and whether there are as many.

use nnc_tile::{
    epilogue::EpilogueInput,
    gemm::{BRows, Chains, Cols, GemmTile, Stride},
    product::Product,
};

use super::{
    chains,
    edge::Edge,
    fours, multiply,
    parts::{self, Parts},
    steps::OF_RUNS,
};
use crate::{Level, asm::V, frame::POOL, program};

/// How registers are given out.
pub(super) struct Shape {
    pub(super) rows: usize,
    /// Vectors of sums of a row, but for the edge.
    pub(super) vectors: usize,
    /// Vectors of C of a row: those of one group of columns.
    pub(super) own: usize,
    /// Columns of the last vector of C, if they are known.
    pub(super) last_cols: Option<usize>,
    /// Columns of B in the last vector.
    pub(super) last_b: usize,
    /// Columns that several rows have in one vector.
    pub(super) edge: Option<Edge>,
    /// Steps of k that are lanes.
    pub(super) chains: Option<Chains>,
    /// Columns in parts.
    pub(super) parts: Option<Parts>,
    /// Rows of A that are read four steps at a time.
    pub(super) fours: usize,
    /// Whether B is an operand of the multiply-add.
    pub(super) b_in_memory: bool,
    /// Whether A is one, too (AVX-512).
    pub(super) a_in_memory: bool,
}

impl Shape {
    pub(super) fn of(spec: &GemmTile, level: Level) -> Shape {
        if let Some(chains) = spec.chains.filter(|chains| chains.in_parts) {
            return Self::of_parts(spec, chains, level);
        }
        if let Some(chains) = spec.chains {
            return Self::of_chains(spec, chains, level);
        }
        let plain = Self::without_edge(spec, level);
        let shape = match Edge::of(spec, level) {
            Some(edge) => {
                let vectors = plain.vectors - 1;
                Shape { vectors, edge: Some(edge), a_in_memory: false, b_in_memory: false, ..plain }
            }
            None => plain,
        };
        // Of the registers that others count, one is for elements of A.
        let used = shape.accumulators() + shape.others(level) - 1;
        let free = level.registers().saturating_sub(used);
        // An edge of eight has a multiply-add for every two rows more, and for those hardly a load.
        let fours = match &shape.edge {
            Some(edge) if edge.rows == 2 => 0,
            _ => fours::rows(spec, shape.vectors, free, level),
        };
        Shape { fours, ..shape }
    }

    fn without_edge(spec: &GemmTile, level: Level) -> Shape {
        let lanes = level.lanes();
        let (rows, panel) = (usize::from(spec.rows), usize::from(spec.panel));
        let (cols, last_cols) = match spec.cols {
            Cols::Const(n) => {
                let n = usize::from(n);
                (n, Some(n - (n.div_ceil(lanes) - 1) * lanes))
            }
            Cols::Arg => (panel, None),
        };
        let own = cols.div_ceil(lanes);
        let vectors = own * usize::from(spec.groups());
        let last_b = (panel - (own - 1) * lanes).min(lanes);
        let b_in_memory = rows == 1;
        let a_in_memory =
            !b_in_memory && level == Level::Avx512 && rows * vectors + vectors + 1 > level.registers();
        let a_in_memory = a_in_memory && spec.product == Product::F32;
        let (edge, chains, parts, fours) = (None, None, None, 0);
        Shape { rows, vectors, own, last_cols, last_b, edge, chains, parts, fours, b_in_memory, a_in_memory }
    }

    pub(super) fn accumulators(&self) -> usize {
        self.rows * (self.vectors + self.narrow()) + self.edge.map_or(0, |edge| edge.vectors)
    }

    /// Bytes of a row of sums in scratch memory.
    pub(super) fn row_bytes(&self, level: Level) -> usize {
        match (self.chains, self.last_cols) {
            // Sums of chains come densely.
            (Some(_), Some(last)) => 4 * ((self.own - 1) * level.lanes() + last),
            _ => 4 * level.lanes() * self.vectors.max(self.own),
        }
    }

    /// Bytes of scratch memory for all rows; the last vectors that are written and read may reach beyond these.
    pub(super) fn scratch_bytes(&self, level: Level) -> usize {
        let beyond = if self.chains.is_some() { 4 * level.lanes() } else { 0 };
        let rows = (self.rows * self.row_bytes(level)).next_multiple_of(4 * level.lanes());
        rows + beyond + self.piece_bytes(level)
    }

    /// Whether sums are in scratch memory before anything else is done to them.
    pub(super) fn is_laid_out(&self) -> bool {
        self.edge.is_some() || self.chains.is_some() || self.parts.is_some()
    }

    /// Registers that hold sums while results are made: those of a tile of chains come from memory.
    pub(super) fn held(&self) -> usize {
        if self.chains.is_some() { 1 } else { self.accumulators() }
    }

    pub(super) fn acc(&self, m: usize, i: usize) -> V {
        V((m * self.vectors + i) as u8)
    }

    /// Sums that make vector `i` of row `m` of C.
    pub(super) fn sums(&self, m: usize, i: usize) -> Vec<V> {
        (i..self.vectors).step_by(self.own).map(|v| self.acc(m, v)).collect()
    }

    /// Registers beyond the accumulators that steps of k use.
    pub(super) fn others(&self, level: Level) -> usize {
        if self.chains.is_some() {
            return self.chain_operands();
        }
        let masked = self.last_b < level.lanes();
        let mask = usize::from(masked && level == Level::Avx2);
        let b = if self.b_in_memory { usize::from(masked && level == Level::Avx2) } else { self.vectors };
        let b = b + usize::from(self.parts.is_some());
        b + usize::from(!self.a_in_memory) + self.fours + mask + self.edge.map_or(0, |edge| edge.others())
    }
}

/// Rows that one base register serves.
pub(super) const ROWS_OF_A_BASE: usize = 3;

/// Whether there are registers for the tile.
pub(crate) fn supports(spec: &GemmTile, level: Level) -> bool {
    let shape = Shape::of(spec, level);
    let run_time = |s: Stride| usize::from(s == Stride::Arg);
    let bases = if spec.a_row == Stride::Arg { shape.rows.div_ceil(ROWS_OF_A_BASE) - 1 } else { 0 };
    let b = match spec.b_rows {
        BRows::Apart(stride) => run_time(stride),
        BRows::Table => 1,
    };
    let runs = if spec.a_runs.is_some() { OF_RUNS } else { 0 };
    let registers = bases + run_time(spec.a_row) + run_time(spec.a_k) + b + runs;
    let epilogue = spec.epilogue.as_ref().is_none_or(|e| {
        let count = |what: fn(&EpilogueInput) -> bool| e.inputs.iter().filter(|i| what(i)).count();
        let pointers = count(|i| !matches!(i, EpilogueInput::Behind { .. })) + e.stores.len();
        let steps = count(|i| *i == EpilogueInput::Tile) + e.stores.len();
        let own = scratch_of_stores(spec, level);
        // A single sum is an input that the program counts.
        let more = usize::from(e.sums) - 1;
        program::registers(&e.program) + more < level.registers() - 2 - own
            && pointers + if shape.rows > 1 { steps } else { 0 } < POOL.len()
            && (own == 0 || shape.last_cols.is_some())
    });
    // Groups begin on whole vectors.
    (spec.groups() == 1 || usize::from(spec.panel) == shape.own * level.lanes())
        && spec.chains.is_none_or(|chains| match chains.in_parts {
            true => parts::fits(chains, level),
            false => chains::fits(spec, chains, level),
        })
        && registers <= POOL.len()
        && shape.accumulators() + shape.others(level) + multiply::scratch(spec.product) <= level.registers()
        && multiply::has(spec.product, level)
        && (shape.last_cols.is_some() || shape.vectors <= 4)
        && epilogue
}

/// Registers that stores use: AVX2 has to make bytes of lanes.
pub(super) fn scratch_of_stores(spec: &GemmTile, level: Level) -> usize {
    usize::from(level == Level::Avx2 && spec.stores().iter().any(|s| s.bytes() == 1))
}
