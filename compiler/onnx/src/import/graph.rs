//! graph - imports the nodes of a graph, one after another; a bad one poisons its results and no more.

use std::{cell::RefCell, collections::HashMap};

use nnc_ir::{diag::Diagnostic, graph::loc};

use super::{
    Importer, Problem,
    cx::OpCx,
    scope::Scope,
    table::{self, Found, MANY, Row},
    value::Binding,
};
use crate::model::{Graph, Node, ValueInfo};

impl Importer {
    /// Imports the nodes of `graph`, whose inputs are in `scope` already.
    pub(super) fn graph(&mut self, graph: &Graph, scope: &Scope<'_>, path: &str) {
        let declared: HashMap<&str, &ValueInfo> =
            graph.value_info.iter().chain(&graph.outputs).map(|info| (info.name.as_str(), info)).collect();
        for node in &graph.nodes {
            let results = match self.node(node, scope, path) {
                Ok(results) => results,
                Err(problem) => {
                    if let Some(problem) = problem {
                        self.problems.push(problem.at_node(node.loc()).in_graph(path));
                    }
                    Vec::new()
                }
            };
            let mut results = results.into_iter();
            for name in &node.outputs {
                let binding = results.next().unwrap_or(Binding::Poison);
                if let Some(info) = declared.get(name.as_str()) {
                    self.check_declared(info, &binding, path);
                }
                if !name.is_empty() {
                    scope.bind(name, binding);
                }
            }
        }
    }

    /// Results of one node; no error where it has been reported or reads a poisoned value.
    fn node(&mut self, node: &Node, scope: &Scope<'_>, path: &str) -> Result<Vec<Binding>, Option<Problem>> {
        let Some(row) = self.row(node, path) else { return Err(None) };
        let name =
            if node.name.is_empty() { format!("{}_{}", node.op_type, node.index) } else { node.name.clone() };
        let loc = loc(&name);
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for name in &node.inputs {
            if name.is_empty() {
                inputs.push(None);
                continue;
            }
            match scope.lookup(&mut self.module, name, &loc) {
                Some(Binding::Poison) => return Err(None),
                Some(binding) => inputs.push(Some(binding)),
                None => {
                    let message = format!("input '{name}' is not defined");
                    return Err(Some(Box::new(Diagnostic::error(103, message))));
                }
            }
        }
        let region = scope.region;
        let attrs_read = RefCell::default();
        let mut cx = OpCx { importer: self, node, scope, path, region, loc, inputs, attrs_read };
        let results = check_arity(&cx, row).and_then(|()| (row.import)(&mut cx))?;
        cx.warn_unknown_attributes();
        if node.outputs.iter().skip(results.len()).any(|name| !name.is_empty()) {
            let message = format!(
                "{} gives {} outputs here, node has {}",
                node.op_type,
                results.len(),
                node.outputs.len()
            );
            return Err(Some(Box::new(Diagnostic::error(202, message))));
        }
        Ok(results)
    }

    fn row(&mut self, node: &Node, path: &str) -> Option<&'static Row> {
        let (domain, op, opset) = (&node.domain, &node.op_type, node.opset);
        let (code, message) = match table::find(domain, op, opset) {
            Found::Row(row) => return Some(row),
            Found::Since(first) => (402, format!("'{op}' exists since opset {first}, model imports {opset}")),
            Found::Until(last) => {
                (403, format!("'{op}' was removed after opset {last}, model imports {opset}"))
            }
            Found::Unknown => (401, format!("op '{op}' unknown in domain '{domain}' opset {opset}")),
            Found::UnknownDomain => (404, format!("domain '{domain}' not supported (op '{op}')")),
        };
        let make = || (Diagnostic::error(code, message.clone()).at_node(node.loc()).in_graph(path), 0);
        self.missing.entry((code, message.clone())).or_insert_with(make).1 += 1;
        None
    }
}

impl OpCx<'_> {
    fn warn_unknown_attributes(&mut self) {
        let read = self.attrs_read.take();
        for attribute in &self.node.attributes {
            if !read.contains(&attribute.name) {
                self.warn(208, format!("{} has no attribute '{}'; it is ignored", self.op(), attribute.name));
            }
        }
    }
}

/// E0202: as many operands as the row says; E0203: those that must be there are.
fn check_arity(cx: &OpCx<'_>, row: &Row) -> Result<(), Problem> {
    let (least, most) = (*row.inputs.start(), *row.inputs.end());
    let has = cx.n_inputs();
    if row.inputs.contains(&has) {
        return match cx.inputs.iter().take(least).position(Option::is_none) {
            Some(i) => cx.error(203, format!("input {i} of {} is required but empty", cx.op())),
            None => Ok(()),
        };
    }
    let needs = match () {
        () if least == most => format!("{least}"),
        () if most == MANY => format!("{least} or more"),
        () => format!("{least}-{most}"),
    };
    cx.error(202, format!("{} needs {needs} inputs, has {has}", cx.op()))
}
