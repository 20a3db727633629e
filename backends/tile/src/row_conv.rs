//! row_conv - rows of a depthwise convolution: c\[r, i\] = sum over taps of w\[tap\] * x\[r, tap, i\].
//!
//! ```text
//!   x + r * x_step          row 0   |a b c d e f g ...            tap (row, at) reads, for column i,
//!                           row 1   |h i j k l m n ...   x_row        x + r * x_step + row * x_row + at + i
//!                           row 2   |o p q r s t u ...    apart
//! ```
//!
//! x is padded scratch memory, so that taps need no bounds. Neighbouring columns of the result read neighbouring
//! elements: for a convolution of stride 2 the caller splits rows of x into even and odd columns, which are then
//! rows of their own. A tile computes all rows of one channel, so that weights are loaded once.
//!
//! Every element is one chain of fused multiply-adds in the order of the taps, starting from zero or from c as it
//! is, and then the epilogue. Strides and counts are in elements.

use crate::epilogue::{Epilogue, EpilogueOperand, apply, epilogue_args};
use crate::gemm::{Init, Stride};

/// Where one weight of the window reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tap {
    /// Row of x.
    pub row: u16,
    /// Elements to the right of the row's first.
    pub at: u32,
}

/// How many columns a row of the result has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Width {
    /// This many. Taps may read up to the next multiple of 4.
    Const(u32),
    /// An argument of the tile. Taps read that many and no more; the last three at most are done one by one.
    Arg,
}

/// Rows of one channel of a depthwise convolution.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RowConv {
    /// Taps in the order of their weights, which lie next to each other.
    pub taps: Vec<Tap>,
    /// Columns of the result.
    pub width: Width,
    /// Distance of rows of x.
    pub x_row: Stride,
    /// Start of the accumulators.
    pub init: Init,
    /// What happens to the sums before they are stored; row `m` of the epilogue is the row of the result.
    pub epilogue: Option<Epilogue>,
}

impl RowConv {
    /// A window of `height` by `width` taps next to each other, over rows of x `x_row` apart.
    #[must_use]
    pub fn window(height: u16, width: u32, x_row: Stride) -> Self {
        let taps = (0..height).flat_map(|row| (0..width).map(move |at| Tap { row, at })).collect();
        RowConv { taps, width: Width::Arg, x_row, init: Init::Zero, epilogue: None }
    }

    /// Checks what every emitter relies on.
    ///
    /// # Panics
    /// If the spec does not say a possible tile: a spec is made by a compiler, never by a user.
    pub fn check(&self) {
        assert!(!self.taps.is_empty(), "a window has taps");
        assert!(self.width != Width::Const(0), "a row has columns");
        if let Some(epilogue) = &self.epilogue {
            epilogue.check_single();
        }
    }

    /// Run-time arguments of the tile in the order of its stand-alone function, all 64-bit.
    #[must_use]
    pub fn args(&self) -> Vec<RowConvArg> {
        use RowConvArg as Arg;
        let mut args = vec![Arg::X, Arg::W, Arg::C, Arg::Rows, Arg::XStep, Arg::CStep];
        if self.x_row == Stride::Arg {
            args.push(Arg::XRow);
        }
        if self.width == Width::Arg {
            args.push(Arg::Width);
        }
        args.extend(epilogue_args(self.epilogue.as_ref(), Arg::Epilogue, |idx| {
            vec![Arg::EpilogueStride(idx)]
        }));
        args
    }

    /// Computes the tile, element by element: what every emitter is tested against.
    ///
    /// # Panics
    /// If an operand is too short.
    pub fn reference(&self, operands: &mut RowConvOperands) {
        self.reference_by(operands, f32::mul_add);
    }

    /// Likewise with the step that adds `x * y` to a sum: fused, or a product and a sum where a target has no such
    /// instruction.
    ///
    /// # Panics
    /// If an operand is too short.
    pub fn reference_by(&self, operands: &mut RowConvOperands, step: fn(f32, f32, f32) -> f32) {
        let x_row = self.x_row.or(operands.x_row);
        let width = match self.width {
            Width::Const(n) => n as usize,
            Width::Arg => operands.width,
        };
        for r in 0..operands.rows {
            for i in 0..width {
                let out = r * operands.c_step + i;
                let mut acc = match self.init {
                    Init::Zero => 0.0,
                    Init::Load => operands.c[out],
                };
                for (tap, weight) in self.taps.iter().zip(operands.w) {
                    let at = r * operands.x_step + usize::from(tap.row) * x_row + tap.at as usize + i;
                    acc = step(operands.x[at], *weight, acc);
                }
                operands.c[out] = apply(self.epilogue.as_ref(), &operands.epilogue, acc, r, i);
            }
        }
    }
}

/// A run-time argument of a [`RowConv`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RowConvArg {
    /// Pointer to the first element of x.
    X,
    /// Pointer to the first weight.
    W,
    /// Pointer to the first element of the result.
    C,
    /// Rows of the result, possibly 0.
    Rows,
    /// Elements of x from one row of the result to the next.
    XStep,
    /// Elements from one row of the result to the next.
    CStep,
    /// Distance of rows of x, if it is not constant.
    XRow,
    /// Columns of the result, if they are not constant.
    Width,
    /// Pointer of an epilogue input, by its index.
    Epilogue(usize),
    /// Row stride of an epilogue input of kind [`EpilogueInput::Tile`](crate::epilogue::EpilogueInput::Tile).
    EpilogueStride(usize),
}

/// What the reference computes with; counts and strides are read only where the spec leaves them to the caller.
#[derive(Debug)]
pub struct RowConvOperands<'a> {
    /// x from its first element.
    pub x: &'a [f32],
    /// Weights in the order of the taps.
    pub w: &'a [f32],
    /// The result from its first element.
    pub c: &'a mut [f32],
    /// Rows of the result.
    pub rows: usize,
    /// Elements of x from one row of the result to the next.
    pub x_step: usize,
    /// Elements from one row of the result to the next.
    pub c_step: usize,
    /// Distance of rows of x.
    pub x_row: usize,
    /// Columns of the result.
    pub width: usize,
    /// Operands of the epilogue.
    pub epilogue: Vec<EpilogueOperand<'a>>,
}
