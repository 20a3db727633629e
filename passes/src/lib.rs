//! nnc-passes - graph to graph transformations, one file each.
//!
//! Reading order: [`pass`] (what a pass is), [`manager`] (how pipelines run), [`pipeline`] (which passes in which order),
//! then any pass.
#![forbid(unsafe_code)]

pub mod cost;
pub mod manager;
pub mod pass;
pub mod pipeline;
pub mod target;

mod axes;
mod channel;
mod enclose;
mod liveness;
mod readers;
mod rewrite;

pub use recognize::{Recognized, recognized};

use nnc_ir::graph::Phase;
use pass::{Exactness, PassInfo};

/// Lists every pass; the doc comment is the help text of `nnc opt --list-passes`.
macro_rules! declare_passes {
    ($($(#[doc = $doc:literal])+ $name:literal needs $phase:ident, $exactness:ident => $file:ident;)*) => {
        $(mod $file;)*
        /// Every pass, in alphabetical order; pipelines choose the order.
        pub static PASSES: &[PassInfo] = &[$(PassInfo {
            name: $name,
            help: concat!($($doc, "\n"),+),
            needs: Phase::$phase,
            exactness: Exactness::$exactness,
            rules: $file::RULES,
            run: $file::run,
        }),*];
    };
}

declare_passes! {
    /// Brings local spellings to one form: removes operations that change nothing, merges reshapes, transposes, broadcasts.
    "canonicalize" needs Imported, Exact => canonicalize;
    /// Looks for the cheapest of all forms that algebraic laws give a group of nodes.
    "egraph" needs Imported, Rounding => egraph;
    /// Keeps one of several nodes that compute the same.
    "eliminate-common" needs Imported, Exact => eliminate_common;
    /// Removes nodes whose results nobody reads.
    "eliminate-dead" needs Imported, Exact => eliminate_dead;
    /// Puts what is written in the place of training forms.
    "expand-training" needs Imported, Exact => expand_training;
    /// Makes scales and shifts by constants part of constant weights and of each other: batch norm into convolution.
    "fold-affine" needs Imported, Rounding => fold_affine;
    /// Makes one contraction of several in a row, with nothing but biases in between, where that is cheaper.
    "fold-bottlenecks" needs Imported, Rounding => fold_bottlenecks;
    /// Puts in place what control flow with a constant condition does.
    "fold-branches" needs Imported, Exact => fold_branches;
    /// Computes nodes whose operands are constants.
    "fold-constants" needs Imported, Exact => fold_constants;
    /// Makes explicit padding part of the convolution, pooling or padding that reads it.
    "fold-padding" needs Imported, Exact => fold_padding;
    /// Puts attention, MLP blocks and inverted residuals into regions that may run tile by tile.
    "form-regions" needs Canonical, Exact => form_regions;
    /// Puts a loop nest and its pointwise neighbours into one `fusion`, which becomes one kernel.
    "fuse" needs Canonical, Exact => fuse;
    /// Puts reductions, what they reduce and what is made of them into one `fusion`: softmax, normalisations.
    "fuse-rows" needs Canonical, Exact => fuse_rows;
    /// Makes one wider contraction of several that read one value, and slices of its result.
    "merge-contractions" needs Imported, Exact => merge_contractions;
    /// Declares the module canonical after checking that it is.
    "reach-canonical" needs Imported, Exact => reach_canonical;
    /// Brings patterns spelt in primitives (GELU, layer norm, softmax, ...) to the one spelling of ONNX's own operator.
    "recognize" needs Imported, Rounding => recognize;
    /// Computes values again near late readers instead of keeping them, while the arena is over the limit.
    "recompute" needs Canonical, Exact => recompute;
    /// Puts nodes into an order in which fewer bytes are in use at once.
    "schedule-nodes" needs Canonical, Exact => schedule_nodes;
    /// Replaces shape arithmetic by extents that are known without running.
    "simplify-shapes" needs Imported, Exact => simplify_shapes;
    /// Computes on the fewer axes that a value had before a reshape, and reshapes afterwards.
    "sink-reshapes" needs Imported, Exact => sink_reshapes;
    /// Makes an inference graph of a training graph, where that is asked for (`--training strip`).
    "strip-training" needs Imported, Exact => strip_training;
    /// Computes in `f32` what is stored in `f16` or `bf16`, and rounds only what leaves.
    "widen-half" needs Imported, Rounding => widen_half;
}

/// The pass called `name`.
#[must_use]
pub fn find(name: &str) -> Option<&'static PassInfo> {
    PASSES.iter().find(|p| p.name == name)
}
