//! definitions - which node defines which symbol that data decide.
//!
//! `read_extents` defines the symbols it lists. An extern call defines those that its form names, a shape that an `if`
//! joins and the `count` of a `loop` the symbol they consist of, unless they are known there already. What a nested
//! region defines is known inside of it only.

use std::borrow::Borrow;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::{
    extent::{Atom, Extent, SymbolId, SymbolOrigin},
    form::Form,
    graph::{Module, Node, NodeId, RegionId},
    ops::Op,
};

/// The symbols that nodes define.
#[derive(Clone, Debug, Default)]
pub struct Definitions {
    by_node: FxHashMap<NodeId, Vec<SymbolId>>,
    by_region: FxHashMap<RegionId, Vec<SymbolId>>,
}

impl Definitions {
    /// Walks a module that the verifier accepts in program order.
    #[must_use]
    pub fn new(module: &Module) -> Self {
        // Only such symbols are defined by nodes.
        if module.symbols.iter().all(|(_, s)| s.origin != SymbolOrigin::Data) {
            return Self::default();
        }
        Self::by_forms(module, &|node| module.form(node))
    }
    /// Likewise of any module, whose nodes have these forms.
    pub(crate) fn by_forms<F: Borrow<Form>>(module: &Module, form: &dyn Fn(NodeId) -> F) -> Self {
        let mut definitions = Self::default();
        let inputs = module.symbols.iter().filter(|(_, s)| s.origin != SymbolOrigin::Data);
        let mut known: FxHashSet<SymbolId> = inputs.map(|(s, _)| s).collect();
        definitions.walk(module, form, module.body(), &mut known);
        definitions
    }
    /// Symbols that `node` defines when it has run, in order.
    #[must_use]
    pub fn of_node(&self, node: NodeId) -> &[SymbolId] {
        self.by_node.get(&node).map_or(&[], |s| s)
    }
    /// Symbols that the nodes of `region` and of regions in it define, in order.
    #[must_use]
    pub fn within(&self, region: RegionId) -> &[SymbolId] {
        self.by_region.get(&region).map_or(&[], |s| s)
    }

    fn walk<F: Borrow<Form>>(
        &mut self,
        module: &Module,
        form: &dyn Fn(NodeId) -> F,
        region: RegionId,
        known: &mut FxHashSet<SymbolId>,
    ) {
        let (mut here, mut within) = (Vec::new(), Vec::new());
        for &id in &module.region(region).nodes {
            let node = module.node(id);
            for &nested in &node.regions {
                self.walk(module, form, nested, known);
                within.extend_from_slice(self.within(nested));
            }
            let defined = defined_by(node, &|| form(id), known);
            if !defined.is_empty() {
                known.extend(&defined);
                here.extend_from_slice(&defined);
                self.by_node.insert(id, defined);
            }
        }
        for symbol in &here {
            known.remove(symbol);
        }
        within.extend(here);
        if !within.is_empty() {
            self.by_region.insert(region, within);
        }
    }
}

/// The symbol an extent consists of.
#[must_use]
pub fn bare_symbol(extent: &Extent) -> Option<SymbolId> {
    let Extent::Expr(p) = extent else { return None };
    match &p.terms[..] {
        [term] if p.constant == 0 && term.coefficient == 1 => match term.atoms[..] {
            [Atom::Symbol(s)] => Some(s),
            _ => None,
        },
        _ => None,
    }
}

fn defined_by<F: Borrow<Form>>(
    node: &Node,
    form: &dyn Fn() -> F,
    known: &FxHashSet<SymbolId>,
) -> Vec<SymbolId> {
    let mut defined: Vec<SymbolId> = Vec::new();
    let mut join = |s: SymbolId| {
        if !known.contains(&s) && !defined.contains(&s) {
            defined.push(s);
        }
    };
    match &node.op {
        Op::If(op) => op.shapes.iter().flatten().filter_map(bare_symbol).for_each(join),
        Op::Loop(op) => bare_symbol(&op.count).into_iter().for_each(join),
        Op::Fusion(_) | Op::Tiled(_) | Op::Scan(_) => {}
        _ => match form().borrow() {
            Form::ReadExtents(symbols) => return symbols.clone(),
            Form::Extern(form) => form.defines.iter().for_each(|&(_, _, s)| join(s)),
            _ => {}
        },
    }
    defined
}
