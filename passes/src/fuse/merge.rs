//! merge - clusters of several results: a reader and what it reads, or two readers of one value, over one space.

use nnc_ir::{
    Module,
    form::Class,
    graph::{NodeId, ValueId, merge_locs},
};
use rustc_hash::{FxHashMap, FxHashSet};

use super::{
    JOIN_SIBLING, KEEP_SECOND_RESULT,
    cluster::{Cluster, Readers, Units},
    grow::{MAX_NODES, Refusals, cycles, leaves_tiles},
};
use crate::pass::{PassCx, Rule};

/// Most results of one fusion, and most values it reads: more would not stay in registers.
const MAX_RESULTS: usize = 6;
const MAX_OPERANDS: usize = 12;

/// Joins clusters that stay after growing.
pub(super) fn merge(
    module: &Module,
    readers: &Readers,
    units: &mut Units,
    refusals: &mut Refusals,
    cx: &mut PassCx<'_>,
) {
    let mut merging = Merging { module, readers, units, by_operand: FxHashMap::default() };
    for number in 0..merging.units.list.len() {
        while merging.step(number, refusals, cx) {}
        let operands = merging.units.get(number).map(|c| c.operands.clone()).unwrap_or_default();
        for value in operands.into_iter().filter(|&v| module.as_constant(v).is_none()) {
            merging.by_operand.entry(value).or_default().push(number);
        }
    }
}

struct Merging<'m> {
    module: &'m Module,
    readers: &'m Readers,
    units: &'m mut Units,
    /// Clusters looked at so far that read a value.
    by_operand: FxHashMap<ValueId, Vec<usize>>,
}

impl Merging<'_> {
    /// Joins one cluster of before to the one of this number, if one should be.
    fn step(&mut self, number: usize, refusals: &mut Refusals, cx: &mut PassCx<'_>) -> bool {
        let Some(own) = self.units.get(number).cloned() else { return false };
        if own.form.class() != Class::Pointwise {
            return false;
        }
        let last = self.last_node(&own);
        let mut tried: FxHashSet<usize> = FxHashSet::default();
        for &value in &own.operands {
            let from = self.units.of_value.get(&value).copied().filter(|&q| q < number);
            let siblings = self.by_operand.get(&value).cloned().unwrap_or_default();
            let candidates = from.into_iter().map(|q| (q, &KEEP_SECOND_RESULT));
            for (other, rule) in candidates.chain(siblings.into_iter().map(|q| (q, &JOIN_SIBLING))) {
                if other == number || !cx.has_fuel() || !tried.insert(other) {
                    continue;
                }
                let Some(theirs) = self.units.get(other).cloned() else { continue };
                match self.join(&theirs, &own, (other, number), cx) {
                    Ok((both, detail)) => {
                        let rule: &'static Rule = rule;
                        let ends = [self.last_node(&theirs), last].into_iter().flatten();
                        let loc = merge_locs(ends.map(|n| &self.module.node(n).loc));
                        cx.fired_for(rule, &loc, detail);
                        self.replace(other, number, both);
                        return true;
                    }
                    Err(Some(reason)) if rule == &KEEP_SECOND_RESULT => {
                        if let Some(node) = last {
                            let told = refusals.entry((node, value)).or_default();
                            if told.is_empty() {
                                *told = reason;
                            } else if !told.ends_with(&reason) {
                                *told = format!("{told}; {reason}");
                            }
                        }
                    }
                    Err(_) => {}
                }
            }
        }
        false
    }

    fn last_node(&self, cluster: &Cluster) -> Option<NodeId> {
        cluster.results.last().and_then(|&v| self.module.def_node(v))
    }

    fn replace(&mut self, other: usize, number: usize, both: Cluster) {
        for list in [other, number] {
            let results = self.units.get(list).map(|c| c.results.clone()).unwrap_or_default();
            results.iter().for_each(|v| {
                self.units.of_value.remove(v);
            });
        }
        self.units.of_value.extend(both.results.iter().map(|&v| (v, number)));
        self.units.list[other] = None;
        self.units.list[number] = Some(both);
    }

    /// Both clusters as one with the results of both; else why not, if that is worth telling.
    fn join(
        &self,
        theirs: &Cluster,
        own: &Cluster,
        numbers: (usize, usize),
        cx: &PassCx<'_>,
    ) -> Result<(Cluster, String), Option<String>> {
        if theirs.form.space != own.form.space {
            return Err(None);
        }
        match theirs.form.class() {
            // What a contraction sums stays in registers for its reader, not for others that read what it reads.
            Class::Contraction if !own.operands.iter().any(|v| theirs.results.contains(v)) => {
                return Err(None);
            }
            Class::Contraction => {}
            Class::Movement => return Err(None),
            Class::Pointwise | Class::Reduce => {}
        }
        let nodes = own.with(theirs, self.readers);
        let mut results: Vec<ValueId> = theirs.results.clone();
        results.retain(|&v| self.is_read_outside(v, numbers));
        results.extend(&own.results);
        let place = |v: &ValueId| self.module.def_node(*v).map_or(0, |n| self.readers.position(n));
        results.sort_by_key(place);
        results.dedup();
        if nodes.len() > MAX_NODES || results.len() > MAX_RESULTS {
            return Err(None);
        }
        let (first, last) = (results.first().map_or(0, place), results.last().map_or(0, place));
        let ends = [theirs, own].map(|c| c.results.iter().map(place).min().unwrap_or(0));
        if self.readers.parted(first.min(ends[0]).min(ends[1]), last) {
            return Err(None);
        }
        if self.reaches(own, numbers.0, numbers) || self.reaches(theirs, numbers.1, numbers) {
            return Err(Some("one depends on the other by another way, too".into()));
        }
        let both = Cluster::of(self.module, nodes, results).map_err(Some)?;
        if both.operands.len() > MAX_OPERANDS {
            return Err(None);
        }
        leaves_tiles(self.module, theirs, &both, cx).map_err(Some)?;
        let apart = cycles(self.module, theirs, cx) + cycles(self.module, own, cx);
        let joined = cycles(self.module, &both, cx);
        let sides = format!("apart {apart} cycles, joined {joined} cycles");
        if joined < apart { Ok((both, sides)) } else { Err(Some(sides)) }
    }

    /// Whether something besides the two clusters reads the value.
    fn is_read_outside(&self, value: ValueId, numbers: (usize, usize)) -> bool {
        let inside = |n: &NodeId| {
            let of = |number| self.units.get(number).is_some_and(|c: &Cluster| c.nodes.contains(n));
            of(numbers.0) || of(numbers.1)
        };
        let readers = self.readers.of_value(value);
        self.readers.is_result(value)
            || readers.is_empty()
            || readers.iter().any(|n| !inside(n))
            // A node may be computed in other clusters besides.
            || self.units.list.iter().enumerate().any(|(number, c)| {
                number != numbers.0
                    && number != numbers.1
                    && c.as_ref().is_some_and(|c| c.captures.contains(&value))
            })
    }

    /// Whether what `from` reads depends on the cluster `target` other than directly.
    fn reaches(&self, from: &Cluster, target: usize, numbers: (usize, usize)) -> bool {
        let Some(to) = self.units.get(target) else { return false };
        let place = |v: ValueId| self.module.def_node(v).map(|n| self.readers.position(n));
        let Some(earliest) = to.results.iter().filter_map(|&v| place(v)).min() else { return false };
        let direct = |v: &ValueId| {
            self.units.of_value.get(v).is_some_and(|&number| number == numbers.0 || number == numbers.1)
        };
        let mut work: Vec<ValueId> = from.captures.iter().copied().filter(|v| !direct(v)).collect();
        let mut seen: FxHashSet<ValueId> = work.iter().copied().collect();
        while let Some(value) = work.pop() {
            let next = match self.units.of_value.get(&value) {
                Some(&number) if number == target => return true,
                Some(&number) => {
                    let Some(cluster) = self.units.get(number) else { continue };
                    let last = cluster.results.iter().filter_map(|&v| place(v)).max();
                    if last.is_none_or(|at| at < earliest) {
                        continue;
                    }
                    cluster.captures.clone()
                }
                None => match self.module.def_node(value) {
                    Some(node) if self.readers.position(node) >= earliest => {
                        self.module.node(node).operands.clone()
                    }
                    _ => continue,
                },
            };
            work.extend(next.into_iter().filter(|v| seen.insert(*v)));
        }
        false
    }
}
