//! index - index expressions of a nest whose extents are known, over rows along one axis (the lane).

use crate::{
    eval::error::EvalError,
    extent::{Extent, floor_div},
    form::Ix,
};

/// Where a row of a nest is: the position of its first element on every axis, and the axis it runs along.
#[derive(Clone, Debug)]
pub(super) struct At {
    /// One an axis, space axes first.
    pub(super) position: Vec<i64>,
    /// The axis of the row; `None` for a single point.
    pub(super) lane: Option<usize>,
}

/// Gives the integers that a load reads on a row.
pub(super) type LoadRow<'l> = dyn FnMut(usize, &mut [i64]) -> Result<(), EvalError> + 'l;

/// An index expression whose extents are numbers.
#[derive(Clone, Debug)]
pub(super) enum Index {
    /// `base + sum of coefficient * position`.
    Affine {
        base: i64,
        coefficients: Vec<i64>,
    },
    /// The integer that a load reads.
    Load(usize),
    Add(Box<Index>, Box<Index>),
    Mul(Box<Index>, i64),
    FloorDiv(Box<Index>, i64),
    Mod(Box<Index>, i64),
    Min(Box<Index>, Box<Index>),
    Max(Box<Index>, Box<Index>),
    Wrap(Box<Index>, i64),
}

impl Index {
    /// Evaluates the extents of `ix`, an expression over `axes` axes.
    pub(super) fn new(
        ix: &Ix,
        axes: usize,
        extent: &dyn Fn(&Extent) -> Result<i64, EvalError>,
    ) -> Result<Self, EvalError> {
        let part = |ix: &Ix| Index::new(ix, axes, extent).map(Box::new);
        let fixed = |base: i64| Index::Affine { base, coefficients: vec![0; axes] };
        Ok(match ix {
            Ix::Axis(a) => {
                let mut coefficients = vec![0; axes];
                coefficients[*a] = 1;
                Index::Affine { base: 0, coefficients }
            }
            Ix::Extent(e) => fixed(extent(e)?),
            Ix::Add(a, b) => match (*part(a)?, *part(b)?) {
                (
                    Index::Affine { base, mut coefficients },
                    Index::Affine { base: other_base, coefficients: other },
                ) => {
                    for (c, o) in coefficients.iter_mut().zip(&other) {
                        *c = c.saturating_add(*o);
                    }
                    Index::Affine { base: base.saturating_add(other_base), coefficients }
                }
                (a, b) => Index::Add(Box::new(a), Box::new(b)),
            },
            Ix::Mul(a, by) => match (*part(a)?, extent(by)?) {
                (Index::Affine { base, coefficients }, by) => Index::Affine {
                    base: base.saturating_mul(by),
                    coefficients: coefficients.iter().map(|c| c.saturating_mul(by)).collect(),
                },
                (a, by) => Index::Mul(Box::new(a), by),
            },
            Ix::Bcast(a, e) => {
                if extent(e)? == 1 {
                    fixed(0)
                } else {
                    *part(a)?
                }
            }
            Ix::FloorDiv(a, by) => Index::FloorDiv(part(a)?, extent(by)?),
            Ix::Mod(a, by) => Index::Mod(part(a)?, extent(by)?),
            Ix::Wrap(a, e) => Index::Wrap(part(a)?, extent(e)?),
            Ix::Min(a, b) => Index::Min(part(a)?, part(b)?),
            Ix::Max(a, b) => Index::Max(part(a)?, part(b)?),
            Ix::Load(k) => Index::Load(*k),
        })
    }

    /// Computes a row; `load` gives the integers that a load reads on it.
    pub(super) fn row(&self, at: &At, load: &mut LoadRow<'_>, out: &mut [i64]) -> Result<(), EvalError> {
        let mut map = |a: &Index, out: &mut [i64], f: &dyn Fn(i64) -> i64| {
            a.row(at, load, out)?;
            out.iter_mut().for_each(|x| *x = f(*x));
            Ok(())
        };
        match self {
            Index::Affine { base, coefficients } => {
                let start = start(*base, coefficients, at);
                let step = at.lane.map_or(0, |lane| coefficients[lane]);
                for (i, x) in out.iter_mut().enumerate() {
                    *x = start.wrapping_add(step.wrapping_mul(i as i64));
                }
                Ok(())
            }
            Index::Load(k) => load(*k, out),
            Index::Mul(a, by) => map(a, out, &|x| x.saturating_mul(*by)),
            Index::FloorDiv(a, by) => map(a, out, &|x| if *by == 0 { 0 } else { floor_div(x, *by) }),
            Index::Mod(a, by) => map(a, out, &|x| {
                if *by == 0 { 0 } else { x.wrapping_sub(floor_div(x, *by).wrapping_mul(*by)) }
            }),
            Index::Wrap(a, extent) => map(a, out, &|x| if x < 0 { x.saturating_add(*extent) } else { x }),
            Index::Add(a, b) => pair(a, b, at, load, out, i64::saturating_add),
            Index::Min(a, b) => pair(a, b, at, load, out, i64::min),
            Index::Max(a, b) => pair(a, b, at, load, out, i64::max),
        }
    }

    /// Whether it is the same along the whole row.
    pub(super) fn is_fixed_on(&self, lane: Option<usize>) -> bool {
        match self {
            Index::Affine { coefficients, .. } => lane.is_none_or(|lane| coefficients[lane] == 0),
            Index::Load(_) => lane.is_none(),
            Index::Mul(a, _) | Index::FloorDiv(a, _) | Index::Mod(a, _) | Index::Wrap(a, _) => {
                a.is_fixed_on(lane)
            }
            Index::Add(a, b) | Index::Min(a, b) | Index::Max(a, b) => {
                a.is_fixed_on(lane) && b.is_fixed_on(lane)
            }
        }
    }
}

/// Value of an affine index at the first element of a row.
pub(super) fn start(base: i64, coefficients: &[i64], at: &At) -> i64 {
    coefficients.iter().zip(&at.position).fold(base, |sum, (c, p)| sum.wrapping_add(c.wrapping_mul(*p)))
}

fn pair(
    a: &Index,
    b: &Index,
    at: &At,
    load: &mut LoadRow<'_>,
    out: &mut [i64],
    f: impl Fn(i64, i64) -> i64,
) -> Result<(), EvalError> {
    let mut other = vec![0; out.len()];
    a.row(at, load, out)?;
    b.row(at, load, &mut other)?;
    out.iter_mut().zip(other).for_each(|(x, y)| *x = f(*x, y));
    Ok(())
}
