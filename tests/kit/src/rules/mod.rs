//! rules - random left sides for the rules of passes, so that each rule is seen to fire and to keep what is computed.
//!
//! A file for each pass, a row for each of its rules. A left side comes with what random graphs have around it: other
//! readers, batch axes, symbols, movements in between. It need not fit the rule every time, but mostly should.
//!
//! Reading order: [`crate::draft`] (a graph under way), then any pass.

mod canonicalize;
mod clean;
mod egraph;
mod fold_affine;
mod fold_bottlenecks;
mod fold_branches;
mod fold_padding;
mod form_regions;
mod fuse;
mod fuse_rows;
mod memory;
mod merge_contractions;
mod recognize;
mod sink_reshapes;
mod training;

use crate::draft::Draft;

/// A rule by name, and how a graph is made that it fits.
pub type Row = (&'static str, fn(&mut Draft));

/// Left sides for the rules of every pass, by the pass's name.
pub const PASSES: &[(&str, &[Row])] = &[
    ("canonicalize", canonicalize::ROWS),
    ("egraph", egraph::ROWS),
    ("eliminate-common", clean::ELIMINATE_COMMON),
    ("eliminate-dead", clean::ELIMINATE_DEAD),
    ("expand-training", training::EXPAND),
    ("fold-affine", fold_affine::ROWS),
    ("fold-bottlenecks", fold_bottlenecks::ROWS),
    ("fold-branches", fold_branches::ROWS),
    ("fold-constants", clean::FOLD_CONSTANTS),
    ("fold-padding", fold_padding::ROWS),
    ("form-regions", form_regions::ROWS),
    ("fuse", fuse::ROWS),
    ("recognize", recognize::ROWS),
    ("fuse-rows", fuse_rows::ROWS),
    ("merge-contractions", merge_contractions::ROWS),
    ("recompute", memory::RECOMPUTE),
    ("schedule-nodes", memory::SCHEDULE_NODES),
    ("simplify-shapes", clean::SIMPLIFY_SHAPES),
    ("sink-reshapes", sink_reshapes::ROWS),
    ("strip-training", training::STRIP),
    ("widen-half", clean::WIDEN_HALF),
];
