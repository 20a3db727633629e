//! saturate - applies every law at every e-node until nothing new comes, or a limit is hit.

use super::{
    graph::Graph,
    laws,
    site::{Site, Snapshot},
};

/// Most turns.
const MAX_TURNS: usize = 8;

/// How a saturation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// No law gives anything new.
    Saturated,
    /// So many turns were not enough.
    Turns(usize),
    /// So many e-nodes were not enough.
    Terms(usize),
}

/// Runs the laws. Limits count turns and e-nodes, never time: the same island gives the same e-graph everywhere.
pub(super) fn saturate(graph: &mut Graph) -> End {
    graph.egg.rebuild();
    for _ in 0..MAX_TURNS {
        let before = (graph.egg.nodes().len(), graph.joins.len());
        let snapshot = Snapshot::of(graph);
        let all = laws::LAWS.iter().flat_map(|family| family.iter());
        for (number, law) in all.enumerate() {
            for here in &snapshot.all {
                if law.at.is(graph.op(here.op).kind()) {
                    let here = here.clone();
                    let exactness = law.rule.exactness;
                    (law.apply)(&mut Site { graph, snapshot: &snapshot, here, law: number, exactness });
                }
            }
        }
        graph.egg.rebuild();
        if graph.full {
            return End::Terms(graph.egg.nodes().len());
        }
        if (graph.egg.nodes().len(), graph.joins.len()) == before {
            return End::Saturated;
        }
    }
    End::Turns(MAX_TURNS)
}
