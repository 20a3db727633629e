//! order - which of two extents is the lesser, where ranges of symbols or constraints tell.

use nnc_ir::{
    Module,
    extent::{Atom, Extent, SymbolOrigin},
    graph::{ConstraintKind, NodeId},
};

/// A node of whose results an extent has a `min` or `max` of which it is known which it is; that, and what it is.
pub(super) fn known_order(module: &Module) -> Option<(NodeId, Atom, Extent)> {
    let regions = module.nested_regions(module.body());
    let nodes = regions.into_iter().flat_map(|r| module.region(r).nodes.iter());
    for &node in nodes {
        for &value in &module.node(node).results {
            let mut known = None;
            for extent in &module.ty(value).shape {
                extent.for_each_atom(&mut |atom| {
                    if known.is_none() {
                        known = which(module, atom).map(|by| (atom.clone(), by));
                    }
                });
            }
            if let Some((atom, by)) = known {
                return Some((node, atom, by));
            }
        }
    }
    None
}

/// The side of a `min` or `max` that it always is.
fn which(module: &Module, atom: &Atom) -> Option<Extent> {
    let (Atom::Min(a, b) | Atom::Max(a, b)) = atom else { return None };
    let is_min = matches!(atom, Atom::Min(..));
    if at_most(module, a, b) {
        return Some(if is_min { a.clone() } else { b.clone() });
    }
    if at_most(module, b, a) {
        return Some(if is_min { b.clone() } else { a.clone() });
    }
    // That it is a side may itself be what must hold.
    let mut sides = checked_first(module).filter_map(|kind| match kind {
        ConstraintKind::Equal(x, y) if x.as_atom() == Some(atom) => Some(y),
        ConstraintKind::Equal(x, y) if y.as_atom() == Some(atom) => Some(x),
        _ => None,
    });
    sides.find(|side| [a, b].contains(side)).cloned()
}

/// Constraints that are checked before anything runs: data decide no symbol of theirs.
fn checked_first(module: &Module) -> impl Iterator<Item = &ConstraintKind> {
    let is_free = |extent: &Extent| {
        let mut free = true;
        extent.for_each_symbol(&mut |s| free &= module.symbols[s].origin != SymbolOrigin::Data);
        free
    };
    module.constraints.iter().map(|c| &c.kind).filter(move |kind| match kind {
        ConstraintKind::Equal(a, b) | ConstraintKind::Broadcasts(a, b) | ConstraintKind::AtMost(a, b) => {
            is_free(a) && is_free(b)
        }
    })
}

/// Whether `a` is at most `b` in every run.
fn at_most(module: &Module, a: &Extent, b: &Extent) -> bool {
    let said = |kind: &ConstraintKind| matches!(kind, ConstraintKind::AtMost(x, y) if x == a && y == b);
    greatest(module, &(a - b)).is_some_and(|most| most <= 0) || checked_first(module).any(said)
}

/// The greatest value of a linear expression of symbols, by their ranges.
fn greatest(module: &Module, extent: &Extent) -> Option<i128> {
    let Extent::Expr(p) = extent else { return extent.as_const().map(i128::from) };
    p.terms.iter().try_fold(i128::from(p.constant), |sum, term| {
        let [Atom::Symbol(s)] = term.atoms[..] else { return None };
        let symbol = &module.symbols[s];
        let end = if term.coefficient > 0 { symbol.max } else { symbol.min };
        sum.checked_add(i128::from(term.coefficient) * i128::from(end))
    })
}
