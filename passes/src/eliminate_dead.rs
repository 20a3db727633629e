//! eliminate-dead - removes nodes whose results nobody reads.
//!
//! ```nnir
//! nnir 1
//! phase imported
//! module (%0 "x" : f32[4]) {
//!   %1 = exp %0 : f32[4] loc("unused")
//!   %2 = add %0, %0 : f32[4] loc("used")
//!   return %2 "y"
//! }
//! ```
//! becomes
//! ```nnir
//! nnir 1
//! phase imported
//! module (%0 "x" : f32[4]) {
//!   %1 = add %0, %0 : f32[4] loc("used")
//!   return %1 "y"
//! }
//! ```
//!
//! A node that defines symbols stays while a type or attribute mentions one of them. Captures that a region does not read
//! are dropped from the node that owns it. Exact.

use nnc_ir::{
    Module,
    entity::EntityId,
    form::Form,
    graph::{NodeId, RegionId},
};
use rustc_hash::FxHashSet;

use crate::pass::{Bug, Exactness, PassCx, Rule};

pub(crate) const RULES: &[&Rule] = &[&REMOVE_UNREAD];

static REMOVE_UNREAD: Rule = Rule {
    name: "remove-unread",
    law: "a node without effect whose results nobody reads = nothing",
    source: "nodes are pure but for the symbols they define",
    exactness: Exactness::Exact,
};

pub(crate) fn run(module: &mut Module, cx: &mut PassCx<'_>) -> Result<(), Bug> {
    loop {
        let before = cx.rewrites.len();
        sweep(module, module.body(), cx);
        if cx.rewrites.len() == before {
            return Ok(());
        }
    }
}

/// Removes dead nodes of `region` and the regions inside, last node first.
fn sweep(module: &mut Module, region: RegionId, cx: &mut PassCx<'_>) {
    let mut live: FxHashSet<usize> = module.region(region).results.iter().map(|v| v.index()).collect();
    let nodes = module.region(region).nodes.clone();
    let mut kept = Vec::with_capacity(nodes.len());
    for &node in nodes.iter().rev() {
        let read = module.node(node).results.iter().any(|v| live.contains(&v.index()));
        if !read && !has_effect(module, node) && cx.has_fuel() {
            cx.fired(&REMOVE_UNREAD, &module.node(node).loc);
            continue;
        }
        for inner in module.node(node).regions.clone() {
            sweep(module, inner, cx);
        }
        live.extend(module.node(node).operands.iter().map(|v| v.index()));
        kept.push(node);
    }
    kept.reverse();
    module.region_mut(region).nodes = kept;
}

/// Whether running the node matters beyond its results: it defines symbols.
pub(crate) fn has_effect(module: &Module, node: NodeId) -> bool {
    match module.form(node) {
        Form::ReadExtents(_) => true,
        _ => module.node(node).results.is_empty(),
    }
}
