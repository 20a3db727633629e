//! fuse - puts a loop nest and its neighbours into one `fusion`, which becomes one kernel.
//!
//! ```nnir
//! nnir 1
//! phase canonical
//! symbol s0 "n" 1..=1024 input(0,0)
//! module (%0 "x" : f32[s0,2], %1 "w" : f32[2,2], %2 "b" : f32[2]) {
//!   %3 = matmul %0, %1 : f32[s0,2] loc("gemm")
//!   %4 = broadcast %2 {shape=[s0,2]} : f32[s0,2] loc("gemm")
//!   %5 = add %3, %4 : f32[s0,2] loc("gemm")
//!   %6 = relu %5 : f32[s0,2] loc("act")
//!   return %6 "y"
//! }
//! ```
//! becomes
//! ```nnir
//! nnir 1
//! phase fused
//! symbol s0 "n" 1..=1024 input(0,0)
//! module (%0 "x" : f32[s0,2], %1 "w" : f32[2,2], %2 "b" : f32[2]) {
//!   %3 = fusion %0, %1, %2 : f32[s0,2] loc("gemm","act") {
//!     region (%4 : f32[s0,2], %5 : f32[2,2], %6 : f32[2]) {
//!       %7 = matmul %4, %5 : f32[s0,2] loc("gemm")
//!       %8 = broadcast %6 {shape=[s0,2]} : f32[s0,2] loc("gemm")
//!       %9 = add %7, %8 : f32[s0,2] loc("gemm")
//!       %10 = relu %9 : f32[s0,2] loc("act")
//!       yield %10
//!     }
//!   }
//!   return %3 "y"
//! }
//! ```
//!
//! Nodes are visited in order; each starts a cluster of its own and then takes in the clusters of its operands while
//! that does no work twice:
//!
//! * a pointwise node joins the cluster of an operand that only it reads (epilogue, or one nest with it);
//! * a movement is inlined into whoever reads it: a cheap one (broadcast, slice, transpose) into every reader, unless the
//!   reader is a contraction, which reads its operands many times;
//! * a reduction takes in pointwise producers that only it reads, if it reads each element once.
//!
//! Whether the result is one nest is for [`nnc_ir::compose`] to say. Inlining every fusion gives the graph back. Exact:
//! values are rounded to `f16` where they were.

use nnc_ir::{
    Module,
    compose::fuse_nodes,
    form::{Class, Form, Ix, LoopForm},
    graph::{NodeId, RegionId, ValueId, merge_locs},
    ops::{Fusion, Op},
};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::pass::{Bug, Exactness, PassCx, Rule};

/// Most nodes in one fusion: keeps kernels and compile time small.
const MAX_NODES: usize = 64;

pub(crate) const RULES: &[&Rule] = &[&FORM_FUSION];

static FORM_FUSION: Rule = Rule {
    name: "form-fusion",
    law: "nodes whose nests compose to one = a fusion of them",
    source: "inlining the fusion gives the nodes back",
    exactness: Exactness::Exact,
};

pub(crate) fn run(module: &mut Module, cx: &mut PassCx<'_>) -> Result<(), Bug> {
    for region in unfused_regions(module) {
        let clusters = Clusters::form(module, region, cx);
        clusters.emit(module, region, cx)?;
    }
    module.phase = module.phase.max(nnc_ir::graph::Phase::Fused);
    Ok(())
}

/// Reachable regions but the bodies of fusions.
fn unfused_regions(module: &Module) -> Vec<RegionId> {
    let regions = module.nested_regions(module.body());
    let nodes = regions.iter().flat_map(|&r| &module.region(r).nodes).map(|&n| module.node(n));
    let bodies: FxHashSet<RegionId> =
        nodes.filter(|n| matches!(n.op, Op::Fusion(_))).flat_map(|n| n.regions.iter().copied()).collect();
    regions.into_iter().filter(|r| !bodies.contains(r)).collect()
}

/// Clusters of one region while they are formed.
struct Clusters {
    /// Nodes of each cluster in program order; its value is the result of the last one.
    nodes: Vec<Vec<NodeId>>,
    /// Cluster whose last node a node is.
    of_last: FxHashMap<NodeId, usize>,
}

impl Clusters {
    fn form(module: &Module, region: RegionId, cx: &mut PassCx<'_>) -> Self {
        let readers = Readers::of(module, region);
        let mut clusters = Self { nodes: Vec::new(), of_last: FxHashMap::default() };
        for &node in &module.region(region).nodes {
            if nest(module, node).is_none() {
                continue;
            }
            let own = clusters.grow(module, &readers, node, cx);
            clusters.of_last.insert(node, clusters.nodes.len());
            clusters.nodes.push(own);
        }
        clusters
    }

    /// The cluster that ends in `node`: takes in the clusters of what it reads until none is left that should be.
    fn grow(&self, module: &Module, readers: &Readers, node: NodeId, cx: &mut PassCx<'_>) -> Vec<NodeId> {
        let mut own = vec![node];
        let mut refused: FxHashMap<ValueId, String> = FxHashMap::default();
        while let Ok((form, operands)) = fuse_nodes(module, &own, &[module.node(node).results[0]]) {
            let joined = operands.iter().enumerate().find_map(|(number, &operand)| {
                let producer = module.def_node(operand)?;
                let theirs = &self.nodes[*self.of_last.get(&producer)?];
                match join(module, readers, theirs, &own, node, (&form, number, operand)) {
                    Ok(both) => Some(both),
                    Err(reason) => {
                        let op = module.node(producer).op.mnemonic();
                        refused.insert(operand, format!("stays apart from `{op}`: {reason}"));
                        None
                    }
                }
            });
            let Some(both) = joined else { break };
            own = both;
        }
        let still_read = captures(module, &own);
        for reason in still_read.iter().filter_map(|v| refused.get(v)) {
            cx.miss(module, node, reason.clone());
        }
        own
    }

    /// Puts fusion nodes in the place of clusters with more than one node. Nodes that only fusions read go away.
    fn emit(self, module: &mut Module, region: RegionId, cx: &mut PassCx<'_>) -> Result<(), Bug> {
        let several = |&cluster: &usize| self.nodes[cluster].len() > 1;
        let all: FxHashSet<usize> = (0..self.nodes.len()).filter(several).collect();
        let needed = self.needed(module, region, &all);
        // As many as there is fuel for; the nodes of the others stay.
        let formed: Vec<usize> = (0..self.nodes.len()).filter(|c| all.contains(c) && needed.contains(c)).collect();
        let formed: FxHashSet<usize> = formed.into_iter().take(cx.fuel).collect();
        let needed = self.needed(module, region, &formed);
        let swallowed: FxHashSet<NodeId> = formed.iter().flat_map(|&c| self.nodes[c].iter().copied()).collect();
        let mut nodes = Vec::new();
        let mut map: FxHashMap<ValueId, ValueId> = FxHashMap::default();
        for node in module.region(region).nodes.clone() {
            let Some(&cluster) = self.of_last.get(&node) else {
                replace_operands(module, node, &map);
                nodes.push(node);
                continue;
            };
            if !needed.contains(&cluster) && swallowed.contains(&node) {
                continue;
            }
            if !formed.contains(&cluster) {
                replace_operands(module, node, &map);
                nodes.push(node);
                continue;
            }
            let fusion = make_fusion(module, &self.nodes[cluster], node, &map)?;
            map.insert(module.node(node).results[0], module.node(fusion).results[0]);
            cx.fired(&FORM_FUSION, &module.node(fusion).loc);
            nodes.push(fusion);
        }
        let region = module.region_mut(region);
        region.nodes = nodes;
        for result in &mut region.results {
            *result = map.get(result).copied().unwrap_or(*result);
        }
        Ok(())
    }

    /// Clusters whose value something reads when those of `formed` are fusions and the nodes of others stay.
    fn needed(&self, module: &Module, region: RegionId, formed: &FxHashSet<usize>) -> FxHashSet<usize> {
        let mut needed = FxHashSet::default();
        let mut work: Vec<ValueId> = module.region(region).results.clone();
        for &node in &module.region(region).nodes {
            if !self.of_last.contains_key(&node) {
                work.extend(&module.node(node).operands);
            }
        }
        // What no other cluster holds stays, read or not: removing it is for another pass.
        let inner = |(&last, nodes): (&NodeId, &Vec<NodeId>)| {
            nodes.iter().copied().filter(|&n| n != last).collect::<Vec<_>>()
        };
        let held: FxHashSet<NodeId> =
            self.nodes.iter().filter_map(|nodes| Some((nodes.last()?, nodes))).flat_map(inner).collect();
        let free = self.of_last.keys().filter(|n| !held.contains(n));
        work.extend(free.map(|&n| module.node(n).results[0]));
        while let Some(value) = work.pop() {
            let Some(&cluster) = module.def_node(value).and_then(|n| self.of_last.get(&n)) else { continue };
            if needed.insert(cluster) {
                let last = self.nodes[cluster].last().copied();
                let own = last.map(|n| module.node(n).operands.clone()).unwrap_or_default();
                work.extend(if formed.contains(&cluster) { captures(module, &self.nodes[cluster]) } else { own });
            }
        }
        needed
    }
}

/// Who reads each value of a region; a result of the region has a reader besides the nodes.
struct Readers {
    positions: FxHashMap<NodeId, usize>,
    nodes: FxHashMap<ValueId, Vec<NodeId>>,
    results: FxHashSet<ValueId>,
}

impl Readers {
    fn of(module: &Module, region: RegionId) -> Self {
        let mut nodes: FxHashMap<ValueId, Vec<NodeId>> = FxHashMap::default();
        for &node in &module.region(region).nodes {
            for &value in &module.node(node).operands {
                nodes.entry(value).or_default().push(node);
            }
        }
        let positions = module.region(region).nodes.iter().enumerate().map(|(i, &n)| (n, i)).collect();
        Self { positions, nodes, results: module.region(region).results.iter().copied().collect() }
    }

    fn position(&self, node: NodeId) -> usize {
        self.positions.get(&node).copied().unwrap_or(usize::MAX)
    }

    fn all_in(&self, value: ValueId, cluster: &[NodeId]) -> bool {
        let inside = |readers: &Vec<NodeId>| readers.iter().all(|n| cluster.contains(n));
        !self.results.contains(&value) && self.nodes.get(&value).is_some_and(inside)
    }
}

/// The nodes of both clusters, if they should be one kernel; else why not. `read` is the nest of `own` so far, and the
/// operand (number and value) that `theirs` computes.
fn join(
    module: &Module,
    readers: &Readers,
    theirs: &[NodeId],
    own: &[NodeId],
    node: NodeId,
    read: (&LoopForm, usize, ValueId),
) -> Result<Vec<NodeId>, String> {
    let (form, number, operand) = read;
    let moves = theirs.iter().all(|&n| is_movement(module, n));
    if !moves && !readers.all_in(operand, own) {
        return Err("its value has another reader".into());
    }
    let reduces = theirs.iter().any(|&n| nest(module, n).is_some_and(|f| f.combine.is_some()));
    worth_it(form, number, moves, reduces)?;
    if form.class() == Class::Contraction && !contraction_may_read_through(module, theirs) {
        return Err("a contraction reads its operands many times".into());
    }
    let mut both: Vec<NodeId> = theirs.iter().copied().filter(|n| !own.contains(n)).collect();
    both.extend(own);
    both.sort_by_key(|n| readers.position(*n));
    if both.len() > MAX_NODES {
        return Err("the fusion would be too large".into());
    }
    fuse_nodes(module, &both, &[module.node(node).results[0]])?;
    Ok(both)
}

fn nest(module: &Module, node: NodeId) -> Option<LoopForm> {
    match module.form(node) {
        Form::Loops(form) if module.node(node).results.len() == 1 => Some(form),
        _ => None,
    }
}

/// Whether reading the operand through the nest does no work twice; else why not.
fn worth_it(form: &LoopForm, operand: usize, moves: bool, reduces: bool) -> Result<(), String> {
    match form.class() {
        Class::Contraction | Class::Reduce if reduces => Err("both reduce".into()),
        Class::Movement if reduces => Err("a movement after a reduction".into()),
        Class::Contraction if !moves => Err("a contraction reads its operands many times".into()),
        Class::Contraction => Ok(()),
        Class::Pointwise if reduces => Ok(()),
        Class::Pointwise | Class::Movement | Class::Reduce if moves || reads_each_once(form, operand) => Ok(()),
        Class::Pointwise | Class::Movement | Class::Reduce => Err("its elements are read more than once".into()),
    }
}

/// Broadcasts and transposes keep a contraction's accesses affine.
fn contraction_may_read_through(module: &Module, theirs: &[NodeId]) -> bool {
    theirs.iter().all(|&n| {
        nest(module, n).is_some_and(|f| {
            f.loads.iter().all(|l| l.index.iter().all(|ix| matches!(ix, Ix::Axis(_) | Ix::Extent(_) | Ix::Bcast(..))))
        })
    })
}

fn is_movement(module: &Module, node: NodeId) -> bool {
    nest(module, node).is_some_and(|f| f.class() == Class::Movement)
}

/// Whether each element of the operand is read at most once: every load of it has each axis alone, in some order.
fn reads_each_once(form: &LoopForm, operand: usize) -> bool {
    let mut loads = form.loads.iter().filter(|l| l.operand == operand);
    loads.all(|load| {
        let mut axes: Vec<usize> = Vec::new();
        let plain = load.index.iter().all(|ix| match ix {
            Ix::Axis(a) => {
                axes.push(*a);
                true
            }
            Ix::Extent(_) => true,
            _ => false,
        });
        axes.sort_unstable();
        let all_axes = (0..form.axes()).filter(|&a| !form.axis_extent(a).is(1));
        plain && all_axes.eq(axes.into_iter().filter(|&a| !form.axis_extent(a).is(1)))
    })
}

/// Values from outside that the nodes read, in order.
fn captures(module: &Module, nodes: &[NodeId]) -> Vec<ValueId> {
    let inner: FxHashSet<ValueId> = nodes.iter().flat_map(|&n| module.node(n).results.iter().copied()).collect();
    let mut out = Vec::new();
    for value in nodes.iter().flat_map(|&n| module.node(n).operands.iter().copied()) {
        if !inner.contains(&value) && !out.contains(&value) {
            out.push(value);
        }
    }
    out
}

fn replace_operands(module: &mut Module, node: NodeId, map: &FxHashMap<ValueId, ValueId>) {
    for operand in &mut module.node_mut(node).operands {
        *operand = map.get(operand).copied().unwrap_or(*operand);
    }
}

/// A fusion of copies of `nodes` that gives the result of `last`.
fn make_fusion(
    module: &mut Module,
    nodes: &[NodeId],
    last: NodeId,
    outer: &FxHashMap<ValueId, ValueId>,
) -> Result<NodeId, Bug> {
    let bug = |message: String| Bug { pass: "fuse".into(), message };
    let captures = captures(module, nodes);
    let region = module.add_region();
    let mut inner: FxHashMap<ValueId, ValueId> = FxHashMap::default();
    for &value in &captures {
        let param = module.add_param(region, module.ty(value).clone());
        inner.insert(value, param);
    }
    for &node in nodes {
        let node = module.node(node).clone();
        let operands: Vec<ValueId> = node.operands.iter().map(|v| inner[v]).collect();
        let results = module.append(region, node.op, &operands, &[], &node.loc).map_err(bug)?;
        inner.extend(node.results.into_iter().zip(results));
    }
    module.set_results(region, vec![inner[&module.node(last).results[0]]]);
    let operands: Vec<ValueId> = captures.iter().map(|v| outer.get(v).copied().unwrap_or(*v)).collect();
    let loc = merge_locs(nodes.iter().map(|&n| &module.node(n).loc));
    module.make_node(Fusion {}.into(), &operands, &[region], &loc).map_err(bug)
}
