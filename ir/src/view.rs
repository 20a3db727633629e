//! view - a region as a petgraph graph, and what its algorithms say about it.
//!
//! The view is a snapshot: vertices are the nodes of the region, edges lead from the node that produces a value to each
//! node that reads it, once an operand.

use std::{cmp::Reverse, collections::BinaryHeap};

use petgraph::{
    Direction,
    algo::{dominators, has_path_connecting},
    dot::{Config, Dot},
    graph::{DiGraph, NodeIndex},
    visit::Reversed,
};
use rustc_hash::FxHashMap;

use crate::{
    diag::escape,
    graph::{Def, Module, NodeId, RegionId, ValueId},
};

/// A region as a graph.
#[derive(Clone, Debug)]
pub struct View {
    graph: DiGraph<NodeId, ValueId>,
    vertices: FxHashMap<NodeId, NodeIndex>,
    /// Vertices one of whose results the region gives.
    exits: Vec<NodeIndex>,
}

/// For each node the nearest one that every path comes through.
#[derive(Clone, Debug)]
pub struct Dominators {
    nearest: FxHashMap<NodeId, NodeId>,
}

impl Dominators {
    /// The nearest other node that dominates `node`; `None` where there is no single one.
    #[must_use]
    pub fn immediate(&self, node: NodeId) -> Option<NodeId> {
        self.nearest.get(&node).copied()
    }
    /// Whether `over` is `node` or dominates it.
    #[must_use]
    pub fn dominates(&self, over: NodeId, node: NodeId) -> bool {
        let mut at = Some(node);
        while let Some(here) = at {
            if here == over {
                return true;
            }
            at = self.immediate(here);
        }
        false
    }
}

impl View {
    /// The nodes of `region`, in its order.
    #[must_use]
    pub fn new(module: &Module, region: RegionId) -> Self {
        let region = module.region(region);
        let mut graph = DiGraph::with_capacity(region.nodes.len(), 2 * region.nodes.len());
        let vertices: FxHashMap<NodeId, NodeIndex> =
            region.nodes.iter().map(|&n| (n, graph.add_node(n))).collect();
        let producer = |value: ValueId| match module.value(value).def {
            Def::Result(node, _) => vertices.get(&node).copied(),
            Def::Param(..) => None,
        };
        for &node in &region.nodes {
            for &operand in &module.node(node).operands {
                if let Some(from) = producer(operand) {
                    graph.add_edge(from, vertices[&node], operand);
                }
            }
        }
        let exits = region.results.iter().filter_map(|&v| producer(v)).collect();
        Self { graph, vertices, exits }
    }

    /// The graph itself, for other algorithms.
    #[must_use]
    pub fn graph(&self) -> &DiGraph<NodeId, ValueId> {
        &self.graph
    }
    /// The vertex of a node of the region.
    #[must_use]
    pub fn vertex(&self, node: NodeId) -> Option<NodeIndex> {
        self.vertices.get(&node).copied()
    }

    /// The nodes in an order in which values come before their readers, as near to that of the region as can be; `None`
    /// if they depend on one another in a circle.
    #[must_use]
    pub fn topological_order(&self) -> Option<Vec<NodeId>> {
        let mut waiting: Vec<usize> = self.graph.node_indices().map(|v| self.reads(v).count()).collect();
        let mut ready: BinaryHeap<Reverse<NodeIndex>> =
            self.graph.node_indices().filter(|v| waiting[v.index()] == 0).map(Reverse).collect();
        let mut order = Vec::with_capacity(waiting.len());
        while let Some(Reverse(vertex)) = ready.pop() {
            order.push(self.graph[vertex]);
            for reader in self.graph.neighbors_directed(vertex, Direction::Outgoing) {
                waiting[reader.index()] -= 1;
                if waiting[reader.index()] == 0 {
                    ready.push(Reverse(reader));
                }
            }
        }
        (order.len() == waiting.len()).then_some(order)
    }

    fn reads(&self, vertex: NodeIndex) -> impl Iterator<Item = NodeIndex> {
        self.graph.neighbors_directed(vertex, Direction::Incoming)
    }

    /// Whether a value of `from` reaches `to`, perhaps through other nodes; a node reaches itself.
    #[must_use]
    pub fn reaches(&self, from: NodeId, to: NodeId) -> bool {
        match (self.vertex(from), self.vertex(to)) {
            (Some(from), Some(to)) => has_path_connecting(&self.graph, from, to, None),
            _ => false,
        }
    }

    /// Whether a value of `from` reaches `to` through some other node: fusing the two alone would make a circle.
    #[must_use]
    pub fn reaches_indirectly(&self, from: NodeId, to: NodeId) -> bool {
        let (Some(start), Some(end)) = (self.vertex(from), self.vertex(to)) else { return false };
        let others = self.graph.neighbors_directed(start, Direction::Outgoing).filter(|&v| v != end);
        let mut others: Vec<NodeIndex> = others.collect();
        others.dedup();
        others.into_iter().any(|v| has_path_connecting(&self.graph, v, end, None))
    }

    /// Dominators from the nodes that read nothing of the region: what every way to a node comes through.
    #[must_use]
    pub fn dominators(&self) -> Dominators {
        let mut graph = self.graph.map(|_, &n| Some(n), |_, _| ());
        let entry = graph.add_node(None);
        for vertex in self.graph.node_indices().filter(|&v| self.reads(v).next().is_none()) {
            graph.add_edge(entry, vertex, ());
        }
        let found = dominators::simple_fast(&graph, entry);
        self.nearest(&graph, |v| found.immediate_dominator(v))
    }

    /// Dominators from the other end: what every way from a node to the results of the region (or to a node that nobody
    /// reads) comes through.
    #[must_use]
    pub fn post_dominators(&self) -> Dominators {
        let mut graph = self.graph.map(|_, &n| Some(n), |_, _| ());
        let exit = graph.add_node(None);
        let unread = |v: &NodeIndex| self.graph.neighbors_directed(*v, Direction::Outgoing).next().is_none();
        for vertex in self.graph.node_indices().filter(|v| unread(v) || self.exits.contains(v)) {
            graph.add_edge(vertex, exit, ());
        }
        let found = dominators::simple_fast(Reversed(&graph), exit);
        self.nearest(&graph, |v| found.immediate_dominator(v))
    }

    fn nearest(
        &self,
        graph: &DiGraph<Option<NodeId>, ()>,
        immediate: impl Fn(NodeIndex) -> Option<NodeIndex>,
    ) -> Dominators {
        let pair = |v: NodeIndex| Some((self.graph[v], graph[immediate(v)?]?));
        Dominators { nearest: self.graph.node_indices().filter_map(pair).collect() }
    }

    /// The graph for Graphviz: operations with their ONNX nodes, edges with types.
    #[must_use]
    pub fn to_dot(&self, module: &Module) -> String {
        let edge = |_: &DiGraph<NodeId, ValueId>, e: petgraph::graph::EdgeReference<'_, ValueId>| {
            let ty = module.ty(*e.weight());
            format!("label=\"{}\"", dot_text(&ty.to_string()))
        };
        let vertex = |_: &DiGraph<NodeId, ValueId>, (_, id): (NodeIndex, &NodeId)| {
            let node = module.node(*id);
            let names = node.loc.join(", ");
            format!("shape=box label=\"{}\\n{}\"", node.op.mnemonic(), dot_text(&names))
        };
        let config = [Config::NodeNoLabel, Config::EdgeNoLabel];
        format!("{:?}", Dot::with_attr_getters(&self.graph, &config, &edge, &vertex))
    }
}

/// Names from files inside of double quotes.
fn dot_text(text: &str) -> String {
    escape(text).replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::parse;

    /// `a` goes to `b` and `c`, which `d` joins; `e` reads `a` and nobody reads it.
    fn diamond() -> (Module, Vec<NodeId>) {
        let text = "nnir 1\nmodule (%0 \"x\" : f32[2]) {\n\
            %1 = neg %0 : f32[2] loc(\"a\")\n\
            %2 = neg %1 : f32[2] loc(\"b\")\n\
            %3 = neg %1 : f32[2] loc(\"c\\\"\")\n\
            %4 = add %2, %3 : f32[2] loc(\"d\")\n\
            %5 = add %1, %1 : f32[2] loc(\"e\")\n\
            return %4 \"y\"\n}\n";
        let module = parse(text, &|_| None).unwrap_or_else(|e| panic!("{e}"));
        let nodes = module.region(module.body()).nodes.clone();
        (module, nodes)
    }

    #[test]
    fn dominators_of_a_diamond() {
        let (module, n) = diamond();
        let view = View::new(&module, module.body());
        let over = view.dominators();
        let immediate: Vec<Option<NodeId>> = n.iter().map(|&x| over.immediate(x)).collect();
        assert_eq!(immediate, [None, Some(n[0]), Some(n[0]), Some(n[0]), Some(n[0])]);
        assert!(over.dominates(n[0], n[3]) && over.dominates(n[3], n[3]) && !over.dominates(n[1], n[3]));
        let post = view.post_dominators();
        let immediate: Vec<Option<NodeId>> = n.iter().map(|&x| post.immediate(x)).collect();
        assert_eq!(immediate, [None, Some(n[3]), Some(n[3]), None, None]);
    }

    #[test]
    fn order_stays_where_it_can() {
        let (mut module, n) = diamond();
        let body = module.body();
        assert_eq!(View::new(&module, body).topological_order(), Some(n.clone()));
        module.region_mut(body).nodes.reverse();
        let order = View::new(&module, body).topological_order();
        assert_eq!(order, Some(vec![n[0], n[4], n[2], n[1], n[3]]));
        let last = module.node(n[3]).results[0];
        module.node_mut(n[1]).operands[0] = last;
        assert_eq!(View::new(&module, body).topological_order(), None);
    }

    #[test]
    fn reachability() {
        let (module, n) = diamond();
        let view = View::new(&module, module.body());
        assert!(view.reaches(n[0], n[3]) && !view.reaches(n[1], n[2]) && !view.reaches(n[3], n[0]));
        assert!(view.reaches_indirectly(n[0], n[3]) && !view.reaches_indirectly(n[0], n[4]));
        assert!(!view.reaches_indirectly(n[1], n[3]));
    }

    #[test]
    fn dot_names_operations_and_types() {
        let (module, _) = diamond();
        let dot = View::new(&module, module.body()).to_dot(&module);
        assert!(dot.contains("0 -> 1 [ label=\"f32[2]\"]"), "{dot}");
        assert!(dot.contains("3 [ shape=box label=\"add\\nd\"]"), "{dot}");
        assert!(dot.contains("neg\\nc\\\""), "{dot}");
    }
}
