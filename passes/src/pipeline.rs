//! pipeline - which passes run at which optimization level.

use crate::pass::{Exactness, PassInfo};

/// Optimization level: what a user asks for with `-O`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OptLevel {
    /// Required passes only.
    O0,
    /// Exact passes.
    O1,
    /// Exact and rounding passes.
    O2,
    /// O2 and costlier searches.
    O3,
}

/// Names of the passes of a level, in order.
#[must_use]
pub fn pipeline(level: OptLevel) -> Vec<&'static str> {
    let required = ["simplify-shapes", "reach-canonical"];
    if level == OptLevel::O0 {
        return required.to_vec();
    }
    vec![
        "simplify-shapes",
        "widen-half",
        "fold-constants",
        "canonicalize",
        "eliminate-common",
        "eliminate-dead",
        "fold-constants",
        "canonicalize",
        "eliminate-common",
        "eliminate-dead",
        "reach-canonical",
        "fuse",
        "eliminate-dead",
    ]
}

/// Whether a level may run a pass.
#[must_use]
pub fn allows(level: OptLevel, pass: &PassInfo) -> bool {
    match pass.exactness {
        Exactness::Exact => true,
        Exactness::Rounding => level >= OptLevel::O2,
        Exactness::Approximate => false,
    }
}
