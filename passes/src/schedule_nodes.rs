//! schedule-nodes - puts nodes into an order in which fewer bytes are in use at once.
//!
//! ```nnir
//! nnir 1
//! phase canonical
//! module (%0 "x" : f32[64]) {
//!   %1 = exp %0 : f32[64] loc("a")
//!   %2 = tanh %0 : f32[64] loc("b")
//!   %3 = reduce %1 {kind=max, axes=[0], keep=true} : f32[1] loc("c")
//!   %4 = reduce %2 {kind=max, axes=[0], keep=true} : f32[1] loc("d")
//!   %5 = add %3, %4 : f32[1] loc("e")
//!   return %5 "y"
//! }
//! ```
//! becomes
//! ```nnir
//! nnir 1
//! phase canonical
//! module (%0 "x" : f32[64]) {
//!   %1 = exp %0 : f32[64] loc("a")
//!   %2 = reduce %1 {kind=max, axes=[0], keep=true} : f32[1] loc("c")
//!   %3 = tanh %0 : f32[64] loc("b")
//!   %4 = reduce %3 {kind=max, axes=[0], keep=true} : f32[1] loc("d")
//!   %5 = add %2, %4 : f32[1] loc("e")
//!   return %5 "y"
//! }
//! ```
//!
//! Three orders are tried: depth first, the operand that needs most for its making first (the rule that is best for
//! trees: Sethi and Ullman, JACM 17(4), 1970); depth first in the order of operands; and always the node that adds the
//! fewest bytes next. The given order stays unless one of them lowers the most bytes in use at once, by the estimate of
//! `liveness`. Nodes that define symbols stay where they are, and nothing passes them. Regions of fusions have no order
//! of their own. Exact.

use nnc_ir::{
    Module,
    definitions::Definitions,
    form::Form,
    graph::{NodeId, RegionId},
    ops::Op,
};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::{
    liveness::{Access, Lives, Memory},
    pass::{Bug, Exactness, PassCx, Rule},
};

pub(crate) const RULES: &[&Rule] = &[&REORDER];

static REORDER: Rule = Rule {
    name: "reorder",
    law: "the nodes of a region = the same nodes in any order in which each comes after what it reads",
    source: "nodes are pure; Sethi and Ullman, The generation of optimal code for arithmetic expressions, 1970",
    exactness: Exactness::Exact,
};

pub(crate) fn run(module: &mut Module, cx: &mut PassCx<'_>) -> Result<(), Bug> {
    let definitions = Definitions::new(module);
    for region in ordered_regions(module) {
        if !cx.has_fuel() {
            break;
        }
        let graph = Graph::of(module, region, &definitions);
        let given = module.region(region).nodes.clone();
        let before = graph.lives(&given);
        let (at, most) = before.peak();
        let mut orders = [graph.depth_first(Some(&graph.needs())), graph.depth_first(None), graph.greedy()];
        let peaks: Vec<i64> = orders.iter().map(|order| graph.lives(order).peak().1).collect();
        let Some(best) = (0..orders.len()).min_by_key(|&i| (peaks[i], i)) else { continue };
        let Some(&node) = given.get(at) else { continue };
        if peaks[best] >= most {
            if most > 0 {
                let reason = format!("{most} bytes in use at once, {} in the best other order", peaks[best]);
                cx.miss(module, node, reason);
            }
            continue;
        }
        module.region_mut(region).nodes = std::mem::take(&mut orders[best]);
        cx.fired(&REORDER, &module.node(node).loc.clone());
    }
    Ok(())
}

/// The regions whose nodes run one after another.
fn ordered_regions(module: &Module) -> Vec<RegionId> {
    let regions = module.nested_regions(module.body());
    let nodes = regions.iter().flat_map(|&r| &module.region(r).nodes).map(|&n| module.node(n));
    let fused: FxHashSet<RegionId> =
        nodes.filter(|n| matches!(n.op, Op::Fusion(_))).flat_map(|n| n.regions.iter().copied()).collect();
    regions.into_iter().filter(|r| !fused.contains(r)).collect()
}

/// What must come before what in a region.
struct Graph<'m> {
    memory: Memory,
    nodes: &'m [NodeId],
    /// By place: places of the nodes that make its operands.
    before: Vec<Vec<usize>>,
    /// By place: the stretch between nodes that define symbols.
    stretch: Vec<usize>,
    constant: Vec<bool>,
}

impl<'m> Graph<'m> {
    fn of(module: &'m Module, region: RegionId, definitions: &Definitions) -> Self {
        let nodes = &module.region(region).nodes[..];
        let place: FxHashMap<NodeId, usize> = nodes.iter().enumerate().map(|(i, &n)| (n, i)).collect();
        let (mut before, mut stretch, mut constant) = (Vec::new(), Vec::new(), Vec::new());
        let mut number = 0;
        for &node in nodes {
            let makers = module.node(node).operands.iter().filter_map(|&v| module.def_node(v));
            let mut makers: Vec<usize> = makers.filter_map(|n| place.get(&n).copied()).collect();
            let mut seen = FxHashSet::default();
            makers.retain(|&m| seen.insert(m));
            before.push(makers);
            let form = module.form(node);
            constant.push(matches!(form, Form::Constant));
            let defines = !definitions.of_node(node).is_empty()
                || matches!(form, Form::ReadExtents(_) | Form::Extern(_));
            number += usize::from(defines);
            stretch.push(number);
            number += usize::from(defines);
        }
        let memory = Memory::of(module, region);
        Graph { memory, nodes, before, stretch, constant }
    }

    fn lives(&self, order: &[NodeId]) -> Lives {
        let accesses: Vec<&Access> = order.iter().map(|n| &self.memory.accesses[n]).collect();
        self.memory.lives(&accesses)
    }

    /// Bytes that the results of a node take.
    fn made(&self, place: usize) -> i64 {
        let makes = &self.memory.accesses[&self.nodes[place]].makes;
        makes.iter().map(|&s| self.memory.bytes[s]).fold(0, i64::saturating_add)
    }

    /// By place: the most bytes in use at once when a node is made with all it needs, as if that were a tree; less what
    /// remains of it.
    fn needs(&self) -> Vec<i64> {
        let mut most: Vec<i64> = Vec::with_capacity(self.nodes.len());
        for place in 0..self.nodes.len() {
            let mut operands: Vec<(i64, i64)> =
                self.before[place].iter().map(|&b| (most[b], self.made(b))).collect();
            operands.sort_by_key(|&(most, made)| std::cmp::Reverse(most - made));
            let (mut held, mut peak) = (0i64, 0i64);
            for (most, made) in operands {
                peak = peak.max(held.saturating_add(most));
                held = held.saturating_add(made);
            }
            let inner = self.memory.accesses[&self.nodes[place]].inner;
            most.push(peak.max(held.saturating_add(self.made(place)).saturating_add(inner)));
        }
        (0..most.len()).map(|p| most[p] - self.made(p)).collect()
    }

    /// Each node just before its first reader; of several operands the one with the greatest need first.
    fn depth_first(&self, needs: Option<&[i64]>) -> Vec<NodeId> {
        let mut order = Vec::with_capacity(self.nodes.len());
        let mut done = vec![false; self.nodes.len()];
        let last = self.stretch.last().copied().unwrap_or(0);
        for stretch in 0..=last {
            let here = |p: usize| self.stretch[p] == stretch;
            // What others of the stretch read is reached from them.
            let mut read = vec![false; self.nodes.len()];
            for place in (0..self.nodes.len()).filter(|&p| here(p)) {
                self.before[place].iter().for_each(|&b| read[b] = true);
            }
            for root in (0..self.nodes.len()).filter(|&p| here(p) && !read[p]) {
                let mut stack = vec![(root, false)];
                while let Some((place, ready)) = stack.pop() {
                    if done[place] {
                        continue;
                    }
                    if ready {
                        done[place] = true;
                        order.push(self.nodes[place]);
                        continue;
                    }
                    stack.push((place, true));
                    let mut operands: Vec<usize> =
                        self.before[place].iter().copied().filter(|&b| !done[b] && here(b)).collect();
                    if let Some(needs) = needs {
                        operands.sort_by_key(|&b| std::cmp::Reverse(needs[b]));
                    }
                    stack.extend(operands.into_iter().rev().map(|b| (b, false)));
                }
            }
        }
        order
    }

    /// Always the node that adds the fewest bytes; constants just before their first reader.
    fn greedy(&self) -> Vec<NodeId> {
        let mut order: Vec<NodeId> = Vec::with_capacity(self.nodes.len());
        let mut done = vec![false; self.nodes.len()];
        let mut reads_left: Vec<usize> = vec![0; self.memory.bytes.len()];
        for node in self.nodes {
            self.memory.accesses[node].reads.iter().for_each(|&s| reads_left[s] += 1);
        }
        self.memory.kept.iter().for_each(|&s| reads_left[s] += 1);
        let mut begun = vec![false; self.memory.bytes.len()];
        let last = self.stretch.last().copied().unwrap_or(0);
        for stretch in 0..=last {
            let places = (0..self.nodes.len()).filter(|&p| self.stretch[p] == stretch);
            let (constants, mut waiting): (Vec<usize>, Vec<usize>) = places.partition(|&p| self.constant[p]);
            while !waiting.is_empty() {
                let free = |&&p: &&usize| self.before[p].iter().all(|&b| done[b] || self.constant[b]);
                let added = |p: usize| {
                    let access = &self.memory.accesses[&self.nodes[p]];
                    let made = access.makes.iter().filter(|&&s| !begun[s]).map(|&s| self.memory.bytes[s]);
                    let freed = access.reads.iter().filter(|&&s| reads_left[s] == 1 && begun[s]);
                    made.fold(0, i64::saturating_add) - freed.map(|&s| self.memory.bytes[s]).sum::<i64>()
                };
                let Some(next) = waiting.iter().filter(free).copied().min_by_key(|&p| (added(p), p)) else {
                    break;
                };
                for &operand in self.before[next].iter().filter(|&&b| self.constant[b]) {
                    if !std::mem::replace(&mut done[operand], true) {
                        order.push(self.nodes[operand]);
                    }
                }
                done[next] = true;
                let access = &self.memory.accesses[&self.nodes[next]];
                access.makes.iter().for_each(|&s| begun[s] = true);
                access.reads.iter().for_each(|&s| reads_left[s] -= 1);
                order.push(self.nodes[next]);
                waiting.retain(|&p| p != next);
            }
            for place in constants {
                if !done[place] {
                    done[place] = true;
                    order.push(self.nodes[place]);
                }
            }
        }
        order
    }
}
