//! edge - the last few columns of several rows in one vector.
//!
//! ```text
//! 4 columns:  sums | row 0 . . . | row 1 . . . | row 2 . . . | row 3 . . . |      B, four times
//!             A    | k k+1 . .   | k k+1 . .   | ...                       |      read every fourth step of k
//! ```
//!
//! Where eight columns or fewer remain beyond whole vectors, a vector of its own for each row would be empty for the most
//! part. Four neighbours of each row of A make a vector; each step of k spreads one of them over its row's
//! lanes. So A must lie densely along k. At the end the sums are laid out in scratch memory, a row after another.

use iced_x86::Register;
use nnc_tile::{
    gemm::{Cols, GemmTile, Init, Stride},
    product::Product,
};

use super::{Block, Gen, Shape};
use crate::{
    Level,
    asm::{K, Mem, V, quads::Part},
    frame::TEMP,
};

/// Steps of k of which A is read at once.
pub(super) const STEPS_AT_ONCE: i64 = 4;
/// Masks of the second row of a vector, the third, ...
const ROW_MASKS: u8 = 4;

/// The rows and columns of edge vectors.
#[derive(Clone, Copy)]
pub(super) struct Edge {
    pub(super) part: Part,
    /// Rows of a vector.
    pub(super) rows: usize,
    /// How many vectors.
    pub(super) vectors: usize,
}

/// How many vectors the edge of a panel takes, if tiles of so many rows have one where A lies densely along k.
#[must_use]
pub fn edge_vectors(level: Level, rows: usize, panel: usize) -> Option<usize> {
    let lanes = level.lanes();
    let (whole, part) = (panel / lanes, panel % lanes);
    if level != Level::Avx512 || !(part == 4 || part == 8) {
        return None;
    }
    let vectors = rows.div_ceil(lanes / part);
    // Sums, columns of B, rows of A for four steps, one of them spread, and an element of A.
    let registers = rows * whole + vectors + whole + 1 + vectors + 1 + 1;
    (rows >= vectors + 2 && registers <= level.registers()).then_some(vectors)
}

impl Edge {
    /// The edge of a tile that may have one and gains by it.
    pub(super) fn of(spec: &GemmTile, level: Level) -> Option<Edge> {
        let panel = usize::from(spec.panel);
        let vectors = edge_vectors(level, usize::from(spec.rows), panel)?;
        let Cols::Const(cols) = spec.cols else { return None };
        let whole = panel - panel % level.lanes();
        let part = if panel - whole == 4 { Part::Four } else { Part::Eight };
        let dense = spec.init == Init::Zero && spec.a_k == Stride::Const(1);
        let plain = dense && spec.groups() == 1 && spec.product == Product::F32;
        let edge = Edge { part, rows: level.lanes() / part.lanes(), vectors };
        (plain && usize::from(cols) > whole).then_some(edge)
    }

    /// Registers beyond the sums: columns of B, rows of A, and one of these spread.
    pub(super) fn others(&self) -> usize {
        self.vectors + 2
    }
}

impl Shape {
    /// The sums of edge vector `number`.
    pub(super) fn edge_acc(&self, number: usize) -> V {
        V((self.rows * self.vectors + number) as u8)
    }

    /// Registers of the edge after those of B: its columns, rows of A by vector, and one to spread into.
    fn edge_register(&self, number: usize) -> V {
        V((self.accumulators() + self.vectors + number) as u8)
    }
}

impl Gen<'_> {
    /// Masks of the rows of an edge vector but the first.
    pub(super) fn edge_masks(&mut self) {
        let Some(edge) = self.shape.edge else { return };
        let lanes = edge.part.lanes();
        for row in 1..edge.rows {
            self.asm.mov_imm(TEMP, ((1 << lanes) - 1) << (row * lanes));
            self.asm.mask_from(K(ROW_MASKS + row as u8 - 1), TEMP);
        }
    }

    /// Rows of an edge vector that there are, each with the mask of its lanes.
    fn edge_rows(&self, edge: Edge, number: usize) -> Vec<(usize, Option<K>)> {
        let rows = (number * edge.rows..self.shape.rows).take(edge.rows).enumerate();
        // The first is in all lanes before the others come, so that none holds anything else.
        rows.map(|(at, m)| (m, at.checked_sub(1).map(|at| K(ROW_MASKS + at as u8)))).collect()
    }

    /// Four steps of k of all rows, from a place in A on.
    pub(super) fn edge_read(&mut self, block: &Block, a_disp: i64) {
        let Some(edge) = self.shape.edge else { return };
        let read = self.shape.edge_register(1 + edge.vectors);
        for number in 0..edge.vectors {
            let to = self.shape.edge_register(1 + number);
            for (m, lanes) in self.edge_rows(edge, number) {
                let from = block.row(m, a_disp);
                match lanes {
                    None => self.asm.broadcast_four(to, from),
                    // A load that keeps lanes would take half a slot of the multipliers; one that keeps none, and a copy
                    // between registers, take none.
                    Some(lanes) => {
                        self.asm.broadcast_four(read, from);
                        self.asm.copy_lanes(to, read, lanes);
                    }
                }
            }
        }
    }

    /// The columns of B of a step.
    pub(super) fn edge_columns(&mut self, b: Mem) {
        let Some(edge) = self.shape.edge else { return };
        let from = b.plus((4 * self.asm.level.lanes() * self.shape.vectors) as i64);
        self.asm.broadcast_part(edge.part, self.shape.edge_register(0), from);
    }

    /// Multiplies and adds for edge vector `number`; `within` is the step among those read at once, if they were.
    pub(super) fn edge_step(&mut self, block: &Block, a_disp: i64, within: Option<u32>, number: usize) {
        let Some(edge) = self.shape.edge else { return };
        let (columns, rows) = (self.shape.edge_register(0), self.shape.edge_register(1 + number));
        let spread = self.shape.edge_register(1 + edge.vectors);
        match within {
            Some(lane) => self.asm.spread_in_fours(spread, rows, lane),
            None => {
                for (m, lanes) in self.edge_rows(edge, number) {
                    self.asm.broadcast_into(spread, block.row(m, a_disp), lanes);
                }
            }
        }
        self.asm.fma(self.shape.edge_acc(number), spread, columns, crate::asm::Lanes::All);
    }

    /// Where the sums of a row's edge are in scratch memory.
    fn edge_place(&self, base: Register, m: usize) -> Mem {
        let bytes = 4 * self.asm.level.lanes();
        Mem::at(base, (m * self.shape.row_bytes(self.asm.level) + bytes * self.shape.vectors) as i64)
    }

    /// Lays out the sums of edges, row after row.
    pub(super) fn edge_spill(&mut self) {
        let Some(edge) = self.shape.edge else { return };
        for m in 0..self.shape.rows {
            let (number, at) = (m / edge.rows, m % edge.rows);
            let (to, from) = (self.edge_place(Register::RSP, m), self.shape.edge_acc(number));
            self.asm.store_part(edge.part, to, from, at);
        }
    }

    /// Reads the sums of the edge of row `m`, counted from where `base` is.
    pub(super) fn edge_load(&mut self, to: V, base: Register, m: usize) {
        let Some(edge) = self.shape.edge else { return };
        let from = self.edge_place(base, m);
        self.asm.load_part(edge.part, to, from);
    }
}
