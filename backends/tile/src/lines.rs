//! lines - rows of a plane copied to scratch memory, even and odd columns apart where windows move by two.
//!
//! ```text
//!   one phase       to[0][r * line + i] = x[r * x_row + i]
//!   two phases      to[i % 2][r * line + i / 2] = x[r * x_row + i]        for i < width
//! ```
//!
//! Nothing but these elements is written. Counts and distances are in elements.

/// Rows of a plane, copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lines {
    /// 1 or 2.
    pub phases: u8,
}

impl Lines {
    /// Checks what every emitter relies on.
    ///
    /// # Panics
    /// If the spec does not say a possible tile: a spec is made by a compiler, never by a user.
    pub fn check(&self) {
        assert!(matches!(self.phases, 1 | 2), "columns are neighbours, or every other one");
    }

    /// Run-time arguments of the tile in the order of its stand-alone function, all 64-bit.
    #[must_use]
    pub fn args(&self) -> Vec<LinesArg> {
        use LinesArg as Arg;
        let mut args = vec![Arg::X, Arg::Rows, Arg::Width, Arg::XRow, Arg::Line];
        args.extend((0..self.phases).map(Arg::To));
        args
    }

    /// Computes the tile, element by element: what every emitter is tested against.
    ///
    /// # Panics
    /// If an operand is too short.
    pub fn reference(
        &self,
        x: &[f32],
        to: &mut [&mut [f32]],
        [rows, width]: [usize; 2],
        [x_row, line]: [usize; 2],
    ) {
        let phases = usize::from(self.phases);
        for r in 0..rows {
            for i in 0..width {
                to[i % phases][r * line + i / phases] = x[r * x_row + i];
            }
        }
    }
}

/// A run-time argument of [`Lines`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LinesArg {
    /// Pointer to the first element of x.
    X,
    /// Rows, possibly 0.
    Rows,
    /// Elements of a row.
    Width,
    /// Elements from one row of x to the next.
    XRow,
    /// Elements from one line to the next.
    Line,
    /// Pointer to where the columns of a phase begin.
    To(u8),
}
