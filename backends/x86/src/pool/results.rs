//! results - the rows of a group: windows joined along their lines, finished and stored.

use iced_x86::{Code, Register};
use nnc_tile::{pool::PoolArg, stream::Walk};

use super::{AT, Gen, LINE, OPERANDS, ROWS};
use crate::{
    asm::{Lanes, Mem, V},
    program::{self, Input},
};

/// Along lines: the row of the result, and the cell in it and in the line.
const Y: Register = Register::RSI;
const CELLS: Register = Register::RCX;
/// Odd positions of the line, where there are no cells.
const ODD: Register = Register::RCX;
const X_CELL: Register = Register::R8;
const Y_CELL: Register = Register::R9;

impl Gen<'_> {
    /// The rows of the group.
    pub(super) fn results(&mut self) {
        let spec = self.spec;
        let rest = self.extent(PoolArg::N, 1);
        self.count();
        self.load(LINE, PoolArg::Lines);
        self.load(Y, PoolArg::Y);
        let next = self.asm.here();
        let row_done = self.asm.label();
        self.asm.mov(X_CELL, LINE);
        self.asm.mov(Y_CELL, Y);
        for (k, operand) in OPERANDS.into_iter().enumerate().take(spec.operands.len()) {
            self.load(operand, PoolArg::Operand(k));
        }
        if spec.stride == 2 {
            self.asm.mov(ODD, LINE);
            self.advance(ODD, PoolArg::Half);
        }
        if spec.cells {
            self.load(CELLS, PoolArg::Cells);
            self.asm.cmp_imm(CELLS, 0);
            self.asm.jump(Code::Jle_rel32_64, row_done);
        }
        let cell = self.asm.here();
        let turns = [self.turn, 1];
        self.over_columns(turns, rest, &|g, vectors, lanes| g.vectors(vectors, lanes[0]));
        if spec.cells {
            self.advance(X_CELL, PoolArg::XCell);
            self.advance(Y_CELL, PoolArg::YCell);
            for (k, operand) in OPERANDS.into_iter().enumerate().take(spec.operands.len()) {
                self.advance(operand, PoolArg::OperandCell(k));
            }
            self.asm.add_imm(CELLS, -1);
            self.asm.jump(Code::Jne_rel32_64, cell);
        }
        self.asm.place(row_done);
        self.advance(LINE, PoolArg::Pitch);
        self.advance(Y, PoolArg::YRow);
        for (k, operand) in OPERANDS.into_iter().enumerate().take(spec.operands.len()) {
            self.load(operand, PoolArg::Operand(k));
            self.advance(operand, PoolArg::OperandRow(k));
            let to = self.frame.arg(PoolArg::Operand(k));
            self.asm.mov_store(to, operand);
        }
        self.asm.add_imm(ROWS, -1);
        self.asm.jump(Code::Jne_rel32_64, next);
        let y = self.frame.arg(PoolArg::Y);
        self.asm.mov_store(y, Y);
    }

    /// Vectors of the result.
    fn vectors(&mut self, vectors: usize, lanes: Lanes) {
        let (spec, bytes) = (self.spec, self.bytes());
        for tap in 0..spec.width {
            let position = i64::from(tap) * i64::from(spec.apart);
            let (base, position) = match spec.stride {
                2 => (if position % 2 == 0 { X_CELL } else { ODD }, position / 2),
                _ => (X_CELL, position),
            };
            for vector in 0..vectors {
                let disp = bytes * vector as i64 + 4 * position;
                let from = Mem { base, index: Some((AT, 1)), disp };
                let acc = V(vector as u8);
                if tap == 0 {
                    self.asm.load(acc, from, Lanes::All);
                } else {
                    self.asm.op2(self.op, acc, acc, from);
                }
            }
        }
        for vector in 0..vectors {
            let disp = bytes * vector as i64;
            let result = self.finished(V(vector as u8), vectors, disp, lanes);
            self.asm.store(Mem { base: Y_CELL, index: Some((AT, 1)), disp }, result, lanes);
        }
    }

    /// What becomes of a joined vector; registers from number `used` on are free.
    fn finished(&mut self, joined: V, used: usize, disp: i64, lanes: Lanes) -> V {
        let spec = self.spec;
        let Some(program) = &spec.finish else { return joined };
        let free: Vec<V> = (used as u8..self.kept.0).map(V).collect();
        let of = |(k, walk): (usize, &Walk)| match walk {
            Walk::Along => Input::Lanes(Mem { base: OPERANDS[k], index: Some((AT, 1)), disp }, lanes),
            Walk::Same => Input::Splat(Mem::at(OPERANDS[k], 0)),
        };
        let operands = spec.operands.iter().enumerate().map(of);
        let inputs: Vec<Input> = std::iter::once(Input::Own(joined)).chain(operands).collect();
        program::emit(self.asm, program, &inputs, &free)[0]
    }
}
