//! place - puts the chosen forms of an island into its region, in place of its nodes.

use egg::{Id, Language};
use nnc_ir::{
    Module,
    constant::Constant,
    graph::{NodeId, Provenance, RegionId, ValueId, merge_locs},
    ops::ConstantOp,
};
use rustc_hash::{FxHashMap, FxHashSet};

use super::{
    graph::Graph,
    search::{Found, Island},
    term::{Leaf, Term},
};
use crate::pass::Bug;

/// Under way through a region.
struct Placing<'a> {
    module: &'a mut Module,
    graph: &'a Graph,
    island: &'a Island,
    found: &'a Found,
    /// What stands for each class.
    values: FxHashMap<Id, ValueId>,
    /// What may be read here.
    defined: FxHashSet<ValueId>,
    nodes: Vec<NodeId>,
}

/// Whether every root can be computed where it is: a form found for it may read what comes later.
pub(super) fn fits(module: &Module, region: RegionId, graph: &Graph, island: &Island, found: &Found) -> bool {
    let place: FxHashMap<NodeId, usize> =
        module.region(region).nodes.iter().enumerate().map(|(i, &n)| (n, i)).collect();
    island.roots.iter().all(|&(node, id)| {
        let (mut open, mut seen) = (vec![graph.class(id)], FxHashSet::default());
        while let Some(class) = open.pop() {
            if !seen.insert(class) || found.constants.contains_key(&class) {
                continue;
            }
            let form = found.forms[&class];
            match graph.term(form) {
                Term::Leaf(at) => {
                    let (leaf, constant) = &graph.egg.analysis.leaves[*at as usize];
                    let Leaf::Value(value) = leaf else { continue };
                    let at = module.def_node(*value).and_then(|n| place.get(&n));
                    if constant.is_none() && at.is_some_and(|at| *at >= place[&node]) {
                        return false;
                    }
                }
                Term::Apply(_, operands) => open.extend(operands.iter().map(|&c| graph.class(c))),
            }
        }
        true
    })
}

/// Replaces the nodes of the island.
pub(super) fn place(
    module: &mut Module,
    region: RegionId,
    graph: &Graph,
    island: &Island,
    found: &Found,
) -> Result<(), Bug> {
    let old = std::mem::take(&mut module.region_mut(region).nodes);
    let defined = module.region(region).params.iter().copied().collect();
    let mut at = Placing {
        module,
        graph,
        island,
        found,
        values: FxHashMap::default(),
        defined,
        nodes: Vec::with_capacity(old.len()),
    };
    let mut map: FxHashMap<ValueId, ValueId> = FxHashMap::default();
    for node in old {
        let Some(&id) = island.ids.get(&node) else {
            for operand in &mut at.module.node_mut(node).operands {
                *operand = map.get(operand).copied().unwrap_or(*operand);
            }
            at.push(node);
            continue;
        };
        let class = graph.class(id);
        let is_root = island.roots.iter().any(|&(root, _)| root == node);
        if is_root || (found.needed.contains(&class) && at.is_ready(class)) {
            let value = at.emit(class)?;
            let result = at.module.node(node).results[0];
            if is_root && value != result {
                map.insert(result, value);
            }
        }
    }
    let nodes = at.nodes;
    let region = module.region_mut(region);
    region.nodes = nodes;
    for result in &mut region.results {
        *result = map.get(result).copied().unwrap_or(*result);
    }
    Ok(())
}

impl Placing<'_> {
    fn push(&mut self, node: NodeId) {
        self.nodes.push(node);
        self.defined.extend(&self.module.node(node).results);
    }

    /// Pushes a node of one result.
    fn push_one(&mut self, node: NodeId) -> ValueId {
        self.push(node);
        self.module.node(node).results[0]
    }

    /// Whether everything that a class reads is there.
    fn is_ready(&self, class: Id) -> bool {
        let (mut open, mut seen) = (vec![class], FxHashSet::default());
        while let Some(class) = open.pop() {
            if !seen.insert(class)
                || self.values.contains_key(&class)
                || self.found.constants.contains_key(&class)
            {
                continue;
            }
            match self.graph.term(self.found.forms[&class]) {
                Term::Leaf(at) => {
                    let (leaf, _) = &self.graph.egg.analysis.leaves[*at as usize];
                    if matches!(leaf, Leaf::Value(value) if !self.defined.contains(value)) {
                        return false;
                    }
                }
                Term::Apply(_, operands) => open.extend(operands.iter().map(|&c| self.graph.class(c))),
            }
        }
        true
    }

    fn emit(&mut self, class: Id) -> Result<ValueId, Bug> {
        if let Some(&value) = self.values.get(&class) {
            return Ok(value);
        }
        let form = self.found.forms[&class];
        let value = match (self.found.constants.get(&class), self.graph.term(form)) {
            (Some(constant), _) => self.constant(constant, form)?,
            (None, Term::Leaf(at)) => match &self.graph.egg.analysis.leaves[*at as usize] {
                (Leaf::Value(value), None) => *value,
                (Leaf::Value(value), Some(_)) if self.defined.contains(value) => *value,
                (_, Some(constant)) => self.constant(constant, form)?,
                (Leaf::New(constant), None) => self.constant(constant, form)?,
            },
            (None, Term::Apply(op, _)) => {
                let mut operands = Vec::new();
                for &child in self.graph.term(form).children() {
                    operands.push(self.emit(self.graph.class(child))?);
                }
                match self.island.node_of.get(&form) {
                    Some(&node) => {
                        self.module.node_mut(node).operands = operands;
                        self.push_one(node)
                    }
                    None => {
                        let op = self.graph.op(*op).clone();
                        let loc = self.provenance(form);
                        let node = self.module.make_node(op, &operands, &[], &loc);
                        let node = node.map_err(|message| Bug { pass: "egraph".into(), message })?;
                        self.push_one(node)
                    }
                }
            }
        };
        self.values.insert(class, value);
        Ok(value)
    }

    fn constant(&mut self, value: &Constant, form: Id) -> Result<ValueId, Bug> {
        let loc = self.provenance(form);
        let node = self.module.make_node(ConstantOp { value: value.clone() }.into(), &[], &[], &loc);
        let node = node.map_err(|message| Bug { pass: "egraph".into(), message })?;
        Ok(self.push_one(node))
    }

    /// The ONNX nodes that an e-node comes from: of the node that a law was applied to, and of those it looked at.
    fn provenance(&self, form: Id) -> Provenance {
        let (mut open, mut seen, mut nodes) = (vec![form], FxHashSet::default(), Vec::new());
        while let Some(id) = open.pop() {
            if !seen.insert(id) {
                continue;
            }
            if let Some(from) = self.graph.born[usize::from(id)] {
                let joins = self.graph.joins.iter().filter(|join| join.from == from);
                open.extend(
                    joins.filter(|join| self.found.credited.contains(&join.law)).flat_map(|j| &j.seen),
                );
                open.push(from);
            } else if let Some(&node) = self.island.node_of.get(&id) {
                nodes.push(node);
            } else if let Term::Leaf(at) = self.graph.term(id)
                && let Leaf::Value(value) = self.graph.egg.analysis.leaves[*at as usize].0
            {
                nodes.extend(self.module.def_node(value));
            }
        }
        nodes.sort_unstable();
        merge_locs(nodes.into_iter().map(|node| &self.module.node(node).loc))
    }
}
