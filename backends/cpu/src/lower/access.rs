//! access - where a nest touches memory: linear addresses, what is not linear, and what must be checked.
//!
//! The element offset of an access is `base + sum of coefficient * axis + sum of extra index * stride`. Everything that
//! is fixed for the run is an [`Extent`] and comes from the frame; a broadcast axis is linear, too: its coefficient has
//! the factor `min(extent, 2) - 1`, which is 0 for extent 1 and 1 for all others.

use nnc_ir::{
    dtype::{DType, Scalar},
    extent::{Extent, product},
    form::{Affine, Bounds, Ix, Load},
};

/// Memory that one load or result touches.
#[derive(Clone, Debug)]
pub(super) struct Access {
    /// Storage type.
    pub(super) dtype: DType,
    /// Offset in elements at the origin.
    pub(super) base: Extent,
    /// Elements from one position of an axis to the next.
    pub(super) coefficients: Vec<Extent>,
    /// Indices that are not linear.
    pub(super) extra: Vec<Extra>,
    /// All must hold for the element to be read.
    pub(super) conditions: Vec<Condition>,
    /// What the load gives where a condition does not hold.
    pub(super) otherwise: Scalar,
}

/// An index expression that is computed and multiplied.
#[derive(Clone, Debug)]
pub(super) struct Extra {
    /// The index.
    pub(super) index: Ix,
    /// Elements from one position to the next.
    pub(super) stride: Extent,
    /// Outside `0..extent` the run fails, and the index is 0.
    pub(super) check: Option<Extent>,
}

/// `0 <= index < extent`.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    /// The index.
    pub(super) index: Ix,
    /// What it must be below.
    pub(super) extent: Extent,
}

/// Strides of a dense row-major tensor.
pub(crate) fn dense_strides(shape: &[Extent]) -> Vec<Extent> {
    (0..shape.len()).map(|i| product(&shape[i + 1..])).collect()
}

/// The index as a linear function of the axes, broadcasts included.
pub(super) fn linear(ix: &Ix, axes: usize) -> Option<Affine> {
    match ix {
        Ix::Bcast(a, extent) => {
            let repeats = &extent.min_with(&Extent::Const(2)) - &Extent::ONE;
            Some(scaled(&linear(a, axes)?, &repeats))
        }
        Ix::Mul(a, by) => Some(scaled(&linear(a, axes)?, by)),
        Ix::Add(a, b) => {
            let (a, b) = (linear(a, axes)?, linear(b, axes)?);
            let sum = |(x, y): (&Extent, &Extent)| x + y;
            Some(Affine {
                base: &a.base + &b.base,
                coefficients: a.coefficients.iter().zip(&b.coefficients).map(sum).collect(),
            })
        }
        _ => ix.affine(axes),
    }
}

fn scaled(a: &Affine, by: &Extent) -> Affine {
    Affine { base: &a.base * by, coefficients: a.coefficients.iter().map(|c| c * by).collect() }
}

/// Least and greatest value of a linear index, if the signs of its coefficients are known. The axes are not empty.
pub(super) fn range(a: &Affine, extents: &[Extent]) -> Option<(Extent, Extent)> {
    let (mut least, mut greatest) = (a.base.clone(), a.base.clone());
    for (coefficient, extent) in a.coefficients.iter().zip(extents) {
        let last = extent - &Extent::ONE;
        match coefficient {
            Extent::Const(0) => {}
            Extent::Const(c) if *c > 0 => greatest = &greatest + &(&last * coefficient),
            Extent::Const(_) => least = &least + &(&last * coefficient),
            // A stride chosen when running is harmless where the axis has one position.
            Extent::Expr(_) if last.is(0) => {}
            Extent::Expr(_) => return None,
        }
    }
    Some((least, greatest))
}

/// Whether an index is in `0..extent` wherever the nest goes.
pub(crate) fn inside(ix: &Ix, extent: &Extent, extents: &[Extent]) -> bool {
    if matches!(ix, Ix::Axis(a) if extents[*a] == *extent) {
        return true;
    }
    let Some((least, greatest)) = linear(ix, extents.len()).and_then(|a| range(&a, extents)) else {
        return false;
    };
    let not_negative = |e: &Extent| e.as_const().is_some_and(|c| c >= 0);
    not_negative(&least) && not_negative(&(&(extent - &Extent::ONE) - &greatest))
}

impl Access {
    /// The access of `load` in a nest over axes of `extents`.
    pub(super) fn of_load(load: &Load, extents: &[Extent]) -> Access {
        Self::of_strided(load, &dense_strides(&load.extents), extents)
    }

    /// The access of `load` to an operand with `strides`.
    pub(super) fn of_strided(load: &Load, strides: &[Extent], extents: &[Extent]) -> Access {
        let axes = extents.len();
        let mut out = Access {
            dtype: load.dtype,
            base: Extent::ZERO,
            coefficients: vec![Extent::ZERO; axes],
            extra: Vec::new(),
            conditions: Vec::new(),
            otherwise: if let Bounds::Guard(s) = load.bounds { s } else { Scalar::zero(load.dtype) },
        };
        for ((ix, extent), stride) in load.index.iter().zip(&load.extents).zip(strides) {
            let safe = load.bounds == Bounds::Inside || inside(ix, extent, extents);
            if !safe {
                match load.bounds {
                    Bounds::Check => {
                        let (index, check) = (ix.clone(), Some(extent.clone()));
                        out.extra.push(Extra { index, stride: stride.clone(), check });
                        // Position 0 exists only if the axis is not empty.
                        if extent.as_const().is_none_or(|c| c <= 0) {
                            out.conditions.push(Condition { index: Ix::int(0), extent: extent.clone() });
                        }
                        continue;
                    }
                    _ => out.conditions.push(Condition { index: ix.clone(), extent: extent.clone() }),
                }
            }
            out.add(ix, stride);
        }
        // With an empty axis anywhere there is no element at all, not even where the other indices are in range.
        if load.bounds == Bounds::Check {
            for extent in &load.extents {
                let known = extent.as_const().is_some_and(|c| c > 0)
                    || extents.contains(extent)
                    || out.conditions.iter().any(|c| c.extent == *extent);
                if !known {
                    out.conditions.push(Condition { index: Ix::int(0), extent: extent.clone() });
                }
            }
        }
        out
    }

    /// The access of a dense or placed result over the first axes of a nest.
    pub(super) fn of_result(dtype: DType, offset: Extent, strides: &[Extent], axes: usize) -> Access {
        let mut coefficients = strides.to_vec();
        coefficients.resize(axes, Extent::ZERO);
        Access {
            dtype,
            base: offset,
            coefficients,
            extra: Vec::new(),
            conditions: Vec::new(),
            otherwise: Scalar::zero(dtype),
        }
    }

    fn add(&mut self, ix: &Ix, stride: &Extent) {
        match linear(ix, self.coefficients.len()) {
            Some(a) => {
                self.base = &self.base + &(&a.base * stride);
                for (c, x) in self.coefficients.iter_mut().zip(&a.coefficients) {
                    *c = &*c + &(x * stride);
                }
            }
            None => self.extra.push(Extra { index: ix.clone(), stride: stride.clone(), check: None }),
        }
    }

    /// The index expressions that are computed at run time.
    pub(super) fn indices(&self) -> impl Iterator<Item = &Ix> {
        self.extra.iter().map(|e| &e.index).chain(self.conditions.iter().map(|c| &c.index))
    }

    /// Whether reading can fail the run.
    pub(super) fn may_fault(&self) -> bool {
        self.extra.iter().any(|e| e.check.is_some())
    }
}
