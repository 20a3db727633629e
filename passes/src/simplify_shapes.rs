//! simplify-shapes - replaces shape arithmetic by extents that are known without running.
//!
//! ```nnir
//! nnir 1
//! phase imported
//! symbol s0 "n" 1..=1024 input(0,0)
//! symbol s1 "target" 0..=4096 data
//! module (%0 "x" : f32[s0,4]) {
//!   %1 = extents {values=[4*s0]} : i64[1] loc("shape")
//!   read_extents %1 {symbols=[s1]} loc("reshape")
//!   %2 = reshape %0 {shape=[s1]} : f32[s1] loc("reshape")
//!   return %2 "y"
//! }
//! ```
//! becomes
//! ```nnir
//! nnir 1
//! phase imported
//! symbol s0 "n" 1..=1024 input(0,0)
//! symbol s1 "target" 0..=4096 data
//! module (%0 "x" : f32[s0,4]) {
//!   %1 = extents {values=[4*s0]} : i64[1] loc("shape")
//!   read_extents %1 {symbols=[s1]} loc("reshape")
//!   %2 = reshape %0 {shape=[4*s0]} : f32[4*s0] loc("reshape")
//!   return %2 "y"
//! }
//! ```
//!
//! Symbols with a range of one value become that value; symbols read from extents (or constants) that are known become
//! these extents, wherever types, attributes and constraints mention them; the lesser or greater of two extents becomes
//! the one that it always is, by the ranges of symbols or by a constraint that is checked before the run; `extents` of
//! constants become constants. It leaves alone what only data decide. Exact.

mod order;

use nnc_ir::{
    Module,
    constant::Constant,
    extent::{Atom, Extent, SymbolId},
    form::Form,
    graph::NodeId,
    ops::{ConstantOp, Op},
};

use crate::{
    pass::{Bug, Exactness, PassCx, Rule},
    rewrite::{Action, Cursor, rewrite},
};

pub(crate) const RULES: &[&Rule] = &[&KNOWN_SYMBOL, &KNOWN_ORDER, &KNOWN_EXTENTS];

static KNOWN_SYMBOL: Rule = Rule {
    name: "known-symbol",
    law: "a symbol read from extents that are known before = the extent",
    source: "a symbol is bound once",
    exactness: Exactness::Exact,
};
static KNOWN_ORDER: Rule = Rule {
    name: "known-order",
    law: "min(a, b) = a and max(a, b) = b, a <= b by ranges of symbols or by a constraint that no data decide",
    source: "ranges and constraints are checked before the run; the constraint stays",
    exactness: Exactness::Exact,
};
static KNOWN_EXTENTS: Rule = Rule {
    name: "known-extents",
    law: "extents that are all numbers = a constant",
    source: "extents are what they are in every run",
    exactness: Exactness::Exact,
};

pub(crate) fn run(module: &mut Module, cx: &mut PassCx<'_>) -> Result<(), Bug> {
    let bug = |message: String| Bug { pass: "simplify-shapes".into(), message };
    while let Some((node, symbol, extent)) = known_symbol(module).filter(|_| cx.has_fuel()) {
        module.substitute_symbol(symbol, &extent).map_err(bug)?;
        cx.fired(&KNOWN_SYMBOL, &module.node(node).loc);
    }
    while let Some((node, atom, side)) = order::known_order(module).filter(|_| cx.has_fuel()) {
        let with = |found: &Atom| (*found == atom).then(|| side.clone());
        module.map_extents(&|extent| extent.replace(&with)).map_err(bug)?;
        cx.fired(&KNOWN_ORDER, &module.node(node).loc);
    }
    rewrite(module, "simplify-shapes", &mut |cursor: &mut Cursor<'_>, node| {
        let Some(constant) = constant_extents(cursor.module, node).filter(|_| cx.has_fuel()) else {
            return Ok(Action::Keep);
        };
        let loc = cursor.module.node(node).loc.clone();
        cx.fired(&KNOWN_EXTENTS, &loc);
        Ok(Action::Replace(cursor.emit(ConstantOp { value: constant }, &[], &loc)?))
    })
}

/// A node that reads a symbol from extents known without running, with both.
///
/// A constant that the symbol's range excludes stays: the run then fails as the node says.
fn known_symbol(module: &Module) -> Option<(NodeId, SymbolId, Extent)> {
    let regions = module.nested_regions(module.body());
    let nodes = regions.into_iter().flat_map(|r| module.region(r).nodes.iter());
    let read = |&node: &NodeId| read_symbols(module, node).into_iter().map(move |(s, e)| (node, s, e));
    nodes.flat_map(read).find(|(_, symbol, extent)| {
        let mentioned = mentions(module, *symbol);
        let range = &module.symbols[*symbol];
        mentioned && extent.as_const().is_none_or(|c| (range.min..=range.max).contains(&c))
    })
}

/// Symbols a `read_extents` defines, with the extents it reads where these are known.
fn read_symbols(module: &Module, node: NodeId) -> Vec<(SymbolId, Extent)> {
    let Op::ReadExtents(op) = &module.node(node).op else { return Vec::new() };
    let source = module.node(node).operands[0];
    let Some(def) = module.def_node(source) else { return Vec::new() };
    let extents: Vec<Extent> = match &module.node(def).op {
        Op::Extents(e) => e.values.clone(),
        Op::ConstantOp(c) => c.value.as_i64s().unwrap_or_default().into_iter().map(Extent::Const).collect(),
        _ => return Vec::new(),
    };
    op.symbols.iter().copied().zip(extents).collect()
}

/// Whether a type of a reachable value mentions the symbol.
fn mentions(module: &Module, symbol: SymbolId) -> bool {
    let mut found = false;
    let mut look = |value: nnc_ir::graph::ValueId| {
        for extent in &module.ty(value).shape {
            extent.for_each_symbol(&mut |s| found |= s == symbol);
        }
    };
    for region in module.nested_regions(module.body()) {
        let region = module.region(region);
        region.params.iter().copied().for_each(&mut look);
        region.nodes.iter().flat_map(|&n| &module.node(n).results).copied().for_each(&mut look);
    }
    found
}

/// The constant that an `extents` node is, if every extent is known when compiling.
fn constant_extents(module: &Module, node: NodeId) -> Option<Constant> {
    let Form::Extents(extents) = module.form(node) else { return None };
    let values: Option<Vec<i64>> = extents.iter().map(Extent::as_const).collect();
    Some(Constant::i64s(&values?))
}
