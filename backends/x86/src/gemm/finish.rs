//! finish - what happens to the sums: the epilogue in registers or over scratch memory, and the stores of all results.

use iced_x86::{Code, Register};
use nnc_tile::{
    epilogue::{Epilogue, EpilogueInput},
    gemm::GemmArg,
    stream::Element,
};

use super::{A, Gen, scratch_of_stores};
use crate::{
    Level,
    asm::{Lanes, Mem, V},
    frame::POOL,
    program::{self, Input},
};

/// Where a row of a result is, and bytes to the next.
#[derive(Clone, Copy)]
struct Output {
    row: Register,
    step: Register,
    element: Element,
}

/// An epilogue operand at a row.
#[derive(Clone, Copy)]
enum Operand {
    Row(Register),
    Col(Register),
    /// Where its row is, and what leads to the next.
    Tile(Register, Register),
    Scalar(Register),
}

impl Gen<'_> {
    /// The first rows of C and of further outputs.
    fn outputs(&mut self) -> Vec<Output> {
        let mut outputs = vec![];
        for (index, &element) in self.spec.stores().iter().enumerate() {
            let (row, step) = match index {
                0 => {
                    let (row, step) = (self.take(), self.take());
                    let (c, stride) = (self.frame.arg(GemmArg::C), self.frame.arg(GemmArg::Ldc));
                    self.asm.mov_load(row, c);
                    self.asm.mov_load(step, stride);
                    (row, step)
                }
                _ => (self.arg(GemmArg::Output(index)), self.arg(GemmArg::OutputStride(index))),
            };
            if element.bytes() == 4 {
                self.asm.shl(step, 2);
            }
            outputs.push(Output { row, step, element });
        }
        outputs
    }

    /// Stores vector `i` of a row of each output.
    fn store(&mut self, outputs: &[Output], values: &[V], i: usize, lanes: Lanes) {
        let all = self.asm.level.lanes();
        for (output, &value) in outputs.iter().zip(values) {
            let to = Mem::at(output.row, (output.element.bytes() * all * i) as i64);
            match output.element.bytes() {
                1 if self.asm.level == Level::Avx512 => self.asm.store_bytes(to, value, lanes),
                1 => {
                    let n =
                        if i + 1 < self.shape.vectors { all } else { self.shape.last_cols.unwrap_or(all) };
                    let scratch = V((self.asm.level.registers() - 2) as u8);
                    self.asm.store_first_bytes(to, value, scratch, n);
                }
                _ => self.asm.store(to, value, lanes),
            }
        }
    }

    /// Registers for the operands of the epilogue, C first.
    fn operands(&mut self) -> Vec<Operand> {
        let spec = self.spec;
        let inputs = spec.epilogue.iter().flat_map(|e| &e.inputs);
        let mut operands = vec![];
        for (index, kind) in inputs.enumerate() {
            let pointer = self.arg(GemmArg::Epilogue(index));
            operands.push(match kind {
                EpilogueInput::Row => Operand::Row(pointer),
                EpilogueInput::Col => Operand::Col(pointer),
                EpilogueInput::Scalar => Operand::Scalar(pointer),
                EpilogueInput::Tile => {
                    let stride = self.arg(GemmArg::EpilogueStride(index));
                    self.asm.shl(stride, 2);
                    Operand::Tile(pointer, stride)
                }
            });
        }
        operands
    }

    /// Inputs of the program for vector `i` of the row where the operands are; `row` is what `Row` operands lie
    /// behind their pointers.
    fn inputs(&self, acc: V, operands: &[Operand], row: i64, i: usize, lanes: Lanes) -> Vec<Input> {
        let at = (4 * self.asm.level.lanes() * i) as i64;
        let of = |operand: &Operand| match *operand {
            Operand::Row(pointer) => Input::Splat(Mem::at(pointer, 4 * row)),
            Operand::Scalar(pointer) => Input::Splat(Mem::at(pointer, 0)),
            Operand::Col(pointer) | Operand::Tile(pointer, _) => Input::Lanes(Mem::at(pointer, at), lanes),
        };
        std::iter::once(Input::Own(acc)).chain(operands.iter().map(of)).collect()
    }

    fn next_row(&mut self, operands: &[Operand], outputs: &[Output]) {
        for output in outputs {
            self.asm.add(output.row, output.step);
        }
        for operand in operands {
            if let Operand::Tile(pointer, stride) = operand {
                self.asm.add(*pointer, *stride);
            }
        }
    }

    /// The epilogue in registers.
    pub(super) fn finish(&mut self) {
        self.free = POOL.to_vec();
        let outputs = self.outputs();
        let operands = self.operands();
        let (rows, vectors) = (self.shape.rows, self.shape.vectors);
        let first = self.shape.accumulators() as u8;
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
        for m in 0..rows {
            for i in 0..vectors {
                let lanes = match (known, i + 1 == vectors) {
                    (true, true) => last,
                    (true, false) => Lanes::All,
                    (false, _) => self.lanes_of_c(i, mask),
                };
                let acc = self.shape.acc(m, i);
                let values = match &self.spec.epilogue {
                    Some(e) => {
                        let inputs = self.inputs(acc, &operands, m as i64, i, lanes);
                        program::emit(self.asm, &e.program, &inputs, &free)
                    }
                    None => vec![acc],
                };
                self.store(&outputs, &values, i, lanes);
            }
            if m + 1 < rows {
                self.next_row(&operands, &outputs);
            }
        }
    }

    /// The epilogue over sums in scratch memory, row by row.
    pub(super) fn finish_staged(&mut self, epilogue: &Epilogue, row_bytes: usize) {
        let (rows, vectors) = (self.shape.rows, self.shape.vectors);
        let bytes = 4 * self.asm.level.lanes() as i64;
        for m in 0..rows {
            for i in 0..vectors {
                let at = Mem::at(Register::RSP, (m * row_bytes) as i64 + bytes * i as i64);
                self.asm.store(at, self.shape.acc(m, i), Lanes::All);
            }
        }
        self.free = POOL.to_vec();
        let sums = self.take();
        let outputs = self.outputs();
        let operands = self.operands();
        self.asm.mov(sums, Register::RSP);
        let left = A;
        self.asm.mov_imm(left, rows as i64);
        let registers = self.asm.level.registers() as u8;
        let mask = V(registers - 1);
        let own = scratch_of_stores(self.spec, self.asm.level) as u8;
        let free: Vec<V> = (1..registers - 1 - own).map(V).collect();
        let again = self.asm.here();
        for i in 0..vectors {
            let lanes = self.lanes_of_c(i, mask);
            self.asm.load(V(0), Mem::at(sums, bytes * i as i64), Lanes::All);
            let inputs = self.inputs(V(0), &operands, 0, i, lanes);
            let values = program::emit(self.asm, &epilogue.program, &inputs, &free);
            self.store(&outputs, &values, i, lanes);
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
    }
}
