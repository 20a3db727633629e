//! print - modules as text.

use std::fmt::Write;

use crate::{
    entity::EntityId,
    extent::SymbolOrigin,
    graph::{ConstraintKind, Module, NodeId, Phase, Provenance, RegionId, ValueId},
    ops::Op,
    text::{constant, quote::quote},
};

/// The module as text. Values are numbered in the order in which they are written, so the text depends on the program
/// and not on how it was built.
#[must_use]
pub fn print(module: &Module) -> String {
    let numbers = vec![None; module.value_count()];
    let mut printer = Printer { module, numbers, next: 0, out: String::new() };
    printer.header();
    printer.main();
    printer.out
}

/// Spelling of a phase.
#[must_use]
pub fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Imported => "imported",
        Phase::Canonical => "canonical",
        Phase::Fused => "fused",
        Phase::Planned => "planned",
    }
}

struct Printer<'m> {
    module: &'m Module,
    /// Numbers of values written so far.
    numbers: Vec<Option<usize>>,
    next: usize,
    out: String,
}

impl Printer<'_> {
    fn line(&mut self, depth: usize, text: &str) {
        let _ = writeln!(self.out, "{:1$}{text}", "", 2 * depth);
    }

    fn header(&mut self) {
        let module = self.module;
        self.line(0, "nnir 1");
        self.line(0, &format!("phase {}", phase_name(module.phase)));
        for (id, symbol) in module.symbols.iter() {
            let origin = match symbol.origin {
                SymbolOrigin::Input { input, axis } => format!("input({input},{axis})"),
                SymbolOrigin::Data => "data".to_owned(),
            };
            let bound = symbol.bound.as_ref().map_or(String::new(), |b| format!(" bound {b}"));
            let (name, min, max) = (quote(&symbol.name), symbol.min, symbol.max);
            self.line(0, &format!("symbol s{} {name} {min}..={max} {origin}{bound}", id.index()));
        }
        for constraint in &module.constraints {
            let text = match &constraint.kind {
                ConstraintKind::Equal(a, b) => format!("equal({a},{b})"),
                ConstraintKind::Broadcasts(a, b) => format!("broadcasts({a},{b})"),
                ConstraintKind::AtMost(a, b) => format!("at_most({a},{b})"),
            };
            self.line(0, &format!("constraint {text}{}", loc(&constraint.loc)));
        }
    }

    fn main(&mut self) {
        let module = self.module;
        let body = module.region(module.body());
        let name =
            |names: &[String], i: usize| names.get(i).map_or(String::new(), |n| format!(" {}", quote(n)));
        let mut params = Vec::new();
        for (i, &param) in body.params.iter().enumerate() {
            params.push(format!(
                "{}{} : {}",
                self.declare(param),
                name(&module.input_names, i),
                module.ty(param)
            ));
        }
        self.line(0, &format!("module ({}) {{", params.join(", ")));
        self.nodes(module.body(), 1);
        let results = body.results.iter().enumerate();
        let results: Vec<String> =
            results.map(|(i, &v)| format!(" {}{}", self.name(v), name(&module.output_names, i))).collect();
        self.line(1, &format!("return{}", results.join(",")));
        self.line(0, "}");
    }

    fn nodes(&mut self, region: RegionId, depth: usize) {
        let module = self.module;
        for &node in &module.region(region).nodes {
            self.node(node, depth);
        }
    }

    fn node(&mut self, id: NodeId, depth: usize) {
        let module = self.module;
        let node = module.node(id);
        let operands: Vec<String> = node.operands.iter().map(|&v| self.name(v)).collect();
        let results: Vec<String> = node.results.iter().map(|&v| self.declare(v)).collect();
        let types: Vec<String> = node.results.iter().map(|&v| module.ty(v).to_string()).collect();
        let mut text = String::new();
        if !results.is_empty() {
            let _ = write!(text, "{} = ", results.join(", "));
        }
        text.push_str(node.op.mnemonic());
        if !operands.is_empty() {
            let _ = write!(text, " {}", operands.join(", "));
        }
        let attrs: Vec<String> = match &node.op {
            Op::ConstantOp(c) => vec![format!("value={}", constant::print(&c.value))],
            op => op.attrs().into_iter().map(|(n, v)| format!("{n}={v}")).collect(),
        };
        if !attrs.is_empty() {
            let _ = write!(text, " {{{}}}", attrs.join(", "));
        }
        if !types.is_empty() {
            let _ = write!(text, " : {}", types.join(", "));
        }
        text.push_str(&loc(&node.loc));
        if node.regions.is_empty() {
            return self.line(depth, &text);
        }
        self.line(depth, &format!("{text} {{"));
        for &region in &node.regions {
            self.region(region, depth + 1);
        }
        self.line(depth, "}");
    }

    fn region(&mut self, region: RegionId, depth: usize) {
        let module = self.module;
        let params = module.region(region).params.iter();
        let params: Vec<String> =
            params.map(|&p| format!("{} : {}", self.declare(p), module.ty(p))).collect();
        self.line(depth, &format!("region ({}) {{", params.join(", ")));
        self.nodes(region, depth + 1);
        let results: Vec<String> =
            module.region(region).results.iter().map(|&v| format!(" {}", self.name(v))).collect();
        self.line(depth + 1, &format!("yield{}", results.join(",")));
        self.line(depth, "}");
    }

    fn declare(&mut self, value: ValueId) -> String {
        if let Some(number) = self.numbers.get_mut(value.index()) {
            *number = Some(self.next);
        }
        self.next += 1;
        self.name(value)
    }

    /// Modules that the verifier would refuse are printed too: then what is not defined is named by its id.
    fn name(&self, value: ValueId) -> String {
        match self.numbers.get(value.index()) {
            Some(Some(number)) => format!("%{number}"),
            _ => format!("%undefined_{value:?}"),
        }
    }
}

fn loc(loc: &Provenance) -> String {
    if loc.is_empty() {
        return String::new();
    }
    let names: Vec<String> = loc.iter().map(|n| quote(n)).collect();
    format!(" loc({})", names.join(","))
}
