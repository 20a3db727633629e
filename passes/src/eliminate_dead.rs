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

use crate::pass::{Bug, Changed, PassCx};

pub(crate) fn run(module: &mut Module, _: &mut PassCx<'_>) -> Result<Changed, Bug> {
    let mut removed = 0;
    loop {
        let round = sweep(module, module.body());
        removed += round;
        if round == 0 {
            return Ok(Changed(removed));
        }
    }
}

/// Removes dead nodes of `region` and the regions inside, last node first.
fn sweep(module: &mut Module, region: RegionId) -> usize {
    let mut live: FxHashSet<usize> = module.region(region).results.iter().map(|v| v.index()).collect();
    let nodes = module.region(region).nodes.clone();
    let mut kept = Vec::with_capacity(nodes.len());
    let mut removed = 0;
    for &node in nodes.iter().rev() {
        if !has_effect(module, node) && !module.node(node).results.iter().any(|v| live.contains(&v.index())) {
            removed += 1;
            continue;
        }
        for inner in module.node(node).regions.clone() {
            removed += sweep(module, inner);
        }
        live.extend(module.node(node).operands.iter().map(|v| v.index()));
        kept.push(node);
    }
    kept.reverse();
    module.region_mut(region).nodes = kept;
    removed
}

/// Whether running the node matters beyond its results: it defines symbols.
fn has_effect(module: &Module, node: NodeId) -> bool {
    match module.form(node) {
        Form::ReadExtents(_) => true,
        _ => module.node(node).results.is_empty(),
    }
}
