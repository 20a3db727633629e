//! lane_conv - columns of a depthwise convolution with channels last: c\[i, n\] = sum over taps of x\[i, tap, n\] * w\[tap, n\].
//!
//! ```text
//!   x                     column 0: n = 0 1 2 3 ...           tap t reads, for column i and channel n,
//!     |abcd|efgh|ijkl|    column 1: x_step further                x + i * x_step + x_t + n
//!   c   |ABCD|EFGH|       columns of c are c_step apart       and the weight  w + w_t + n
//! ```
//!
//! The taps' places are part of the tile, or a list of them is an argument. With the list a caller leaves out taps that
//! lie in the padding, so that x is read where it is.
//!
//! Every element is one chain of fused multiply-adds in the order of the taps, starting from zero or from c as it
//! is, and then the epilogue, whose rows are the columns of the window and whose columns are the channels. Strides and
//! counts are in elements. Of x, w and c nothing but the channels is touched.

use crate::epilogue::{Epilogue, EpilogueOperand, apply, epilogue_args};
use crate::gemm::{Init, Stride};
use crate::row_conv::Width;

/// Where the taps of a window are.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Taps {
    /// Known when the tile is made.
    Fixed {
        /// Elements from x, one a tap.
        at: Vec<u32>,
        /// Elements from the weights of one tap to those of the next.
        w_step: u32,
    },
    /// A list of pairs of i64 is an argument: elements from x, elements from w. So is their number, which may be 0.
    Listed,
}

/// Columns of a depthwise convolution over all channels.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LaneConv {
    /// Taps in the order of the sum.
    pub taps: Taps,
    /// Channels, at least 1.
    pub channels: u32,
    /// Columns of the result, none of which is read beyond.
    pub width: Width,
    /// Elements of x from one column of the result to the next.
    pub x_step: Stride,
    /// Elements from one column of the result to the next.
    pub c_step: Stride,
    /// Start of the accumulators.
    pub init: Init,
    /// What happens to the sums before they are stored.
    pub epilogue: Option<Epilogue>,
}

impl LaneConv {
    /// Checks what every emitter relies on.
    ///
    /// # Panics
    /// If the spec does not say a possible tile: a spec is made by a compiler, never by a user.
    pub fn check(&self) {
        if let Taps::Fixed { at, .. } = &self.taps {
            assert!(!at.is_empty(), "a window has taps");
        }
        assert!(self.channels > 0, "there are channels");
        assert!(self.width != Width::Const(0), "a row has columns");
        if let Some(epilogue) = &self.epilogue {
            epilogue.check_single();
        }
    }

    /// Run-time arguments of the tile in the order of its stand-alone function, all 64-bit.
    #[must_use]
    pub fn args(&self) -> Vec<LaneConvArg> {
        use LaneConvArg as Arg;
        let mut args = vec![Arg::X, Arg::W, Arg::C];
        let listed = self.taps == Taps::Listed;
        let optional = [
            (listed, Arg::Taps),
            (listed, Arg::TapCount),
            (self.width == Width::Arg, Arg::Width),
            (self.x_step == Stride::Arg, Arg::XStep),
            (self.c_step == Stride::Arg, Arg::CStep),
        ];
        args.extend(optional.into_iter().filter_map(|(used, arg)| used.then_some(arg)));
        args.extend(epilogue_args(self.epilogue.as_ref(), Arg::Epilogue, |idx| {
            vec![Arg::EpilogueStride(idx)]
        }));
        args
    }

    /// Computes the tile, element by element: what every emitter is tested against.
    ///
    /// # Panics
    /// If an operand is too short.
    pub fn reference(&self, operands: &mut LaneConvOperands) {
        self.reference_by(operands, f32::mul_add);
    }

    /// Likewise with the step that adds `x * y` to a sum: fused, or a product and a sum where a target has no such
    /// instruction.
    ///
    /// # Panics
    /// If an operand is too short.
    pub fn reference_by(&self, operands: &mut LaneConvOperands, step: fn(f32, f32, f32) -> f32) {
        let (x_step, c_step) = (self.x_step.or(operands.x_step), self.c_step.or(operands.c_step));
        let width = match self.width {
            Width::Const(n) => n as usize,
            Width::Arg => operands.width,
        };
        let from_lowest =
            |at: i64| usize::try_from(at).expect("the reference takes operands from their lowest");
        let taps: Vec<(usize, usize)> = match &self.taps {
            Taps::Fixed { at, w_step } => {
                at.iter().enumerate().map(|(t, &at)| (at as usize, t * *w_step as usize)).collect()
            }
            Taps::Listed => operands.taps.iter().map(|&(x, w)| (from_lowest(x), from_lowest(w))).collect(),
        };
        for i in 0..width {
            for n in 0..self.channels as usize {
                let out = i * c_step + n;
                let mut acc = match self.init {
                    Init::Zero => 0.0,
                    Init::Load => operands.c[out],
                };
                for &(x, w) in &taps {
                    acc = step(operands.x[i * x_step + x + n], operands.w[w + n], acc);
                }
                operands.c[out] = apply(self.epilogue.as_ref(), &operands.epilogue, acc, i, n);
            }
        }
    }
}

/// A run-time argument of a [`LaneConv`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LaneConvArg {
    /// Pointer to the first element of x.
    X,
    /// Pointer to the first weight.
    W,
    /// Pointer to the first element of the result.
    C,
    /// Pointer to the list of taps, if there is one.
    Taps,
    /// Number of taps in the list.
    TapCount,
    /// Columns of the result, if they are not constant; possibly 0.
    Width,
    /// Elements of x from one column of the result to the next, if they are not constant.
    XStep,
    /// Elements from one column of the result to the next, if they are not constant.
    CStep,
    /// Pointer of an epilogue input, by its index.
    Epilogue(usize),
    /// Stride of an epilogue input of kind [`EpilogueInput::Tile`](crate::epilogue::EpilogueInput::Tile) along the columns of the window.
    EpilogueStride(usize),
}

/// What the reference computes with; counts and strides are read only where the spec leaves them to the caller.
#[derive(Debug)]
pub struct LaneConvOperands<'a> {
    /// x from its first element.
    pub x: &'a [f32],
    /// The weights.
    pub w: &'a [f32],
    /// The result from its first element.
    pub c: &'a mut [f32],
    /// Where taps are in x and in w.
    pub taps: &'a [(i64, i64)],
    /// Columns of the result.
    pub width: usize,
    /// Elements of x from one column of the result to the next.
    pub x_step: usize,
    /// Elements from one column of the result to the next.
    pub c_step: usize,
    /// Operands of the epilogue.
    pub epilogue: Vec<EpilogueOperand<'a>>,
}
