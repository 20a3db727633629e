//! eliminate-common - keeps one of several nodes that compute the same.
//!
//! ```nnir
//! nnir 1
//! phase imported
//! module (%0 "x" : f32[4]) {
//!   %1 = exp %0 : f32[4] loc("a")
//!   %2 = exp %0 : f32[4] loc("b")
//!   %3 = add %1, %2 : f32[4] loc("c")
//!   return %3 "y"
//! }
//! ```
//! becomes
//! ```nnir
//! nnir 1
//! phase imported
//! module (%0 "x" : f32[4]) {
//!   %1 = exp %0 : f32[4] loc("a","b")
//!   %2 = add %1, %1 : f32[4] loc("c")
//!   return %2 "y"
//! }
//! ```
//!
//! Two nodes of one region compute the same if operation, attributes and operands are equal. Nodes with regions and nodes
//! that define symbols are left alone. Exact.

use nnc_ir::{
    Module,
    form::Form,
    graph::{NodeId, RegionId, ValueId, merge_locs},
    ops::Op,
};
use rustc_hash::FxHashMap;

use crate::{
    pass::{Bug, Exactness, PassCx, Rule},
    rewrite::{Action, Cursor, rewrite},
};

pub(crate) const RULES: &[&Rule] = &[&KEEP_ONE];

static KEEP_ONE: Rule = Rule {
    name: "keep-one",
    law: "two pure nodes of one region with the same operation and operands = the first of them",
    source: "Cocke, Global common subexpression elimination, 1970",
    exactness: Exactness::Exact,
};

#[expect(clippy::mutable_key_type, reason = "a constant keeps its digest once computed; it hashes by it")]
pub(crate) fn run(module: &mut Module, cx: &mut PassCx<'_>) -> Result<(), Bug> {
    let home = regions_of_nodes(module);
    let mut seen: FxHashMap<(RegionId, Op, Vec<ValueId>), NodeId> = FxHashMap::default();
    rewrite(module, "eliminate-common", &mut |cursor: &mut Cursor<'_>, node| {
        if !cx.has_fuel() || !is_pure(cursor.module, node) {
            return Ok(Action::Keep);
        }
        let this = cursor.module.node(node);
        let key = (home[&node], this.op.clone(), this.operands.clone());
        let Some(&first) = seen.get(&key) else {
            seen.insert(key, node);
            return Ok(Action::Keep);
        };
        cx.fired(&KEEP_ONE, &cursor.module.node(node).loc);
        let loc = merge_locs([&cursor.module.node(first).loc, &cursor.module.node(node).loc]);
        cursor.module.node_mut(first).loc = loc;
        Ok(Action::Replace(cursor.module.node(first).results.clone()))
    })
}

fn regions_of_nodes(module: &Module) -> FxHashMap<NodeId, RegionId> {
    let regions = module.nested_regions(module.body());
    regions.into_iter().flat_map(|r| module.region(r).nodes.iter().map(move |&n| (n, r))).collect()
}

fn is_pure(module: &Module, node: NodeId) -> bool {
    module.node(node).regions.is_empty()
        && match module.form(node) {
            Form::ReadExtents(_) => false,
            Form::Extern(e) => e.defines.is_empty(),
            _ => true,
        }
}
