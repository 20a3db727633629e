//! bound - what an extent is at most, over symbols that are known before the run.

use nnc_ir::{
    entity::Arena,
    extent::{Atom, Extent, Symbol, SymbolId, SymbolOrigin},
};

/// How deep bounds of bounds are followed.
const DEPTH: usize = 16;

/// Bounds of the symbols of a module.
#[derive(Clone, Copy)]
pub(crate) struct Bounds<'a> {
    symbols: &'a Arena<SymbolId, Symbol>,
    /// The symbols to be replaced by their bounds; `None`: all that data decide.
    replaced: Option<&'a [SymbolId]>,
}

/// Whether the value is known before the run.
pub(crate) fn data_free(symbols: &Arena<SymbolId, Symbol>, extent: &Extent) -> bool {
    let mut free = true;
    extent.for_each_symbol(&mut |s| free &= symbols[s].origin != SymbolOrigin::Data);
    free
}

impl<'a> Bounds<'a> {
    /// Bounds from the symbols of a module.
    pub(crate) fn new(symbols: &'a Arena<SymbolId, Symbol>) -> Self {
        Self { symbols, replaced: None }
    }

    /// An extent that `extent` never exceeds and that mentions none of `symbols`.
    pub(crate) fn before(&self, extent: &Extent, symbols: &[SymbolId]) -> Option<Extent> {
        Bounds { symbols: self.symbols, replaced: Some(symbols) }.extent(extent, DEPTH)
    }

    fn free(&self, extent: &Extent) -> bool {
        let mut free = true;
        extent.for_each_symbol(&mut |s| free &= self.is_free(s));
        free
    }

    fn is_free(&self, symbol: SymbolId) -> bool {
        match self.replaced {
            Some(replaced) => !replaced.contains(&symbol),
            None => self.symbols[symbol].origin != SymbolOrigin::Data,
        }
    }

    /// An extent, known before the run, that `extent` never exceeds; itself if it is known before the run.
    pub(crate) fn at_most(&self, extent: &Extent) -> Option<Extent> {
        self.extent(extent, DEPTH)
    }

    fn extent(&self, extent: &Extent, depth: usize) -> Option<Extent> {
        let Extent::Expr(polynomial) = extent else { return Some(extent.clone()) };
        if self.free(extent) {
            return Some(extent.clone());
        }
        let mut sum = Extent::Const(polynomial.constant);
        for term in &polynomial.terms {
            let exact = term.atoms.iter().all(|a| self.free(&atom_extent(a)));
            // Atoms are lengths, so a term with a negative coefficient is at most 0.
            if term.coefficient < 0 && !exact {
                continue;
            }
            let mut product = Extent::Const(term.coefficient);
            for atom in &term.atoms {
                let factor = if exact { atom_extent(atom) } else { self.atom(atom, depth)? };
                product = &product * &factor;
            }
            sum = &sum + &product;
        }
        Some(sum)
    }

    fn atom(&self, atom: &Atom, depth: usize) -> Option<Extent> {
        let depth = depth.checked_sub(1)?;
        let of = |e: &Extent| self.extent(e, depth);
        match atom {
            Atom::Symbol(s) if self.is_free(*s) => Some(Extent::symbol(*s)),
            Atom::Symbol(s) => of(self.symbols[*s].bound.as_ref()?),
            Atom::FloorDiv(a, b) if self.free(b) => Some(of(a)?.floor_div(b)),
            // Rounded down by at least 1, it is no more.
            Atom::FloorDiv(a, _) => of(a),
            Atom::Mod(_, b) => of(b),
            Atom::Min(a, b) => match (of(a), of(b)) {
                (Some(a), Some(b)) => Some(a.min_with(&b)),
                (a, b) => a.or(b),
            },
            Atom::Max(a, b) | Atom::Bcast(a, b) => Some(of(a)?.max_with(&of(b)?)),
        }
    }
}

/// An atom by itself.
fn atom_extent(atom: &Atom) -> Extent {
    match atom {
        Atom::Symbol(s) => Extent::symbol(*s),
        Atom::FloorDiv(a, b) => a.floor_div(b),
        Atom::Mod(a, b) => a.modulo(b),
        Atom::Min(a, b) => a.min_with(b),
        Atom::Max(a, b) => a.max_with(b),
        Atom::Bcast(a, b) => a.broadcast(b).unwrap_or_else(|| a.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_symbols_are_replaced_by_their_bounds() {
        let mut symbols: Arena<SymbolId, Symbol> = Arena::default();
        let symbol = |origin, bound| Symbol { name: "s".into(), min: 0, max: 1 << 40, origin, bound };
        let n = Extent::symbol(symbols.push(symbol(SymbolOrigin::Input { input: 0, axis: 0 }, None)));
        let k = Extent::symbol(symbols.push(symbol(SymbolOrigin::Data, Some(n.scale(3)))));
        let free = Extent::symbol(symbols.push(symbol(SymbolOrigin::Data, None)));
        let bounds = Bounds::new(&symbols);
        assert_eq!(bounds.at_most(&n), Some(n.clone()));
        assert_eq!(bounds.at_most(&(&k.scale(2) + &Extent::Const(5))), Some(&n.scale(6) + &Extent::Const(5)));
        assert_eq!(bounds.at_most(&(&n - &k)), Some(n.clone()));
        assert_eq!(bounds.at_most(&free), None);
        assert_eq!(bounds.at_most(&free.min_with(&k)), Some(n.scale(3)));
        assert!(data_free(&symbols, &n) && !data_free(&symbols, &k));
    }
}
