//! pool - sums, greatest or least elements of windows that slide over the rows of a plane.
//!
//! ```text
//!   line of row r      line[left + j] = join over k < height of x[top + r * row_stride + k][j]     for rows inside 0..x_height
//!                      beside these `width` elements the line has what changes nothing
//!   row r              y[r, cell, j] = finish(join over k < width of line[cell * x_cell + j * stride + k * apart])
//! ```
//!
//! Windows are joined down their columns first, then along the line, so each element costs height + width and not
//! height * width. Padding is the line's: x is read inside of it alone. With channels last a column is a channel of a pixel:
//! taps lie apart by the channels, and the pixels of a row of the result are one cell, or one each.
//!
//! A column starts from what changes nothing and joins its rows in order; a line starts from its first tap. Lines are
//! scratch memory, which may be written and read by so many elements beyond its rows as [`SLACK`] says. Where windows are two
//! apart, a line has its even positions first and then, `half` elements on, its odd ones. Counts and distances are in
//! elements.

use crate::program::{Lane, LaneType, VectorProgram};
use crate::stream::{Join, Walk};

/// Elements of scratch memory beyond its last line.
pub const SLACK: usize = 64;

/// Elements of scratch memory beyond each line, unless even and odd positions are apart.
pub const LINE_SLACK: usize = 16;

/// Elements of scratch memory beyond the even positions of a line and beyond the odd ones.
pub const HALF_SLACK: usize = 32;

/// Windows over a plane.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pool {
    /// What joins: a sum, the greatest or the least f32.
    pub join: Join,
    /// Rows of a window, next to each other.
    pub height: u32,
    /// Taps of a window along a line.
    pub width: u32,
    /// Distance of these.
    pub apart: u32,
    /// Distance of windows along a line: 1, or 2 where a row is one cell.
    pub stride: u32,
    /// Distance of windows in rows of x.
    pub row_stride: u32,
    /// So many rows of the result before it reads them, a call may ask for rows of x, as they lie beside each other and beyond
    /// its last; 0 if it should not.
    pub ahead: u32,
    /// Whether a row has several cells: their number and distances are arguments.
    pub cells: bool,
    /// What happens to a joined element, input 0, before it is stored; the other inputs are operands.
    pub finish: Option<VectorProgram>,
    /// Where the elements of each operand are along a cell, all f32.
    pub operands: Vec<Walk>,
}

impl Pool {
    /// Checks what every emitter relies on.
    ///
    /// # Panics
    /// If the spec does not say a possible tile: a spec is made by a compiler, never by a user.
    pub fn check(&self) {
        assert!(matches!(self.join, Join::Sum | Join::Max | Join::Min), "windows of f32 in any order");
        assert!(self.height > 0 && self.width > 0 && self.row_stride > 0, "windows have taps and move");
        assert!(matches!(self.stride, 1 | 2), "windows are neighbours, or every other one");
        assert!(self.stride == 1 || !self.cells, "every other position is one of the whole line");
        match &self.finish {
            None => assert!(self.operands.is_empty(), "operands are for a program"),
            Some(program) => {
                assert!(program.n_inputs() <= 1 + self.operands.len(), "an operand for every input");
                let [result] = program.results() else { panic!("one element is stored") };
                assert!(program.lane_type(*result) == LaneType::F32, "an f32 is stored");
            }
        }
    }

    /// Run-time arguments of the tile in the order of its stand-alone function, all 64-bit.
    #[must_use]
    pub fn args(&self) -> Vec<PoolArg> {
        use PoolArg as Arg;
        let mut args = vec![
            Arg::X,
            Arg::Y,
            Arg::Lines,
            Arg::Rows,
            Arg::Group,
            Arg::Top,
            Arg::XHeight,
            Arg::XWidth,
            Arg::XRow,
            Arg::Left,
            Arg::Span,
            Arg::Pitch,
            Arg::YRow,
            Arg::N,
        ];
        args.extend((self.stride == 2).then_some(Arg::Half));
        if self.cells {
            args.extend([Arg::Cells, Arg::XCell, Arg::YCell]);
        }
        for k in 0..self.operands.len() {
            args.extend([Arg::Operand(k), Arg::OperandRow(k)]);
            args.extend(self.cells.then_some(Arg::OperandCell(k)));
        }
        args
    }

    /// Computes the tile, element by element: what every emitter is tested against.
    ///
    /// # Panics
    /// If an operand is too short.
    pub fn reference(&self, on: &mut PoolOperands) {
        let cells = if self.cells { on.cells } else { 1 };
        for r in 0..on.rows {
            let line = self.line(on, r);
            for cell in 0..cells {
                for j in 0..on.n {
                    let at = cell * on.x_cell + j * self.stride as usize;
                    let tap = |k: usize| Lane::F32(line[at + k * self.apart as usize]);
                    let joined = (1..self.width as usize).fold(tap(0), |acc, k| self.join.apply(acc, tap(k)));
                    on.y[r * on.y_row + cell * on.y_cell + j] = self.finished(on, joined, (r, cell, j));
                }
            }
        }
    }

    fn line(&self, on: &PoolOperands, r: usize) -> Vec<f32> {
        let identity = f32::from_bits(self.join.identity());
        let mut line = vec![identity; on.span.max(on.left + on.x_width)];
        let top = on.top + (r * self.row_stride as usize) as i64;
        for k in 0..i64::from(self.height) {
            let Some(row) = usize::try_from(top + k).ok().filter(|&row| row < on.x_height) else { continue };
            for j in 0..on.x_width {
                let acc = &mut line[on.left + j];
                *acc = self.join.apply(Lane::F32(*acc), Lane::F32(on.x[row * on.x_row + j])).f32();
            }
        }
        line
    }

    fn finished(&self, on: &PoolOperands, joined: Lane, (r, cell, j): (usize, usize, usize)) -> f32 {
        let Some(program) = &self.finish else { return joined.f32() };
        let mut inputs = vec![joined];
        for (walk, operand) in self.operands.iter().zip(&on.operands) {
            let along = if *walk == Walk::Along { j } else { 0 };
            inputs.push(Lane::F32(operand.elements[r * operand.row + cell * operand.cell + along]));
        }
        program.eval(&inputs)[0].f32()
    }
}

/// A run-time argument of a [`Pool`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PoolArg {
    /// Pointer to the first element of x.
    X,
    /// Pointer to the first element of the result.
    Y,
    /// Pointer to scratch memory for the lines.
    Lines,
    /// Rows of the result, possibly 0.
    Rows,
    /// Rows that there are lines for: one at least, and no more are needed than there are rows.
    Group,
    /// The row of x that is the first of the first window; it may be negative.
    Top,
    /// Rows of x.
    XHeight,
    /// Elements of a row of x.
    XWidth,
    /// Elements from one row of x to the next.
    XRow,
    /// Elements of a line before those of x.
    Left,
    /// Elements of a line that windows reach.
    Span,
    /// Elements from one line to the next: no fewer than a line has with [`LINE_SLACK`], or twice `Half`.
    Pitch,
    /// Elements from one row of the result to the next.
    YRow,
    /// Elements of a cell.
    N,
    /// Elements from the even positions of a line to the odd ones: as many as there are, and [`HALF_SLACK`].
    Half,
    /// Cells of a row.
    Cells,
    /// Elements of a line from one cell to the next.
    XCell,
    /// Elements of the result from one cell to the next.
    YCell,
    /// Pointer to the first element of an operand.
    Operand(usize),
    /// Elements of an operand from one row to the next.
    OperandRow(usize),
    /// Elements of an operand from one cell to the next.
    OperandCell(usize),
}

/// An operand of the program that finishes elements.
#[derive(Clone, Copy, Debug)]
pub struct PoolOperand<'a> {
    /// From its first element on.
    pub elements: &'a [f32],
    /// Elements from one row to the next.
    pub row: usize,
    /// Elements from one cell to the next.
    pub cell: usize,
}

/// What the reference computes with: the arguments by their names.
#[derive(Debug)]
#[expect(missing_docs, reason = "each is described as an argument")]
pub struct PoolOperands<'a> {
    pub x: &'a [f32],
    pub y: &'a mut [f32],
    pub rows: usize,
    pub top: i64,
    pub x_height: usize,
    pub x_width: usize,
    pub x_row: usize,
    pub left: usize,
    pub span: usize,
    pub y_row: usize,
    pub n: usize,
    pub cells: usize,
    pub x_cell: usize,
    pub y_cell: usize,
    pub operands: Vec<PoolOperand<'a>>,
}
