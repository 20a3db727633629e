//! steps - the steps of k of a tile: where A and B are at each, and the multiply-adds.

use iced_x86::{Code, Register};
use nnc_tile::gemm::{Ahead, BRows, GemmArg, Stride};

use super::{A, B, Gen, STEPS, edge::STEPS_AT_ONCE, multiply, shape::ROWS_OF_A_BASE};
use crate::{
    Level,
    asm::{K, Lanes, Mem, V},
    frame::TEMP,
};

/// Bytes of a line of the caches.
const LINE: i64 = 64;
/// Registers that runs of A take.
pub(super) const OF_RUNS: usize = 2;

/// A distance in bytes.
#[derive(Clone, Copy)]
pub(super) enum Step {
    Const(i64),
    Register(Register),
}

impl Gen<'_> {
    fn step(&mut self, stride: Stride, arg: GemmArg) -> Step {
        match stride {
            Stride::Const(n) => Step::Const(4 * i64::from(n)),
            Stride::Arg => {
                let bytes = self.arg(arg);
                self.asm.shl(bytes, 2);
                Step::Register(bytes)
            }
        }
    }

    /// All steps of k.
    pub(super) fn sums(&mut self) {
        let a_row = self.step(self.spec.a_row, GemmArg::ARow);
        let a_k = self.step(self.spec.a_k, GemmArg::AK);
        let (b_k, table) = match self.spec.b_rows {
            BRows::Apart(stride) => (self.step(stride, GemmArg::BK), None),
            BRows::Table => (Step::Const(8), Some(self.arg(GemmArg::BTable))),
        };
        let mut bases = vec![A];
        if let Step::Register(_) = a_row {
            bases.extend((1..self.shape.rows.div_ceil(ROWS_OF_A_BASE)).map(|_| self.take()));
        }
        let mask = self.mask_of_b();
        let later = self.later();
        let block = Block { a_row, a_k, b_k, table, bases, mask, later };
        let unroll: i64 = if self.shape.accumulators() >= 12 { 4 } else { 8 };
        match (self.spec.a_runs, self.shape.chains) {
            (_, Some(chains)) => self.chained(&block, chains),
            _ if self.shape.parts.is_some() => self.in_parts(&block),
            (None, None) => {
                self.spread_bases(&block);
                self.turns(unroll, &mut |g, steps| g.steps(&block, steps));
            }
            (Some(run), None) => self.runs(&block, i64::from(run), unroll),
        }
    }

    /// What later tiles read, if a register is left for its address.
    fn later(&mut self) -> Option<(Register, i64)> {
        let runs = if self.spec.a_runs.is_some() { OF_RUNS } else { 0 };
        match self.spec.ahead {
            Ahead::Lines(lines) if self.free.len() > runs => {
                Some((self.arg(GemmArg::Ahead), i64::from(lines)))
            }
            _ => None,
        }
    }

    /// Addresses of rows 3, 6, ... from that of row 0.
    pub(super) fn spread_bases(&mut self, block: &Block) {
        let Step::Register(bytes) = block.a_row else { return };
        for pair in block.bases.windows(2) {
            self.asm.lea(pair[1], Mem { base: pair[0], index: Some((bytes, 2)), disp: 0 });
            self.asm.add(pair[1], bytes);
        }
    }

    /// As many times `body` as STEPS says, `unroll` at once while there are as many.
    pub(super) fn turns(&mut self, unroll: i64, body: &mut dyn FnMut(&mut Self, i64)) {
        let (tail, done, main, single) =
            (self.asm.label(), self.asm.label(), self.asm.label(), self.asm.label());
        self.asm.add_imm(STEPS, -unroll);
        self.asm.jump(Code::Jl_rel32_64, tail);
        self.asm.place(main);
        body(self, unroll);
        self.asm.add_imm(STEPS, -unroll);
        self.asm.jump(Code::Jge_rel32_64, main);
        self.asm.place(tail);
        self.asm.add_imm(STEPS, unroll);
        self.asm.jump(Code::Je_rel32_64, done);
        self.asm.place(single);
        body(self, 1);
        self.asm.add_imm(STEPS, -1);
        self.asm.jump(Code::Jne_rel32_64, single);
        self.asm.place(done);
    }

    /// All steps of k, `run` by `run`, each where the table says.
    fn runs(&mut self, block: &Block, run: i64, unroll: i64) {
        let table = self.arg(GemmArg::ATable);
        let turns = self.take();
        let (again, done) = (self.asm.label(), self.asm.label());
        // Without steps there is no entry.
        self.asm.add_imm(STEPS, -run);
        self.asm.jump(Code::Jl_rel32_64, done);
        self.asm.place(again);
        let start = self.frame.arg(GemmArg::A);
        self.asm.mov_load(A, start);
        self.asm.mov_load(TEMP, Mem::at(table, 0));
        self.asm.lea(A, Mem { base: A, index: Some((TEMP, 4)), disp: 0 });
        self.spread_bases(block);
        let (whole, rest) = (run / unroll, run % unroll);
        if whole > 1 {
            self.asm.mov_imm(turns, whole);
            let main = self.asm.here();
            self.steps(block, unroll);
            self.asm.add_imm(turns, -1);
            self.asm.jump(Code::Jne_rel32_64, main);
        } else if whole == 1 {
            self.steps(block, unroll);
        }
        if rest > 0 {
            self.steps(block, rest);
        }
        self.asm.add_imm(table, 8);
        self.asm.add_imm(STEPS, -run);
        self.asm.jump(Code::Jge_rel32_64, again);
        self.asm.place(done);
    }

    /// The lanes that the last vector of B has; AVX2 holds them in the last register.
    fn mask_of_b(&mut self) -> Lanes {
        if self.shape.last_b == self.asm.level.lanes() || self.shape.edge.is_some() {
            return Lanes::All;
        }
        if self.asm.level == Level::Avx512 {
            return Lanes::Mask(K(2));
        }
        let signs = V((self.asm.level.registers() - 1) as u8);
        self.asm.first_signs(self.shape.last_b, signs, TEMP)
    }

    /// `unroll` steps of k, and the pointers moved on by as many.
    pub(super) fn steps(&mut self, block: &Block, unroll: i64) {
        for step in 0..unroll {
            let a_disp = if let Step::Const(bytes) = block.a_k { bytes * step } else { 0 };
            let b = match block.table {
                Some(table) => {
                    self.asm.mov_load(TEMP, Mem::at(table, 8 * step));
                    Mem { base: B, index: Some((TEMP, 4)), disp: 0 }
                }
                None => Mem::at(B, if let Step::Const(bytes) = block.b_k { bytes * step } else { 0 }),
            };
            let first = step % STEPS_AT_ONCE;
            let within = (step - first + STEPS_AT_ONCE <= unroll).then_some(first as u32);
            if within == Some(0) {
                self.edge_read(block, a_disp);
                self.fours_read(block, a_disp);
            }
            if let Some((from, lines)) = block.later.filter(|_| unroll >= 4) {
                let until = |step: i64| lines * step / 4;
                for line in until(step)..until(step + 1) {
                    self.asm.prefetch(Mem::at(from, LINE * line));
                }
            }
            self.one_step(block, a_disp, b, within);
            if let Step::Register(bytes) = block.a_k {
                for base in &block.bases {
                    self.asm.add(*base, bytes);
                }
            }
            if let (Step::Register(bytes), None) = (block.b_k, block.table) {
                self.asm.add(B, bytes);
            }
        }
        if let Step::Const(bytes) = block.a_k {
            for base in &block.bases {
                self.asm.add_imm(*base, bytes * unroll);
            }
        }
        if let Some((from, lines)) = block.later.filter(|_| unroll >= 4) {
            self.asm.add_imm(from, LINE * (lines * unroll / 4));
        }
        match (block.table, block.b_k) {
            (Some(table), _) => self.asm.add_imm(table, 8 * unroll),
            (None, Step::Const(bytes)) => self.asm.add_imm(B, bytes * unroll),
            (None, Step::Register(_)) => {}
        }
    }

    /// One step of k; `within` is its number among those that edges read at once.
    fn one_step(&mut self, block: &Block, a_disp: i64, b: Mem, within: Option<u32>) {
        let (rows, vectors) = (self.shape.rows, self.shape.vectors);
        let (first, bytes) = (self.shape.accumulators(), 4 * self.asm.level.lanes() as i64);
        if let (Ahead::Own(ahead), None) = (self.spec.ahead, block.table) {
            for line in (0..bytes * vectors as i64).step_by(LINE as usize) {
                self.asm.prefetch(b.plus(line + i64::from(ahead)));
            }
        }
        let lanes = |i: usize| if i + 1 == vectors { block.mask } else { Lanes::All };
        if self.shape.b_in_memory {
            let a = V(first as u8);
            self.asm.broadcast(a, block.row(0, a_disp));
            for i in 0..vectors {
                let (acc, at) = (self.shape.acc(0, i), b.plus(bytes * i as i64));
                if let Lanes::Signs(_) = lanes(i) {
                    let part = V(first as u8 + 1);
                    self.asm.load(part, at, lanes(i));
                    self.multiply(acc, a, part, Lanes::All);
                } else {
                    self.multiply(acc, a, at, lanes(i));
                }
            }
            return;
        }
        let b_at = |i: usize| V((first + i) as u8);
        for i in 0..vectors {
            self.asm.load(b_at(i), b.plus(bytes * i as i64), lanes(i));
        }
        self.edge_columns(b);
        // Registers for A by turns, where there are several.
        let others = self.shape.others(self.asm.level) + multiply::scratch(self.spec.product);
        let spare = self.asm.level.registers() - first - others;
        let turns = (spare + 1).min(4);
        let own = first + vectors + self.shape.edge.map_or(0, |edge| edge.others()) + self.shape.fours;
        for m in 0..rows {
            let at = block.row(m, a_disp);
            if self.shape.a_in_memory {
                for i in 0..vectors {
                    self.asm.fma_broadcast(self.shape.acc(m, i), b_at(i), at);
                }
                continue;
            }
            if let Some(edge) = self.shape.edge.filter(|edge| m % edge.rows == 0) {
                self.edge_step(block, a_disp, within, m / edge.rows);
            }
            if vectors == 0 {
                continue;
            }
            let a = V((own + m % turns) as u8);
            self.load_a(a, block, a_disp, m, within);
            for i in 0..vectors {
                self.multiply(self.shape.acc(m, i), a, b_at(i), Lanes::All);
            }
        }
    }
}

/// What the steps of k have in common.
pub(super) struct Block {
    pub(super) a_row: Step,
    pub(super) a_k: Step,
    pub(super) b_k: Step,
    pub(super) table: Option<Register>,
    /// Addresses in A of rows 0, 3, 6, ..., or of row 0 if rows are a constant apart.
    pub(super) bases: Vec<Register>,
    pub(super) mask: Lanes,
    /// Where what later tiles read is asked for, and how many lines for every four steps.
    pub(super) later: Option<(Register, i64)>,
}

impl Block {
    /// The element of A for row `m`.
    pub(super) fn row(&self, m: usize, disp: i64) -> Mem {
        match self.a_row {
            Step::Const(bytes) => Mem::at(self.bases[0], bytes * m as i64 + disp),
            Step::Register(bytes) => {
                let index = match m % ROWS_OF_A_BASE {
                    0 => None,
                    scale => Some((bytes, scale as u32)),
                };
                Mem { base: self.bases[m / ROWS_OF_A_BASE], index, disp }
            }
        }
    }
}
