//! emit - puts a fusion in the place of its nodes.

use nnc_ir::{
    Module,
    graph::{NodeId, RegionId, ValueId, merge_locs},
    ops::Fusion,
};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::pass::Bug;

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
    let bug = |message: String| Bug { pass: "fuse-rows".into(), message };
    let inner: FxHashSet<ValueId> =
        plan.nodes.iter().flat_map(|&n| module.node(n).results.iter().copied()).collect();
    let mut operands: Vec<ValueId> = Vec::new();
    for value in plan.nodes.iter().flat_map(|&n| module.node(n).operands.iter().copied()) {
        if !inner.contains(&value) && !operands.contains(&value) {
            operands.push(value);
        }
    }
    let body = module.add_region();
    let mut map: FxHashMap<ValueId, ValueId> = FxHashMap::default();
    for &value in &operands {
        let param = module.add_param(body, module.ty(value).clone());
        map.insert(value, param);
    }
    for &node in &plan.nodes {
        let node = module.node(node).clone();
        let operands: Vec<ValueId> = node.operands.iter().map(|v| map[v]).collect();
        let results = module.append(body, node.op, &operands, &[], &node.loc).map_err(bug)?;
        map.extend(node.results.into_iter().zip(results));
    }
    module.set_results(body, plan.results.iter().map(|v| map[v]).collect());
    let loc = merge_locs(plan.nodes.iter().map(|&n| &module.node(n).loc));
    let fusion = module.make_node(Fusion {}.into(), &operands, &[body], &loc).map_err(bug)?;
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
