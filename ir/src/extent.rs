//! extent - lengths of axes: canonical integer expressions over run-time symbols.
//!
//! An extent is a polynomial with integer coefficients over *atoms*: symbols and the non-polynomial functions
//! `floordiv`, `mod`, `min`, `max` and `bcast`. Construction brings it into one normal form, so two extents that are
//! equal as polynomials are equal as values, and equality that is not structural is *unknown*: it blocks a rewrite.
//! Arithmetic saturates; the importer refuses models whose element counts leave `i64`.

mod functions;
mod parts;
mod print;
mod value;

pub use functions::floor_div;

use std::{
    ops::{Add, Mul, Sub},
    sync::Arc,
};

use crate::entity::entity;

entity! {
    /// A run-time unknown, such as a batch extent; its name and range stand in the module.
    SymbolId, "s"
}

/// What a module knows about a symbol.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Symbol {
    /// For readers only (the ONNX dimension name, or where it was made).
    pub name: String,
    /// Least value at run time.
    pub min: i64,
    /// Greatest value at run time.
    pub max: i64,
    /// Where the value comes from.
    pub origin: SymbolOrigin,
    /// An extent it never exceeds, over symbols that are known before the run, if there is one.
    pub bound: Option<Extent>,
}

/// Where the value of a symbol comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SymbolOrigin {
    /// The extent of an axis of an input, bound before the run.
    Input {
        /// Position of the input.
        input: usize,
        /// Its axis.
        axis: usize,
    },
    /// Decided by data while running (a node defines it).
    Data,
}

/// Length of an axis, in elements.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Extent {
    /// Known when compiling.
    Const(i64),
    /// Known when running.
    Expr(Arc<Polynomial>),
}

/// `constant + sum of coefficient * product of atoms`, terms sorted by their atoms, no zero coefficient.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Polynomial {
    /// Added to the terms.
    pub constant: i64,
    /// Sorted; never empty in an extent.
    pub terms: Vec<Term>,
}

/// `coefficient * product of atoms`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term {
    /// Sorted; never empty.
    pub atoms: Vec<Atom>,
    /// Never zero.
    pub coefficient: i64,
}

/// An indivisible part of an extent.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Atom {
    /// A run-time unknown.
    Symbol(SymbolId),
    /// Quotient rounded towards minus infinity; a zero divisor gives 0.
    FloorDiv(Extent, Extent),
    /// `a - floordiv(a, b) * b`.
    Mod(Extent, Extent),
    /// The lesser.
    Min(Extent, Extent),
    /// The greater.
    Max(Extent, Extent),
    /// The common extent of two axes that broadcast: the one that is not 1.
    Bcast(Extent, Extent),
}

impl From<i64> for Extent {
    fn from(x: i64) -> Self {
        Extent::Const(x)
    }
}

impl From<SymbolId> for Extent {
    fn from(s: SymbolId) -> Self {
        Extent::atom(Atom::Symbol(s))
    }
}

impl Extent {
    /// The extent 1.
    pub const ONE: Extent = Extent::Const(1);
    /// The extent 0.
    pub const ZERO: Extent = Extent::Const(0);

    /// A run-time unknown.
    #[must_use]
    pub fn symbol(s: SymbolId) -> Self {
        s.into()
    }

    /// The value, if it is known when compiling.
    #[must_use]
    pub fn as_const(&self) -> Option<i64> {
        match self {
            Extent::Const(c) => Some(*c),
            Extent::Expr(_) => None,
        }
    }

    /// Whether it is the constant `x`.
    #[must_use]
    pub fn is(&self, x: i64) -> bool {
        *self == Extent::Const(x)
    }

    fn atom(atom: Atom) -> Self {
        Extent::from_polynomial(Polynomial {
            constant: 0,
            terms: vec![Term { atoms: vec![atom], coefficient: 1 }],
        })
    }

    fn polynomial(&self) -> Polynomial {
        match self {
            Extent::Const(c) => Polynomial { constant: *c, terms: Vec::new() },
            Extent::Expr(p) => (**p).clone(),
        }
    }

    fn from_polynomial(mut p: Polynomial) -> Self {
        p.terms.sort();
        let mut merged: Vec<Term> = Vec::with_capacity(p.terms.len());
        for term in p.terms {
            match merged.last_mut() {
                Some(last) if last.atoms == term.atoms => {
                    last.coefficient = last.coefficient.saturating_add(term.coefficient);
                }
                _ => merged.push(term),
            }
        }
        merged.retain(|t| t.coefficient != 0);
        if merged.is_empty() {
            return Extent::Const(p.constant);
        }
        Extent::Expr(Arc::new(Polynomial { constant: p.constant, terms: merged }))
    }

    /// `self * x`.
    #[must_use]
    pub fn scale(&self, x: i64) -> Self {
        self * &Extent::Const(x)
    }

    /// Whether both are the same at every run: `None` is unknown.
    #[must_use]
    pub fn same(&self, other: &Extent) -> Option<bool> {
        (self - other).as_const().map(|d| d == 0)
    }
}

impl Add for &Extent {
    type Output = Extent;
    fn add(self, other: &Extent) -> Extent {
        if let (Extent::Const(a), Extent::Const(b)) = (self, other) {
            return Extent::Const(a.saturating_add(*b));
        }
        let (mut a, b) = (self.polynomial(), other.polynomial());
        a.constant = a.constant.saturating_add(b.constant);
        a.terms.extend(b.terms);
        Extent::from_polynomial(a)
    }
}

impl Sub for &Extent {
    type Output = Extent;
    fn sub(self, other: &Extent) -> Extent {
        self + &other.scale(-1)
    }
}

impl Mul for &Extent {
    type Output = Extent;
    fn mul(self, other: &Extent) -> Extent {
        if let (Extent::Const(a), Extent::Const(b)) = (self, other) {
            return Extent::Const(a.saturating_mul(*b));
        }
        let (a, b) = (self.polynomial(), other.polynomial());
        let mut out = Polynomial { constant: a.constant.saturating_mul(b.constant), terms: Vec::new() };
        for (terms, factor) in [(&a.terms, b.constant), (&b.terms, a.constant)] {
            out.terms.extend(
                terms.iter().map(|t| Term {
                    atoms: t.atoms.clone(),
                    coefficient: t.coefficient.saturating_mul(factor),
                }),
            );
        }
        for x in &a.terms {
            for y in &b.terms {
                let mut atoms = [&x.atoms[..], &y.atoms[..]].concat();
                atoms.sort();
                out.terms.push(Term { atoms, coefficient: x.coefficient.saturating_mul(y.coefficient) });
            }
        }
        Extent::from_polynomial(out)
    }
}

/// Product of extents: the number of elements of a shape.
#[must_use]
pub fn product<'a>(extents: impl IntoIterator<Item = &'a Extent>) -> Extent {
    extents.into_iter().fold(Extent::ONE, |p, e| &p * e)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entity::EntityId;

    fn sym(i: usize) -> Extent {
        Extent::symbol(SymbolId::new(i))
    }

    #[test]
    fn polynomials_are_canonical() {
        let (n, h) = (sym(0), sym(1));
        let a = &(&n + &h) * &Extent::Const(2);
        let b = &(&h.scale(2) + &n) + &n;
        assert_eq!(a, b);
        assert_eq!(&a - &b, Extent::ZERO);
        assert_eq!((&n * &h).scale(6).floor_div(&h.scale(3)), n.scale(2));
        assert_eq!(n.scale(4).modulo(&Extent::Const(2)), Extent::ZERO);
        assert_eq!(n.min_with(&(&n + &Extent::ONE)), n);
        assert_eq!(n.min_with(&h), h.min_with(&n));
        let e = &n.min_with(&h).scale(3) + &n;
        let lesser = |atom: &Atom| matches!(atom, Atom::Min(..)).then(|| h.clone());
        assert_eq!(e.replace(&lesser), &h.scale(3) + &n);
        assert_eq!(e.substitute(&|_| h.clone()), h.scale(4));
    }
}
