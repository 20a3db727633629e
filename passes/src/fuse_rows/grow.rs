//! grow - from a reduction to all nodes that should be in one kernel with it.

use std::{cell::OnceCell, collections::BTreeSet};

use nnc_ir::{
    Module,
    compose::{
        fuse_nodes,
        rows::{RowForm, rows_of_nodes},
    },
    extent::Extent,
    form::{Bounds, Class, Form, Ix, LoopForm},
    graph::{NodeId, RegionId, ValueId},
    program::Inst,
};
use rustc_hash::{FxHashMap, FxHashSet};

use super::{ROW_BYTES, emit::Plan};
use crate::cost;

/// Most nodes in one cluster: keeps kernels and compile time small.
const MAX_NODES: usize = 64;
/// How often a cluster is looked at again for what fits now.
const ROUNDS: usize = 4;

/// A region's nodes by position, and who reads what.
pub(super) struct Graph<'m> {
    pub(super) module: &'m Module,
    nodes: Vec<NodeId>,
    /// Of each node the nest, once it has been asked for.
    nests: Vec<OnceCell<Option<LoopForm>>>,
    position: FxHashMap<NodeId, usize>,
    /// Of each node the nodes before it that it reads.
    producers: Vec<Vec<usize>>,
    readers: FxHashMap<ValueId, Vec<usize>>,
    results: FxHashSet<ValueId>,
}

/// Nodes that are to be one fusion.
pub(super) struct Cluster {
    /// Their positions.
    at: BTreeSet<usize>,
    /// Row axes of the reduction that it grew from, those of extent 1 left out.
    rows: usize,
    /// Nests that it runs one after another.
    pub(super) stages: usize,
}

/// The cluster of a reduction, and why neighbours stay out of it.
pub(super) fn grow(graph: &Graph<'_>, seed: NodeId) -> (Result<Cluster, String>, Vec<String>) {
    let Some(own) = graph.nest(graph.position[&seed]) else { return (Err("it is no nest".into()), vec![]) };
    let rows = own.space.iter().filter(|e| !e.is(1)).count();
    let points = |extents: &[Extent]| cost::points(graph.module, extents);
    let widest = points(&own.space).saturating_mul(points(&own.reduce));
    let mut cluster = Cluster { at: BTreeSet::from([graph.position[&seed]]), rows, stages: 1 };
    let mut refused: FxHashMap<usize, String> = FxHashMap::default();
    for _ in 0..ROUNDS {
        let before = cluster.at.len();
        for node in graph.position[&seed] + 1..graph.nodes.len() {
            graph.take(&mut cluster, node, widest, false, &mut refused);
        }
        while let Some(node) = graph.producers(&cluster).into_iter().rev().find(|n| !refused.contains_key(n))
        {
            graph.take(&mut cluster, node, widest, true, &mut refused);
            if !cluster.at.contains(&node) {
                refused.entry(node).or_default();
            }
        }
        if cluster.at.len() == before {
            break;
        }
        refused.clear();
    }
    graph.trim(&mut cluster);
    let form = graph.rows_of(&cluster);
    let mut reasons: Vec<(usize, String)> = refused.into_iter().filter(|(_, why)| !why.is_empty()).collect();
    reasons.sort_unstable();
    let mnemonic = |at: usize| graph.module.node(graph.nodes[at]).op.mnemonic();
    let reasons =
        reasons.into_iter().map(|(at, why)| format!("stays apart from `{}`: {why}", mnemonic(at))).collect();
    let cluster = form.map(|form| Cluster { stages: form.stages.len(), ..cluster });
    (cluster, reasons)
}

impl<'m> Graph<'m> {
    pub(super) fn of(module: &'m Module, region: RegionId) -> Self {
        let region = module.region(region);
        let nodes = region.nodes.clone();
        let mut readers: FxHashMap<ValueId, Vec<usize>> = FxHashMap::default();
        for (at, &node) in nodes.iter().enumerate() {
            for &value in &module.node(node).operands {
                readers.entry(value).or_default().push(at);
            }
        }
        let position: FxHashMap<NodeId, usize> =
            nodes.iter().enumerate().map(|(at, &node)| (node, at)).collect();
        let producer = |&v: &ValueId| position.get(&module.def_node(v)?).copied();
        let producers = nodes
            .iter()
            .map(|&node| module.node(node).operands.iter().filter_map(producer).collect())
            .collect();
        let results = region.results.iter().copied().collect();
        let nests = vec![OnceCell::new(); nodes.len()];
        Self { module, nodes, nests, position, producers, readers, results }
    }

    /// The nodes of a cluster in order.
    pub(super) fn nodes_of(&self, cluster: &Cluster) -> Vec<NodeId> {
        cluster.at.iter().map(|&at| self.nodes[at]).collect()
    }

    /// The nest of a node with one result.
    fn nest(&self, at: usize) -> Option<&LoopForm> {
        let nest = || match self.module.form(self.nodes[at]) {
            Form::Loops(form) if self.value(at).is_some() => Some(form),
            _ => None,
        };
        self.nests[at].get_or_init(nest).as_ref()
    }

    fn value(&self, at: usize) -> Option<ValueId> {
        if let [value] = self.module.node(self.nodes[at]).results[..] { Some(value) } else { None }
    }

    fn operands(&self, at: usize) -> &[ValueId] {
        &self.module.node(self.nodes[at]).operands
    }

    fn def(&self, value: ValueId) -> Option<usize> {
        self.position.get(&self.module.def_node(value)?).copied()
    }

    fn reads(&self, at: usize, cluster: &BTreeSet<usize>) -> bool {
        self.producers[at].iter().any(|p| cluster.contains(p))
    }

    fn read_outside(&self, value: ValueId, cluster: &BTreeSet<usize>) -> bool {
        let outside = |readers: &Vec<usize>| readers.iter().any(|r| !cluster.contains(r));
        self.results.contains(&value) || self.readers.get(&value).is_some_and(outside)
    }

    /// Whether a node of the cluster is there as a copy: it moves what is outside, and others read it too.
    fn is_copy(&self, at: usize, cluster: &BTreeSet<usize>) -> bool {
        let moves = self.nest(at).is_some_and(|f| f.class() == Class::Movement);
        moves && !self.reads(at, cluster) && self.value(at).is_some_and(|v| self.read_outside(v, cluster))
    }

    /// What others read of the cluster.
    fn results(&self, cluster: &BTreeSet<usize>) -> Vec<ValueId> {
        let own = cluster.iter().filter(|&&at| !self.is_copy(at, cluster));
        own.filter_map(|&at| self.value(at)).filter(|&v| self.read_outside(v, cluster)).collect()
    }

    /// Nodes outside that need the cluster, up to its last.
    fn after(&self, cluster: &BTreeSet<usize>) -> BTreeSet<usize> {
        let mut after = BTreeSet::new();
        let (Some(&first), Some(&last)) = (cluster.first(), cluster.last()) else { return after };
        let own: BTreeSet<usize> = cluster.iter().copied().filter(|&at| !self.is_copy(at, cluster)).collect();
        for at in first..=last {
            if !cluster.contains(&at) && (self.reads(at, &own) || self.reads(at, &after)) {
                after.insert(at);
            }
        }
        after
    }

    /// The row nest of a cluster; else why it is none.
    pub(super) fn rows_of(&self, cluster: &Cluster) -> Result<RowForm, String> {
        let at = &cluster.at;
        let after = self.after(at);
        if at.iter().any(|&node| self.reads(node, &after)) {
            return Err("a node between them stays outside".into());
        }
        let (form, _) = rows_of_nodes(self.module, &self.nodes_of(cluster), &self.results(at))?;
        if form.rows.len() != cluster.rows {
            return Err("it goes over other rows".into());
        }
        let bytes =
            form.local_bytes().iter().map(|e| cost::nominal(self.module, e)).fold(0, i64::saturating_add);
        if bytes > ROW_BYTES {
            return Err(format!("a row would have to keep {bytes} bytes"));
        }
        Ok(form)
    }

    /// Nodes outside whose values the cluster reads.
    fn producers(&self, cluster: &Cluster) -> Vec<usize> {
        let producers = cluster.at.iter().flat_map(|&at| self.producers[at].iter().copied());
        let outside = producers.filter(|at| !cluster.at.contains(at));
        outside.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Takes a node into the cluster if it belongs there; where one could ask, notes why not.
    fn take(
        &self,
        cluster: &mut Cluster,
        at: usize,
        widest: i64,
        produces: bool,
        refused: &mut FxHashMap<usize, String>,
    ) {
        if cluster.at.contains(&at) || !(produces || self.reads(at, &cluster.at)) {
            return;
        }
        let Err(reason) = self.fits(cluster, at, widest, produces) else {
            cluster.at.insert(at);
            return;
        };
        refused.entry(at).or_insert(reason);
    }

    fn fits(&self, cluster: &Cluster, at: usize, widest: i64, produces: bool) -> Result<(), String> {
        // Constants and the like are read, no question.
        let nest = match self.nest(at) {
            Some(nest) => nest,
            None => match self.module.form(self.nodes[at]) {
                Form::Loops(_) => return Err("it has several results".into()),
                Form::View | Form::Concat { .. } | Form::Scatter(_) => {
                    return Err("it is no loop nest".into());
                }
                _ => return Err(String::new()),
            },
        };
        let value = self.value(at).ok_or_else(String::new)?;
        if cluster.at.len() >= MAX_NODES {
            return Err("the fusion would be too large".into());
        }
        let points = cost::points(self.module, &nest.space);
        if points > widest && !(produces && self.is_looked_up(value, &cluster.at, widest)) {
            return Err("it repeats rows".into());
        }
        let mut with = cluster.at.clone();
        with.insert(at);
        match nest.class() {
            Class::Contraction => return Err("a contraction has a kernel of its own".into()),
            Class::Movement if !runs_along(nest) => return Err("it reads across rows".into()),
            Class::Movement if !produces => {}
            Class::Movement => {
                let cheap = nest.loads.iter().all(|l| l.bounds == Bounds::Inside);
                if !cheap && self.read_outside(value, &with) {
                    return Err("its value has another reader".into());
                }
            }
            Class::Pointwise if self.contraction_takes(at) => {
                return Err("a contraction takes it as its epilogue".into());
            }
            Class::Pointwise if produces && points < widest && self.read_outside(value, &with) => {
                return Err("its value has another reader".into());
            }
            Class::Reduce if produces => return Err("it goes over other rows".into()),
            Class::Pointwise | Class::Reduce => {}
        }
        self.rows_of(&Cluster { at: with, ..*cluster }).map(|_| ())
    }

    /// Whether nodes of the cluster alone read a table, each at places that others say, or to make another table of it.
    fn is_looked_up(&self, table: ValueId, cluster: &BTreeSet<usize>, widest: i64) -> bool {
        let reads_so = |&at: &usize| {
            let Some(nest) = self.nest(at) else { return false };
            let operands = self.operands(at);
            let mut loads = nest.loads.iter().filter(|l| operands[l.operand] == table);
            cost::points(self.module, &nest.space) > widest
                || loads.all(|l| l.index.iter().any(|ix| !ix.loads().is_empty()))
        };
        let readers = self.readers.get(&table).map_or(&[][..], Vec::as_slice);
        !self.read_outside(table, cluster) && readers.iter().all(reads_so)
    }

    /// Whether a node is the end of a chain that a contraction could have as its epilogue.
    fn contraction_takes(&self, at: usize) -> bool {
        let Some(value) = self.value(at) else { return false };
        let mut chain = BTreeSet::from([at]);
        let mut work = vec![at];
        while let Some(node) = work.pop() {
            for &operand in self.operands(node) {
                let Some(producer) = self.def(operand) else { continue };
                let Some(nest) = self.nest(producer) else { continue };
                if chain.contains(&producer) || self.read_outside(operand, &chain) || chain.len() >= MAX_NODES
                {
                    continue;
                }
                chain.insert(producer);
                match nest.class() {
                    Class::Contraction => {
                        let nodes: Vec<NodeId> = chain.iter().map(|&at| self.nodes[at]).collect();
                        if fuse_nodes(self.module, &nodes, &[value]).is_ok() {
                            return true;
                        }
                        chain.remove(&producer);
                    }
                    Class::Pointwise => work.push(producer),
                    Class::Movement | Class::Reduce => {
                        chain.remove(&producer);
                    }
                }
            }
        }
        false
    }

    /// Drops movements at the end, which would only be written out.
    fn trim(&self, cluster: &mut Cluster) {
        loop {
            let unread = |at: &&usize| {
                let moves = self.nest(**at).is_some_and(|f| f.class() == Class::Movement);
                let readers = self.value(**at).and_then(|v| self.readers.get(&v));
                moves && !readers.is_some_and(|r| r.iter().any(|r| cluster.at.contains(r)))
            };
            let Some(&at) = cluster.at.iter().find(unread) else { return };
            cluster.at.remove(&at);
        }
    }

    /// What is to be done to the region.
    pub(super) fn plan(&self, cluster: &Cluster) -> Plan {
        let at = &cluster.at;
        let after = self.after(at);
        let last = at.last().copied().unwrap_or_default();
        let kept = |p: &usize| !at.contains(p) || self.is_copy(*p, at);
        let node = |p: usize| self.nodes[p];
        Plan {
            before: (0..=last).filter(|p| kept(p) && !after.contains(p)).map(node).collect(),
            nodes: self.nodes_of(cluster),
            results: self.results(at),
            after: (0..self.nodes.len())
                .filter(|p| !at.contains(p) && (*p > last || after.contains(p)))
                .map(node)
                .collect(),
        }
    }
}

/// Whether a movement reads its operand in the order of its own axes, neighbours as neighbours.
fn runs_along(form: &LoopForm) -> bool {
    let read = |inst: &Inst| if let Inst::Load(k) = inst { Some(*k) } else { None };
    let mut loads = form.body.insts().iter().filter_map(|(inst, _)| read(inst));
    loads.all(|k| {
        let mut axes: Vec<usize> = Vec::new();
        for ix in &form.loads[k].index {
            ix.visit(&mut |part| {
                if let Ix::Axis(a) = part {
                    axes.push(*a);
                }
            });
        }
        let plain = |ix: &Ix| match ix {
            Ix::Axis(_) | Ix::Extent(_) => true,
            Ix::Add(a, b) => matches!((&**a, &**b), (Ix::Axis(_), Ix::Extent(_))),
            Ix::Bcast(a, _) => matches!(**a, Ix::Axis(_)),
            _ => false,
        };
        axes.is_sorted() && form.loads[k].index.last().is_none_or(plain)
    })
}
