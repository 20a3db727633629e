//! chains - tiles whose lanes are steps of k as well as columns.
//!
//! ```text
//! 4 chains of 4 columns:  sums | a0 a1 a2 a3 | b0 b1 b2 b3 | c0 .. c3 | d0 .. d3 |      B as it lies
//!                         A    | k0 k1 k2 k3 | k0 k1 k2 k3 | ...                        one load for four steps
//! ```
//!
//! So no lane of a panel of a few columns is empty, and a load of A serves as many steps as there are chains. In the end the
//! chains are added: shuffles within quads, which cost the multipliers nothing, then of quads. Sums then go through scratch
//! memory, row after row, where rows of C lie apart or an epilogue follows.
//!
//! Blocks of rows come one after another in one function, so that the processor multiplies for a block while it adds the chains of the one
//! before: 13 to 18 cycles of a block of 20 to 27 vectors of sums remain of these, and a call for each would take some 40 more.

use iced_x86::{Code, Register};
use nnc_tile::{
    epilogue::EpilogueInput,
    gemm::{Chains, GemmArg, GemmTile, Stride},
};

use super::{A, B, Block, Gen, STEPS, Shape, Step};
use crate::{
    Level,
    asm::{K, Lanes, Mem, V},
    frame::{POOL, TEMP},
};

/// The mask of the steps that are fewer than chains.
pub(super) const REST: K = K(4);
/// The mask of sums beyond whole vectors of them.
const LAST: K = K(5);
/// Accumulators of the turns of a loop, about.
const OF_TURN: usize = 32;

/// Bytes of B and of two blocks of rows that stay in the first-level cache.
const NEAR: i64 = 40 << 10;
/// Bytes further on that are asked for in long rows.
const AHEAD: i64 = 384;
/// So many long rows are asked for; more are read as fast without.
const MOST_LONG: usize = 6;

/// What an operand of a step is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Steps {
    Whole,
    /// Fewer steps than chains.
    Rest,
}

impl Shape {
    /// The shape of a tile of chains: a row has several vectors of sums for one of columns.
    pub(super) fn of_chains(spec: &GemmTile, chains: Chains, level: Level) -> Shape {
        let (panel, lanes) = (usize::from(spec.panel), level.lanes());
        let own = panel.div_ceil(lanes);
        Shape {
            rows: usize::from(spec.rows),
            vectors: (panel * usize::from(chains.count)).div_ceil(lanes),
            own,
            last_cols: Some(panel - (own - 1) * lanes),
            last_b: lanes,
            edge: None,
            chains: Some(chains),
            parts: None,
            fours: 0,
            b_in_memory: false,
            a_in_memory: false,
        }
    }

    /// Registers for operands: those of B at once and one of A after the other, or the other way round.
    pub(super) fn chain_operands(&self) -> usize {
        self.vectors.min(self.rows) + 1
    }
}

/// Whether vectors of sums are whole.
pub(super) fn fits(spec: &GemmTile, chains: Chains, level: Level) -> bool {
    let count = usize::from(chains.count);
    count <= level.lanes() && (usize::from(spec.panel) * count).is_multiple_of(level.lanes())
}

impl Gen<'_> {
    /// Masks of tiles of chains.
    pub(super) fn chain_masks(&mut self) {
        let Some(chains) = self.shape.chains else { return };
        if self.asm.level == Level::Avx2 {
            return;
        }
        for (mask, lanes) in [(REST, usize::from(chains.rest)), (LAST, self.beyond_whole())] {
            if lanes > 0 {
                self.asm.mask_first(mask, lanes as u32, TEMP);
            }
        }
    }

    /// Sums of a block beyond whole vectors of them.
    fn beyond_whole(&self) -> usize {
        let level = self.asm.level;
        (self.shape.rows * self.shape.row_bytes(level) / 4) % level.lanes()
    }

    /// The lanes of those; AVX2 makes their signs.
    pub(super) fn last_sums(&mut self, signs: V) -> Lanes {
        match (self.beyond_whole(), self.asm.level) {
            (0, _) => Lanes::All,
            (_, Level::Avx512) => Lanes::Mask(LAST),
            (n, Level::Avx2) => self.asm.first_signs(n, signs, TEMP),
        }
    }

    /// Runs `body`, which is emitted once, for every block of rows.
    pub(super) fn blocks(&mut self, body: &mut dyn FnMut(&mut Self)) {
        if self.shape.chains.is_none() {
            return body(self);
        }
        let again = self.asm.here();
        for (register, arg) in [(A, GemmArg::A), (B, GemmArg::B), (STEPS, GemmArg::K)] {
            let from = self.frame.arg(arg);
            self.asm.mov_load(register, from);
        }
        self.free = POOL.to_vec();
        body(self);
        self.next_block();
        let left = self.frame.arg(GemmArg::Blocks);
        self.asm.decrement(left);
        self.asm.jump(Code::Jne_rel32_64, again);
    }

    /// Moves the addresses among the arguments on to the next block.
    fn next_block(&mut self) {
        let rows = i64::from(self.spec.rows);
        let stores = self.spec.stores().iter().enumerate().map(|(index, element)| match index {
            0 => (GemmArg::C, GemmArg::Ldc, element.bytes()),
            _ => (GemmArg::Output(index), GemmArg::OutputStride(index), element.bytes()),
        });
        let mut moves: Vec<(GemmArg, GemmArg, usize)> = stores.collect();
        match self.spec.a_row {
            Stride::Const(n) => {
                let a = self.frame.arg(GemmArg::A);
                self.asm.add_to_memory(a, 4 * rows * i64::from(n));
            }
            Stride::Arg => moves.push((GemmArg::A, GemmArg::ARow, 4)),
        }
        let spec = self.spec;
        for (index, kind) in spec.epilogue.iter().flat_map(|e| &e.inputs).enumerate() {
            match kind {
                EpilogueInput::Row => {
                    let operand = self.frame.arg(GemmArg::Epilogue(index));
                    self.asm.add_to_memory(operand, 4 * rows);
                }
                EpilogueInput::Tile => {
                    moves.push((GemmArg::Epilogue(index), GemmArg::EpilogueStride(index), 4));
                }
                _ => {}
            }
        }
        for (pointer, stride, bytes) in moves {
            let (pointer, stride) = (self.frame.arg(pointer), self.frame.arg(stride));
            self.asm.mov_load(TEMP, stride);
            self.asm.mul_imm(TEMP, rows * bytes as i64);
            self.asm.add_load(TEMP, pointer);
            self.asm.mov_store(pointer, TEMP);
        }
    }

    /// All steps of k.
    pub(super) fn chained(&mut self, block: &Block, chains: Chains) {
        self.spread_bases(block);
        let unroll = (OF_TURN / self.shape.accumulators()).clamp(1, 4);
        self.asm.shift_right(STEPS, u32::from(chains.count).trailing_zeros());
        self.turns(unroll as i64, &mut |g, times| {
            for turn in 0..times {
                g.chain_step(block, turn, Steps::Whole);
            }
            let of_a = 4 * i64::from(chains.count);
            for base in &block.bases {
                g.asm.add_imm(*base, of_a * times);
            }
            let of_b = g.bytes_of_step();
            g.asm.add_imm(B, of_b * times);
        });
        if chains.rest > 0 {
            self.chain_step(block, 0, Steps::Rest);
        }
    }

    /// Bytes of B of one step of every chain.
    fn bytes_of_step(&self) -> i64 {
        (4 * self.asm.level.lanes() * self.shape.vectors) as i64
    }

    /// One step of every chain; `turn` are those before.
    fn chain_step(&mut self, block: &Block, turn: i64, steps: Steps) {
        let (rows, vectors) = (self.shape.rows, self.shape.vectors);
        let Some(chains) = self.shape.chains else { return };
        let (count, lanes) = (usize::from(chains.count), self.asm.level.lanes());
        let (first, held) = (self.shape.accumulators(), self.shape.chain_operands() - 1);
        let b = Mem::at(B, self.bytes_of_step() * turn);
        let b_at = |i: usize| b.plus((4 * lanes * i) as i64);
        let a_at = |m: usize| block.row(m, 4 * (count as i64) * turn);
        // Those that come one after another take registers by turns.
        let turns = (self.asm.level.registers() - first - held).min(4);
        let fixed = |i: usize| V((first + i) as u8);
        let passing = |i: usize| V((first + held + i % turns) as u8);
        self.ahead(block, [count, turn as usize]);
        let load_a = |g: &mut Self, to: V, from: Mem| match steps {
            Steps::Whole => g.asm.load_repeated(count, to, from),
            Steps::Rest => {
                let lanes = match g.asm.level {
                    Level::Avx512 => Lanes::Mask(REST),
                    Level::Avx2 => g.asm.first_signs(usize::from(chains.rest), to, TEMP),
                };
                g.asm.load_repeated_part(count, to, from, lanes);
            }
        };
        if vectors > rows {
            for m in 0..rows {
                load_a(self, fixed(m), a_at(m));
            }
            for i in 0..vectors {
                self.asm.load(passing(i), b_at(i), Lanes::All);
                for m in 0..rows {
                    self.asm.fma(self.shape.acc(m, i), fixed(m), passing(i), Lanes::All);
                }
            }
            return;
        }
        for i in 0..vectors {
            self.asm.load(fixed(i), b_at(i), Lanes::All);
        }
        for m in 0..rows {
            if count == lanes && vectors == 1 && steps == Steps::Whole {
                self.asm.fma(self.shape.acc(m, 0), fixed(0), a_at(m), Lanes::All);
                continue;
            }
            load_a(self, passing(m), a_at(m));
            for i in 0..vectors {
                self.asm.fma(self.shape.acc(m, i), passing(m), fixed(i), Lanes::All);
            }
        }
    }

    /// Asks for lines of A that come later: few columns are soon done with what has been read. Of short rows these are the lines that
    /// the block below reads at this step, of long ones some further on. None is read again, so they take no room from those of B.
    fn ahead(&mut self, block: &Block, [count, turn]: [usize; 2]) {
        let of_line = 64 / 4;
        let Step::Const(apart) = block.a_row else { return };
        if count * self.shape.vectors < of_line || !(turn * count).is_multiple_of(of_line) {
            return;
        }
        let (rows, at) = (self.shape.rows, 4 * (turn * count) as i64);
        let below = apart * rows as i64;
        // Rows are about as long as they lie apart.
        let of_b = self.bytes_of_step() * apart / (4 * count as i64);
        let near = 2 * below + of_b <= NEAR;
        if !near && rows > MOST_LONG {
            return;
        }
        for m in 0..rows {
            self.asm.prefetch_once(block.row(m, at + if near { below } else { AHEAD }));
        }
    }

    /// Adds the chains: vectors of sums, row after row.
    pub(super) fn chain_sums(&mut self) -> Vec<V> {
        let Some(chains) = self.shape.chains else { return vec![] };
        let all = self.shape.accumulators() as u8;
        let sums: Vec<V> = (0..all).map(V).collect();
        self.add_chains(&sums, usize::from(chains.count), V(all))
    }

    /// Adds the chains of vectors, as many neighbouring vectors as there are chains into one, in the place of their first. Of fewer at the
    /// end the last stands for those beyond it, too, whose sums nobody reads.
    pub(super) fn add_chains(&mut self, sums: &[V], count: usize, scratch: V) -> Vec<V> {
        let order = order(count, self.asm.level.lanes());
        if let Some(order) = &order {
            self.asm.address_of(TEMP, order);
        }
        let each = sums.chunks(count).map(|sums| {
            let (mut sums, mut apart) = (sums.to_vec(), 1);
            while apart < count {
                for pair in sums.chunks(2) {
                    let (a, b) = (pair[0], pair[pair.len() - 1]);
                    if apart < 4 {
                        self.asm.add_neighbours(a, b, scratch);
                    } else {
                        self.asm.add_neighbour_quads(a, b, scratch);
                    }
                }
                sums = sums.chunks(2).map(|pair| pair[0]).collect();
                apart *= 2;
            }
            if order.is_some() {
                self.asm.reorder(sums[0], TEMP, scratch);
            }
            sums[0]
        });
        each.collect()
    }

    /// Lays out vectors of sums.
    pub(super) fn chain_spill(&mut self, sums: &[V]) {
        let bytes = 4 * self.asm.level.lanes();
        for (at, &sum) in sums.iter().enumerate() {
            self.asm.store(Mem::at(Register::RSP, (bytes * at) as i64), sum, Lanes::All);
        }
    }

    /// Reads the sums of vector `i` of row `m`, counted from where `base` is.
    pub(super) fn chain_load(&mut self, to: V, base: Register, m: usize, i: usize) {
        let level = self.asm.level;
        let at = Mem::at(base, (m * self.shape.row_bytes(level) + 4 * level.lanes() * i) as i64);
        // What was written is read by whole parts of it where possible: it need not go through the cache then.
        match self.shape.last_cols {
            Some(n) if self.shape.own == 1 && n.is_power_of_two() => self.asm.load_some(n, to, at),
            _ => self.asm.load(to, at, Lanes::All),
        }
    }
}

/// Where each lane of the sums in their order is after neighbours have been added; `None` if it is there.
fn order(count: usize, lanes: usize) -> Option<Vec<u32>> {
    let lane = |out: usize| match count {
        // Quads have two sums of the first vector and two of the second.
        2 => {
            let (vector, column) = (out / (lanes / 2), out % (lanes / 2));
            4 * (column / 2) + 2 * vector + column % 2
        }
        // Quads have one sum of each of four vectors, quads of a vector those of its columns.
        4 => 4 * (out % (lanes / 4)) + out / (lanes / 4),
        // Likewise, two quads for the first four vectors.
        _ => {
            let (vector, column) = (out / (lanes / count), out % (lanes / count));
            4 * (vector / 4 * (lanes / count) + column) + vector % 4
        }
    };
    let order: Vec<u32> = (0..lanes).map(|out| lane(out) as u32).collect();
    (count < lanes).then_some(order)
}
