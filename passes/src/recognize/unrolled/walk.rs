//! walk - steps of a recurrence side by side: what all of them do.

use nnc_ir::{
    Module,
    constant::Constant,
    graph::{NodeId, RegionId, ValueId},
    ops::Op,
};
use rustc_hash::{FxHashMap, FxHashSet};

use super::super::pattern::def;
use crate::pass::ConstEval;

/// Most operations of one step.
const MAX_NODES: usize = 64;

/// What an operation of a step reads.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    /// What the step before shows.
    Hidden,
    /// The state of the step before.
    Cell,
    /// One of the values of which each step has its own.
    Scanned(usize),
    /// One of the values that all steps share.
    Capture(usize),
    /// Another operation.
    Made(usize),
}

/// What every step does.
pub(super) struct Step {
    /// Its operations in order, each as it stands in one of the steps.
    pub(super) made: Vec<(NodeId, Vec<Part>)>,
    /// Inputs, one a step each.
    pub(super) scanned: Vec<Vec<ValueId>>,
    pub(super) captures: Vec<ValueId>,
    /// Which operations give what the step shows, and its state.
    pub(super) results: [usize; 2],
    /// The same before the first step.
    pub(super) start: [ValueId; 2],
    /// All nodes of all steps.
    pub(super) covered: FxHashSet<NodeId>,
}

/// Values of the region that are computed from a state, states included.
pub(super) fn after(module: &Module, region: RegionId, h: &[ValueId], c: &[ValueId]) -> FxHashSet<ValueId> {
    let mut after: FxHashSet<ValueId> = h.iter().chain(c).copied().collect();
    for &node in &module.region(region).nodes {
        let node = module.node(node);
        if node.operands.iter().any(|v| after.contains(v)) {
            after.extend(&node.results);
        }
    }
    after
}

/// Nodes of a region that something comes of: rewrites before this one have left others.
pub(super) fn live(module: &Module, region: RegionId) -> FxHashSet<NodeId> {
    let region = module.region(region);
    let mut read: FxHashSet<ValueId> = region.results.iter().copied().collect();
    let mut live = FxHashSet::default();
    for &id in region.nodes.iter().rev() {
        let node = module.node(id);
        if node.results.is_empty()
            || !node.regions.is_empty()
            || node.results.iter().any(|v| read.contains(v))
        {
            live.insert(id);
            read.extend(&node.operands);
        }
    }
    live
}

/// What every step does that gives `h` and `c`; else why they are not alike.
pub(super) fn step(
    module: &Module,
    consts: &dyn ConstEval,
    region: RegionId,
    h: &[ValueId],
    c: &[ValueId],
) -> Result<Step, String> {
    let mut walk = Walk {
        module,
        consts,
        states: [h, c],
        start: [None; 2],
        after: after(module, region, h, c),
        known: FxHashMap::default(),
        made: Vec::new(),
        scanned: Vec::new(),
        captures: Vec::new(),
        covered: FxHashSet::default(),
    };
    let (Part::Made(shown), Part::Made(state)) = (walk.part(h)?, walk.part(c)?) else {
        return Err("a step does nothing".into());
    };
    let [Some(h0), Some(c0)] = walk.start else {
        return Err("a step does not read what the one before shows".into());
    };
    if module.ty(h0) != module.ty(h[0]) || module.ty(c0) != module.ty(c[0]) {
        return Err("the first state has another shape".into());
    }
    let outside = |v: &ValueId| !h.contains(v) && !c.contains(v);
    let live = live(module, region);
    let others = live.iter().filter(|n| !walk.covered.contains(n)).flat_map(|&n| &module.node(n).operands);
    let inside: FxHashSet<ValueId> =
        walk.covered.iter().flat_map(|&n| &module.node(n).results).copied().filter(outside).collect();
    if others.chain(&module.region(region).results).any(|v| inside.contains(v)) {
        return Err("something else reads what is inside of a step".into());
    }
    let Walk { made, scanned, captures, covered, .. } = walk;
    Ok(Step { made, scanned, captures, results: [shown, state], start: [h0, c0], covered })
}

struct Walk<'m> {
    module: &'m Module,
    consts: &'m dyn ConstEval,
    states: [&'m [ValueId]; 2],
    start: [Option<ValueId>; 2],
    after: FxHashSet<ValueId>,
    known: FxHashMap<Vec<ValueId>, Part>,
    made: Vec<(NodeId, Vec<Part>)>,
    scanned: Vec<Vec<ValueId>>,
    captures: Vec<ValueId>,
    covered: FxHashSet<NodeId>,
}

impl Walk<'_> {
    /// A constant, repeated or not.
    fn constant(&self, value: ValueId) -> Option<Constant> {
        if let Some((op @ Op::Broadcast(_), &[inner])) = def(self.module, value) {
            return self.consts.fold(op, &[self.module.as_constant(inner)?.clone()])?.pop();
        }
        self.module.as_constant(value).cloned()
    }

    /// What values, one of each step, are to a step.
    fn part(&mut self, values: &[ValueId]) -> Result<Part, String> {
        if let Some(&part) = self.known.get(values) {
            return Ok(part);
        }
        let part = self.new_part(values)?;
        self.known.insert(values.to_vec(), part);
        Ok(part)
    }

    fn new_part(&mut self, values: &[ValueId]) -> Result<Part, String> {
        for which in 0..2 {
            let states = self.states[which];
            if values[1..] == states[..states.len() - 1] {
                if self.start[which].is_some_and(|v| v != values[0]) || self.after.contains(&values[0]) {
                    return Err("the first step reads two states".into());
                }
                self.start[which] = Some(values[0]);
                return Ok(if which == 0 { Part::Hidden } else { Part::Cell });
            }
        }
        let module = self.module;
        let dependent = values[1..].iter().filter(|v| self.after.contains(v)).count();
        let ty = module.ty(values[0]);
        if values.iter().any(|&v| module.ty(v) != ty) {
            return Err("its steps are not alike: shapes differ".into());
        }
        if dependent == 0 && !self.after.contains(&values[0]) {
            let shared = |v: &ValueId| {
                let equal = || self.constant(*v).is_some_and(|c| self.constant(values[0]) == Some(c));
                *v == values[0] || equal()
            };
            if values.iter().all(shared) {
                self.captures.push(values[0]);
                return Ok(Part::Capture(self.captures.len() - 1));
            }
            if values.iter().any(|&v| self.constant(v).is_some()) {
                return Err("its steps do not share their weights".into());
            }
            self.scanned.push(values.to_vec());
            return Ok(Part::Scanned(self.scanned.len() - 1));
        }
        let nodes: Option<Vec<NodeId>> = values.iter().map(|&v| module.def_node(v)).collect();
        let nodes = nodes
            .filter(|_| dependent + 1 == values.len())
            .ok_or("its steps are not alike: inputs differ")?;
        let first = module.node(nodes[1]);
        let alike = |&n: &NodeId| {
            let node = module.node(n);
            let plain = node.regions.is_empty() && node.results.len() == 1;
            plain && node.op == first.op && node.operands.len() == first.operands.len()
        };
        if !nodes.iter().all(alike) {
            return Err(format!("its steps are not alike: `{}` is not in all of them", first.op.mnemonic()));
        }
        if self.covered.len() > MAX_NODES * values.len() {
            return Err("its steps are too large".into());
        }
        self.covered.extend(&nodes);
        let mut parts = Vec::with_capacity(first.operands.len());
        for at in 0..first.operands.len() {
            let operands: Vec<ValueId> = nodes.iter().map(|&n| module.node(n).operands[at]).collect();
            parts.push(self.part(&operands)?);
        }
        if matches!(first.op, Op::MatMul(_)) && !parts.iter().any(|part| matches!(part, Part::Capture(_))) {
            return Err("its steps do not share their weights".into());
        }
        self.made.push((nodes[1], parts));
        Ok(Part::Made(self.made.len() - 1))
    }
}
