//! parts - the atoms of an extent, one after another, or replaced.

use super::{Atom, Extent, SymbolId, Term};

impl Extent {
    /// The extent with every symbol replaced.
    #[must_use]
    pub fn substitute(&self, with: &dyn Fn(SymbolId) -> Extent) -> Self {
        self.replace(&|atom| match atom {
            Atom::Symbol(s) => Some(with(*s)),
            _ => None,
        })
    }

    /// The extent with atoms replaced where `with` says by what: the parts of an atom first, then itself.
    #[must_use]
    pub fn replace(&self, with: &dyn Fn(&Atom) -> Option<Extent>) -> Self {
        let Extent::Expr(p) = self else { return self.clone() };
        p.terms.iter().fold(Extent::Const(p.constant), |sum, term| {
            let product =
                term.atoms.iter().fold(Extent::Const(term.coefficient), |x, atom| &x * &atom.replace(with));
            &sum + &product
        })
    }

    /// The atom that it is, if it is nothing more.
    #[must_use]
    pub fn as_atom(&self) -> Option<&Atom> {
        let Extent::Expr(p) = self else { return None };
        match &p.terms[..] {
            [Term { atoms, coefficient: 1 }] if p.constant == 0 => match &atoms[..] {
                [atom] => Some(atom),
                _ => None,
            },
            _ => None,
        }
    }

    /// Calls `f` with every atom that occurs, the parts of an atom before itself.
    pub fn for_each_atom(&self, f: &mut dyn FnMut(&Atom)) {
        let Extent::Expr(p) = self else { return };
        for atom in p.terms.iter().flat_map(|t| &t.atoms) {
            match atom {
                Atom::Symbol(_) => {}
                Atom::FloorDiv(a, b)
                | Atom::Mod(a, b)
                | Atom::Min(a, b)
                | Atom::Max(a, b)
                | Atom::Bcast(a, b) => {
                    a.for_each_atom(f);
                    b.for_each_atom(f);
                }
            }
            f(atom);
        }
    }

    /// Calls `f` with every symbol that occurs.
    pub fn for_each_symbol(&self, f: &mut dyn FnMut(SymbolId)) {
        self.for_each_atom(&mut |atom| {
            if let Atom::Symbol(s) = atom {
                f(*s);
            }
        });
    }
}

impl Atom {
    fn replace(&self, with: &dyn Fn(&Atom) -> Option<Extent>) -> Extent {
        let replaced = match self {
            Atom::Symbol(_) => Extent::atom(self.clone()),
            Atom::FloorDiv(a, b) => a.replace(with).floor_div(&b.replace(with)),
            Atom::Mod(a, b) => a.replace(with).modulo(&b.replace(with)),
            Atom::Min(a, b) => a.replace(with).min_with(&b.replace(with)),
            Atom::Max(a, b) => a.replace(with).max_with(&b.replace(with)),
            Atom::Bcast(a, b) => {
                let (a, b) = (a.replace(with), b.replace(with));
                a.broadcast(&b).unwrap_or_else(|| Extent::atom(Atom::Bcast(a, b)))
            }
        };
        // What its parts have made of it may be no atom any more.
        let by = replaced.as_atom().and_then(with);
        by.unwrap_or(replaced)
    }
}
