//! index - where a form reads: expressions over its axes, in elements.

use crate::extent::Extent;

/// An index expression over iteration axes, in elements. Built by the methods, which fold constants.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ix {
    /// Position on axis number `.0`.
    Axis(usize),
    /// A number fixed for the whole run.
    Extent(Extent),
    /// Sum.
    Add(Box<Ix>, Box<Ix>),
    /// Product with something fixed for the whole run.
    Mul(Box<Ix>, Extent),
    /// Quotient towards minus infinity by something fixed and positive.
    FloorDiv(Box<Ix>, Extent),
    /// Remainder of that quotient.
    Mod(Box<Ix>, Extent),
    /// The lesser.
    Min(Box<Ix>, Box<Ix>),
    /// The greater.
    Max(Box<Ix>, Box<Ix>),
    /// 0 where the extent is 1: an axis that may broadcast.
    Bcast(Box<Ix>, Extent),
    /// Negative values count from the end of an axis of that extent.
    Wrap(Box<Ix>, Extent),
    /// The integer that load number `.0` reads.
    Load(usize),
}

impl Ix {
    /// A constant.
    #[must_use]
    pub fn int(x: i64) -> Ix {
        Ix::Extent(Extent::Const(x))
    }
    /// `self + other`.
    #[must_use]
    pub fn plus(self, other: Ix) -> Ix {
        match (self, other) {
            (Ix::Extent(a), Ix::Extent(b)) => Ix::Extent(&a + &b),
            (x, Ix::Extent(Extent::Const(0))) | (Ix::Extent(Extent::Const(0)), x) => x,
            (a, b) => Ix::Add(Box::new(a), Box::new(b)),
        }
    }
    /// `self * by`.
    #[must_use]
    pub fn times(self, by: impl Into<Extent>) -> Ix {
        match (self, by.into()) {
            (Ix::Extent(a), b) => Ix::Extent(&a * &b),
            (_, Extent::Const(0)) => Ix::int(0),
            (x, Extent::Const(1)) => x,
            (Ix::Mul(x, a), b) => Ix::Mul(x, &a * &b),
            (x, b) => Ix::Mul(Box::new(x), b),
        }
    }
    /// `self / by` towards minus infinity.
    #[must_use]
    pub fn floor_div(self, by: impl Into<Extent>) -> Ix {
        match (self, by.into()) {
            (Ix::Extent(a), b) => Ix::Extent(a.floor_div(&b)),
            (x, Extent::Const(1)) => x,
            (x, b) => Ix::FloorDiv(Box::new(x), b),
        }
    }
    /// `self mod by`.
    #[must_use]
    pub fn modulo(self, by: impl Into<Extent>) -> Ix {
        match (self, by.into()) {
            (Ix::Extent(a), b) => Ix::Extent(a.modulo(&b)),
            (_, Extent::Const(1)) => Ix::int(0),
            (x, b) => Ix::Mod(Box::new(x), b),
        }
    }
    /// The lesser.
    #[must_use]
    pub fn min(self, other: Ix) -> Ix {
        Ix::Min(Box::new(self), Box::new(other))
    }
    /// The greater.
    #[must_use]
    pub fn max(self, other: Ix) -> Ix {
        Ix::Max(Box::new(self), Box::new(other))
    }
    /// Index on an axis of `extent` that may broadcast.
    #[must_use]
    pub fn bcast(self, extent: &Extent) -> Ix {
        match extent {
            Extent::Const(1) => Ix::int(0),
            Extent::Const(_) => self,
            Extent::Expr(_) => Ix::Bcast(Box::new(self), extent.clone()),
        }
    }
    /// Negative values count from the end.
    #[must_use]
    pub fn wrap(self, extent: &Extent) -> Ix {
        Ix::Wrap(Box::new(self), extent.clone())
    }

    /// Replaces axes and loads.
    #[must_use]
    pub fn substitute(&self, axis: &dyn Fn(usize) -> Ix, load: &dyn Fn(usize) -> usize) -> Ix {
        self.replace(&|part| match part {
            Ix::Axis(a) => Some(axis(*a)),
            Ix::Load(k) => Some(Ix::Load(load(*k))),
            _ => None,
        })
    }

    /// The expression with parts replaced where `with` says by what; of what it replaces it sees no parts.
    #[must_use]
    pub fn replace(&self, with: &dyn Fn(&Ix) -> Option<Ix>) -> Ix {
        if let Some(other) = with(self) {
            return other;
        }
        let sub = |x: &Ix| x.replace(with);
        match self {
            Ix::Axis(_) | Ix::Extent(_) | Ix::Load(_) => self.clone(),
            Ix::Add(a, b) => sub(a).plus(sub(b)),
            Ix::Mul(a, by) => sub(a).times(by.clone()),
            Ix::FloorDiv(a, by) => sub(a).floor_div(by.clone()),
            Ix::Mod(a, by) => sub(a).modulo(by.clone()),
            Ix::Min(a, b) => sub(a).min(sub(b)),
            Ix::Max(a, b) => sub(a).max(sub(b)),
            Ix::Bcast(a, e) => sub(a).bcast(e),
            Ix::Wrap(a, e) => sub(a).wrap(e),
        }
    }

    /// Calls `f` on this expression and every part of it.
    pub fn visit(&self, f: &mut dyn FnMut(&Ix)) {
        f(self);
        match self {
            Ix::Axis(_) | Ix::Extent(_) | Ix::Load(_) => {}
            Ix::Mul(a, _) | Ix::FloorDiv(a, _) | Ix::Mod(a, _) | Ix::Bcast(a, _) | Ix::Wrap(a, _) => {
                a.visit(f)
            }
            Ix::Add(a, b) | Ix::Min(a, b) | Ix::Max(a, b) => {
                a.visit(f);
                b.visit(f);
            }
        }
    }

    /// Whether it mentions an axis.
    #[must_use]
    pub fn mentions(&self, axis: usize) -> bool {
        let mut found = false;
        self.visit(&mut |part| found |= *part == Ix::Axis(axis));
        found
    }

    /// Numbers of the loads it reads.
    #[must_use]
    pub fn loads(&self) -> Vec<usize> {
        let mut found = Vec::new();
        self.visit(&mut |part| {
            if let Ix::Load(k) = part {
                found.push(*k);
            }
        });
        found
    }

    /// The expression as `base + sum of coefficient * axis` with coefficients fixed for the run, if it is one.
    ///
    /// A broadcast axis is not affine here unless its extent is known: its stride is chosen when running.
    #[must_use]
    pub fn affine(&self, axes: usize) -> Option<Affine> {
        match self {
            Ix::Axis(a) => {
                let mut coefficients = vec![Extent::ZERO; axes];
                *coefficients.get_mut(*a)? = Extent::ONE;
                Some(Affine { base: Extent::ZERO, coefficients })
            }
            Ix::Extent(e) => Some(Affine { base: e.clone(), coefficients: vec![Extent::ZERO; axes] }),
            Ix::Add(a, b) => {
                let (a, b) = (a.affine(axes)?, b.affine(axes)?);
                let sum = |(x, y): (&Extent, &Extent)| x + y;
                Some(Affine {
                    base: &a.base + &b.base,
                    coefficients: a.coefficients.iter().zip(&b.coefficients).map(sum).collect(),
                })
            }
            Ix::Mul(a, by) => {
                let a = a.affine(axes)?;
                Some(Affine {
                    base: &a.base * by,
                    coefficients: a.coefficients.iter().map(|c| c * by).collect(),
                })
            }
            _ => None,
        }
    }
}

/// `base + sum over axes of coefficient * position`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Affine {
    /// Value at the origin.
    pub base: Extent,
    /// One an axis of the form, space axes first.
    pub coefficients: Vec<Extent>,
}
