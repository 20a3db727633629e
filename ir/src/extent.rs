//! extent - lengths of axes: canonical integer expressions over run-time symbols.
//!
//! An extent is a polynomial with integer coefficients over *atoms*: symbols and the non-polynomial functions
//! `floordiv`, `mod`, `min`, `max` and `bcast`. Construction brings it into one normal form, so two extents that are
//! equal as polynomials are equal as values, and equality that is not structural is *unknown*: it blocks a rewrite.
//! Arithmetic saturates; the importer refuses models whose element counts leave `i64`.

use std::{fmt, ops::Add, ops::Mul, ops::Sub, sync::Arc};

use crate::entity::{EntityId, entity};

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

    /// Quotient rounded towards minus infinity.
    #[must_use]
    pub fn floor_div(&self, by: &Extent) -> Self {
        match (self, by) {
            (_, Extent::Const(1)) => return self.clone(),
            (Extent::Const(a), Extent::Const(b)) => {
                return Extent::Const(if *b == 0 { 0 } else { floor_div(*a, *b) });
            }
            (Extent::Const(0), _) => return Extent::ZERO,
            _ => {}
        }
        self.exact_div(by).unwrap_or_else(|| Extent::atom(Atom::FloorDiv(self.clone(), by.clone())))
    }

    /// Quotient rounded towards plus infinity, for a positive divisor.
    #[must_use]
    pub fn ceil_div(&self, by: &Extent) -> Self {
        (&(self + by) - &Extent::ONE).floor_div(by)
    }

    /// The quotient as a polynomial, if `by` is a single term that divides every term of `self`.
    fn exact_div(&self, by: &Extent) -> Option<Self> {
        let divisor = by.polynomial();
        let (atoms, coefficient) = match &divisor.terms[..] {
            [] => (&[][..], divisor.constant),
            [t] if divisor.constant == 0 => (&t.atoms[..], t.coefficient),
            _ => return (self == by).then_some(Extent::ONE),
        };
        let p = self.polynomial();
        // The least number by -1 is no `i64`.
        let exact = |a: i64| (a.checked_rem(coefficient)? == 0).then_some(a / coefficient);
        if p.constant != 0 && !atoms.is_empty() {
            return None;
        }
        let mut out = Extent::Const(exact(p.constant)?);
        for term in p.terms {
            let mut rest = term.atoms;
            for atom in atoms {
                rest.remove(rest.iter().position(|a| a == atom)?);
            }
            let quotient = exact(term.coefficient)?;
            out = &out
                + &if rest.is_empty() {
                    Extent::Const(quotient)
                } else {
                    let terms = vec![Term { atoms: rest, coefficient: quotient }];
                    Extent::from_polynomial(Polynomial { constant: 0, terms })
                };
        }
        Some(out)
    }

    /// Remainder of [`Extent::floor_div`].
    #[must_use]
    pub fn modulo(&self, by: &Extent) -> Self {
        match (self, by) {
            (Extent::Const(a), Extent::Const(b)) if *b != 0 => Extent::Const(modulo(*a, *b)),
            (_, Extent::Const(1)) => Extent::ZERO,
            _ if self.exact_div(by).is_some() => Extent::ZERO,
            _ => Extent::atom(Atom::Mod(self.clone(), by.clone())),
        }
    }

    /// The lesser.
    #[must_use]
    pub fn min_with(&self, other: &Extent) -> Self {
        match (self - other).as_const() {
            Some(d) => {
                if d <= 0 {
                    self.clone()
                } else {
                    other.clone()
                }
            }
            None => Extent::atom(Atom::Min(self.clone().min_of(other), self.clone().max_of(other))),
        }
    }

    /// The greater.
    #[must_use]
    pub fn max_with(&self, other: &Extent) -> Self {
        match (self - other).as_const() {
            Some(d) => {
                if d >= 0 {
                    self.clone()
                } else {
                    other.clone()
                }
            }
            None => Extent::atom(Atom::Max(self.clone().min_of(other), self.clone().max_of(other))),
        }
    }

    fn min_of(self, other: &Extent) -> Extent {
        Ord::min(self, other.clone())
    }
    fn max_of(self, other: &Extent) -> Extent {
        Ord::max(self, other.clone())
    }

    /// The common extent of two axes that broadcast, or `None` if they never do.
    ///
    /// A constant other than 1 against an unknown gives the constant: that the unknown is 1 or that constant is for
    /// the caller to record as a constraint.
    #[must_use]
    pub fn broadcast(&self, other: &Extent) -> Option<Self> {
        match (self, other) {
            _ if self == other => Some(self.clone()),
            (Extent::Const(1), x) | (x, Extent::Const(1)) => Some(x.clone()),
            (Extent::Const(_), Extent::Const(_)) => None,
            (Extent::Const(c), Extent::Expr(_)) | (Extent::Expr(_), Extent::Const(c)) => {
                Some(Extent::Const(*c))
            }
            _ => Some(Extent::atom(Atom::Bcast(self.clone().min_of(other), self.clone().max_of(other)))),
        }
    }

    /// Whether both are the same at every run: `None` is unknown.
    #[must_use]
    pub fn same(&self, other: &Extent) -> Option<bool> {
        (self - other).as_const().map(|d| d == 0)
    }

    /// The value under an assignment of the symbols; `None` where a symbol is unbound or a broadcast does not hold.
    pub fn eval(&self, symbol: &dyn Fn(SymbolId) -> Option<i64>) -> Option<i64> {
        let p = match self {
            Extent::Const(c) => return Some(*c),
            Extent::Expr(p) => p,
        };
        p.terms.iter().try_fold(p.constant, |sum, term| {
            let product = term.atoms.iter().try_fold(term.coefficient, |product, atom| {
                Some(product.saturating_mul(atom.eval(symbol)?))
            })?;
            Some(sum.saturating_add(product))
        })
    }

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

    /// Least and greatest value, given those of the symbols. Saturates.
    pub fn bounds(&self, symbol: &dyn Fn(SymbolId) -> (i64, i64)) -> (i64, i64) {
        let Extent::Expr(p) = self else {
            let Extent::Const(c) = self else { unreachable!("an extent is a constant or an expression") };
            return (*c, *c);
        };
        p.terms.iter().fold((p.constant, p.constant), |(lo, hi), term| {
            let (a, b) = term
                .atoms
                .iter()
                .fold((term.coefficient, term.coefficient), |x, atom| interval_mul(x, atom.bounds(symbol)));
            (lo.saturating_add(a), hi.saturating_add(b))
        })
    }
}

impl Atom {
    fn eval(&self, symbol: &dyn Fn(SymbolId) -> Option<i64>) -> Option<i64> {
        Some(match self {
            Atom::Symbol(s) => symbol(*s)?,
            Atom::FloorDiv(a, b) => match (a.eval(symbol)?, b.eval(symbol)?) {
                (_, 0) => 0,
                (a, b) => floor_div(a, b),
            },
            Atom::Mod(a, b) => match (a.eval(symbol)?, b.eval(symbol)?) {
                (_, 0) => 0,
                (a, b) => modulo(a, b),
            },
            Atom::Min(a, b) => a.eval(symbol)?.min(b.eval(symbol)?),
            Atom::Max(a, b) => a.eval(symbol)?.max(b.eval(symbol)?),
            Atom::Bcast(a, b) => match (a.eval(symbol)?, b.eval(symbol)?) {
                (a, b) if a == b || b == 1 => a,
                (1, b) => b,
                _ => return None,
            },
        })
    }

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

    fn bounds(&self, symbol: &dyn Fn(SymbolId) -> (i64, i64)) -> (i64, i64) {
        match self {
            Atom::Symbol(s) => symbol(*s),
            Atom::FloorDiv(a, b) => match (a.bounds(symbol), b.bounds(symbol)) {
                ((lo, hi), (b0, b1)) if b0 > 0 => {
                    (floor_div(lo, if lo < 0 { b0 } else { b1 }), floor_div(hi, if hi < 0 { b1 } else { b0 }))
                }
                _ => (i64::MIN, i64::MAX),
            },
            Atom::Mod(_, b) => (0, b.bounds(symbol).1.saturating_sub(1).max(0)),
            Atom::Min(a, b) => {
                let (a, b) = (a.bounds(symbol), b.bounds(symbol));
                (a.0.min(b.0), a.1.min(b.1))
            }
            Atom::Max(a, b) => {
                let (a, b) = (a.bounds(symbol), b.bounds(symbol));
                (a.0.max(b.0), a.1.max(b.1))
            }
            Atom::Bcast(a, b) => {
                let (a, b) = (a.bounds(symbol), b.bounds(symbol));
                (a.0.min(b.0), a.1.max(b.1))
            }
        }
    }
}

fn interval_mul(a: (i64, i64), b: (i64, i64)) -> (i64, i64) {
    let corners = [(a.0, b.0), (a.0, b.1), (a.1, b.0), (a.1, b.1)].map(|(x, y)| x.saturating_mul(y));
    (corners.into_iter().min().unwrap_or(0), corners.into_iter().max().unwrap_or(0))
}

/// Quotient rounded towards minus infinity; `b` is not zero.
#[must_use]
pub fn floor_div(a: i64, b: i64) -> i64 {
    let q = a.wrapping_div(b);
    if a.wrapping_rem(b) != 0 && (a < 0) != (b < 0) { q - 1 } else { q }
}

/// Remainder of [`floor_div`].
fn modulo(a: i64, b: i64) -> i64 {
    a.wrapping_sub(floor_div(a, b).wrapping_mul(b))
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

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn evaluation_agrees_with_bounds_and_broadcast_is_checked() {
        let (n, h) = (sym(0), sym(1));
        let e = (&(&h + &Extent::Const(2)) - &Extent::Const(3)).floor_div(&Extent::Const(2));
        let e = &e + &n.broadcast(&h).expect("symbols may broadcast");
        let at = |x: i64, y: i64| e.eval(&|s| Some([x, y][s.index()]));
        assert_eq!(at(1, 8), Some(3 + 8));
        assert_eq!(at(8, 8), Some(3 + 8));
        assert_eq!(at(2, 8), None);
        assert_eq!(e.bounds(&|_| (1, 9)), (1, 4 + 9));
        assert_eq!(Extent::Const(3).broadcast(&Extent::Const(4)), None);
    }
}
