//! transpose - rows become columns: y\[r, c\] = x\[c, r\] for words of 32 bits.
//!
//! ```text
//!   x: row c at x + c * x_step, r along it           y: row r at y + r * y_step, c along it
//! ```
//!
//! Of two columns that lie next to each other in the result two rows are woven into one. Counts and distances are in
//! elements; nothing else is read or written.

/// Rows that become columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Transpose {
    /// Whether there are two columns, and rows of the result lie one behind the other.
    pub pairs: bool,
}

impl Transpose {
    /// Run-time arguments of the tile in the order of its stand-alone function, all 64-bit.
    #[must_use]
    pub fn args(&self) -> Vec<TransposeArg> {
        use TransposeArg as Arg;
        let mut args = vec![Arg::X, Arg::Y, Arg::Rows, Arg::XStep];
        if !self.pairs {
            args.extend([Arg::Columns, Arg::YStep]);
        }
        args
    }

    /// Computes the tile, element by element: what every emitter is tested against.
    ///
    /// # Panics
    /// If an operand is too short.
    pub fn reference(&self, x: &[f32], y: &mut [f32], rows: usize, columns: usize, steps: [usize; 2]) {
        let [x_step, y_step] = steps;
        for r in 0..rows {
            for c in 0..columns {
                y[r * y_step + c] = x[c * x_step + r];
            }
        }
    }
}

/// A run-time argument of a [`Transpose`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TransposeArg {
    /// Pointer to the first element of x.
    X,
    /// Pointer to the first element of the result.
    Y,
    /// Rows of the result, possibly 0.
    Rows,
    /// Elements from one row of x to the next.
    XStep,
    /// Columns of the result, possibly 0.
    Columns,
    /// Elements from one row of the result to the next.
    YStep,
}
