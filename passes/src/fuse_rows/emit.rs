//! emit - puts a fusion in the place of its nodes.

use nnc_ir::{
    Module,
    graph::{NodeId, RegionId, ValueId},
    ops::Fusion,
};
use rustc_hash::FxHashMap;

use crate::{enclose::enclose, pass::Bug};

/// A region with a fusion to be made.
pub(super) struct Plan {
    /// Nodes before the fusion, with movements of which it holds copies.
    pub(super) before: Vec<NodeId>,
    /// Those in it.
    pub(super) nodes: Vec<NodeId>,
    /// Their values that others read.
    pub(super) results: Vec<ValueId>,
    /// Nodes after it.
    pub(super) after: Vec<NodeId>,
}

/// Makes the fusion.
pub(super) fn emit(module: &mut Module, region: RegionId, plan: &Plan) -> Result<NodeId, Bug> {
    let fusion = enclose(module, "fuse-rows", Fusion {}, &plan.nodes, &plan.results)?;
    let made = module.node(fusion).results.clone();
    let new: FxHashMap<ValueId, ValueId> = plan.results.iter().copied().zip(made).collect();
    for &node in &plan.after {
        for operand in &mut module.node_mut(node).operands {
            *operand = new.get(operand).copied().unwrap_or(*operand);
        }
    }
    let nodes = plan.before.iter().copied().chain([fusion]).chain(plan.after.iter().copied()).collect();
    let region = module.region_mut(region);
    region.nodes = nodes;
    for result in &mut region.results {
        *result = new.get(result).copied().unwrap_or(*result);
    }
    Ok(fusion)
}
