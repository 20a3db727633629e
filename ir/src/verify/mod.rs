//! verify - the numbered rules that a module obeys between any two passes.
//!
//! Structure is checked first, then types, symbols, phases and forms: where one does not hold, those after it are not looked
//! at, because what they look at may mean nothing.

mod forms;
mod phases;
mod structure;
mod symbols;

use std::fmt;

pub use forms::check_form;

use crate::{
    diag::escape,
    entity::EntityId,
    form::Form,
    graph::{Module, NodeId, Provenance, RegionId},
};

/// A rule; its number is what reports and tests name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// V01: ids refer to something of the module, and every value stands where its definition says.
    Dangling = 1,
    /// V02: every value is defined once: listed once by a region's parameters or a node's results.
    DefinedOnce = 2,
    /// V03: every node is in one region, and every region but the main one belongs to one node.
    Placement = 3,
    /// V04: what a node or the end of a region reads is defined before, in the same region: nothing is captured.
    BeforeUse = 4,
    /// V05: the operation accepts its operands and regions, in number and in type.
    Accepted = 5,
    /// V06: the types of results are those that the operation infers.
    ResultTypes = 6,
    /// V07: symbols are of the module.
    SymbolsExist = 7,
    /// V08: symbols that data decide are mentioned only where a node has defined them.
    SymbolsKnown = 8,
    /// V09: a symbol has one definition: one axis of an input, or one node.
    SymbolsDefinedOnce = 9,
    /// V10: the range of a symbol is not empty nor negative, and its bound mentions only symbols of inputs.
    SymbolRanges = 10,
    /// V11: inputs and outputs have as many names as there are parameters and results, each its own.
    Ports = 11,
    /// V12: known extents are not negative.
    Extents = 12,
    /// V13: the form of a node fits its types, and its programs are well-typed.
    Forms = 13,
    /// V14: from Canonical on, nothing is composite.
    Composite = 14,
    /// V15: fusions hold no control flow, no fusion, and nothing that calls the runtime or defines symbols.
    FusionBodies = 15,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "V{:02}", *self as u8)
    }
}

/// A rule that does not hold somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// ONNX nodes it is wrong at.
    pub loc: Provenance,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.rule)?;
        if !self.loc.is_empty() {
            write!(f, "{}: ", escape(&self.loc.join(", ")))?;
        }
        write!(f, "{}", escape(&self.message))
    }
}

/// Checks every rule.
///
/// # Errors
/// The violations found, by rule and then in program order.
pub fn verify(module: &Module) -> Result<(), Vec<Violation>> {
    let mut report = Report::default();
    // Each step relies on what those before it have found in order.
    for step in [structure::check, structure::check_types] {
        step(module, &mut report);
        if report.has_broken() {
            return Err(report.sorted());
        }
    }
    let forms = Forms::of(module);
    for step in [symbols::check, phases::check, forms::check] {
        step(module, &forms, &mut report);
        if report.has_broken() {
            break;
        }
    }
    let violations = report.sorted();
    if violations.is_empty() { Ok(()) } else { Err(violations) }
}

/// How each node of a module iterates, worked out once for all rules.
struct Forms(Vec<Option<Form>>);

impl Forms {
    /// Of a module whose types have been checked.
    fn of(module: &Module) -> Self {
        let mut forms = vec![None; module.node_count()];
        for_each_node(module, &mut |_, id| forms[id.index()] = Some(module.form(id)));
        Self(forms)
    }

    fn get(&self, node: NodeId) -> &Form {
        self.0[node.index()].as_ref().expect("every node of the module has one")
    }
}

/// Violations found so far.
#[derive(Default)]
struct Report {
    violations: Vec<Violation>,
}

impl Report {
    /// Whether a rule does not hold that others rely on.
    fn has_broken(&self) -> bool {
        self.violations.iter().any(|v| v.rule != Rule::Ports)
    }

    /// By rule and then in program order.
    fn sorted(mut self) -> Vec<Violation> {
        self.violations.sort_by_key(|v| v.rule);
        self.violations
    }

    fn add(&mut self, rule: Rule, loc: &Provenance, message: impl Into<String>) {
        self.violations.push(Violation { rule, message: message.into(), loc: loc.clone() });
    }
    /// For what belongs to no node.
    fn add_global(&mut self, rule: Rule, message: impl Into<String>) {
        self.add(rule, &Provenance::default(), message);
    }
}

/// Every region of a module whose structure has been checked, with its nodes, in program order.
fn for_each_node(module: &Module, f: &mut dyn FnMut(RegionId, NodeId)) {
    for region in module.nested_regions(module.body()) {
        for &node in &module.region(region).nodes {
            f(region, node);
        }
    }
}

#[cfg(test)]
mod tests;
