//! functions - what makes extents that are no polynomials: quotients, remainders, lesser, greater, broadcasts.

use super::{Atom, Extent, Polynomial, Term};

impl Extent {
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
}

/// Quotient rounded towards minus infinity; `b` is not zero.
#[must_use]
pub fn floor_div(a: i64, b: i64) -> i64 {
    let q = a.wrapping_div(b);
    if a.wrapping_rem(b) != 0 && (a < 0) != (b < 0) { q - 1 } else { q }
}

/// Remainder of [`floor_div`].
pub(super) fn modulo(a: i64, b: i64) -> i64 {
    a.wrapping_sub(floor_div(a, b).wrapping_mul(b))
}
