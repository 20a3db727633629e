//! error - why an evaluation stopped, and what it may spend.

use std::fmt;

use crate::{diag::escape, graph::Provenance};

/// Why an evaluation stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvalError {
    /// A number of docs/errors.md: 236 for E0236; 0 for a module that the verifier would refuse.
    pub code: u16,
    /// Lower case, no full stop; names both sides.
    pub message: String,
    /// ONNX nodes it happened in.
    pub loc: Provenance,
}

impl EvalError {
    pub(super) fn new(code: u16, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), loc: Provenance::default() }
    }
    /// Something the verifier should have found.
    pub(super) fn bug(message: impl Into<String>) -> Self {
        Self::new(0, message)
    }
    /// Names the nodes, unless an inner place has been named.
    pub(super) fn at(mut self, loc: &Provenance) -> Self {
        if self.loc.is_empty() {
            self.loc = loc.clone();
        }
        self
    }
}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "E{:04}: ", self.code)?;
        if !self.loc.is_empty() {
            write!(f, "{}: ", escape(&self.loc.join(", ")))?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for EvalError {}

/// What an evaluation may spend; more is E0501.
#[derive(Clone, Copy, Debug)]
pub struct EvalLimits {
    /// Bytes of one tensor.
    pub tensor_bytes: u64,
    /// Points of loop nests, all together.
    pub points: u64,
}

impl EvalLimits {
    /// Enough for any test: 4 GiB a tensor, no limit on work.
    pub const GENEROUS: EvalLimits = EvalLimits { tensor_bytes: 1 << 32, points: u64::MAX };
}

/// What is left of the limits.
#[derive(Debug)]
pub(super) struct Budget {
    tensor_bytes: u64,
    points: u64,
}

impl Budget {
    pub(super) fn new(limits: &EvalLimits) -> Self {
        Self { tensor_bytes: limits.tensor_bytes, points: limits.points }
    }
    /// Takes the points of a nest over `extents`.
    pub(super) fn take_points(&mut self, extents: &[i64]) -> Result<(), EvalError> {
        let points = count(extents)?;
        match self.points.checked_sub(points) {
            Some(left) => self.points = left,
            None => {
                return Err(EvalError::new(501, format!("{points} points, over the {} left", self.points)));
            }
        }
        Ok(())
    }
    /// Number of elements of a tensor of `dims` with `element_bytes` an element.
    pub(super) fn elements(&self, dims: &[i64], element_bytes: usize) -> Result<usize, EvalError> {
        let elements = count(dims)?;
        match elements.checked_mul(element_bytes as u64) {
            Some(bytes) if bytes <= self.tensor_bytes => Ok(elements as usize),
            _ => Err(EvalError::new(
                501,
                format!("a tensor of {dims:?}, over the limit of {} bytes", self.tensor_bytes),
            )),
        }
    }
}

/// Product of extents; E0224 where one is negative.
fn count(extents: &[i64]) -> Result<u64, EvalError> {
    if let Some(negative) = extents.iter().find(|&&d| d < 0) {
        return Err(EvalError::new(224, format!("extent {negative} of {extents:?} is negative")));
    }
    // A zero anywhere makes the product zero, even if the others overflow.
    if extents.contains(&0) {
        return Ok(0);
    }
    Ok(extents.iter().fold(1u64, |n, &d| n.saturating_mul(d.cast_unsigned())))
}
