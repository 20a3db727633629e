//! siblings - contractions by constants that read one value, and who reads what.

use nnc_ir::{
    Module,
    constant::Constant,
    graph::{NodeId, RegionId, ValueId},
    ops::Op,
};
use rustc_hash::{FxHashMap, FxHashSet};

/// A contraction among its siblings.
#[derive(Clone)]
pub(super) struct Member {
    /// The contraction.
    pub(super) node: NodeId,
    /// Its right side.
    pub(super) weight: Constant,
    /// Its channels.
    pub(super) width: i64,
}

/// The axis of a weight along which channels of the result run.
pub(super) fn weight_axis(op: &Op, rank: usize) -> usize {
    if matches!(op, Op::Conv(_)) { 0 } else { rank - 1 }
}

/// Contractions of `region` that could be one, in groups of two and more, in order.
pub(super) fn find(module: &Module, region: RegionId) -> Vec<Vec<Member>> {
    let mut groups: Vec<Vec<Member>> = Vec::new();
    let mut reading: FxHashMap<ValueId, Vec<usize>> = FxHashMap::default();
    for &node in &module.region(region).nodes {
        let Some(member) = member(module, node) else { continue };
        let known = reading.entry(module.node(node).operands[0]).or_default();
        match known.iter().find(|&&g| alike(module, &groups[g][0], &member)) {
            Some(&g) => groups[g].push(member),
            None => {
                known.push(groups.len());
                groups.push(vec![member]);
            }
        }
    }
    groups.retain(|g| g.len() > 1);
    groups
}

fn member(module: &Module, node: NodeId) -> Option<Member> {
    let this = module.node(node);
    let fits = match &this.op {
        Op::Conv(conv) => conv.groups == 1,
        Op::MatMul(_) => true,
        _ => false,
    };
    if !fits {
        return None;
    }
    let weight = module.as_constant(this.operands[1])?.clone();
    let width = weight.dims()[weight_axis(&this.op, weight.dims().len())];
    (width > 0).then_some(Member { node, weight, width })
}

/// Whether two that read one value differ in the number of channels alone.
fn alike(module: &Module, a: &Member, b: &Member) -> bool {
    let op = &module.node(a.node).op;
    let axis = weight_axis(op, a.weight.dims().len());
    let off_axis = |m: &Member| {
        let dims = m.weight.dims().iter().enumerate();
        dims.filter(|(i, _)| *i != axis).map(|(_, &d)| d).collect::<Vec<_>>()
    };
    *op == module.node(b.node).op && a.weight.dtype() == b.weight.dtype() && off_axis(a) == off_axis(b)
}

/// Who reads each value of a region.
pub(super) struct Readers {
    nodes: FxHashMap<ValueId, Vec<NodeId>>,
    results: FxHashSet<ValueId>,
}

impl Readers {
    pub(super) fn of(module: &Module, region: RegionId) -> Self {
        let mut nodes: FxHashMap<ValueId, Vec<NodeId>> = FxHashMap::default();
        let region = module.region(region);
        for &node in &region.nodes {
            for &value in &module.node(node).operands {
                let readers = nodes.entry(value).or_default();
                if readers.last() != Some(&node) {
                    readers.push(node);
                }
            }
        }
        Self { nodes, results: region.results.iter().copied().collect() }
    }

    /// Nodes that read it, each once.
    pub(super) fn of_value(&self, value: ValueId) -> &[NodeId] {
        self.nodes.get(&value).map_or(&[], Vec::as_slice)
    }

    /// Whether the region gives it.
    pub(super) fn is_result(&self, value: ValueId) -> bool {
        self.results.contains(&value)
    }
}
