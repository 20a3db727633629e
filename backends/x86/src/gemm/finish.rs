//! finish - what happens to the sums: the epilogue in registers or over scratch memory, and the stores of all results.

use iced_x86::{Code, Register};
use nnc_tile::{
    copies::copies,
    epilogue::{Epilogue, EpilogueInput},
    gemm::GemmArg,
    program::VectorProgram,
    stream::Element,
};

use super::{A, Gen, flat::is_flat, scratch_of_stores};
use crate::{
    Level,
    asm::{Label, Lanes, Mem, V},
    frame::POOL,
    program::{self, Input},
};

/// Where a row of a result is, and bytes to the next, if there are several.
#[derive(Clone, Copy)]
pub(super) struct Output {
    pub(super) row: Register,
    pub(super) step: Option<Register>,
    element: Element,
}

/// An epilogue operand at a row.
#[derive(Clone, Copy)]
pub(super) enum Operand {
    Row(Register),
    Col(Register),
    /// Where its row is, and what leads to the next, if there are several.
    Tile(Register, Option<Register>),
    Scalar(Register),
    /// So many bytes behind columns of another.
    Behind(Register, i64),
}

/// Most vectors that an epilogue is computed of at a time.
const MOST_TOGETHER: usize = 4;

/// The program of an epilogue for so many vectors at once.
fn several(epilogue: &Epilogue, vectors: usize) -> VectorProgram {
    copies(&epilogue.program, vectors, usize::from(epilogue.sums) + epilogue.inputs.len())
}

impl Gen<'_> {
    /// The first rows of C and of further outputs.
    fn outputs(&mut self) -> Vec<Output> {
        let mut outputs = vec![];
        for (index, &element) in self.spec.stores().iter().enumerate() {
            let (row, step) = match index {
                0 => (GemmArg::C, GemmArg::Ldc),
                _ => (GemmArg::Output(index), GemmArg::OutputStride(index)),
            };
            let row = self.arg(row);
            let step = self.row_step(step, element.bytes());
            outputs.push(Output { row, step, element });
        }
        outputs
    }

    /// Bytes from a row to the next, where there are several; `bytes` are those of an element.
    fn row_step(&mut self, stride: GemmArg, bytes: usize) -> Option<Register> {
        if self.shape.rows == 1 {
            return None;
        }
        let step = self.arg(stride);
        if bytes == 4 {
            self.asm.shl(step, 2);
        }
        Some(step)
    }

    /// Stores vector `i` of a row of each output.
    fn store(&mut self, outputs: &[Output], values: &[V], i: usize, lanes: Lanes) {
        let all = self.asm.level.lanes();
        for (output, &value) in outputs.iter().zip(values) {
            let to = Mem::at(output.row, (output.element.bytes() * all * i) as i64);
            match output.element.bytes() {
                1 if self.asm.level == Level::Avx512 => self.asm.store_bytes(to, value, lanes),
                1 => {
                    let n = if i + 1 < self.shape.own { all } else { self.shape.last_cols.unwrap_or(all) };
                    let scratch = V((self.asm.level.registers() - 2) as u8);
                    self.asm.store_first_bytes(to, value, scratch, n);
                }
                _ => match self.shape.last_cols {
                    Some(n) if i + 1 == self.shape.own && n.is_power_of_two() => {
                        self.asm.store_some(n, to, value);
                    }
                    _ => self.asm.store(to, value, lanes),
                },
            }
        }
    }

    /// Registers for the operands of the epilogue, C first.
    fn operands(&mut self) -> Vec<Operand> {
        let spec = self.spec;
        let inputs = spec.epilogue.iter().flat_map(|e| &e.inputs);
        let mut operands: Vec<Operand> = vec![];
        for (index, kind) in inputs.enumerate() {
            let pointer = GemmArg::Epilogue(index);
            operands.push(match *kind {
                EpilogueInput::Row => Operand::Row(self.arg(pointer)),
                EpilogueInput::Col => Operand::Col(self.arg(pointer)),
                EpilogueInput::Scalar => Operand::Scalar(self.arg(pointer)),
                EpilogueInput::Tile => {
                    let pointer = self.arg(pointer);
                    Operand::Tile(pointer, self.row_step(GemmArg::EpilogueStride(index), 4))
                }
                EpilogueInput::Behind { input, by } => match operands[usize::from(input)] {
                    Operand::Col(pointer) | Operand::Tile(pointer, _) => {
                        Operand::Behind(pointer, 4 * i64::from(by))
                    }
                    _ => unreachable!("`check` has seen that it is behind columns"),
                },
            });
        }
        operands
    }

    /// Inputs of the program for vector `i` of the row where the operands are; `row` is what `Row` operands lie
    /// behind their pointers.
    fn inputs(&self, sums: &[V], operands: &[Operand], row: i64, i: usize, lanes: Lanes) -> Vec<Input> {
        let at = (4 * self.asm.level.lanes() * i) as i64;
        let of = |operand: &Operand| match *operand {
            Operand::Row(pointer) => Input::Splat(Mem::at(pointer, 4 * row)),
            Operand::Scalar(pointer) => Input::Splat(Mem::at(pointer, 0)),
            Operand::Col(pointer) | Operand::Tile(pointer, _) => Input::Lanes(Mem::at(pointer, at), lanes),
            Operand::Behind(pointer, by) => Input::Lanes(Mem::at(pointer, at + by), lanes),
        };
        sums.iter().map(|&sum| Input::Own(sum)).chain(operands.iter().map(of)).collect()
    }

    /// How many vectors of a row the epilogue is computed of at a time, with so many registers free: several where groups
    /// are joined, since such programs are long chains. A run-time number of columns has one mask.
    fn together(&self, epilogue: &Epilogue, free: usize) -> usize {
        if epilogue.sums == 1 || self.shape.last_cols.is_none() {
            return 1;
        }
        let fits = |n: &usize| program::registers(&several(epilogue, *n)) <= free;
        (2..=self.shape.own.min(MOST_TOGETHER)).rev().find(fits).unwrap_or(1)
    }

    fn next_row(&mut self, operands: &[Operand], outputs: &[Output]) {
        for output in outputs {
            if let Some(step) = output.step {
                self.asm.add(output.row, step);
            }
        }
        for operand in operands {
            if let Operand::Tile(pointer, Some(step)) = operand {
                self.asm.add(*pointer, *step);
            }
        }
    }

    /// The epilogue in registers.
    pub(super) fn finish(&mut self) {
        self.free = POOL.to_vec();
        let outputs = self.outputs();
        let operands = self.operands();
        let (rows, vectors) = (self.shape.rows, self.shape.own);
        let first = self.shape.held() as u8;
        let registers = self.asm.level.registers() as u8;
        // The last register is for AVX2's mask, if there is one.
        let masked = self.shape.last_cols != Some(self.asm.level.lanes()) && self.asm.level == Level::Avx2;
        let mask = V(registers - 1);
        // The one before it is for stores of bytes.
        let own = scratch_of_stores(self.spec, self.asm.level) as u8;
        let end = if own > 0 { registers - 2 } else { registers - u8::from(masked) };
        let free: Vec<V> = (first..end).map(V).collect();
        let known = self.shape.last_cols.is_some();
        let last = if known { self.lanes_of_c(vectors - 1, mask) } else { Lanes::All };
        let spec = self.spec;
        self.edge_spill();
        let done = self.asm.label();
        if self.shape.chains.is_some() {
            let sums = self.chain_sums();
            match &spec.epilogue {
                None => self.store_densely(&sums, &outputs[0], done),
                Some(e) if is_flat(spec, &self.shape, self.asm.level) => {
                    self.finish_flat(e, &sums, (&outputs, &operands), done);
                }
                Some(_) => {}
            }
            self.chain_spill(&sums);
        }
        // Without an epilogue, pieces of rows go to C as they are.
        let direct = self.shape.parts.is_some() && spec.epilogue.is_none();
        let totals = if direct { self.part_totals() } else { vec![] };
        if !direct {
            self.parts_spill();
        }
        let tail = match (self.shape.edge, self.shape.narrow()) {
            (Some(_), _) => Some(self.shape.edge_acc(0)),
            (None, 0) => None,
            (None, _) => Some(self.shape.part_acc(0, 0)),
        };
        let together = spec.epilogue.as_ref().map_or(1, |e| self.together(e, free.len()));
        for m in 0..rows {
            let all: Vec<usize> = (0..if direct { self.shape.vectors } else { vectors }).collect();
            for part in all.chunks(together) {
                let lanes: Vec<Lanes> = (part.iter())
                    .map(|&i| match (known, i + 1 == vectors) {
                        (true, true) => last,
                        (true, false) => Lanes::All,
                        (false, _) => self.lanes_of_c(i, mask),
                    })
                    .collect();
                let mut sums = vec![];
                let mut inputs = vec![];
                for (&i, &lanes) in part.iter().zip(&lanes) {
                    sums = match tail {
                        _ if self.shape.chains.is_some() => {
                            self.chain_load(V(0), Register::RSP, m, i);
                            vec![V(0)]
                        }
                        Some(sum) if i == self.shape.vectors => {
                            self.tail_load(sum, Register::RSP, m);
                            vec![sum]
                        }
                        _ => self.shape.sums(m, i),
                    };
                    inputs.extend(self.inputs(&sums, &operands, m as i64, i, lanes));
                }
                let values = match &spec.epilogue {
                    Some(e) => program::emit(self.asm, &several(e, part.len()), &inputs, &free),
                    None => sums,
                };
                for (at, (&i, &lanes)) in part.iter().zip(&lanes).enumerate() {
                    self.store(&outputs, &values[at * outputs.len()..], i, lanes);
                }
            }
            if direct {
                let to = Mem::at(outputs[0].row, (4 * self.asm.level.lanes() * self.shape.vectors) as i64);
                self.store_pieces(&totals, m, to);
            }
            if m + 1 < rows {
                self.next_row(&operands, &outputs);
            }
        }
        self.asm.place(done);
    }

    /// Reads the sums of row `m` beyond whole vectors that are laid out, counted from where `base` is.
    fn tail_load(&mut self, to: V, base: Register, m: usize) {
        match self.shape.edge {
            Some(_) => self.edge_load(to, base, m),
            None => self.parts_load(to, base, m),
        }
    }

    /// Stores sums in their order and goes on at `done`, if rows of C lie densely.
    fn store_densely(&mut self, sums: &[V], c: &Output, done: Label) {
        let level = self.asm.level;
        let apart = self.asm.label();
        let (row, lanes) = (self.shape.row_bytes(level), level.lanes());
        if let Some(step) = c.step {
            self.asm.cmp_imm(step, row as i32);
            self.asm.jump(Code::Jne_rel32_64, apart);
        }
        let signs = V(self.shape.accumulators() as u8);
        for (at, &sum) in sums.iter().enumerate() {
            let to = Mem::at(c.row, (4 * lanes * at) as i64);
            let lanes = if at + 1 == sums.len() { self.last_sums(signs) } else { Lanes::All };
            self.asm.store(to, sum, lanes);
        }
        self.asm.jump(Code::Jmp_rel32_64, done);
        self.asm.place(apart);
    }

    /// The epilogue over sums in scratch memory, row by row.
    pub(super) fn finish_staged(&mut self, epilogue: &Epilogue) {
        let row_bytes = self.shape.row_bytes(self.asm.level);
        let (rows, vectors) = (self.shape.rows, self.shape.vectors);
        let bytes = 4 * self.asm.level.lanes() as i64;
        if self.shape.chains.is_none() {
            for m in 0..rows {
                for i in 0..vectors {
                    let at = Mem::at(Register::RSP, (m * row_bytes) as i64 + bytes * i as i64);
                    self.asm.store(at, self.shape.acc(m, i), Lanes::All);
                }
            }
        }
        self.edge_spill();
        self.parts_spill();
        self.free = POOL.to_vec();
        let sums = self.take();
        let outputs = self.outputs();
        let operands = self.operands();
        let done = self.asm.label();
        if self.shape.chains.is_some() {
            let added = self.chain_sums();
            if is_flat(self.spec, &self.shape, self.asm.level) {
                self.finish_flat(epilogue, &added, (&outputs, &operands), done);
            }
            self.chain_spill(&added);
        }
        self.asm.mov(sums, Register::RSP);
        let left = A;
        self.asm.mov_imm(left, rows as i64);
        let registers = self.asm.level.registers() as u8;
        let mask = V(registers - 1);
        let own = scratch_of_stores(self.spec, self.asm.level) as u8;
        let groups = usize::from(epilogue.sums);
        let last = usize::from(registers - 1 - own);
        let together = (1..=self.shape.own)
            .rev()
            .find(|n| self.together(epilogue, last - n * groups) >= *n)
            .unwrap_or(1);
        let again = self.asm.here();
        let all: Vec<usize> = (0..self.shape.own).collect();
        for part in all.chunks(together) {
            let mut inputs = vec![];
            let mut lanes = vec![];
            for (at, &i) in part.iter().enumerate() {
                lanes.push(self.lanes_of_c(i, mask));
                let held: Vec<V> = (at * groups..(at + 1) * groups).map(|v| V(v as u8)).collect();
                for (group, &sum) in held.iter().enumerate() {
                    let vector = group * self.shape.own + i;
                    if vector == self.shape.vectors {
                        self.tail_load(sum, sums, 0);
                        continue;
                    }
                    self.asm.load(sum, Mem::at(sums, bytes * vector as i64), Lanes::All);
                }
                inputs.extend(self.inputs(&held, &operands, 0, i, lanes[at]));
            }
            let free: Vec<V> = (part.len() * groups..last).map(|v| V(v as u8)).collect();
            let values = program::emit(self.asm, &several(epilogue, part.len()), &inputs, &free);
            for (at, (&i, &lanes)) in part.iter().zip(&lanes).enumerate() {
                self.store(&outputs, &values[at * outputs.len()..], i, lanes);
            }
        }
        self.next_row(&operands, &outputs);
        for operand in &operands {
            if let Operand::Row(pointer) = operand {
                self.asm.add_imm(*pointer, 4);
            }
        }
        self.asm.add_imm(sums, row_bytes as i64);
        self.asm.add_imm(left, -1);
        self.asm.jump(Code::Jne_rel32_64, again);
        self.asm.place(done);
    }
}
