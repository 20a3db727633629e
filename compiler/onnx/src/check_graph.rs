//! check_graph - names and structure: every operand is defined, every value made once, every body of the right arity.

use crate::functions;
use crate::limits::Limits;
use crate::model::{AttrValue, Graph, Model, Node, Tensor, ValueInfo, body_step};
use crate::nearest::nearest;
use crate::order;
use crate::problems::Problems;
use nnc_ir::diag::Diagnostic;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Suggestions are costly: this many names are looked up.
const N_SUGGESTIONS: usize = 20;

/// Checks the main graph and all functions, and sorts their nodes.
pub(crate) fn check_model(model: &mut Model, limits: &Limits, problems: &mut Problems) {
    let ordered = order::sort(&mut model.graph.nodes, &mut |d| problems.push(d.in_graph("main")));
    let mut checker = Checker::new("main".to_owned(), problems);
    checker.ordered = ordered;
    checker.main_graph(&model.graph);
    for function in &mut model.functions {
        let label = format!("function {}", function.label());
        let ordered = order::sort(&mut function.nodes, &mut |d| problems.push(d.in_graph(label.clone())));
        let mut checker = Checker::new(label, problems);
        checker.ordered = ordered;
        checker.function(&function.inputs, &function.nodes, &function.outputs);
    }
    functions::check(model, limits, problems);
}

/// Who makes a value.
#[derive(Clone, Copy)]
enum Maker {
    Input,
    Initializer,
    Node(usize),
}

/// Names of one graph.
#[derive(Default)]
struct Scope<'g> {
    /// Made so far.
    names: HashMap<&'g str, Maker>,
    /// Made by any node of the graph, with the first one's index.
    all: HashMap<&'g str, usize>,
}

struct Checker<'g, 'p> {
    problems: &'p mut Problems,
    /// Scopes of the graph being checked and those around it, outermost first.
    scopes: Vec<Scope<'g>>,
    path: Vec<String>,
    node: Option<&'g Node>,
    n_suggestions: usize,
    /// Without a topological order, use before definition is no news.
    ordered: bool,
}

impl<'g, 'p> Checker<'g, 'p> {
    fn new(path: String, problems: &'p mut Problems) -> Self {
        let (scopes, path) = (Vec::new(), vec![path]);
        Self { problems, scopes, path, node: None, n_suggestions: N_SUGGESTIONS, ordered: true }
    }

    fn report(&mut self, diagnostic: Diagnostic) {
        if self.problems.is_full() {
            return self.problems.push(diagnostic);
        }
        let diagnostic = diagnostic.in_graph(self.path.join("/"));
        self.problems.push(match self.node {
            Some(node) => diagnostic.at_node(node.loc()),
            None => diagnostic,
        });
    }

    fn main_graph(&mut self, graph: &'g Graph) {
        for input in graph.inputs.iter().filter(|input| input.ty.is_none()) {
            self.report(Diagnostic::error(118, format!("input '{}' has no type", input.name)));
        }
        if graph.outputs.is_empty() {
            self.report(Diagnostic::error(109, "graph has no outputs"));
        }
        self.graph(graph);
    }

    fn function(&mut self, inputs: &'g [String], nodes: &'g [Node], outputs: &'g [String]) {
        self.scopes.push(Scope::default());
        for name in inputs {
            self.input(name);
        }
        self.nodes(nodes);
        for name in outputs {
            self.output(name, nodes);
        }
        self.scopes.pop();
    }

    fn graph(&mut self, graph: &'g Graph) {
        self.scopes.push(Scope::default());
        for ValueInfo { name, .. } in &graph.inputs {
            self.input(name);
        }
        for tensor in &graph.initializers {
            self.initializer(tensor);
        }
        let mut overridable = HashSet::new();
        for name in graph.overridable.iter().filter(|name| !overridable.insert(name.as_str())) {
            self.report(Diagnostic::error(110, format!("input '{name}' given twice")));
        }
        self.nodes(&graph.nodes);
        for ValueInfo { name, .. } in &graph.outputs {
            self.output(name, &graph.nodes);
        }
        self.scopes.pop();
    }

    fn scope(&mut self) -> &mut Scope<'g> {
        self.scopes.last_mut().expect("names are checked inside a graph")
    }

    fn input(&mut self, name: &'g str) {
        if name.is_empty() {
            self.report(Diagnostic::error(110, "graph input without a name"));
        } else if self.scope().names.insert(name, Maker::Input).is_some() {
            self.report(Diagnostic::error(110, format!("input '{name}' given twice")));
        }
        self.shadow(name);
    }

    fn initializer(&mut self, tensor: &'g Tensor) {
        let name = tensor.name.as_str();
        if name.is_empty() {
            self.report(Diagnostic::error(108, "initializer without a name"));
        } else if self.scope().names.insert(name, Maker::Initializer).is_some() {
            self.report(Diagnostic::error(107, format!("initializer '{name}' given twice")).tensor(name));
        }
        self.shadow(name);
    }

    /// A name of a body must not be one of the graphs around it.
    fn shadow(&mut self, name: &str) {
        let (_, outer) = self.scopes.split_last().expect("names are checked inside a graph");
        if !name.is_empty() && outer.iter().any(|scope| scope.names.contains_key(name)) {
            let message = format!("'{name}' shadows a value of the graph around it");
            self.report(Diagnostic::error(113, message));
        }
    }

    fn nodes(&mut self, nodes: &'g [Node]) {
        for node in nodes {
            for name in node.outputs.iter().filter(|name| !name.is_empty()) {
                self.scope().all.entry(name).or_insert(node.index);
            }
        }
        let outer = self.node;
        for node in nodes {
            self.node = Some(node);
            self.one_node(node);
        }
        self.node = outer;
    }

    fn one_node(&mut self, node: &'g Node) {
        if node.op_type.is_empty() {
            self.report(Diagnostic::error(111, "node without an operator"));
        }
        for (i, name) in node.inputs.iter().enumerate() {
            self.operand(i, name);
        }
        self.arity_of_bodies(node);
        for (attribute, body) in node.graphs() {
            self.path.push(body_step(&node.loc(), attribute));
            self.node = None;
            self.graph(body);
            self.node = Some(node);
            self.path.pop();
        }
        for name in node.outputs.iter().filter(|name| !name.is_empty()) {
            let before = self.scope().names.insert(name, Maker::Node(node.index));
            if let Some(before) = before {
                let message = match before {
                    Maker::Input => format!("value '{name}' produced by #{} is a graph input", node.index),
                    Maker::Initializer => {
                        format!("value '{name}' produced by #{} is an initializer", node.index)
                    }
                    Maker::Node(other) => {
                        format!("value '{name}' produced by #{other} and #{}", node.index)
                    }
                };
                self.report(Diagnostic::error(106, message));
            }
            self.shadow(name);
        }
    }

    fn operand(&mut self, i: usize, name: &str) {
        if name.is_empty() || self.scopes.iter().any(|scope| scope.names.contains_key(name)) {
            return;
        }
        let later = self.scopes.iter().rev().find_map(|scope| scope.all.get(name)).copied();
        if later.is_some() && !self.ordered {
            return;
        }
        let message = format!("input {i} '{name}' is not defined");
        self.undefined(message, name, later);
    }

    fn undefined(&mut self, message: String, name: &str, later: Option<usize>) {
        let mut diagnostic = Diagnostic::error(103, message);
        if let Some(j) = later {
            diagnostic = diagnostic.note(format!("'{name}' is made later by node #{j}"));
        } else if self.n_suggestions > 0 {
            self.n_suggestions -= 1;
            let known: BTreeMap<&str, ()> =
                self.scopes.iter().flat_map(|scope| scope.names.keys().map(|k| (*k, ()))).collect();
            if let Some(near) = nearest(name, known.keys().copied()) {
                diagnostic.message.push_str(&format!("; nearest name '{near}'"));
            }
        }
        self.report(diagnostic);
    }

    fn output(&mut self, name: &str, nodes: &[Node]) {
        if self.scopes.iter().any(|scope| scope.names.contains_key(name)) {
            return;
        }
        let message = match nodes.last() {
            Some(last) => format!(
                "graph output '{name}' is never produced (file may be truncated: last node #{})",
                last.index
            ),
            None => format!("graph output '{name}' is never produced (the graph has no nodes)"),
        };
        self.report(Diagnostic::error(102, message).tensor(name));
    }

    /// Numbers of parameters and results of the bodies of control flow.
    fn arity_of_bodies(&mut self, node: &Node) {
        if !node.domain.is_empty() {
            return;
        }
        let n_results = node.outputs.len();
        let body = |name: &str| node.graphs().find(|(attribute, _)| *attribute == name).map(|(_, g)| g);
        match (node.op_type.as_str(), body("body")) {
            ("If", _) => {
                let n_outputs = |g: Option<&Graph>| g.map(|g| g.outputs.len());
                let (then, other) = (n_outputs(body("then_branch")), n_outputs(body("else_branch")));
                if let (Some(a), Some(b)) = (then, other)
                    && (a != b || a != n_results)
                {
                    let message = format!(
                        "If node: then_branch gives {a} outputs, else_branch {b}, node has {n_results}"
                    );
                    self.report(Diagnostic::error(112, message));
                }
            }
            ("Loop", Some(body)) => {
                let n_carried = node.inputs.len().saturating_sub(2);
                self.loop_arity("Loop", body, n_carried + 2, n_carried.max(n_results) + 1);
            }
            ("Scan", Some(body)) if node.opset >= 9 => {
                let n_inputs = node.inputs.len();
                let n_scanned = match node.attr("num_scan_inputs") {
                    Some(AttrValue::Int(n)) => usize::try_from(*n).unwrap_or(usize::MAX),
                    _ => return,
                };
                let n_carried = n_inputs.saturating_sub(n_scanned);
                self.loop_arity("Scan", body, n_inputs, n_carried.max(n_results));
            }
            _ => {}
        }
    }

    fn loop_arity(&mut self, op: &str, body: &Graph, inputs: usize, outputs: usize) {
        let (has_in, has_out) = (body.inputs.len() + body.overridable.len(), body.outputs.len());
        if has_in != inputs {
            let message = format!("{op} body has {has_in} inputs, needs {inputs}");
            self.report(Diagnostic::error(114, message));
        }
        if has_out < outputs {
            let message = format!("{op} body has {has_out} outputs, needs {outputs}");
            self.report(Diagnostic::error(114, message));
        }
    }
}
