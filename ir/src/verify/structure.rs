//! structure - V01 to V06 and V11: ids, definitions, order, types.

use rustc_hash::FxHashSet;

use super::{Report, Rule, for_each_node};
use crate::{
    entity::EntityId,
    graph::{Def, Module, Node, NodeId, Provenance, RegionId, ValueId},
};

/// V01 to V04 and V11.
pub(super) fn check(module: &Module, report: &mut Report) {
    let mut walk = Walk {
        module,
        report,
        regions: FxHashSet::default(),
        nodes: FxHashSet::default(),
        values: FxHashSet::default(),
        outer: Provenance::default(),
    };
    walk.region(module.body());
    ports(module, report);
}

struct Walk<'m> {
    module: &'m Module,
    report: &'m mut Report,
    regions: FxHashSet<RegionId>,
    nodes: FxHashSet<NodeId>,
    values: FxHashSet<ValueId>,
    /// Place of the node that owns the region.
    outer: Provenance,
}

impl Walk<'_> {
    fn region(&mut self, id: RegionId) {
        let module = self.module;
        if id.index() >= module.region_ids().count() {
            return self.report.add(Rule::Dangling, &self.outer, format!("there is no region {id:?}"));
        }
        if !self.regions.insert(id) {
            return self.report.add(Rule::Placement, &self.outer, format!("{id:?} has two owners"));
        }
        let region = module.region(id);
        let outer = self.outer.clone();
        let mut defined: FxHashSet<ValueId> = FxHashSet::default();
        for (i, &param) in region.params.iter().enumerate() {
            self.define(param, Def::Param(id, i), &outer, &mut defined);
        }
        for &node_id in &region.nodes {
            if node_id.index() >= module.node_count() {
                self.report.add(Rule::Dangling, &outer, format!("there is no node {node_id:?}"));
                continue;
            }
            let node = module.node(node_id);
            if !self.nodes.insert(node_id) {
                let message = format!("{node_id:?} ({}) stands in two places", node.op.mnemonic());
                self.report.add(Rule::Placement, &node.loc, message);
                continue;
            }
            self.node(node_id, node, &mut defined);
        }
        for &result in &region.results {
            self.read(result, &outer, &format!("the end of {id:?}"), &defined);
        }
    }

    fn node(&mut self, id: NodeId, node: &Node, defined: &mut FxHashSet<ValueId>) {
        for &operand in &node.operands {
            self.read(operand, &node.loc, node.op.mnemonic(), defined);
        }
        for &region in &node.regions {
            let outer = std::mem::replace(&mut self.outer, node.loc.clone());
            self.region(region);
            self.outer = outer;
        }
        for (i, &result) in node.results.iter().enumerate() {
            self.define(result, Def::Result(id, i), &node.loc, defined);
        }
    }

    fn define(&mut self, value: ValueId, def: Def, loc: &Provenance, defined: &mut FxHashSet<ValueId>) {
        if value.index() >= self.module.value_count() {
            return self.report.add(Rule::Dangling, loc, format!("there is no value {value:?}"));
        }
        if !self.values.insert(value) {
            return self.report.add(Rule::DefinedOnce, loc, format!("{value:?} is defined twice"));
        }
        let says = self.module.value(value).def;
        if says != def {
            let message = format!("{value:?} stands at {def:?}, its definition says {says:?}");
            self.report.add(Rule::Dangling, loc, message);
        }
        defined.insert(value);
    }

    fn read(&mut self, value: ValueId, loc: &Provenance, by: &str, defined: &FxHashSet<ValueId>) {
        if value.index() >= self.module.value_count() {
            self.report.add(Rule::Dangling, loc, format!("{by} reads {value:?}, which does not exist"));
        } else if !defined.contains(&value) {
            let message = format!("{by} reads {value:?}, which is not defined before it in its region");
            self.report.add(Rule::BeforeUse, loc, message);
        }
    }
}

fn ports(module: &Module, report: &mut Report) {
    let body = module.region(module.body());
    for (what, names, values) in
        [("inputs", &module.input_names, &body.params), ("outputs", &module.output_names, &body.results)]
    {
        if names.len() != values.len() {
            report.add_global(Rule::Ports, format!("{} names for {} {what}", names.len(), values.len()));
        }
        let mut seen = FxHashSet::default();
        for name in names {
            if !seen.insert(name) {
                report.add_global(Rule::Ports, format!("two {what} have the name '{name}'"));
            }
        }
    }
}

/// V05 and V06, for modules whose structure holds.
pub(super) fn check_types(module: &Module, report: &mut Report) {
    for_each_node(module, &mut |_, id| {
        let node = module.node(id);
        let inferred = match module.infer(&node.op, &node.operands, &node.regions) {
            Ok(types) => types,
            Err(message) => return report.add(Rule::Accepted, &node.loc, message),
        };
        let mnemonic = node.op.mnemonic();
        if inferred.len() != node.results.len() {
            let message = format!("{mnemonic} has {} results, gives {}", node.results.len(), inferred.len());
            return report.add(Rule::ResultTypes, &node.loc, message);
        }
        for (&value, want) in node.results.iter().zip(&inferred) {
            let have = module.ty(value);
            if have != want {
                let message = format!("{mnemonic}: {value:?} is {have}, inferred is {want}");
                report.add(Rule::ResultTypes, &node.loc, message);
            }
        }
    });
}
