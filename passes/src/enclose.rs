//! enclose - several nodes as one: what they read from outside, the node that owns them, and regions that are no such node's.

use nnc_ir::{
    Module,
    graph::{NodeId, RegionId, ValueId, merge_locs},
    ops::Op,
};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::pass::Bug;

/// Values that nodes read and do not make, in order.
pub(crate) fn captures(module: &Module, nodes: &[NodeId]) -> Vec<ValueId> {
    let results = nodes.iter().flat_map(|&n| module.node(n).results.iter().copied());
    let mut seen: FxHashSet<ValueId> = results.collect();
    let read = nodes.iter().flat_map(|&n| module.node(n).operands.iter().copied());
    read.filter(|&v| seen.insert(v)).collect()
}

/// A node with a region of copies of `nodes`, which are in order, that reads what they capture and gives `results`. It is
/// in no region yet.
pub(crate) fn enclose(
    module: &mut Module,
    pass: &'static str,
    op: impl Into<Op>,
    nodes: &[NodeId],
    results: &[ValueId],
) -> Result<NodeId, Bug> {
    let bug = |message: String| Bug { pass: pass.into(), message };
    let operands = captures(module, nodes);
    let body = module.add_region();
    let mut inner: FxHashMap<ValueId, ValueId> = FxHashMap::default();
    for &value in &operands {
        let param = module.add_param(body, module.ty(value).clone());
        inner.insert(value, param);
    }
    for &node in nodes {
        let node = module.node(node).clone();
        let operands: Vec<ValueId> = node.operands.iter().map(|v| inner[v]).collect();
        let results = module.append(body, node.op, &operands, &node.regions, &node.loc).map_err(bug)?;
        inner.extend(node.results.into_iter().zip(results));
    }
    module.set_results(body, results.iter().map(|v| inner[v]).collect());
    let loc = merge_locs(nodes.iter().map(|&n| &module.node(n).loc));
    module.make_node(op.into(), &operands, &[body], &loc).map_err(bug)
}

/// Reachable regions but those that nodes of some operations own.
pub(crate) fn regions_outside(module: &Module, owns: impl Fn(&Op) -> bool) -> Vec<RegionId> {
    let regions = module.nested_regions(module.body());
    let nodes = regions.iter().flat_map(|&r| &module.region(r).nodes).map(|&n| module.node(n));
    let bodies: FxHashSet<RegionId> =
        nodes.filter(|n| owns(&n.op)).flat_map(|n| n.regions.iter().copied()).collect();
    regions.into_iter().filter(|r| !bodies.contains(r)).collect()
}
