//! value - what an extent is at run time: its value under an assignment, and between which two it lies.

use super::{Atom, Extent, SymbolId, floor_div, functions::modulo};

impl Extent {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entity::EntityId;

    #[test]
    fn evaluation_agrees_with_bounds_and_broadcast_is_checked() {
        let (n, h) = (Extent::symbol(SymbolId::new(0)), Extent::symbol(SymbolId::new(1)));
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
