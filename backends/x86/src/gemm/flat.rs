//! flat - the epilogue of a tile of chains over its sums as they come, whole vectors of neighbouring elements of C.
//!
//! ```text
//! 3 rows of 5 columns in one vector:   a0 a1 a2 a3 a4  b0 b1 b2 b3 b4  c0 c1 c2 c3 c4  -
//! an operand of columns, repeated:     x0 x1 x2 x3 x4  x0 x1 x2 x3 x4  x0 x1 x2 x3 x4  -
//! ```
//!
//! So a few columns do not leave most lanes of the epilogue empty. It is for results and operands whose rows lie densely, as the run
//! tells; others go through scratch memory, row after row. Operands of columns are repeated once, before the blocks of rows.

use iced_x86::{Code, Register};
use nnc_tile::{
    epilogue::{Epilogue, EpilogueInput},
    gemm::{GemmArg, GemmTile},
};

use super::{
    Gen, Shape,
    finish::{Operand, Output},
};
use crate::{
    Level,
    asm::{Label, Lanes, Mem, V},
    frame::TEMP,
    program::{self, Input},
};

/// Whether the epilogue can be done so where rows are dense.
pub(super) fn is_flat(spec: &GemmTile, shape: &Shape, level: Level) -> bool {
    let Some(epilogue) = spec.epilogue.as_ref().filter(|_| shape.chains.is_some()) else { return false };
    let reads = |input: &EpilogueInput| match input {
        EpilogueInput::Scalar | EpilogueInput::Col | EpilogueInput::Tile => true,
        EpilogueInput::Row => spec.panel == 1,
        EpilogueInput::Behind { .. } => false,
    };
    let vectors = shape.row_bytes(level) * shape.rows / (4 * level.lanes()) + 1;
    epilogue.inputs.iter().all(reads)
        && epilogue.stores.iter().all(|store| store.bytes() == 4)
        // The last register is for AVX2's mask.
        && program::registers(&epilogue.program) + vectors < level.registers() - 1
}

/// Operands of columns.
fn columns(epilogue: &Epilogue) -> impl Iterator<Item = usize> {
    let inputs = epilogue.inputs.iter().enumerate();
    inputs.filter(|(_, input)| **input == EpilogueInput::Col).map(|(index, _)| index)
}

/// Bytes of scratch memory that an operand of columns takes when it is repeated; the last row that is written reaches beyond the sums.
fn repeated_bytes(shape: &Shape, level: Level) -> usize {
    shape.scratch_bytes(level) + 4 * level.lanes()
}

/// Bytes of scratch memory beyond that of sums.
pub(super) fn scratch_bytes(spec: &GemmTile, shape: &Shape, level: Level) -> usize {
    let of_columns = spec.epilogue.as_ref().map_or(0, |e| columns(e).count());
    if is_flat(spec, shape, level) { of_columns * repeated_bytes(shape, level) } else { 0 }
}

impl Gen<'_> {
    /// Where the elements of operand `index` are that go with vector `vector` of the sums.
    fn repeated(&self, epilogue: &Epilogue, index: usize, vector: usize) -> Mem {
        let level = self.asm.level;
        let before = columns(epilogue).take_while(|other| *other < index).count();
        let at = self.shape.scratch_bytes(level) + before * repeated_bytes(&self.shape, level);
        Mem::at(Register::RSP, (at + 4 * level.lanes() * vector) as i64)
    }

    /// Repeats operands of columns.
    pub(super) fn repeat_columns(&mut self) {
        let (spec, level) = (self.spec, self.asm.level);
        let Some(epilogue) = spec.epilogue.as_ref().filter(|_| is_flat(spec, &self.shape, level)) else {
            return;
        };
        let bytes = 4 * level.lanes();
        for index in columns(epilogue) {
            for i in 0..self.shape.own {
                let lanes = self.lanes_of_c(i, V(1));
                let pointer = self.frame.arg(GemmArg::Epilogue(index));
                self.asm.mov_load(TEMP, pointer);
                self.asm.load(V(2 + i as u8), Mem::at(TEMP, (bytes * i) as i64), lanes);
            }
            for m in 0..self.shape.rows {
                for i in 0..self.shape.own {
                    let to = self.repeated(epilogue, index, 0);
                    let at = m * self.shape.row_bytes(level) + bytes * i;
                    self.asm.store(to.plus(at as i64), V(2 + i as u8), Lanes::All);
                }
            }
        }
    }

    /// The epilogue over vectors of sums; goes on at `done`, if all rows are dense.
    pub(super) fn finish_flat(
        &mut self,
        epilogue: &Epilogue,
        sums: &[V],
        (outputs, operands): (&[Output], &[Operand]),
        done: Label,
    ) {
        let level = self.asm.level;
        let apart = self.asm.label();
        let row = self.shape.row_bytes(level) as i32;
        let of_outputs = outputs.iter().filter_map(|output| output.step);
        let of_operands = operands.iter().filter_map(|operand| match operand {
            Operand::Tile(_, step) => *step,
            _ => None,
        });
        for step in of_outputs.chain(of_operands) {
            self.asm.cmp_imm(step, row);
            self.asm.jump(Code::Jne_rel32_64, apart);
        }
        let mask = V((level.registers() - 1) as u8);
        for (at, &sum) in sums.iter().enumerate() {
            let lanes = if at + 1 == sums.len() { self.last_sums(mask) } else { Lanes::All };
            let place = (4 * level.lanes() * at) as i64;
            let mut inputs = vec![Input::Own(sum)];
            for (index, operand) in operands.iter().enumerate() {
                inputs.push(match *operand {
                    Operand::Scalar(pointer) => Input::Splat(Mem::at(pointer, 0)),
                    Operand::Col(_) => Input::Lanes(self.repeated(epilogue, index, at), Lanes::All),
                    Operand::Row(pointer) | Operand::Tile(pointer, _) => {
                        Input::Lanes(Mem::at(pointer, place), lanes)
                    }
                    Operand::Behind(..) => unreachable!("`is_flat` has seen that there is none"),
                });
            }
            let waiting = &sums[at..];
            let free: Vec<V> = (0..mask.0).map(V).filter(|v| !waiting.contains(v)).collect();
            let values = program::emit(self.asm, &epilogue.program, &inputs, &free);
            for (output, value) in outputs.iter().zip(values) {
                self.asm.store(Mem::at(output.row, place), value, lanes);
            }
        }
        self.asm.jump(Code::Jmp_rel32_64, done);
        self.asm.place(apart);
    }
}
