//! rewrite - walks a region in order and replaces nodes: what most passes are made of.

use nnc_ir::{
    Module,
    graph::{NodeId, Provenance, RegionId, ValueId},
    ops::Op,
};
use rustc_hash::FxHashMap;

use crate::pass::{Bug, PassCx, Rule};

/// What to do with a node.
pub(crate) enum Action {
    /// It stays.
    Keep,
    /// Its results are these values instead, of the same types; the node goes away.
    Replace(Vec<ValueId>),
}

/// A rule and how it is applied to a node: what stands for the node's one result, if it fits. It makes nodes only if it
/// does.
pub(crate) type Apply = (&'static Rule, fn(&mut Cursor<'_>, NodeId) -> Result<Option<ValueId>, Bug>);

/// Walks every reachable region and applies to each node the first of `rules` that fits.
pub(crate) fn apply_rules(
    module: &mut Module,
    pass: &'static str,
    rules: &[Apply],
    cx: &mut PassCx<'_>,
) -> Result<(), Bug> {
    rewrite(module, pass, &mut |cursor: &mut Cursor<'_>, node| {
        for (rule, apply) in rules {
            if !cx.has_fuel() {
                break;
            }
            if let Some(value) = apply(cursor, node)? {
                cx.fired(rule, &cursor.module.node(node).loc);
                return Ok(Action::Replace(vec![value]));
            }
        }
        Ok(Action::Keep)
    })
}

/// The place of a walk: new nodes go before the node being looked at.
pub(crate) struct Cursor<'m> {
    /// The module. Operands of the current node have been replaced already.
    pub(crate) module: &'m mut Module,
    pass: &'static str,
    nodes: Vec<NodeId>,
}

impl Cursor<'_> {
    /// Adds a node here.
    pub(crate) fn emit(
        &mut self,
        op: impl Into<Op>,
        operands: &[ValueId],
        loc: &Provenance,
    ) -> Result<Vec<ValueId>, Bug> {
        let node = self.module.make_node(op.into(), operands, &[], loc);
        let node = node.map_err(|message| Bug { pass: self.pass.into(), message })?;
        self.nodes.push(node);
        Ok(self.module.node(node).results.clone())
    }

    /// Moves the nodes of `region` here, whose parameters stand for `operands`, and gives what its results are. The node
    /// that owns the region must go.
    pub(crate) fn inline(&mut self, region: RegionId, operands: &[ValueId]) -> Vec<ValueId> {
        let (nodes, results) = take_region(self.module, region, operands);
        self.nodes.extend(nodes);
        results
    }

    /// Adds a node with one result here.
    pub(crate) fn emit1(
        &mut self,
        op: impl Into<Op>,
        operands: &[ValueId],
        loc: &Provenance,
    ) -> Result<ValueId, Bug> {
        Ok(self.emit(op, operands, loc)?[0])
    }
}

/// Walks every reachable region, node by node.
pub(crate) fn rewrite(
    module: &mut Module,
    pass: &'static str,
    f: &mut dyn FnMut(&mut Cursor<'_>, NodeId) -> Result<Action, Bug>,
) -> Result<(), Bug> {
    for region in module.nested_regions(module.body()) {
        rewrite_region(module, region, pass, f)?;
    }
    Ok(())
}

fn rewrite_region(
    module: &mut Module,
    region: RegionId,
    pass: &'static str,
    f: &mut dyn FnMut(&mut Cursor<'_>, NodeId) -> Result<Action, Bug>,
) -> Result<(), Bug> {
    let mut map: FxHashMap<ValueId, ValueId> = FxHashMap::default();
    let old = std::mem::take(&mut module.region_mut(region).nodes);
    let mut cursor = Cursor { module, pass, nodes: Vec::with_capacity(old.len()) };
    for node in old {
        for operand in &mut cursor.module.node_mut(node).operands {
            if let Some(&new) = map.get(operand) {
                *operand = new;
            }
        }
        match f(&mut cursor, node)? {
            Action::Keep => cursor.nodes.push(node),
            Action::Replace(values) => {
                let results = cursor.module.node(node).results.clone();
                check_types(cursor.module, pass, &results, &values)?;
                map.extend(results.into_iter().zip(values));
            }
        }
    }
    let nodes = cursor.nodes;
    let region = module.region_mut(region);
    region.nodes = nodes;
    for result in &mut region.results {
        if let Some(&new) = map.get(result) {
            *result = new;
        }
    }
    Ok(())
}

/// Takes the nodes out of `region` and reads `operands` for its parameters: the nodes, and what its results are.
pub(crate) fn take_region(
    module: &mut Module,
    region: RegionId,
    operands: &[ValueId],
) -> (Vec<NodeId>, Vec<ValueId>) {
    let params = module.region(region).params.clone();
    for (&param, &operand) in params.iter().zip(operands) {
        module.replace_uses(region, param, operand);
    }
    let body = module.region_mut(region);
    (std::mem::take(&mut body.nodes), body.results.clone())
}

fn check_types(module: &Module, pass: &'static str, old: &[ValueId], new: &[ValueId]) -> Result<(), Bug> {
    let same = old.len() == new.len() && old.iter().zip(new).all(|(&a, &b)| module.ty(a) == module.ty(b));
    if same {
        Ok(())
    } else {
        Err(Bug { pass: pass.into(), message: "replaces a value by one of another type".into() })
    }
}
