//! grow - clusters along the data flow: each takes in the clusters of what it reads.

use nnc_ir::{
    Module,
    extent::Extent,
    form::{Class, Ix, LoopForm},
    graph::{NodeId, RegionId, ValueId, merge_locs},
};
use rustc_hash::FxHashMap;

use super::{
    JOIN_EPILOGUE, JOIN_PRODUCER, JOIN_PROLOGUE, RECOMPUTE_PRODUCER,
    cluster::{Cluster, Readers, nest},
};
use crate::{
    cost,
    pass::{PassCx, Rule},
};

/// Most nodes in one fusion: keeps kernels and compile time small.
pub(super) const MAX_NODES: usize = 64;

/// Why something was not joined: the reader, what it reads, the reason.
pub(super) type Refusals = FxHashMap<(NodeId, ValueId), String>;

/// The clusters of a region while they grow, by their last nodes.
pub(super) struct Growth<'m> {
    module: &'m Module,
    readers: &'m Readers,
    pub(super) clusters: FxHashMap<NodeId, Cluster>,
    pub(super) refusals: Refusals,
    /// Whether each reader had better compute a value itself, and both sides in cycles.
    recomputed: FxHashMap<ValueId, Result<String, String>>,
}

/// Two clusters as one, by which rule, and why, if a cost decided.
struct Joined {
    cluster: Cluster,
    rule: &'static Rule,
    detail: String,
}

impl<'m> Growth<'m> {
    /// Clusters of all nests of the region.
    pub(super) fn of(
        module: &'m Module,
        readers: &'m Readers,
        region: RegionId,
        cx: &mut PassCx<'_>,
    ) -> Self {
        let (clusters, recomputed) = (FxHashMap::default(), FxHashMap::default());
        let mut growth = Self { module, readers, clusters, refusals: Refusals::default(), recomputed };
        for &node in &module.region(region).nodes {
            if let Some(cluster) = growth.grow(node, cx) {
                growth.clusters.insert(node, cluster);
            }
        }
        growth
    }

    /// The cluster that ends in `node`: takes in the clusters of what it reads until none is left that should be.
    fn grow(&mut self, node: NodeId, cx: &mut PassCx<'_>) -> Option<Cluster> {
        let mut own = Cluster::of_node(self.module, node)?;
        let mut refused: FxHashMap<ValueId, String> = FxHashMap::default();
        'joined: loop {
            for number in 0..own.operands.len() {
                let operand = own.operands[number];
                let Some(producer) = self.module.def_node(operand) else { continue };
                if !self.clusters.contains_key(&producer) || !cx.has_fuel() {
                    continue;
                }
                match self.join(producer, &own, number, cx) {
                    Ok(Joined { cluster, rule, detail }) => {
                        let ends = [producer, node].map(|n| &self.module.node(n).loc);
                        cx.fired_for(rule, &merge_locs(ends), detail);
                        own = cluster;
                        continue 'joined;
                    }
                    Err(reason) => {
                        refused.insert(operand, reason);
                    }
                }
            }
            break;
        }
        self.refusals.extend(refused.into_iter().map(|(value, reason)| ((node, value), reason)));
        Some(own)
    }

    /// The cluster of `producer` and the one that reads it, if they should be one kernel; else why not.
    fn join(
        &mut self,
        producer: NodeId,
        own: &Cluster,
        number: usize,
        cx: &PassCx<'_>,
    ) -> Result<Joined, String> {
        let operand = own.operands[number];
        let theirs = self.clusters[&producer].clone();
        let moves = theirs.moves(self.module);
        let alone = moves || self.readers.all_in(operand, &own.nodes);
        let (mut rule, mut detail) = (rule_of(&theirs, own), String::new());
        if !alone {
            detail = self.recompute(operand, &theirs, cx)?;
            rule = &RECOMPUTE_PRODUCER;
        }
        match own.form.class() {
            Class::Contraction | Class::Reduce if theirs.reduces() => return Err("both reduce".into()),
            Class::Movement | Class::Pointwise if theirs.reduces() => {
                keeps_last_axis(&theirs.form, &own.form, number)?;
            }
            Class::Contraction if !moves => {
                detail = self.computes_in_panels(&theirs, own, number, cx)?;
            }
            Class::Contraction if !may_read_through(self.module, &theirs.nodes) => {
                return Err(
                    "a contraction reads its operands many times, and elements at linear places".into()
                );
            }
            _ => {}
        }
        let nodes = own.with(&theirs, self.readers);
        if nodes.len() > MAX_NODES {
            return Err("the fusion would be too large".into());
        }
        let cluster = Cluster::of(self.module, nodes, own.results.clone())?;
        for part in [&theirs, own] {
            leaves_tiles(self.module, part, &cluster, cx)?;
        }
        let once = moves || theirs.reduces() || reads_each_once(&own.form, number) || !detail.is_empty();
        if alone && !once {
            detail = self.pays(&theirs, own, &cluster, cx)?;
        }
        Ok(Joined { cluster, rule, detail })
    }

    /// Whether computing the elements that a nest reads more than once, wherever it reads them, costs less than storing
    /// them.
    fn pays(
        &self,
        theirs: &Cluster,
        own: &Cluster,
        both: &Cluster,
        cx: &PassCx<'_>,
    ) -> Result<String, String> {
        // A lookup reads few elements of a large table; other movements are left to whoever reads them.
        let looks_up = own.form.loads.iter().flat_map(|l| &l.index).any(|ix| !ix.loads().is_empty());
        if own.form.class() == Class::Movement && !looks_up {
            return Err("its elements are read more than once".into());
        }
        let apart = cycles(self.module, theirs, cx) + cycles(self.module, own, cx);
        let joined = cycles(self.module, both, cx);
        let sides = format!("apart {apart} cycles, joined {joined} cycles");
        if joined < apart { Ok(sides) } else { Err(format!("its elements are read more than once: {sides}")) }
    }

    /// Whether a producer had better be computed where tiles copy what the contraction reads to panels; both sides.
    fn computes_in_panels(
        &self,
        theirs: &Cluster,
        own: &Cluster,
        number: usize,
        cx: &PassCx<'_>,
    ) -> Result<String, String> {
        let nodes = own.with(theirs, self.readers);
        let joined = Cluster::of(self.module, nodes, own.results.clone());
        let joined = joined.map_err(|_| self.computed_in_products(theirs, own, number, cx))?;
        if refusal(self.module, &joined, cx).is_some() {
            return Err(self.computed_in_products(theirs, own, number, cx));
        }
        let apart = cycles(self.module, theirs, cx) + cycles(self.module, own, cx);
        let joined = cycles(self.module, &joined, cx);
        let sides = format!("apart {apart} cycles, computed in panels {joined} cycles");
        if joined < apart { Ok(sides) } else { Err(sides) }
    }

    /// Why a producer is not computed where a contraction reads it.
    fn computed_in_products(
        &self,
        theirs: &Cluster,
        own: &Cluster,
        number: usize,
        cx: &PassCx<'_>,
    ) -> String {
        let points = |extents: &[Extent]| {
            extents.iter().map(|e| cost::nominal(self.module, e)).fold(1, i64::saturating_mul)
        };
        let turns = points(&own.form.space).saturating_mul(points(&own.form.reduce));
        let times = turns / points(&self.module.ty(own.operands[number]).shape).max(1);
        let [stored, own] = [theirs, own].map(|c| cost::of_nest(self.module, &c.form));
        let apart = stored.cycles(cx.target) + own.cycles(cx.target);
        let flops = own.flops.saturating_add(stored.flops.saturating_mul(times.max(1)));
        let joined = cost::Cost { flops, ..own }.cycles(cx.target);
        let sides = format!("apart {apart} cycles, joined {joined} cycles");
        if joined < apart {
            format!("tiles take operands as they lie, though {sides}")
        } else {
            format!("a contraction reads its operands many times, here {times}: {sides}")
        }
    }

    /// Whether every reader of a value had better compute it itself; else why not.
    fn recompute(&mut self, value: ValueId, theirs: &Cluster, cx: &PassCx<'_>) -> Result<String, String> {
        if let Some(known) = self.recomputed.get(&value) {
            return known.clone();
        }
        let decision = self.decide_recompute(value, theirs, cx);
        self.recomputed.insert(value, decision.clone());
        decision
    }

    fn decide_recompute(&self, value: ValueId, theirs: &Cluster, cx: &PassCx<'_>) -> Result<String, String> {
        let another = "its value has another reader";
        if theirs.reduces() || !self.absorbs(value, 0) {
            return Err(another.into());
        }
        // A start of a kernel weighs nothing against extents that only a run knows.
        let known = self.module.ty(value).dims().is_some();
        let time = |c: &Cluster| {
            let cost = cost::of_nest(self.module, &c.form);
            cost::Cost { kernels: if known { cost.kernels } else { 0 }, ..cost }.cycles(cx.target)
        };
        let (mut apart, mut joined) = (time(theirs), 0);
        for &reader in self.readers.of_value(value) {
            let own = Cluster::of_node(self.module, reader).ok_or(another)?;
            let both = Cluster::of(self.module, own.with(theirs, self.readers), own.results.clone())?;
            (apart, joined) = (apart + time(&own), joined + time(&both));
        }
        let sides = format!("stored {apart} cycles, computed in each reader {joined} cycles");
        // What is computed twice keeps what it reads alive for longer: it must be worth it.
        if joined < apart - apart / 8 {
            Ok(sides)
        } else if joined < apart {
            Err(format!("{another}: {sides}, which gains less than an eighth"))
        } else {
            Err(format!("{another}: {sides}"))
        }
    }

    /// Whether all readers of a value are nests that compute it where they read it.
    fn absorbs(&self, value: ValueId, depth: usize) -> bool {
        let readers = self.readers.of_value(value);
        let one = |&reader: &NodeId| {
            let node = self.module.node(reader);
            let Some(form) = nest(self.module, reader) else { return false };
            let mut numbers = (0..node.operands.len()).filter(|&k| node.operands[k] == value);
            match form.class() {
                Class::Contraction => false,
                Class::Movement => {
                    depth < 4
                        && numbers.all(|k| reads_each_once(&form, k) || reads_part(&form, k))
                        && self.absorbs(node.results[0], depth + 1)
                }
                Class::Pointwise | Class::Reduce => numbers.all(|k| reads_each_once(&form, k)),
            }
        };
        !self.readers.is_result(value) && !readers.is_empty() && readers.len() <= 8 && readers.iter().all(one)
    }
}

/// Cycles of a cluster as one kernel.
pub(super) fn cycles(module: &Module, cluster: &Cluster, cx: &PassCx<'_>) -> i64 {
    cost::of_nest(module, &cluster.form).cycles(cx.target)
}

/// Whether tiles, which can do the one cluster, can do both; else why not: plain loops are several times slower, which a
/// kernel less does not make up for.
pub(super) fn leaves_tiles(
    module: &Module,
    part: &Cluster,
    both: &Cluster,
    cx: &PassCx<'_>,
) -> Result<(), String> {
    if part.form.class() != Class::Contraction {
        return Ok(());
    }
    match refusal(module, both, cx).filter(|_| refusal(module, part, cx).is_none()) {
        Some(why) => Err(format!("tiles would have to leave it to plain loops: {why}")),
        None => Ok(()),
    }
}

/// Why tiles cannot do a contraction.
fn refusal(module: &Module, cluster: &Cluster, cx: &PassCx<'_>) -> Option<&'static str> {
    let constant = |number: usize| module.as_constant(*cluster.operands.get(number)?).cloned();
    cx.tiles.refusal(&cluster.form, &constant)
}

fn rule_of(theirs: &Cluster, own: &Cluster) -> &'static Rule {
    if theirs.reduces() {
        &JOIN_EPILOGUE
    } else if own.reduces() {
        &JOIN_PROLOGUE
    } else {
        &JOIN_PRODUCER
    }
}

/// What follows a reduction may transpose its result, but not so that neighbours get apart.
fn keeps_last_axis(reduction: &LoopForm, reader: &LoopForm, operand: usize) -> Result<(), String> {
    let product = reduction.loads.iter().all(|l| l.index.iter().all(is_plain));
    let identity = LoopForm::identity(reader.space.len());
    let last = reader.space.iter().rposition(|e| !e.is(1));
    for load in reader.loads.iter().filter(|l| l.operand == operand && l.index != identity) {
        let mut axes: Vec<usize> =
            (load.index.iter()).filter_map(|ix| if let Ix::Axis(a) = ix { Some(*a) } else { None }).collect();
        axes.sort_unstable();
        if !axes.into_iter().eq(0..reader.space.len()) {
            let moves = reader.class() == Class::Movement;
            return if moves { Err("a movement after a reduction".into()) } else { Ok(()) };
        }
        let inner = load.extents.iter().rposition(|e| !e.is(1));
        if !product || last.zip(inner).is_none_or(|(a, i)| load.index[i] != Ix::Axis(a)) {
            return Err("a transpose after a reduction, which would write elements apart".into());
        }
    }
    Ok(())
}

/// An axis, or an axis from some place on, or one place: what broadcasts, transposes and slices without steps read.
fn is_plain(ix: &Ix) -> bool {
    match ix {
        Ix::Axis(_) | Ix::Extent(_) | Ix::Bcast(..) => true,
        Ix::Add(a, b) => matches!((&**a, &**b), (Ix::Axis(_), Ix::Extent(_))),
        _ => false,
    }
}

/// Broadcasts, transposes and slices without steps keep a contraction's accesses affine.
fn may_read_through(module: &Module, theirs: &[NodeId]) -> bool {
    theirs
        .iter()
        .all(|&n| nest(module, n).is_some_and(|f| f.loads.iter().all(|l| l.index.iter().all(is_plain))))
}

/// Whether each element of the operand is read at most once: every load of it has each axis alone, in some order.
pub(super) fn reads_each_once(form: &LoopForm, operand: usize) -> bool {
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

/// Whether a movement reads a box of the operand, each element of it once: a slice.
fn reads_part(form: &LoopForm, operand: usize) -> bool {
    let mut loads = form.loads.iter().filter(|l| l.operand == operand);
    loads.all(|load| {
        let mut axes: Vec<usize> = Vec::new();
        let plain = load.index.iter().all(|ix| {
            let Some(affine) = ix.affine(form.axes()) else { return false };
            let on = affine.coefficients.iter().enumerate().filter(|(_, c)| !c.is(0));
            axes.extend(on.map(|(a, _)| a));
            true
        });
        axes.sort_unstable();
        let all_axes = (0..form.axes()).filter(|&a| !form.axis_extent(a).is(1));
        plain && all_axes.eq(axes.into_iter().filter(|&a| !form.axis_extent(a).is(1)))
    })
}
