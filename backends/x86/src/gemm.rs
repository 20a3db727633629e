//! gemm - blocks of matrix products: accumulators in registers, B in vectors, A one element for all lanes.
//!
//! ```text
//! for k:   v vectors of B are loaded;   for each row: one element of A is broadcast, v multiply-adds
//! ```
//!
//! Of several groups of columns, each row has the vectors of the first group, then those of the second, and so on.
//!
//! A few columns beyond whole vectors: `edge`; panels of a few columns, whose lanes are steps of k as well: `chains`.
//!
//! With `rows * v` of 24 or more accumulators in AVX-512 (10 or more in AVX2) the multipliers never wait. A single row takes B
//! from memory in the multiply-add itself. Which shapes: nnc-cpu's `tile/wide_cover.rs`.
//!
//! Source of the scheme: Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008, section 4, with
//! the micro-kernel of Van Zee and van de Geijn, "BLIS", 2015, turned so that rows are broadcast.

mod chains;
mod edge;
mod finish;
mod multiply;

pub use self::edge::edge_vectors;

use iced_x86::{Code, Register};
use nnc_tile::{
    epilogue::{Epilogue, EpilogueInput},
    gemm::{BRows, Chains, Cols, GemmArg, GemmTile, Init, Stride},
    product::Product,
};

use self::edge::{Edge, STEPS_AT_ONCE};
use crate::{
    Level,
    asm::{Asm, EncodeError, K, Lanes, Mem, V},
    frame::{Frame, POOL, TEMP},
    program,
};

/// Base of A and of the first rows.
const A: Register = Register::RDI;
/// Where B is read, or what the table counts from.
const B: Register = Register::RSI;
/// Steps of k that remain.
const STEPS: Register = Register::RCX;

/// Vector registers and instructions for which a program is written once for each accumulator; beyond, once for each vector
/// of a row, in a loop over rows.
const UNROLLED_OPS: usize = 400;

/// How registers are given out.
struct Shape {
    rows: usize,
    /// Vectors of sums of a row, but for the edge.
    vectors: usize,
    /// Vectors of C of a row: those of one group of columns.
    own: usize,
    /// Columns of the last vector of C, if they are known.
    last_cols: Option<usize>,
    /// Columns of B in the last vector.
    last_b: usize,
    /// Columns that several rows have in one vector.
    edge: Option<Edge>,
    /// Steps of k that are lanes.
    chains: Option<Chains>,
    /// Whether B is an operand of the multiply-add.
    b_in_memory: bool,
    /// Whether A is one, too (AVX-512).
    a_in_memory: bool,
}

impl Shape {
    fn of(spec: &GemmTile, level: Level) -> Shape {
        if let Some(chains) = spec.chains {
            return Self::of_chains(spec, chains, level);
        }
        let plain = Self::without_edge(spec, level);
        match Edge::of(spec, level) {
            Some(edge) => {
                let vectors = plain.vectors - 1;
                Shape { vectors, edge: Some(edge), a_in_memory: false, b_in_memory: false, ..plain }
            }
            None => plain,
        }
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
        Shape { rows, vectors, own, last_cols, last_b, edge: None, chains: None, b_in_memory, a_in_memory }
    }

    fn accumulators(&self) -> usize {
        self.rows * self.vectors + self.edge.map_or(0, |edge| edge.vectors)
    }

    /// Bytes of a row of sums in scratch memory.
    fn row_bytes(&self, level: Level) -> usize {
        match (self.chains, self.last_cols) {
            // Sums of chains come densely.
            (Some(_), Some(last)) => 4 * ((self.own - 1) * level.lanes() + last),
            _ => 4 * level.lanes() * self.vectors.max(self.own),
        }
    }

    /// Bytes of scratch memory for all rows; the last vectors that are written and read may reach beyond these.
    fn scratch_bytes(&self, level: Level) -> usize {
        let beyond = if self.chains.is_some() { 4 * level.lanes() } else { 0 };
        (self.rows * self.row_bytes(level)).next_multiple_of(4 * level.lanes()) + beyond
    }

    /// Whether sums are in scratch memory before anything else is done to them.
    fn is_laid_out(&self) -> bool {
        self.edge.is_some() || self.chains.is_some()
    }

    /// Registers that hold sums while results are made: those of a tile of chains come from memory.
    fn held(&self) -> usize {
        if self.chains.is_some() { 1 } else { self.accumulators() }
    }

    fn acc(&self, m: usize, i: usize) -> V {
        V((m * self.vectors + i) as u8)
    }

    /// Sums that make vector `i` of row `m` of C.
    fn sums(&self, m: usize, i: usize) -> Vec<V> {
        (i..self.vectors).step_by(self.own).map(|v| self.acc(m, v)).collect()
    }

    /// Registers beyond the accumulators that steps of k use.
    fn others(&self, level: Level) -> usize {
        if self.chains.is_some() {
            return self.chain_operands();
        }
        let masked = self.last_b < level.lanes();
        let mask = usize::from(masked && level == Level::Avx2);
        let b = if self.b_in_memory { usize::from(masked && level == Level::Avx2) } else { self.vectors };
        b + usize::from(!self.a_in_memory) + mask + self.edge.map_or(0, |edge| edge.others())
    }
}

/// Rows that one base register serves.
const ROWS_OF_A_BASE: usize = 3;

/// Whether there are registers for the tile.
pub(crate) fn supports(spec: &GemmTile, level: Level) -> bool {
    let shape = Shape::of(spec, level);
    let run_time = |s: Stride| usize::from(s == Stride::Arg);
    let bases = if spec.a_row == Stride::Arg { shape.rows.div_ceil(ROWS_OF_A_BASE) - 1 } else { 0 };
    let b = match spec.b_rows {
        BRows::Apart(stride) => run_time(stride),
        BRows::Table => 1,
    };
    let runs = if spec.a_runs.is_some() { 2 } else { 0 };
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
        && spec.chains.is_none_or(|chains| chains::fits(spec, chains, level))
        && registers <= POOL.len()
        && shape.accumulators() + shape.others(level) + multiply::scratch(spec.product) <= level.registers()
        && multiply::has(spec.product, level)
        && (shape.last_cols.is_some() || shape.vectors <= 4)
        && epilogue
}

/// Registers that stores use: AVX2 has to make bytes of lanes.
fn scratch_of_stores(spec: &GemmTile, level: Level) -> usize {
    usize::from(level == Level::Avx2 && spec.stores().iter().any(|s| s.bytes() == 1))
}

/// The function of a tile.
pub(crate) fn emit(spec: &GemmTile, level: Level) -> Result<Vec<u8>, EncodeError> {
    spec.check();
    if !supports(spec, level) {
        return Err(EncodeError("more registers than there are".into()));
    }
    let shape = Shape::of(spec, level);
    let staged =
        spec.epilogue.as_ref().is_some_and(|e| staged(e, &shape, level, scratch_of_stores(spec, level)));
    let mut asm = Asm::new(level);
    let scratch = if staged || shape.is_laid_out() { shape.scratch_bytes(level) } else { 0 };
    let frame = Frame::open(&mut asm, spec.args(), scratch);
    let mut gen_ = Gen { asm: &mut asm, spec, shape, frame, free: POOL.to_vec() };
    gen_.init();
    gen_.sums();
    match &spec.epilogue {
        Some(e) if staged => gen_.finish_staged(e),
        _ => gen_.finish(),
    }
    gen_.frame.close(gen_.asm);
    asm.finish()
}

/// Whether the epilogue runs over sums in memory rather than in the registers they are in.
fn staged(epilogue: &Epilogue, shape: &Shape, level: Level, own: usize) -> bool {
    let free = level.registers() - shape.held();
    let sums = if shape.chains.is_some() { shape.rows * shape.own } else { shape.accumulators() };
    let ops = epilogue.program.ops().len();
    program::registers(&epilogue.program) + 2 * own > free || ops * sums > UNROLLED_OPS
}

/// A distance in bytes.
#[derive(Clone, Copy)]
enum Step {
    Const(i64),
    Register(Register),
}

struct Gen<'a> {
    asm: &'a mut Asm,
    spec: &'a GemmTile,
    shape: Shape,
    frame: Frame<GemmArg>,
    /// Registers nobody uses.
    free: Vec<Register>,
}

impl Gen<'_> {
    fn take(&mut self) -> Register {
        self.free.pop().expect("`supports` has counted registers")
    }

    fn arg(&mut self, arg: GemmArg) -> Register {
        let (to, from) = (self.take(), self.frame.arg(arg));
        self.asm.mov_load(to, from);
        to
    }

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

    /// Lanes of vector `i` of a row of C. AVX2 puts its mask into `scratch`.
    fn lanes_of_c(&mut self, i: usize, scratch: V) -> Lanes {
        let all = self.asm.level.lanes();
        match self.shape.last_cols {
            Some(n) if i + 1 < self.shape.own || n == all => Lanes::All,
            Some(_) if self.asm.level == Level::Avx512 => Lanes::Mask(K(1)),
            Some(n) => self.asm.first_signs(n, scratch, TEMP),
            None if self.asm.level == Level::Avx512 => Lanes::Mask(K(3 + i as u8)),
            None => {
                // All ones and then all zeros: what begins `cols` before the zeros is the mask of the row.
                let width = all * self.shape.own;
                let words: Vec<u32> = (0..2 * width).map(|w| if w < width { u32::MAX } else { 0 }).collect();
                let place = self.frame.arg(GemmArg::Cols);
                let first = 4 * (width + all * i) as i64;
                self.asm.mov_load(TEMP, place);
                self.asm.mul_imm(TEMP, -4);
                let table = Register::RCX;
                self.asm.address_of(table, &words);
                self.asm.add(TEMP, table);
                self.asm.load(scratch, Mem::at(TEMP, first), Lanes::All);
                Lanes::Signs(scratch)
            }
        }
    }

    /// Masks, and what the accumulators start from.
    fn init(&mut self) {
        let all = self.asm.level.lanes();
        if self.asm.level == Level::Avx512 {
            match self.shape.last_cols {
                Some(n) if n < all => self.asm.mask_first(K(1), n as u32, TEMP),
                Some(_) => {}
                None => self.row_masks(),
            }
            if self.shape.last_b < all {
                self.asm.mask_first(K(2), self.shape.last_b as u32, TEMP);
            }
        }
        self.edge_masks();
        if self.spec.init == Init::Zero {
            for number in 0..self.shape.edge.map_or(0, |edge| edge.vectors) {
                self.asm.zero(self.shape.edge_acc(number));
            }
            for m in 0..self.shape.rows {
                for i in 0..self.shape.vectors {
                    self.asm.zero(self.shape.acc(m, i));
                }
            }
            return;
        }
        let (row, ldc) = (POOL[0], POOL[1]);
        self.row_of_c(row, ldc);
        let scratch = V((self.asm.level.registers() - 1) as u8);
        for i in 0..self.shape.vectors {
            if i > 0 && self.shape.rows > 1 {
                self.row_of_c(row, ldc);
            }
            let lanes = self.lanes_of_c(i, scratch);
            for m in 0..self.shape.rows {
                let from = Mem::at(row, (4 * all * i) as i64);
                self.asm.load(self.shape.acc(m, i), from, lanes);
                if m + 1 < self.shape.rows {
                    self.asm.add(row, ldc);
                }
            }
        }
        // The registers of the first arguments are as they were again.
        for (register, arg) in [(POOL[0], 2), (POOL[1], 4), (STEPS, 3)] {
            let from = self.frame.at(arg);
            self.asm.mov_load(register, from);
        }
    }

    /// Address of the first row of C, and bytes to the next.
    fn row_of_c(&mut self, row: Register, ldc: Register) {
        let (c, stride) = (self.frame.arg(GemmArg::C), self.frame.arg(GemmArg::Ldc));
        self.asm.mov_load(row, c);
        self.asm.mov_load(ldc, stride);
        self.asm.shl(ldc, 2);
    }

    /// Masks 3, 4, ... of the vectors of a row of which a run-time number of columns count.
    fn row_masks(&mut self) {
        let cols = self.frame.arg(GemmArg::Cols);
        let bits = Register::R10;
        self.asm.mov_load(TEMP, cols);
        self.asm.mov_imm(bits, -1);
        self.asm.keep_low_bits(bits, bits, TEMP);
        for i in 0..self.shape.vectors {
            self.asm.mask_from(K(3 + i as u8), bits);
            self.asm.shift_right(bits, 16);
        }
    }

    /// All steps of k.
    fn sums(&mut self) {
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
        let block = Block { a_row, a_k, b_k, table, bases, mask };
        let unroll: i64 = if self.shape.accumulators() >= 12 { 4 } else { 8 };
        match (self.spec.a_runs, self.shape.chains) {
            (_, Some(chains)) => self.chained(&block, chains),
            (None, None) => {
                self.spread_bases(&block);
                self.turns(unroll, &mut |g, steps| g.steps(&block, steps));
            }
            (Some(run), None) => self.runs(&block, i64::from(run), unroll),
        }
    }

    /// Addresses of rows 3, 6, ... from that of row 0.
    fn spread_bases(&mut self, block: &Block) {
        let Step::Register(bytes) = block.a_row else { return };
        for pair in block.bases.windows(2) {
            self.asm.lea(pair[1], Mem { base: pair[0], index: Some((bytes, 2)), disp: 0 });
            self.asm.add(pair[1], bytes);
        }
    }

    /// As many times `body` as STEPS says, `unroll` at once while there are as many.
    fn turns(&mut self, unroll: i64, body: &mut dyn FnMut(&mut Self, i64)) {
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
    fn steps(&mut self, block: &Block, unroll: i64) {
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
        if self.spec.ahead > 0 && block.table.is_none() {
            for line in (0..bytes * vectors as i64).step_by(64) {
                self.asm.prefetch(b.plus(line + i64::from(self.spec.ahead)));
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
        let own = first + vectors + self.shape.edge.map_or(0, |edge| edge.others());
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
            self.asm.broadcast(a, at);
            for i in 0..vectors {
                self.multiply(self.shape.acc(m, i), a, b_at(i), Lanes::All);
            }
        }
    }
}

/// What the steps of k have in common.
struct Block {
    a_row: Step,
    a_k: Step,
    b_k: Step,
    table: Option<Register>,
    /// Addresses in A of rows 0, 3, 6, ..., or of row 0 if rows are a constant apart.
    bases: Vec<Register>,
    mask: Lanes,
}

impl Block {
    /// The element of A for row `m`.
    fn row(&self, m: usize, disp: i64) -> Mem {
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
