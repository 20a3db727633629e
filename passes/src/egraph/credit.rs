//! credit - which laws a replacement rests on: the joins on a way from the input's e-node to the chosen one.
//!
//! Two e-nodes of a class are connected by joins, and by congruence: equal operations on equal operands. A way over a join
//! rests on its law, and on why the forms of operands that the law looked at are what the e-node reads; a way over
//! congruence rests on why the operands are equal. This is the proof forest of egg's explanations, searched breadth first
//! (Nieuwenhuis, Oliveras, Proof-producing congruence closure, 2005), without the copies of terms that those need.

use std::collections::{BTreeSet, VecDeque};

use egg::{Id, Language};
use rustc_hash::{FxHashMap, FxHashSet};

use super::{graph::Graph, term::Term};

/// The history of an e-graph, to be asked why e-nodes are equal.
pub(super) struct Credit<'g> {
    graph: &'g Graph,
    /// For each e-node its neighbours: by a join, or by congruence.
    ways: Vec<Vec<(Id, Option<usize>)>>,
    asked: FxHashSet<(Id, Id)>,
    /// Laws so far.
    pub(super) laws: BTreeSet<usize>,
}

impl<'g> Credit<'g> {
    pub(super) fn new(graph: &'g Graph) -> Self {
        let mut ways = vec![Vec::new(); graph.ids().count()];
        for (at, join) in graph.joins.iter().enumerate() {
            ways[usize::from(join.from)].push((join.to, Some(at)));
            ways[usize::from(join.to)].push((join.from, Some(at)));
        }
        let mut first: FxHashMap<Term, Id> = FxHashMap::default();
        for id in graph.ids() {
            let other = *first.entry(graph.canonical(id)).or_insert(id);
            if other != id {
                ways[usize::from(other)].push((id, None));
                ways[usize::from(id)].push((other, None));
            }
        }
        Self { graph, ways, asked: FxHashSet::default(), laws: BTreeSet::new() }
    }

    /// Adds the laws by which two e-nodes of one class are equal.
    pub(super) fn add(&mut self, from: Id, to: Id) {
        let mut open = vec![(from, to)];
        while let Some((from, to)) = open.pop() {
            if from == to || !self.asked.insert((from, to)) {
                continue;
            }
            for (a, b, join) in self.way(from, to) {
                match join {
                    Some(at) => {
                        let join = &self.graph.joins[at];
                        self.laws.insert(join.law);
                        for &seen in &join.seen {
                            let read = [&[join.from][..], &join.seen].concat().into_iter();
                            let mut read = read.flat_map(|id| self.graph.term(id).children().to_vec());
                            let class = self.graph.class(seen);
                            open.extend(read.find(|&id| self.graph.class(id) == class).map(|id| (id, seen)));
                        }
                    }
                    None => {
                        let (a, b) = (self.graph.term(a).children(), self.graph.term(b).children());
                        open.extend(a.iter().copied().zip(b.iter().copied()));
                    }
                }
            }
        }
    }

    /// Steps of a shortest way.
    fn way(&self, from: Id, to: Id) -> Vec<(Id, Id, Option<usize>)> {
        let mut back: FxHashMap<Id, (Id, Option<usize>)> = FxHashMap::default();
        let mut open = VecDeque::from([from]);
        while let Some(id) = open.pop_front() {
            if id == to {
                break;
            }
            for &(next, join) in &self.ways[usize::from(id)] {
                if next != from && !back.contains_key(&next) {
                    back.insert(next, (id, join));
                    open.push_back(next);
                }
            }
        }
        let (mut steps, mut at) = (Vec::new(), to);
        while at != from {
            let Some(&(before, join)) = back.get(&at) else { break };
            steps.push((before, at, join));
            at = before;
        }
        steps
    }
}
