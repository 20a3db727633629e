//! symbols - V07 to V10 and V12: extents and the symbols in them.

use rustc_hash::FxHashSet;

use super::{Forms, Report, Rule, for_each_node};
use crate::{
    definitions::{Definitions, bare_symbol},
    entity::EntityId,
    extent::{Extent, SymbolId, SymbolOrigin},
    form::{Form, Ix},
    graph::{ConstraintKind, Module, Provenance, RegionId},
    program::Inst,
};

pub(super) fn check(module: &Module, forms: &Forms, report: &mut Report) {
    let before = report.violations.len();
    exist(module, forms, report);
    if report.violations.len() > before {
        return;
    }
    declarations(module, report);
    let definitions = Definitions::by_forms(module, &|node| forms.get(node));
    defined_once(module, &definitions, report);
    let inputs = module.symbols.iter().filter(|(_, s)| s.origin != SymbolOrigin::Data);
    let known = inputs.map(|(s, _)| s).collect();
    let mut walk = Walk { module, forms, report, definitions, known };
    walk.region(module.body(), &Provenance::default());
}

/// V07: nothing else may look at symbols before.
fn exist(module: &Module, forms: &Forms, report: &mut Report) {
    let mut check = |extent: &Extent, what: &str, loc: &Provenance| {
        extent.for_each_symbol(&mut |s| {
            if s.index() >= module.symbols.len() {
                report.add(
                    Rule::SymbolsExist,
                    loc,
                    format!("{what} mentions s{}, which does not exist", s.index()),
                );
            }
        });
    };
    let nowhere = Provenance::default();
    for (s, symbol) in module.symbols.iter() {
        if let Some(bound) = &symbol.bound {
            check(bound, &format!("the bound of s{}", s.index()), &nowhere);
        }
    }
    for constraint in &module.constraints {
        let (ConstraintKind::Equal(a, b) | ConstraintKind::Broadcasts(a, b) | ConstraintKind::AtMost(a, b)) =
            &constraint.kind;
        check(a, "a constraint", &constraint.loc);
        check(b, "a constraint", &constraint.loc);
    }
    for region in module.nested_regions(module.body()) {
        for &param in &module.region(region).params {
            module.ty(param).shape.iter().for_each(|e| check(e, "a parameter", &nowhere));
        }
    }
    for_each_node(module, &mut |_, id| {
        let node = module.node(id);
        for &result in &node.results {
            module.ty(result).shape.iter().for_each(|e| check(e, node.op.mnemonic(), &node.loc));
        }
        match forms.get(id) {
            Form::ReadExtents(symbols) => {
                symbols.iter().for_each(|&s| check(&Extent::symbol(s), node.op.mnemonic(), &node.loc));
            }
            Form::Extern(form) => {
                let defined = form.defines.iter().map(|d| Extent::symbol(d.2));
                defined.for_each(|e| check(&e, node.op.mnemonic(), &node.loc));
            }
            form => for_each_extent(form, &mut |e| check(e, node.op.mnemonic(), &node.loc)),
        }
    });
}

/// V10, and of V09 what concerns inputs.
fn declarations(module: &Module, report: &mut Report) {
    let params = &module.region(module.body()).params;
    for (s, symbol) in module.symbols.iter() {
        let name = format!("symbol s{} '{}'", s.index(), symbol.name);
        if symbol.min < 0 || symbol.min > symbol.max {
            report.add_global(
                Rule::SymbolRanges,
                format!("{name} ranges over {}..={}", symbol.min, symbol.max),
            );
        }
        if let Some(bound) = &symbol.bound {
            bound.for_each_symbol(&mut |b| {
                if module.symbols[b].origin == SymbolOrigin::Data {
                    let message =
                        format!("{name}: its bound {bound} mentions s{}, which data decide", b.index());
                    report.add_global(Rule::SymbolRanges, message);
                }
            });
        }
        if let SymbolOrigin::Input { input, axis } = symbol.origin {
            let extent = params.get(input).and_then(|&p| module.ty(p).shape.get(axis));
            if extent.and_then(bare_symbol) != Some(s) {
                let message = format!("{name} is not the extent of axis {axis} of input {input}");
                report.add_global(Rule::SymbolsDefinedOnce, message);
            }
        }
    }
}

/// V09 for what nodes define.
fn defined_once(module: &Module, definitions: &Definitions, report: &mut Report) {
    let mut defined = FxHashSet::default();
    for_each_node(module, &mut |_, id| {
        for &s in definitions.of_node(id) {
            if module.symbols[s].origin != SymbolOrigin::Data || !defined.insert(s) {
                let message = format!(
                    "{} defines s{}, which is defined elsewhere",
                    module.node(id).op.mnemonic(),
                    s.index()
                );
                report.add(Rule::SymbolsDefinedOnce, &module.node(id).loc, message);
            }
        }
    });
}

struct Walk<'m> {
    module: &'m Module,
    forms: &'m Forms,
    report: &'m mut Report,
    definitions: Definitions,
    known: FxHashSet<SymbolId>,
}

impl Walk<'_> {
    fn region(&mut self, id: RegionId, loc: &Provenance) {
        let module = self.module;
        let region = module.region(id);
        for &param in &region.params {
            module.ty(param).shape.iter().for_each(|e| self.extent(e, "a parameter", loc));
        }
        let mut here = Vec::new();
        for &id in &region.nodes {
            let node = module.node(id);
            for &nested in &node.regions {
                self.region(nested, &node.loc);
            }
            for_each_extent(self.forms.get(id), &mut |e| self.extent(e, node.op.mnemonic(), &node.loc));
            for &s in self.definitions.of_node(id) {
                self.known.insert(s);
                here.push(s);
            }
            for &result in &node.results {
                module.ty(result).shape.iter().for_each(|e| self.extent(e, node.op.mnemonic(), &node.loc));
            }
        }
        for s in here {
            self.known.remove(&s);
        }
    }

    fn extent(&mut self, extent: &Extent, what: &str, loc: &Provenance) {
        if extent.as_const().is_some_and(|c| c < 0) {
            self.report.add(Rule::Extents, loc, format!("{what} has the extent {extent}"));
        }
        extent.for_each_symbol(&mut |s| {
            if !self.known.contains(&s) {
                let message = format!("{what} mentions s{}, which is not known there", s.index());
                self.report.add(Rule::SymbolsKnown, loc, message);
            }
        });
    }
}

/// The extents that a form mentions beyond those of its node's types.
fn for_each_extent(form: &Form, f: &mut dyn FnMut(&Extent)) {
    match form {
        Form::Loops(form) => {
            form.space.iter().chain(&form.reduce).for_each(&mut *f);
            form.loads.iter().flat_map(|load| &load.index).for_each(|ix| extents_of_index(ix, f));
            for (inst, _) in form.body.insts().iter().chain(form.finish.insts()) {
                if let Inst::Index(ix) = inst {
                    extents_of_index(ix, f);
                }
            }
        }
        Form::Scatter(form) => {
            form.space.iter().for_each(&mut *f);
            let loads = form.loads.iter().flat_map(|load| &load.index);
            loads.chain(&form.index).for_each(|ix| extents_of_index(ix, f));
        }
        Form::Extents(values) => values.iter().for_each(|e| symbols_of(e, f)),
        Form::View
        | Form::Concat { .. }
        | Form::Constant
        | Form::ReadExtents(_)
        | Form::Region
        | Form::Composite
        | Form::Extern(_) => {}
    }
}

/// Numbers that are no extent may be negative: only their symbols matter.
fn symbols_of(number: &Extent, f: &mut dyn FnMut(&Extent)) {
    number.for_each_symbol(&mut |s| f(&Extent::symbol(s)));
}

fn extents_of_index(ix: &Ix, f: &mut dyn FnMut(&Extent)) {
    ix.visit(&mut |part| match part {
        Ix::Extent(e)
        | Ix::Mul(_, e)
        | Ix::FloorDiv(_, e)
        | Ix::Mod(_, e)
        | Ix::Bcast(_, e)
        | Ix::Wrap(_, e) => symbols_of(e, f),
        Ix::Axis(_) | Ix::Add(..) | Ix::Min(..) | Ix::Max(..) | Ix::Load(_) => {}
    });
}
