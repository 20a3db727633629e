//! cluster - nodes that will be one fusion, who reads what, and fusions put in the place of clusters.

use nnc_ir::{
    Module,
    compose::fuse_nodes,
    definitions::Definitions,
    form::{Class, Form, LoopForm},
    graph::{NodeId, RegionId, ValueId},
    ops::Fusion,
};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::{
    enclose::{captures, enclose},
    pass::Bug,
};

/// Nodes that compose to one nest.
#[derive(Clone, Debug)]
pub(super) struct Cluster {
    /// In program order.
    pub(super) nodes: Vec<NodeId>,
    /// What it gives, in program order.
    pub(super) results: Vec<ValueId>,
    /// The nest; its loads number `operands`.
    pub(super) form: LoopForm,
    /// What the nest reads.
    pub(super) operands: Vec<ValueId>,
    /// Values from outside that its nodes read, in order.
    pub(super) captures: Vec<ValueId>,
}

impl Cluster {
    /// The cluster of these nodes.
    pub(super) fn of(module: &Module, nodes: Vec<NodeId>, results: Vec<ValueId>) -> Result<Self, String> {
        let (form, operands) = fuse_nodes(module, &nodes, &results)?;
        let captures = captures(module, &nodes);
        Ok(Self { nodes, results, form, operands, captures })
    }

    /// The cluster of one node, if that is a nest with one result.
    pub(super) fn of_node(module: &Module, node: NodeId) -> Option<Self> {
        nest(module, node)?;
        Self::of(module, vec![node], module.node(node).results.clone()).ok()
    }

    /// Whether it sums or compares elements.
    pub(super) fn reduces(&self) -> bool {
        self.form.combine.is_some()
    }

    /// Whether it moves elements and nothing else.
    pub(super) fn moves(&self, module: &Module) -> bool {
        self.nodes.iter().all(|&n| nest(module, n).is_some_and(|f| f.class() == Class::Movement))
    }

    /// The nodes of both, in program order.
    pub(super) fn with(&self, other: &Self, readers: &Readers) -> Vec<NodeId> {
        let mut both: Vec<NodeId> = other.nodes.iter().copied().filter(|n| !self.nodes.contains(n)).collect();
        both.extend(&self.nodes);
        both.sort_by_key(|n| readers.position(*n));
        both
    }
}

/// The nest of a node with one result.
pub(super) fn nest(module: &Module, node: NodeId) -> Option<LoopForm> {
    match module.form(node) {
        Form::Loops(form) if module.node(node).results.len() == 1 => Some(form),
        _ => None,
    }
}

/// Who reads each value of a region; a result of the region has a reader besides the nodes.
pub(super) struct Readers {
    positions: FxHashMap<NodeId, usize>,
    nodes: FxHashMap<ValueId, Vec<NodeId>>,
    results: FxHashSet<ValueId>,
    /// Positions of nodes that define symbols: order across them matters.
    barriers: Vec<usize>,
}

impl Readers {
    pub(super) fn of(module: &Module, region: RegionId, definitions: &Definitions) -> Self {
        let mut nodes: FxHashMap<ValueId, Vec<NodeId>> = FxHashMap::default();
        let mut barriers = Vec::new();
        for (at, &node) in module.region(region).nodes.iter().enumerate() {
            for &value in &module.node(node).operands {
                let readers = nodes.entry(value).or_default();
                if readers.last() != Some(&node) {
                    readers.push(node);
                }
            }
            if !definitions.of_node(node).is_empty() {
                barriers.push(at);
            }
        }
        let positions = module.region(region).nodes.iter().enumerate().map(|(i, &n)| (n, i)).collect();
        let results = module.region(region).results.iter().copied().collect();
        Self { positions, nodes, results, barriers }
    }

    /// Place of a node in its region.
    pub(super) fn position(&self, node: NodeId) -> usize {
        self.positions.get(&node).copied().unwrap_or(usize::MAX)
    }

    /// Nodes that read the value, in order.
    pub(super) fn of_value(&self, value: ValueId) -> &[NodeId] {
        self.nodes.get(&value).map_or(&[], |n| n)
    }

    /// Whether the region gives the value.
    pub(super) fn is_result(&self, value: ValueId) -> bool {
        self.results.contains(&value)
    }

    /// Whether nobody but `nodes` reads the value.
    pub(super) fn all_in(&self, value: ValueId, nodes: &[NodeId]) -> bool {
        !self.is_result(value)
            && !self.of_value(value).is_empty()
            && self.of_value(value).iter().all(|n| nodes.contains(n))
    }

    /// Whether a node between the two places defines a symbol.
    pub(super) fn parted(&self, from: usize, to: usize) -> bool {
        self.barriers.iter().any(|b| (from..=to).contains(b))
    }
}

/// The clusters that stay, as nodes of the region.
pub(super) struct Units {
    /// By number; what another took in is gone.
    pub(super) list: Vec<Option<Cluster>>,
    /// Which one gives a value.
    pub(super) of_value: FxHashMap<ValueId, usize>,
    /// Nodes of no cluster.
    plain: Vec<NodeId>,
}

impl Units {
    /// Of all clusters, each the one of its last node, those that something outside of all other clusters needs. A node
    /// that nobody reads stays.
    pub(super) fn needed(
        module: &Module,
        region: RegionId,
        readers: &Readers,
        mut clusters: FxHashMap<NodeId, Cluster>,
    ) -> Self {
        let nodes = &module.region(region).nodes;
        let mut needed: FxHashSet<ValueId> = module.region(region).results.iter().copied().collect();
        let mut units = Self { list: Vec::new(), of_value: FxHashMap::default(), plain: Vec::new() };
        for &node in nodes.iter().rev() {
            let results = &module.node(node).results;
            let Some(cluster) = clusters.remove(&node) else {
                needed.extend(&module.node(node).operands);
                units.plain.push(node);
                continue;
            };
            let unread = results.iter().all(|&v| readers.of_value(v).is_empty());
            if unread || results.iter().any(|v| needed.contains(v)) {
                needed.extend(&cluster.captures);
                units.list.push(Some(cluster));
            }
        }
        units.list.reverse();
        for (number, cluster) in units.list.iter().enumerate() {
            let results = cluster.iter().flat_map(|c| &c.results);
            units.of_value.extend(results.map(|&v| (v, number)));
        }
        units
    }

    /// The cluster of a number.
    pub(super) fn get(&self, number: usize) -> Option<&Cluster> {
        self.list.get(number)?.as_ref()
    }

    /// Puts fusion nodes in the place of clusters with more than one node. Nodes that only fusions read go away.
    pub(super) fn emit(self, module: &mut Module, region: RegionId) -> Result<(), Bug> {
        let mut walk = Emission {
            units: &self,
            nodes: Vec::new(),
            map: FxHashMap::default(),
            placed: vec![false; self.list.len()],
            waiting: self.plain.iter().copied().collect(),
        };
        for node in module.region(region).nodes.clone() {
            if walk.waiting.contains(&node) {
                walk.keep(module, node)?;
            } else if let Some(number) = self.ending_in(module, node) {
                walk.place(module, number)?;
            }
        }
        let Emission { nodes, map, .. } = walk;
        // Only now: clusters may hold copies of nodes that stay.
        for &node in &nodes {
            for operand in &mut module.node_mut(node).operands {
                *operand = map.get(operand).copied().unwrap_or(*operand);
            }
        }
        let region = module.region_mut(region);
        region.nodes = nodes;
        for result in &mut region.results {
            *result = map.get(result).copied().unwrap_or(*result);
        }
        Ok(())
    }

    /// The cluster whose last result the node gives.
    fn ending_in(&self, module: &Module, node: NodeId) -> Option<usize> {
        let &number = self.of_value.get(module.node(node).results.first()?)?;
        let last = module.def_node(*self.get(number)?.results.last()?)?;
        (last == node).then_some(number)
    }
}

/// The region as it will be, so far.
struct Emission<'u> {
    units: &'u Units,
    nodes: Vec<NodeId>,
    map: FxHashMap<ValueId, ValueId>,
    placed: Vec<bool>,
    /// Nodes of no cluster that have no place yet.
    waiting: FxHashSet<NodeId>,
}

impl Emission<'_> {
    fn keep(&mut self, module: &mut Module, node: NodeId) -> Result<(), Bug> {
        self.waiting.remove(&node);
        let operands = module.node(node).operands.clone();
        self.define(module, &operands)?;
        self.nodes.push(node);
        Ok(())
    }

    /// Places what gives the values: a cluster of several results stands where its last one stood, unless the first is
    /// read before.
    fn define(&mut self, module: &mut Module, values: &[ValueId]) -> Result<(), Bug> {
        for value in values {
            if let Some(&number) = self.units.of_value.get(value) {
                self.place(module, number)?;
            } else if let Some(node) = module.def_node(*value).filter(|n| self.waiting.contains(n)) {
                self.keep(module, node)?;
            }
        }
        Ok(())
    }

    fn place(&mut self, module: &mut Module, number: usize) -> Result<(), Bug> {
        if std::mem::replace(&mut self.placed[number], true) {
            return Ok(());
        }
        let Some(cluster) = self.units.get(number) else { return Ok(()) };
        if let [node] = cluster.nodes[..] {
            return self.keep(module, node);
        }
        self.define(module, &cluster.captures)?;
        let fusion = enclose(module, "fuse", Fusion {}, &cluster.nodes, &cluster.results)?;
        for operand in &mut module.node_mut(fusion).operands {
            *operand = self.map.get(operand).copied().unwrap_or(*operand);
        }
        let results = module.node(fusion).results.clone();
        self.map.extend(cluster.results.iter().copied().zip(results));
        self.nodes.push(fusion);
        Ok(())
    }
}
