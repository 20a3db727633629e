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

/// What a module goes through whatever the level; every other pass may be left out.
pub const REQUIRED: &[&str] = &["simplify-shapes", "expand-training", "reach-canonical"];

/// The pass that runs at every level where the user asks for the inference form of a model, and at none where not.
pub const STRIP: &str = "strip-training";

/// Computes what can be computed and brings the rest to one form.
const CLEAN: &[&str] =
    &["fold-constants", "fold-branches", "canonicalize", "eliminate-common", "eliminate-dead"];

/// Names of the passes of a level, in order.
#[must_use]
pub fn pipeline(level: OptLevel) -> Vec<&'static str> {
    if level == OptLevel::O0 {
        return vec!["simplify-shapes", STRIP, "expand-training", "reach-canonical"];
    }
    // A pass that folds leaves what nobody reads any more, which the next one is not to count as a reader.
    let algebra: &[&str] = &[
        "recognize",
        "eliminate-common",
        "eliminate-dead",
        "fold-affine",
        "fold-padding",
        "eliminate-dead",
        "fold-bottlenecks",
        "eliminate-dead",
        "egraph",
        // Last: patterns are known on the axes that the importer gives them.
        "sink-reshapes",
    ];
    let fusing: &[&str] = &["merge-contractions", "eliminate-dead", "fuse-rows", "fuse"];
    [
        &["simplify-shapes", STRIP, "expand-training", "widen-half"],
        CLEAN,
        algebra,
        CLEAN,
        &["reach-canonical"],
        fusing,
        &["eliminate-dead", "schedule-nodes", "recompute", "form-regions"],
    ]
    .concat()
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
