//! read - the loads of a form, row by row.

use std::ops::Range;

use smallvec::SmallVec;

use crate::{
    dtype::DType,
    eval::{
        error::EvalError,
        index::{At, Index, start},
        tensor::{Slot, gather, gather_next, strides},
    },
    extent::{Extent, floor_div},
    form::{Bounds, Load},
};

/// Scratch for one row; short rows stay on the stack.
pub(super) type IndexRow = SmallVec<[i64; 64]>;

/// The loads of a form with the operands that they read.
pub(super) struct Readers<'a> {
    loads: Vec<Reader<'a>>,
}

struct Reader<'a> {
    dtype: DType,
    bytes: &'a [u8],
    dims: &'a [i64],
    strides: Vec<i64>,
    index: Vec<Index>,
    bounds: Bounds,
    /// The offset, where every index is affine.
    linear: Option<Linear>,
}

/// An offset as base and coefficients.
struct Linear {
    base: i64,
    coefficients: Vec<i64>,
    /// Whether it is in range over the whole nest.
    inside: bool,
}

impl<'a> Readers<'a> {
    /// Prepares `loads` for a nest over `dims`, space axes first.
    pub(super) fn new(
        loads: &[Load],
        operands: &'a [Slot],
        dims: &[i64],
        extent: &dyn Fn(&Extent) -> Result<i64, EvalError>,
    ) -> Result<Self, EvalError> {
        let reader = |load: &Load| {
            let operand = &operands[load.operand];
            let index = load.index.iter().map(|ix| Index::new(ix, dims.len(), extent));
            let index: Vec<Index> = index.collect::<Result<_, _>>()?;
            let strides = strides(&operand.dims);
            let linear = linear(&index, &operand.dims, &strides, dims);
            Ok(Reader {
                dtype: operand.dtype,
                bytes: operand.bytes(),
                dims: &operand.dims,
                strides,
                index,
                bounds: load.bounds,
                linear,
            })
        };
        Ok(Self { loads: loads.iter().map(reader).collect::<Result<_, EvalError>>()? })
    }

    /// Reads a row of load `k`, as bits of its compute type.
    pub(super) fn row(&self, k: usize, at: &At, out: &mut [u64]) -> Result<(), EvalError> {
        let load = &self.loads[k];
        let Some(linear) = &load.linear else { return self.row_of_any(load, at, out) };
        let n = out.len();
        let lanes = if linear.inside { 0..n } else { load.lanes_inside(at, n) };
        if lanes.len() < n {
            let Bounds::Guard(guard) = load.bounds else { return self.row_of_any(load, at, out) };
            out[..lanes.start].fill(guard.bits);
            out[lanes.end..].fill(guard.bits);
        }
        let out = &mut out[lanes.clone()];
        if out.is_empty() {
            return Ok(());
        }
        let step = at.lane.map_or(0, |lane| linear.coefficients[lane]);
        let first =
            start(linear.base, &linear.coefficients, at).wrapping_add(step.wrapping_mul(lanes.start as i64));
        if step == 0 {
            gather(load.dtype, load.bytes, std::iter::once(first as usize), &mut out[..1]);
            let value = out[0];
            out.fill(value);
        } else if step == 1 {
            gather_next(load.dtype, load.bytes, first as usize, out);
        } else {
            let offsets = (0..).map(|i| (first + step * i) as usize);
            gather(load.dtype, load.bytes, offsets, out);
        }
        Ok(())
    }

    /// The integers that load `k` reads on a row.
    pub(super) fn integers(&self, k: usize, at: &At, out: &mut [i64]) -> Result<(), EvalError> {
        let mut bits = SmallVec::<[u64; 64]>::from_elem(0, out.len());
        self.row(k, at, &mut bits)?;
        let dtype = self.loads[k].dtype;
        for (out, &bits) in out.iter_mut().zip(&bits) {
            let element = crate::dtype::Scalar { dtype: dtype.compute(), bits };
            *out = element.as_i64().unwrap_or(0);
        }
        Ok(())
    }

    /// A row of an index expression.
    pub(super) fn index(&self, index: &Index, at: &At, out: &mut [i64]) -> Result<(), EvalError> {
        index.row(at, &mut |k, row| self.integers(k, at, row), out)
    }

    fn row_of_any(&self, load: &Reader<'_>, at: &At, out: &mut [u64]) -> Result<(), EvalError> {
        let n = out.len();
        let mut offsets = IndexRow::from_elem(0, n);
        let mut outside = SmallVec::<[bool; 64]>::from_elem(false, n);
        let mut row = IndexRow::from_elem(0, n);
        for (index, (&extent, &stride)) in load.index.iter().zip(load.dims.iter().zip(&load.strides)) {
            let fixed = index.is_fixed_on(at.lane);
            let row = if fixed { &mut row[..1] } else { &mut row[..] };
            self.index(index, at, row)?;
            if let Some(bad) = row.iter().find(|&&x| x < 0 || x >= extent)
                && !matches!(load.bounds, Bounds::Guard(_))
            {
                return Err(EvalError::new(805, format!("index {bad} not in [0, {extent})")));
            }
            for (i, (offset, outside)) in offsets.iter_mut().zip(&mut outside).enumerate() {
                let x = row[if fixed { 0 } else { i }];
                *outside |= x < 0 || x >= extent;
                *offset = offset.wrapping_add(x.wrapping_mul(stride));
            }
        }
        let guard = if let Bounds::Guard(value) = load.bounds { value.bits } else { 0 };
        if outside.iter().all(|&o| o) {
            out.fill(guard);
            return Ok(());
        }
        let inside =
            offsets.iter().zip(&outside).map(|(&at, &outside)| if outside { 0 } else { at as usize });
        gather(load.dtype, load.bytes, inside, out);
        for (out, _) in out.iter_mut().zip(&outside).filter(|(_, outside)| **outside) {
            *out = guard;
        }
        Ok(())
    }
}

impl Reader<'_> {
    /// The lanes of a row of `n` whose affine indices are all in range.
    fn lanes_inside(&self, at: &At, n: usize) -> Range<usize> {
        let (mut first, mut end) = (0i64, n as i64);
        for (index, &extent) in self.index.iter().zip(self.dims) {
            let Index::Affine { base, coefficients } = index else { return 0..0 };
            let start = start(*base, coefficients, at);
            let step = at.lane.map_or(0, |lane| coefficients[lane]);
            if step == 0 {
                if start < 0 || start >= extent {
                    return 0..0;
                }
                continue;
            }
            // Counted from the end of the axis that the row moves away from.
            let (gone, left) =
                if step > 0 { (start, extent - 1 - start) } else { (extent - 1 - start, start) };
            let step = step.saturating_abs();
            first = first.max(-floor_div(gone, step));
            end = end.min(floor_div(left, step).saturating_add(1));
        }
        if first < end { first as usize..end as usize } else { 0..0 }
    }
}

/// The offset of a load whose indices are all affine.
fn linear(index: &[Index], extents: &[i64], strides: &[i64], dims: &[i64]) -> Option<Linear> {
    let mut linear = Linear { base: 0, coefficients: vec![0; dims.len()], inside: true };
    for (index, (&extent, &stride)) in index.iter().zip(extents.iter().zip(strides)) {
        let Index::Affine { base, coefficients } = index else { return None };
        let (mut least, mut greatest) = (i128::from(*base), i128::from(*base));
        for (&c, &dim) in coefficients.iter().zip(dims) {
            let end = i128::from(c) * (i128::from(dim) - 1).max(0);
            least += end.min(0);
            greatest += end.max(0);
        }
        // Bounds that leave `i64` by far are left to the way that checks each index.
        if least < i128::from(i64::MIN / 4) || greatest > i128::from(i64::MAX / 4) {
            return None;
        }
        linear.inside &= least >= 0 && greatest < i128::from(extent);
        linear.base = linear.base.wrapping_add(base.wrapping_mul(stride));
        for (step, c) in linear.coefficients.iter_mut().zip(coefficients) {
            // An axis of one point may have any coefficient.
            *step = step.wrapping_add(c.wrapping_mul(stride));
        }
    }
    Some(linear)
}
