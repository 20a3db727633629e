//! parts - columns in parts: whole vectors of one chain, and beside them 8, 4, 2 or 1 columns whose lanes are steps of k as well.
//!
//! ```text
//! 21 columns:  sums | 16 columns, one chain | 4 columns, 4 chains | 1 column, 16 chains |     three vectors a row
//!              A    | k, 16 times           | k ... k + 3         | k ... k + 15        |
//! ```
//!
//! So a row takes as many multiply-adds as there are columns, none of them with empty lanes, and what it reads of A is in the
//! first-level cache for all parts: a panel of its own for the last columns reads all of A again. With 16 steps of k a turn. Rows
//! that are read by fours have what parts of 4 columns take, and by one shuffle what parts of 8 take.
//!
//! In the end chains are added as in `chains`, and each row is put together from a piece of every part.

use iced_x86::{Code, Register};
use nnc_tile::gemm::{Chains, GemmTile, Part};

use super::{B, Block, Gen, STEPS, Shape, chains::REST, fours};
use crate::{
    Level,
    asm::{self, K, Lanes, Mem, V},
    frame::TEMP,
};

/// The narrow parts of a tile.
pub(super) struct Parts {
    list: Vec<Part>,
    /// Steps of k beyond whole turns.
    rest: usize,
}

/// The chains of a part, added.
pub(super) struct Total {
    part: Part,
    /// Vectors of sums, row after row.
    vectors: Vec<V>,
    /// Where they are in scratch memory, if pieces of them are taken from there.
    place: i64,
}

/// Loads that a line of A takes which comes from beyond the first-level cache, about.
const LINES: usize = 2;
/// Rows of a tile, at most.
const MOST_ROWS: usize = 16;

/// Rows that are read by fours, at most: more shuffles take the multipliers' turns.
const MOST_FOURS: usize = 3;

/// Whether there is code for such parts.
pub(super) fn fits(chains: Chains, level: Level) -> bool {
    level == Level::Avx512 && usize::from(chains.count) == level.lanes()
}

/// Rows of a tile of a panel in parts: as many as there are registers for, those that it takes to read rows by fours among them.
#[must_use]
pub fn part_rows(level: Level, panel: usize) -> usize {
    let chains = Chains { count: level.lanes() as u16, rest: 0, in_parts: true };
    let narrow = chains.parts(panel).iter().filter(|part| part.chains > 1).count();
    let whole = panel / level.lanes();
    let registers = |rows: usize| {
        rows * (whole + narrow) + whole + 1 + fours::PASSING + wanted_fours(chains, panel, rows)
    };
    (1..=MOST_ROWS).rev().find(|&rows| registers(rows) <= level.registers()).unwrap_or(1)
}

/// How many rows of a tile have to be read by fours so that loads do not hold up multiply-adds.
fn wanted_fours(chains: Chains, panel: usize, rows: usize) -> usize {
    let lanes = usize::from(chains.count);
    // Loads of a row in a turn where it is read by fours, and where not. A whole vector of A is in two lines for the most part.
    let (mut by_fours, mut plain) = (lanes / 4, 0);
    for part in chains.parts(panel) {
        match part.chains {
            1..=4 => plain += lanes / part.chains,
            _ => (by_fours, plain) = (by_fours + 2, plain + 2),
        }
    }

    let beyond = (rows * (plain + LINES) + panel).saturating_sub(rows * panel);
    // Loads of rows that do not begin on four elements reach into two lines more often.
    let most = MOST_FOURS + usize::from(!chains.rest.is_multiple_of(4));
    match plain.checked_sub(by_fours) {
        None | Some(0) => 0,
        Some(saved) => beyond.div_ceil(saved).min(most),
    }
}

/// The step of a part that is done at step k of a turn: those that read most lines of A come when their lines are there.
fn step_at(chains: usize, k: usize) -> Option<usize> {
    let late = if chains > 4 { chains / 2 + 1 } else { 0 };
    (k % chains == late).then(|| k - late)
}

impl Shape {
    /// The shape of a tile of parts.
    pub(super) fn of_parts(spec: &GemmTile, chains: Chains, level: Level) -> Shape {
        let (panel, lanes) = (usize::from(spec.panel), level.lanes());
        let own = panel.div_ceil(lanes);
        let list = chains.parts(panel).into_iter().filter(|part| part.chains > 1).collect();
        let shape = Shape {
            rows: usize::from(spec.rows),
            vectors: panel / lanes,
            own,
            last_cols: Some(panel - (own - 1) * lanes),
            last_b: lanes,
            edge: None,
            chains: None,
            parts: Some(Parts { list, rest: usize::from(chains.rest) }),
            fours: 0,
            b_in_memory: false,
            a_in_memory: false,
        };
        let used = shape.accumulators() + shape.others(level) - 1;
        let free = level.registers().saturating_sub(used + fours::PASSING);
        Shape { fours: free.min(wanted_fours(chains, panel, shape.rows)), ..shape }
    }

    /// Vectors of sums of a row beside the whole ones.
    pub(super) fn narrow(&self) -> usize {
        self.parts.as_ref().map_or(0, |parts| parts.list.len())
    }

    pub(super) fn part_acc(&self, m: usize, number: usize) -> V {
        V((self.rows * (self.vectors + number) + m) as u8)
    }

    /// Registers behind those of whole vectors of B and of rows read by fours: columns of a part, then elements of A.
    fn part_register(&self, number: usize) -> V {
        V((self.accumulators() + self.vectors + self.fours + number) as u8)
    }

    /// Bytes of scratch memory for sums of which pieces are taken from there.
    pub(super) fn piece_bytes(&self, level: Level) -> usize {
        let parts = self.parts.iter().flat_map(|parts| &parts.list);
        parts
            .filter(|part| part.cols <= 2)
            .map(|part| 4 * level.lanes() * self.rows.div_ceil(part.chains))
            .sum()
    }
}

impl Gen<'_> {
    /// All steps of k.
    pub(super) fn in_parts(&mut self, block: &Block) {
        self.spread_bases(block);
        let lanes = self.asm.level.lanes();
        let (again, done) = (self.asm.label(), self.asm.label());
        self.asm.shift_right(STEPS, lanes.trailing_zeros());
        self.asm.jump(Code::Je_rel32_64, done);
        self.asm.place(again);
        for k in 0..lanes {
            if k % 4 == 0 {
                self.fours_read(block, 4 * k as i64);
            }
            self.whole_step(block, k, Some(k as u32 % 4));
            for (number, part) in self.narrow_parts().into_iter().enumerate() {
                if let Some(k) = step_at(part.chains, k) {
                    self.part_step(block, (number, part), k);
                }
            }
        }
        for base in &block.bases {
            self.asm.add_imm(*base, 4 * lanes as i64);
        }
        self.asm.add_imm(B, (4 * lanes * usize::from(self.spec.panel)) as i64);
        self.asm.add_imm(STEPS, -1);
        self.asm.jump(Code::Jne_rel32_64, again);
        self.asm.place(done);
        let rest = self.shape.parts.as_ref().map_or(0, |parts| parts.rest);
        for k in 0..rest {
            self.whole_step(block, k, None);
        }
        for (number, part) in self.narrow_parts().into_iter().enumerate() {
            for k in (0..rest).step_by(part.chains) {
                self.rest_step(block, (number, part), (k, rest - k));
            }
        }
    }

    fn narrow_parts(&self) -> Vec<Part> {
        self.shape.parts.as_ref().map_or(vec![], |parts| parts.list.clone())
    }

    /// Registers for elements of A, by turns.
    fn passing(&self, number: usize) -> V {
        let first = self.shape.part_register(1);
        let turns = (self.asm.level.registers() - usize::from(first.0)).min(4);
        V(first.0 + (number % turns) as u8)
    }

    /// A step of the whole vectors.
    fn whole_step(&mut self, block: &Block, k: usize, within: Option<u32>) {
        let (first, vectors, lanes) = (self.shape.accumulators(), self.shape.vectors, self.asm.level.lanes());
        let b_at = |i: usize| V((first + i) as u8);
        for i in 0..vectors {
            self.asm.load(b_at(i), Mem::at(B, (4 * lanes * (vectors * k + i)) as i64), Lanes::All);
        }
        for m in 0..if vectors > 0 { self.shape.rows } else { 0 } {
            let by_fours = within.is_some() && self.shape.four_of_row(m).is_some();
            if vectors == 1 && !by_fours {
                self.asm.fma_broadcast(self.shape.acc(m, 0), b_at(0), block.row(m, 4 * k as i64));
                continue;
            }
            let a = self.passing(m);
            self.load_a(a, block, 4 * k as i64, m, within);
            for i in 0..vectors {
                self.asm.fma(self.shape.acc(m, i), a, b_at(i), Lanes::All);
            }
        }
    }

    /// The columns of a part at step k.
    fn part_columns(&mut self, part: Part, k: usize) -> V {
        let b = self.shape.part_register(0);
        let at = self.asm.level.lanes() * part.first + k * part.cols;
        self.asm.load(b, Mem::at(B, 4 * at as i64), Lanes::All);
        b
    }

    /// As many steps of a part as it has chains, from k on.
    fn part_step(&mut self, block: &Block, (number, part): (usize, Part), k: usize) {
        let b = self.part_columns(part, k);
        for m in 0..self.shape.rows {
            let (acc, at) = (self.shape.part_acc(m, number), block.row(m, 4 * k as i64));
            if part.chains == self.asm.level.lanes() {
                self.asm.fma(acc, b, at, Lanes::All);
                continue;
            }
            let mut a = self.passing(m);
            match (part.chains, self.shape.four_of_row(m)) {
                (4, Some(four)) => a = self.shape.four(four),
                (2, Some(four)) => self.asm.spread_in_twos(a, self.shape.four(four), k as u32 % 4 / 2),
                _ => self.asm.load_repeated(part.chains, a, at),
            }
            self.asm.fma(acc, a, b, Lanes::All);
        }
    }

    /// Likewise where no more than `left` steps remain.
    fn rest_step(&mut self, block: &Block, (number, part): (usize, Part), (k, left): (usize, usize)) {
        let b = self.part_columns(part, k);
        if left < part.chains {
            self.asm.mask_first(REST, left as u32, TEMP);
        }
        for m in 0..self.shape.rows {
            let (a, at) = (self.passing(m), block.row(m, 4 * k as i64));
            if left < part.chains {
                self.asm.repeat_masked(part.chains, a, at, REST);
            } else {
                self.asm.load_repeated(part.chains, a, at);
            }
            self.asm.fma(self.shape.part_acc(m, number), a, b, Lanes::All);
        }
    }

    /// Adds the chains of all parts.
    pub(super) fn part_totals(&mut self) -> Vec<Total> {
        let level = self.asm.level;
        let mut place = (self.shape.rows * self.shape.row_bytes(level)) as i64;
        let parts = self.narrow_parts();
        let mut totals = vec![];
        for (number, part) in parts.into_iter().enumerate() {
            let rows: Vec<V> = (0..self.shape.rows).map(|m| self.shape.part_acc(m, number)).collect();
            let vectors = self.add_chains(&rows, part.chains, self.shape.part_register(0));
            let total = Total { part, vectors, place };
            if part.cols <= 2 {
                for &sum in &total.vectors {
                    self.asm.store(Mem::at(Register::RSP, place), sum, Lanes::All);
                    place += 4 * level.lanes() as i64;
                }
            }
            totals.push(total);
        }
        totals
    }

    /// Writes what a row has of each part.
    pub(super) fn store_pieces(&mut self, totals: &[Total], m: usize, to: Mem) {
        let whole = self.shape.vectors * self.asm.level.lanes();
        for Total { part, vectors, place } in totals {
            let to = to.plus(4 * (part.first - whole) as i64);
            let (vector, at) = (m / part.chains, m % part.chains);
            let bytes = 4 * self.asm.level.lanes() * vector + 4 * part.cols * at;
            let from = Mem::at(Register::RSP, place + bytes as i64);
            match part.cols {
                8 => self.asm.store_part(asm::quads::Part::Eight, to, vectors[vector], at),
                4 => self.asm.store_part(asm::quads::Part::Four, to, vectors[vector], at),
                2 => {
                    self.asm.mov_load(TEMP, from);
                    self.asm.mov_store(to, TEMP);
                }
                _ => {
                    self.asm.mov_load_low(TEMP, from);
                    self.asm.mov_store_low(to, TEMP);
                }
            }
        }
    }

    /// Lays out the sums of all parts, row after row.
    pub(super) fn parts_spill(&mut self) {
        let totals = self.part_totals();
        for m in 0..self.shape.rows {
            let to = self.tail_place(Register::RSP, m);
            self.store_pieces(&totals, m, to);
        }
    }

    /// Where sums beyond whole vectors of row `m` are laid out.
    fn tail_place(&self, base: Register, m: usize) -> Mem {
        let level = self.asm.level;
        let at = m * self.shape.row_bytes(level) + 4 * level.lanes() * self.shape.vectors;
        Mem::at(base, at as i64)
    }

    /// Reads what has been laid out of row `m`, counted from where `base` is.
    pub(super) fn parts_load(&mut self, to: V, base: Register, m: usize) {
        let from = self.tail_place(base, m);
        // The mask of the last vector of C.
        self.asm.load(to, from, Lanes::Mask(K(1)));
    }
}
