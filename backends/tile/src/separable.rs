//! separable - a transform of a square of pixels along both axes, channel by channel: y = P (P x^T)^T for a program P.
//!
//! ```text
//!   x: n x n inputs, each a row of channels      t = P along every column       y = P along every row of t
//!     (i, j) at  x + i * x_row + j * x_col         m x n                          m x m, (i, j) at  y + i * y_row + j * y_col
//! ```
//!
//! The program takes n inputs along an axis and gives m results. Winograd's convolutions are such transforms of the
//! input and of the result. First all columns are transformed, then all rows, then the epilogue is applied, whose
//! columns are the channels and whose tile has two distances. So all emitters give the same bits. Strides and counts are
//! in elements. The inputs lie apart from the results; of neither is anything but the channels touched.

use crate::epilogue::{Epilogue, EpilogueInput, epilogue_args};
use crate::gemm::Stride;
use crate::program::{Lane, LaneType, Op, VectorProgram};

/// A transform of a square along both axes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Separable {
    /// The transform along one axis, of f32.
    pub program: VectorProgram,
    /// Channels, at least 1.
    pub channels: u32,
    /// Elements from one row of inputs to the next, and from one column to the next.
    pub x: [Stride; 2],
    /// Likewise of the results.
    pub y: [Stride; 2],
    /// Whether the counts of rows and of columns that are stored are arguments, each at least 1 and at most m: where
    /// the plane ends within the square.
    pub partial: bool,
    /// What happens to the results before they are stored; it has no input of kind [`EpilogueInput::Row`].
    pub epilogue: Option<Epilogue>,
}

impl Separable {
    /// Inputs along an axis.
    #[must_use]
    pub fn n(&self) -> usize {
        self.program.n_inputs()
    }

    /// Results along an axis.
    #[must_use]
    pub fn m(&self) -> usize {
        self.program.results().len()
    }

    /// Checks what every emitter relies on.
    ///
    /// # Panics
    /// If the spec does not say a possible tile: a spec is made by a compiler, never by a user.
    pub fn check(&self) {
        assert!(self.channels > 0, "there are channels");
        assert!((1..=8).contains(&self.n()) && (1..=8).contains(&self.m()), "squares are small");
        let f32s = |p: &VectorProgram| !p.ops().iter().any(|op| matches!(op, Op::Input(_, LaneType::I32)));
        assert!(f32s(&self.program), "the inputs of a transform are f32");
        let results = self.program.results();
        assert!(results.iter().all(|&r| self.program.lane_type(r) == LaneType::F32), "so are its results");
        if let Some(epilogue) = &self.epilogue {
            epilogue.check_single();
            assert!(!epilogue.inputs.contains(&EpilogueInput::Row), "a square has no element for each pixel");
        }
    }

    /// Run-time arguments of the tile in the order of its stand-alone function, all 64-bit.
    #[must_use]
    pub fn args(&self) -> Vec<SeparableArg> {
        use SeparableArg as Arg;
        let mut args = vec![Arg::X, Arg::Y];
        let optional = [
            (self.x[0] == Stride::Arg, Arg::XRow),
            (self.x[1] == Stride::Arg, Arg::XCol),
            (self.y[0] == Stride::Arg, Arg::YRow),
            (self.y[1] == Stride::Arg, Arg::YCol),
            (self.partial, Arg::Rows),
            (self.partial, Arg::Cols),
        ];
        args.extend(optional.into_iter().filter_map(|(used, arg)| used.then_some(arg)));
        let steps = |idx| vec![Arg::EpilogueRow(idx), Arg::EpilogueCol(idx)];
        args.extend(epilogue_args(self.epilogue.as_ref(), Arg::Epilogue, steps));
        args
    }

    /// Computes the tile, element by element: what every emitter is tested against.
    ///
    /// # Panics
    /// If an operand is too short.
    pub fn reference(&self, operands: &mut SeparableOperands) {
        let [x_row, x_col] = [0, 1].map(|a| self.x[a].or(operands.x_steps[a]));
        let [y_row, y_col] = [0, 1].map(|a| self.y[a].or(operands.y_steps[a]));
        let (n, m) = (self.n(), self.m());
        let [rows, cols] = if self.partial { operands.counts } else { [m, m] };
        for channel in 0..self.channels as usize {
            let columns: Vec<Vec<Lane>> = (0..n)
                .map(|j| {
                    let at = |i: usize| Lane::F32(operands.x[i * x_row + j * x_col + channel]);
                    self.program.eval(&(0..n).map(at).collect::<Vec<_>>())
                })
                .collect();
            for i in 0..rows {
                let row: Vec<Lane> = columns.iter().map(|column| column[i]).collect();
                for (j, value) in self.program.eval(&row).iter().enumerate().take(cols) {
                    let value = self.finish(operands, value.f32(), (i, j), channel);
                    operands.y[i * y_row + j * y_col + channel] = value;
                }
            }
        }
    }

    /// What is stored for a result.
    fn finish(
        &self,
        operands: &SeparableOperands,
        value: f32,
        (i, j): (usize, usize),
        channel: usize,
    ) -> f32 {
        let Some(epilogue) = &self.epilogue else { return value };
        let mut inputs = vec![value];
        for (kind, operand) in epilogue.inputs.iter().zip(&operands.epilogue) {
            inputs.push(match kind {
                EpilogueInput::Col => operand.elements[channel],
                EpilogueInput::Tile => {
                    operand.elements[i * operand.steps[0] + j * operand.steps[1] + channel]
                }
                EpilogueInput::Scalar | EpilogueInput::Row => operand.elements[0],
                EpilogueInput::Behind { .. } => unreachable!("`check` has ruled it out"),
            });
        }
        epilogue.program.eval_f32(&inputs)
    }
}

/// A run-time argument of a [`Separable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SeparableArg {
    /// Pointer to the first input.
    X,
    /// Pointer to the first result.
    Y,
    /// Elements from one row of inputs to the next, if they are not constant.
    XRow,
    /// Elements from one column of inputs to the next, if they are not constant.
    XCol,
    /// Elements from one row of results to the next, if they are not constant.
    YRow,
    /// Elements from one column of results to the next, if they are not constant.
    YCol,
    /// Rows that are stored, if there may be fewer than m.
    Rows,
    /// Columns that are stored, if there may be fewer than m.
    Cols,
    /// Pointer of an epilogue input, by its index.
    Epilogue(usize),
    /// Elements from one row to the next of an epilogue input of kind [`EpilogueInput::Tile`].
    EpilogueRow(usize),
    /// Elements from one column to the next of such an input.
    EpilogueCol(usize),
}

/// An operand of the epilogue.
#[derive(Clone, Copy, Debug)]
pub struct SquareOperand<'a> {
    /// Elements from the one the pointer argument points to.
    pub elements: &'a [f32],
    /// Elements from one row and from one column to the next, for [`EpilogueInput::Tile`].
    pub steps: [usize; 2],
}

/// What the reference computes with; steps and counts are read only where the spec leaves them to the caller.
#[derive(Debug)]
pub struct SeparableOperands<'a> {
    /// Inputs from the first.
    pub x: &'a [f32],
    /// Results from the first.
    pub y: &'a mut [f32],
    /// Elements from one row and from one column of inputs to the next.
    pub x_steps: [usize; 2],
    /// Likewise of the results.
    pub y_steps: [usize; 2],
    /// Rows and columns that are stored.
    pub counts: [usize; 2],
    /// Operands of the epilogue.
    pub epilogue: Vec<SquareOperand<'a>>,
}
