//! functions - checks of model-local functions: known attributes, no recursion, and an expansion of bearable size.

use crate::limits::Limits;
use crate::model::{AttrValue, Attribute, Function, Model, Node, Tensor};
use crate::problems::Problems;
use nnc_ir::diag::Diagnostic;
use std::collections::{BTreeMap, BTreeSet};

/// What a call names: domain, function, overload.
pub(crate) type Key<'m> = (&'m str, &'m str, &'m str);

/// Key of a function.
pub(crate) fn key(f: &Function) -> Key<'_> {
    (&f.domain, &f.name, &f.overload)
}

/// Key that a node would call.
pub(crate) fn callee(node: &Node) -> Key<'_> {
    (&node.domain, &node.op_type, &node.overload)
}

/// Checks all functions of a model and the calls of them.
pub(crate) fn check(model: &Model, limits: &Limits, problems: &mut Problems) {
    if model.functions.is_empty() {
        return;
    }
    let mut index: BTreeMap<Key<'_>, usize> = BTreeMap::new();
    for (i, f) in model.functions.iter().enumerate() {
        if index.insert(key(f), i).is_some() {
            problems.push(Diagnostic::error(117, format!("function '{}' given twice", f.label())));
        }
        references(f, &f.nodes, problems);
    }
    let calls = Calls { functions: &model.functions, index };
    for f in &model.functions {
        calls.check_arity(&f.nodes, &format!("function {}", f.label()), problems);
    }
    calls.check_arity(&model.graph.nodes, "main", problems);
    let Some(order) = calls.callees_first(problems) else { return };
    calls.check_size(&model.graph.nodes, &order, limits, problems);
}

/// References to attributes that a function does not have.
fn references(f: &Function, nodes: &[Node], problems: &mut Problems) {
    for node in nodes {
        for Attribute { name, value } in &node.attributes {
            if let AttrValue::Ref(to) = value
                && !f.attributes.contains(to)
                && !f.defaults.iter().any(|d| d.name == *to)
            {
                let message =
                    format!("attribute '{name}' refers to '{to}', which the function does not have");
                let place = format!("function {}", f.label());
                problems.push(Diagnostic::error(116, message).at_node(node.loc()).in_graph(place));
            }
        }
        for (_, body) in node.graphs() {
            references(f, &body.nodes, problems);
        }
    }
}

/// The call graph.
struct Calls<'m> {
    functions: &'m [Function],
    index: BTreeMap<Key<'m>, usize>,
}

/// What a list of nodes becomes when its calls are expanded.
#[derive(Clone, Copy, Default)]
struct Size {
    n_nodes: usize,
    n_bytes: usize,
    call_depth: usize,
    graph_depth: usize,
}

impl Calls<'_> {
    fn function(&self, node: &Node) -> Option<usize> {
        self.index.get(&callee(node)).copied()
    }

    fn check_arity(&self, nodes: &[Node], place: &str, problems: &mut Problems) {
        for node in nodes {
            if let Some(f) = self.function(node).map(|f| &self.functions[f]) {
                let sides = [("inputs", &node.inputs, &f.inputs), ("outputs", &node.outputs, &f.outputs)];
                for (what, given, taken) in sides {
                    if given.len() > taken.len() {
                        let message = format!(
                            "function '{}' has {} {what}, call has {}",
                            f.label(),
                            taken.len(),
                            given.len()
                        );
                        let diagnostic = Diagnostic::error(202, message).at_node(node.loc());
                        problems.push(diagnostic.in_graph(place));
                    }
                }
                for name in f.attributes.iter().filter(|name| node.attr(name).is_none()) {
                    let message =
                        format!("call of function '{}' does not give attribute '{name}'", f.label());
                    problems.push(Diagnostic::error(116, message).at_node(node.loc()).in_graph(place));
                }
            }
            for (_, body) in node.graphs() {
                self.check_arity(&body.nodes, place, problems);
            }
        }
    }

    fn called_by(&self, nodes: &[Node], into: &mut BTreeSet<usize>) {
        for node in nodes {
            into.extend(self.function(node));
            for (_, body) in node.graphs() {
                self.called_by(&body.nodes, into);
            }
        }
    }

    /// All functions, callees before callers; `None` if there is recursion, which is reported.
    fn callees_first(&self, problems: &mut Problems) -> Option<Vec<usize>> {
        let callees: Vec<Vec<usize>> = self
            .functions
            .iter()
            .map(|f| {
                let mut called = BTreeSet::new();
                self.called_by(&f.nodes, &mut called);
                called.into_iter().collect()
            })
            .collect();
        #[derive(Clone, Copy, PartialEq)]
        enum State {
            New,
            Open,
            Done,
        }
        let mut state = vec![State::New; callees.len()];
        let mut order = Vec::with_capacity(callees.len());
        for root in 0..callees.len() {
            // An explicit stack: the file decides how deep calls go.
            let mut path: Vec<(usize, usize)> = vec![(root, 0)];
            while let Some((f, next)) = path.last_mut() {
                let f = *f;
                if state[f] == State::Done {
                    path.pop();
                    continue;
                }
                state[f] = State::Open;
                let Some(&callee) = callees[f].get(*next) else {
                    state[f] = State::Done;
                    order.push(f);
                    path.pop();
                    continue;
                };
                *next += 1;
                if state[callee] == State::Open {
                    let from = path.iter().position(|&(f, _)| f == callee).unwrap_or(0);
                    let mut cycle: Vec<String> =
                        path[from..].iter().map(|&(f, _)| self.functions[f].label()).collect();
                    cycle.push(self.functions[callee].label());
                    let message = format!("recursive function: {}", cycle.join(" -> "));
                    problems.push(Diagnostic::error(115, message));
                    return None;
                }
                path.push((callee, 0));
            }
        }
        Some(order)
    }

    fn check_size(&self, main: &[Node], order: &[usize], limits: &Limits, problems: &mut Problems) {
        let mut sizes = vec![Size::default(); self.functions.len()];
        for &f in order {
            sizes[f] = self.size(&self.functions[f].nodes, &sizes);
        }
        let total = self.size(main, &sizes);
        let deepest = sizes.iter().map(|s| s.call_depth + 1).max().unwrap_or(0);
        if deepest > limits.call_depth {
            let message = format!("calls of functions nest {deepest} deep, limit {}", limits.call_depth);
            problems.push(Diagnostic::error(507, message));
        }
        if total.n_nodes > limits.inlined_nodes {
            let message = format!("inlining gives > {} nodes", limits.inlined_nodes);
            problems.push(Diagnostic::error(503, message));
        } else if total.n_bytes > limits.inlined_bytes {
            let message = format!("inlining gives {} bytes, limit {}", total.n_bytes, limits.inlined_bytes);
            problems.push(Diagnostic::error(501, message));
        }
        if total.graph_depth + 1 > limits.graph_nesting {
            let (depth, limit) = (total.graph_depth + 1, limits.graph_nesting);
            let message = format!("subgraph nesting {depth} over limit {limit} after inlining");
            problems.push(Diagnostic::error(504, message));
        }
    }

    fn size(&self, nodes: &[Node], known: &[Size]) -> Size {
        let mut sum = Size::default();
        for node in nodes {
            let own = match self.function(node) {
                Some(f) => Size { call_depth: known[f].call_depth + 1, ..known[f] },
                None => Size { n_nodes: 1, ..Size::default() },
            };
            sum.n_nodes = sum.n_nodes.saturating_add(own.n_nodes);
            sum.n_bytes = sum.n_bytes.saturating_add(own.n_bytes).saturating_add(node_bytes(node));
            sum.call_depth = sum.call_depth.max(own.call_depth);
            sum.graph_depth = sum.graph_depth.max(own.graph_depth);
            for (_, body) in node.graphs() {
                let body_size = self.size(&body.nodes, known);
                let tensors: usize = body.initializers.iter().map(tensor_bytes).sum();
                sum.n_nodes = sum.n_nodes.saturating_add(body_size.n_nodes);
                sum.n_bytes = sum.n_bytes.saturating_add(body_size.n_bytes).saturating_add(tensors);
                sum.call_depth = sum.call_depth.max(body_size.call_depth);
                sum.graph_depth = sum.graph_depth.max(body_size.graph_depth + 1);
            }
        }
        sum
    }
}

/// Bytes that a copy of the node takes, bodies aside.
fn node_bytes(node: &Node) -> usize {
    let names = node.inputs.iter().chain(&node.outputs).chain([&node.name, &node.op_type, &node.domain]);
    let names: usize = names.map(|name| size_of::<String>() + name.len()).sum();
    let attributes: usize = node.attributes.iter().map(|a| a.name.len() + attribute_bytes(&a.value)).sum();
    size_of::<Node>() + names + attributes
}

fn attribute_bytes(value: &AttrValue) -> usize {
    let own = size_of::<Attribute>();
    own + match value {
        AttrValue::Str(s) => s.len(),
        AttrValue::Floats(v) => size_of_val(v.as_slice()),
        AttrValue::Ints(v) => size_of_val(v.as_slice()),
        AttrValue::Strings(v) => v.iter().map(|s| size_of::<String>() + s.len()).sum(),
        AttrValue::Tensor(t) | AttrValue::SparseTensor(t) => tensor_bytes(t),
        AttrValue::Tensors(v) | AttrValue::SparseTensors(v) => v.iter().map(tensor_bytes).sum(),
        AttrValue::Types(v) => v.len() * own,
        AttrValue::Ref(name) => name.len(),
        AttrValue::Float(_)
        | AttrValue::Int(_)
        | AttrValue::Graph(_)
        | AttrValue::Graphs(_)
        | AttrValue::Type(_) => 0,
    }
}

/// Bytes that a copy of the tensor takes: elements are shared.
fn tensor_bytes(t: &Tensor) -> usize {
    size_of::<Tensor>() + t.name.len() + size_of_val(t.dims.as_slice())
}
