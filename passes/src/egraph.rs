//! egraph - looks for the cheapest of all forms that algebraic laws give a group of nodes.
//!
//! ```nnir
//! nnir 1
//! phase imported
//! module (%0 "x" : f32[64,8]) {
//!   %1 = transpose %0 {perm=[1,0]} : f32[8,64] loc("t1")
//!   %2 = tanh %1 : f32[8,64] loc("tanh")
//!   %3 = transpose %2 {perm=[1,0]} : f32[64,8] loc("t2")
//!   return %3 "y"
//! }
//! ```
//! becomes
//! ```nnir
//! nnir 1
//! phase imported
//! module (%0 "x" : f32[64,8]) {
//!   %1 = tanh %0 : f32[64,8] loc("t1","tanh")
//!   return %1 "y"
//! }
//! ```
//!
//! An *island* is a connected group of pure nodes of one region. Its e-graph (Willsey et al., egg: fast and extensible
//! equality saturation, POPL 2021) holds every form that the laws in `egraph/laws/` give it, within limits of turns and
//! forms; from it the forms are chosen that together cost least by `cost`, each shared one counted once. The input is
//! kept unless that is strictly cheaper. Products of constants are computed only once they are chosen.
//!
//! Reading order: `island` (which nodes), `term` and `graph` (the e-graph), `site` and any file of `laws` (the laws),
//! `search` (what is done with one), `extract`, `credit`, `place`.
//!
//! It does not fire where no law fits; where the cheapest form found is not cheaper (a miss gives both figures); where a
//! joint constant would overflow, underflow or be too large; inside fusions. No law that rounds applies to what a step
//! (`round`, a cast to integers, a comparison) reads, directly or by way of pointwise work and movements: a last place
//! more or less could be another integer there. A replacement is whole: it needs fuel for
//! every law it rests on. Rounding; most laws are Exact, and each says so.

mod credit;
mod extract;
mod graph;
mod island;
mod laws;
mod place;
mod price;
mod saturate;
mod search;
mod site;
mod term;

use std::collections::BTreeSet;

use nnc_ir::{
    Module,
    graph::{NodeId, RegionId, ValueId},
};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::pass::{Bug, PassCx, Rule};
use search::Outcome;

pub(crate) const RULES: &[&Rule] = laws::RULES;

pub(crate) fn run(module: &mut Module, cx: &mut PassCx<'_>) -> Result<(), Bug> {
    for region in island::regions(module) {
        for nodes in island::islands(module, region) {
            if !cx.has_fuel() || !replace(module, region, &nodes, cx)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Replaces an island by something cheaper, if there is; false if there was no fuel for it.
fn replace(
    module: &mut Module,
    region: RegionId,
    nodes: &[NodeId],
    cx: &mut PassCx<'_>,
) -> Result<bool, Bug> {
    let readers = readers_outside(module, region, nodes);
    let (mut graph, island) = search::build(module, nodes, &readers);
    let Some(&(last, _)) = island.roots.last() else { return Ok(true) };
    let found = match search::search(module, cx.target, cx.consts, &mut graph, &island) {
        Outcome::Nothing => return Ok(true),
        Outcome::Kept(reason) => {
            cx.miss(module, last, reason);
            return Ok(true);
        }
        Outcome::Cheaper(found) => found,
    };
    if !place::fits(module, region, &graph, &island, &found) {
        cx.miss(module, last, "kept: the cheaper form reads what is computed later");
        return Ok(true);
    }
    // All of a replacement or nothing: half of one is no form that was found.
    if cx.fuel < found.laws.iter().map(BTreeSet::len).sum() {
        return Ok(false);
    }
    for (&(root, _), laws) in island.roots.iter().zip(&found.laws) {
        let loc = module.node(root).loc.clone();
        laws.iter().filter_map(|&at| laws::law(at)).for_each(|law| cx.fired(law.rule, &loc));
    }
    place::place(module, region, &graph, &island, &found)?;
    Ok(true)
}

/// Results of `nodes` that others or the region read, with these others.
fn readers_outside(module: &Module, region: RegionId, nodes: &[NodeId]) -> FxHashMap<ValueId, Vec<NodeId>> {
    let inside: FxHashSet<NodeId> = nodes.iter().copied().collect();
    let mut readers: FxHashMap<ValueId, Vec<NodeId>> = FxHashMap::default();
    let is_ours = |value: ValueId| module.def_node(value).is_some_and(|n| inside.contains(&n));
    for &node in module.region(region).nodes.iter().filter(|n| !inside.contains(n)) {
        for &value in module.node(node).operands.iter().filter(|&&v| is_ours(v)) {
            readers.entry(value).or_default().push(node);
        }
    }
    for &value in module.region(region).results.iter().filter(|&&v| is_ours(v)) {
        readers.entry(value).or_default();
    }
    readers
}
