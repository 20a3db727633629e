//! inline - replaces calls of model-local functions by their bodies, so that only operators are left.
//!
//! Inner values get names that are used nowhere else; references to attributes become the call's attribute or the
//! function's default. `functions` has checked that there is no recursion and that the result is of bearable size.

use crate::functions::{Key, callee, key};
use crate::model::{AttrValue, Attribute, Function, Graph, Model, Node};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Expands all calls of a checked model.
pub(crate) fn inline(model: &mut Model) {
    let functions = std::mem::take(&mut model.functions);
    if functions.is_empty() {
        return;
    }
    let mut names = HashSet::new();
    collect_names(&model.graph, &mut names);
    let functions = functions.iter().map(|f| (key(f), f)).collect();
    let default_opset = model.opsets.get("").copied().unwrap_or(0);
    let mut inliner = Inliner { functions, names, n_calls: 0, default_opset, defined: Vec::new() };
    let nodes = std::mem::take(&mut model.graph.nodes);
    model.graph.nodes = inliner.nodes(nodes);
}

/// All value names of a graph and its bodies.
fn collect_names(graph: &Graph, names: &mut HashSet<String>) {
    names.extend(graph.inputs.iter().chain(&graph.outputs).map(|v| v.name.clone()));
    names.extend(graph.initializers.iter().map(|t| t.name.clone()));
    for node in &graph.nodes {
        names.extend(node.inputs.iter().chain(&node.outputs).cloned());
        for (_, body) in node.graphs() {
            collect_names(body, names);
        }
    }
}

struct Inliner<'m> {
    functions: BTreeMap<Key<'m>, &'m Function>,
    /// Every name in use.
    names: HashSet<String>,
    n_calls: usize,
    default_opset: i64,
    /// Names given new ones, in the order this was done, so that those of a body can be forgotten after it.
    defined: Vec<String>,
}

/// One call being expanded.
struct Call<'c> {
    function: &'c Function,
    node: &'c Node,
    /// Prefix of inner names.
    prefix: String,
}

impl Inliner<'_> {
    fn nodes(&mut self, nodes: Vec<Node>) -> Vec<Node> {
        let mut expanded = Vec::with_capacity(nodes.len());
        for mut node in nodes {
            for body in node.graphs_mut() {
                let inner = std::mem::take(&mut body.nodes);
                body.nodes = self.nodes(inner);
            }
            match self.functions.get(&callee(&node)).copied() {
                Some(function) => {
                    let body = self.call(function, &node);
                    expanded.extend(self.nodes(body));
                }
                None => expanded.push(node),
            }
        }
        expanded
    }

    /// The function's body with the call's operands, results and attributes in place; calls in it are still calls.
    fn call(&mut self, function: &Function, node: &Node) -> Vec<Node> {
        self.n_calls += 1;
        let call = Call { function, node, prefix: format!("{}.{}", function.name, self.n_calls) };
        let mut renamed: HashMap<String, String> = HashMap::new();
        for (i, name) in function.inputs.iter().enumerate() {
            renamed.insert(name.clone(), node.inputs.get(i).cloned().unwrap_or_default());
        }
        // A result that is an operand or another result as well needs a copy.
        let mut copies: Vec<(&String, &String)> = Vec::new();
        for (inner, outer) in function.outputs.iter().zip(&node.outputs) {
            if outer.is_empty() {
                continue;
            }
            if renamed.contains_key(inner) {
                copies.push((inner, outer));
            } else {
                renamed.insert(inner.clone(), outer.clone());
            }
        }
        let mut body = self.body(&call, &function.nodes, &mut renamed);
        for (inner, outer) in copies {
            body.push(Node {
                index: node.index,
                name: node.name.clone(),
                op_type: "Identity".to_owned(),
                opset: function.opsets.get("").copied().unwrap_or(self.default_opset),
                inputs: vec![renamed[inner].clone()],
                outputs: vec![outer.clone()],
                ..Node::default()
            });
        }
        body
    }

    fn body(&mut self, call: &Call<'_>, nodes: &[Node], renamed: &mut HashMap<String, String>) -> Vec<Node> {
        nodes.iter().map(|node| self.inner_node(call, node, renamed)).collect()
    }

    fn inner_node(&mut self, call: &Call<'_>, node: &Node, renamed: &mut HashMap<String, String>) -> Node {
        let inputs = node.inputs.iter().map(|name| rename(renamed, name)).collect();
        let attributes = node.attributes.iter().filter_map(|a| self.attribute(call, a, renamed)).collect();
        let outputs = node.outputs.iter().map(|name| self.define(call, name, renamed)).collect();
        Node {
            index: call.node.index,
            name: inner_name(&call.node.name, &node.name),
            op_type: node.op_type.clone(),
            domain: node.domain.clone(),
            overload: node.overload.clone(),
            opset: node.opset,
            inputs,
            outputs,
            attributes,
        }
    }

    /// The new name of a value that is made here.
    fn define(&mut self, call: &Call<'_>, name: &str, renamed: &mut HashMap<String, String>) -> String {
        if name.is_empty() {
            return String::new();
        }
        if let Some(known) = renamed.get(name) {
            return known.clone();
        }
        let mut fresh = format!("{}/{name}", call.prefix);
        while !self.names.insert(fresh.clone()) {
            fresh.push('_');
        }
        renamed.insert(name.to_owned(), fresh.clone());
        self.defined.push(name.to_owned());
        fresh
    }

    /// A copy of an attribute; `None` if it refers to one that the call leaves out.
    fn attribute(
        &mut self,
        call: &Call<'_>,
        attribute: &Attribute,
        renamed: &mut HashMap<String, String>,
    ) -> Option<Attribute> {
        let value = match &attribute.value {
            AttrValue::Ref(to) => {
                let default = || call.function.defaults.iter().find(|d| d.name == *to).map(|d| &d.value);
                call.node.attr(to).or_else(default)?.clone()
            }
            AttrValue::Graph(graph) => AttrValue::Graph(Box::new(self.graph(call, graph, renamed))),
            AttrValue::Graphs(graphs) => {
                AttrValue::Graphs(graphs.iter().map(|g| self.graph(call, g, renamed)).collect())
            }
            value => value.clone(),
        };
        Some(Attribute { name: attribute.name.clone(), value })
    }

    /// A copy of a body in the function: its own values get new names, those around it have theirs already.
    fn graph(&mut self, call: &Call<'_>, graph: &Graph, renamed: &mut HashMap<String, String>) -> Graph {
        let n_outer = self.defined.len();
        let mut copy = graph.clone();
        for input in &mut copy.inputs {
            input.name = self.define(call, &input.name, renamed);
        }
        for tensor in &mut copy.initializers {
            tensor.name = self.define(call, &tensor.name, renamed);
        }
        for name in &mut copy.overridable {
            *name = rename(renamed, name);
        }
        copy.nodes = self.body(call, &graph.nodes, renamed);
        for value in copy.outputs.iter_mut().chain(&mut copy.value_info) {
            value.name = rename(renamed, &value.name);
        }
        for name in self.defined.drain(n_outer..) {
            renamed.remove(&name);
        }
        copy
    }
}

fn rename(renamed: &HashMap<String, String>, name: &str) -> String {
    renamed.get(name).cloned().unwrap_or_else(|| name.to_owned())
}

/// Name of a node within a call: `call/inner`.
fn inner_name(call: &str, inner: &str) -> String {
    match (call, inner) {
        ("", inner) => inner.to_owned(),
        (call, "") => call.to_owned(),
        (call, inner) => format!("{call}/{inner}"),
    }
}
