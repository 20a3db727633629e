//! island - which nodes go into one e-graph: connected, pure, of one result, and not too many.

use nnc_ir::{
    Module,
    form::Form,
    graph::{NodeId, RegionId, ValueId},
    ops::{Op, OpKind},
};
use rustc_hash::FxHashMap;

use super::site::is_pointwise;

/// Most nodes of an island; a larger group is split where program order reaches it.
const MAX_NODES: usize = 96;

/// Whether laws look at such nodes; others are where islands end.
fn belongs(module: &Module, node: NodeId) -> bool {
    let this = module.node(node);
    let kind = this.op.kind();
    let moves = matches!(
        kind,
        OpKind::Broadcast
            | OpKind::Transpose
            | OpKind::Reshape
            | OpKind::Concat
            | OpKind::MatMul
            | OpKind::Contract
            | OpKind::Conv
    );
    (moves || is_pointwise(kind))
        && this.results.len() == 1
        && matches!(module.form(node), Form::Loops(_) | Form::View | Form::Concat { .. })
}

/// Regions whose nodes may be rewritten: not those of fusions, which are kernels already.
pub(super) fn regions(module: &Module) -> Vec<RegionId> {
    let all = module.nested_regions(module.body());
    let nodes = all.iter().flat_map(|&r| &module.region(r).nodes);
    let fusions = nodes.filter(|&&n| matches!(module.node(n).op, Op::Fusion(_)));
    let inside: Vec<RegionId> = fusions.flat_map(|&n| module.node(n).regions.clone()).collect();
    all.into_iter().filter(|r| !inside.contains(r)).collect()
}

/// The islands of a region, in the order of their first nodes; nodes in program order.
pub(super) fn islands(module: &Module, region: RegionId) -> Vec<Vec<NodeId>> {
    let mut of: FxHashMap<ValueId, usize> = FxHashMap::default();
    let mut islands: Vec<Vec<NodeId>> = Vec::new();
    // An island that joined another is empty, and stands for it.
    let mut now: Vec<usize> = Vec::new();
    fn find(now: &[usize], mut at: usize) -> usize {
        while now[at] != at {
            at = now[at];
        }
        at
    }
    for &node in &module.region(region).nodes {
        if !belongs(module, node) {
            continue;
        }
        let mut mine = islands.len();
        islands.push(vec![node]);
        now.push(mine);
        for operand in &module.node(node).operands {
            let Some(&other) = of.get(operand) else { continue };
            let other = find(&now, other);
            if other != mine && islands[other].len() + islands[mine].len() <= MAX_NODES {
                let (to, from) = (other.min(mine), other.max(mine));
                let moved = std::mem::take(&mut islands[from]);
                islands[to].extend(moved);
                now[from] = to;
                mine = to;
            }
        }
        of.insert(module.node(node).results[0], mine);
    }
    let place: FxHashMap<NodeId, usize> =
        module.region(region).nodes.iter().enumerate().map(|(i, &n)| (n, i)).collect();
    islands.retain(|island| island.len() > 1);
    for island in &mut islands {
        island.sort_by_key(|n| place[n]);
    }
    islands
}
