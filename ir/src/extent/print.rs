//! print - extents as they are printed.

use std::fmt;

use super::{Atom, Extent, Polynomial, Term};
use crate::entity::EntityId;

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let p = match self {
            Extent::Const(c) => return write!(f, "{c}"),
            Extent::Expr(p) => p,
        };
        for (i, term) in p.terms.iter().enumerate() {
            if i > 0 {
                f.write_str("+")?;
            }
            if term.coefficient != 1 {
                write!(f, "{}*", term.coefficient)?;
            }
            for (j, atom) in term.atoms.iter().enumerate() {
                if j > 0 {
                    f.write_str("*")?;
                }
                write!(f, "{atom}")?;
            }
        }
        if p.constant != 0 { write!(f, "+{}", p.constant) } else { Ok(()) }
    }
}

impl fmt::Debug for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Atom::Symbol(s) => write!(f, "s{}", s.index()),
            Atom::FloorDiv(a, b) => write!(f, "floordiv({a},{b})"),
            Atom::Mod(a, b) => write!(f, "mod({a},{b})"),
            Atom::Min(a, b) => write!(f, "min({a},{b})"),
            Atom::Max(a, b) => write!(f, "max({a},{b})"),
            Atom::Bcast(a, b) => write!(f, "bcast({a},{b})"),
        }
    }
}

impl fmt::Debug for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
impl fmt::Debug for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}*{:?}", self.coefficient, self.atoms)
    }
}
impl fmt::Debug for Polynomial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{:?}", self.constant, self.terms)
    }
}
