//! window - operands that are read through windows: what a convolution reads of its input.
//!
//! ```text
//! position on axis d of the tensor = base + s * n + d * k        (n a column axis, k an axis of the sum)
//! ```
//!
//! A block of the tensor is copied to scratch memory, padded, with columns of stride s split into their s phases. There
//! every tap of the window is at a fixed distance, whatever the stride and the dilation:
//!
//! ```text
//! block [channels ..] [rows ..] [phase] [pitch]        tap k of a row:  phase k*d mod s, k*d / s to the right
//! ```

use nnc_ir::{dtype::Scalar, extent::Extent, form::Bounds};

use super::split::Nest;
use crate::lower::access::{dense_strides, inside, linear};

/// How an operand is read through windows.
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// Axes of the tensor.
    pub(super) dims: Vec<Dim>,
    /// Number of the axis along which columns are neighbours.
    pub(super) row: usize,
    /// What is read outside of the tensor.
    pub(super) fill: Scalar,
}

/// An axis of the tensor.
#[derive(Clone, Debug)]
pub(super) struct Dim {
    /// Elements of the tensor from one position to the next.
    pub(super) stride: Extent,
    /// Positions.
    pub(super) extent: Extent,
    /// Whether positions beyond may be read.
    pub(super) guarded: bool,
    /// Position at the origin.
    pub(super) base: Extent,
    /// Axes of loops around, and their steps.
    pub(super) outer: Vec<(usize, Extent)>,
    /// Column axis and its step.
    pub(super) n: Option<(usize, i64)>,
    /// Axis of the sum, and its step.
    pub(super) k: Option<(usize, i64)>,
}

/// The windows by which load `b` reads, for column axes `n` and axes `k` of the sum.
pub(super) fn analyze(nest: &Nest, b: usize, n: &[usize], k: &[usize]) -> Option<Window> {
    let load = &nest.loads[b];
    let axes = nest.extents.len();
    let fill = match load.bounds {
        Bounds::Guard(fill) => fill,
        _ => Scalar::f32(0.0),
    };
    let mut dims = Vec::new();
    let mut seen = vec![0; axes];
    for ((ix, extent), stride) in load.index.iter().zip(&load.extents).zip(dense_strides(&load.extents)) {
        let at = linear(ix, axes)?;
        let guarded = matches!(load.bounds, Bounds::Guard(_)) && !inside(ix, extent, &nest.extents);
        let mut dim =
            Dim { stride, extent: extent.clone(), guarded, base: at.base, outer: vec![], n: None, k: None };
        for (axis, step) in at.coefficients.into_iter().enumerate().filter(|(_, c)| !c.is(0)) {
            let constant = || step.as_const().filter(|c| (1..1 << 32).contains(c));
            let place = match (n.contains(&axis), k.contains(&axis)) {
                (true, _) => &mut dim.n,
                (_, true) => &mut dim.k,
                _ => {
                    dim.outer.push((axis, step));
                    continue;
                }
            };
            if place.is_some() {
                return None;
            }
            seen[axis] += 1;
            *place = Some((axis, constant()?));
        }
        let fixed = dim.n.is_none() && dim.k.is_none();
        // The taps of a window are few and known; a padded axis is one that windows walk along.
        let taps_known = dim.n.is_none() || dim.k.is_none_or(|(k, _)| nest.extents[k].as_const().is_some());
        if (fixed && guarded) || !taps_known {
            return None;
        }
        dims.push(dim);
    }
    if n.iter().chain(k).any(|&axis| seen[axis] != 1) {
        return None;
    }
    let last = *n.last()?;
    let row = dims.iter().position(|d| matches!(d.n, Some((axis, _)) if axis == last))?;
    Some(Window { dims, row, fill })
}

/// A block of the tensor in scratch memory.
#[derive(Clone, Debug)]
pub(super) struct Block {
    /// Axes but the row's: those of the sum alone, then those of columns.
    pub(super) levels: Vec<Level>,
    /// Number of the axis of rows.
    pub(super) row: usize,
    /// Step of columns along it.
    pub(super) step: i64,
    /// Phases that taps read.
    pub(super) phases: Vec<i64>,
    /// For each tap along the row: index of its phase, and how far to the right.
    pub(super) taps: Vec<(usize, i64)>,
    /// Elements of a phase of a row.
    pub(super) pitch: Extent,
    /// Elements in all.
    pub(super) elements: Extent,
}

/// An axis of the block.
#[derive(Clone, Debug)]
pub(super) struct Level {
    /// Which axis of the tensor.
    pub(super) dim: usize,
    /// Positions (for a full block).
    pub(super) len: Extent,
    /// Elements from one position to the next.
    pub(super) stride: Extent,
    /// The same in phases of rows.
    pub(super) lines: Extent,
    /// Positions of the tensor from one position to the next.
    pub(super) step: i64,
    /// Positions of the block from one column to the next.
    pub(super) n_step: i64,
    /// Positions of the block from one tap to the next.
    pub(super) k_step: i64,
    /// Positions beyond those of the first tap.
    pub(super) reach: i64,
}

impl Window {
    /// The block for `counts` columns along each column axis, which are `n`.
    pub(super) fn block(&self, nest: &Nest, n: &[usize], counts: &[Extent]) -> Block {
        let count =
            |axis: usize| n.iter().position(|&a| a == axis).map_or(Extent::ONE, |i| counts[i].clone());
        let taps_of = |dim: &Dim| dim.k.map(|(k, d)| (nest.extents[k].as_const().unwrap_or(1), d));
        let row = &self.dims[self.row];
        let step = row.n.map_or(1, |(_, s)| s);
        let (taps, dilation) = taps_of(row).unwrap_or((1, 1));
        let mut phases: Vec<i64> = Vec::new();
        let taps: Vec<(usize, i64)> = (0..taps)
            .map(|k| {
                let (right, phase) = (k * dilation / step, k * dilation % step);
                let at = phases.iter().position(|&p| p == phase).unwrap_or_else(|| {
                    phases.push(phase);
                    phases.len() - 1
                });
                (at, right)
            })
            .collect();
        let reach = taps.iter().map(|&(_, right)| right).max().unwrap_or(0);
        let columns = row.n.map_or(Extent::ONE, |(axis, _)| count(axis));
        let pitch = &columns + &Extent::Const(reach);
        let mut order: Vec<usize> =
            (0..self.dims.len()).filter(|&d| self.dims[d].n.is_none() && self.dims[d].k.is_some()).collect();
        for &axis in n {
            order.extend(
                (0..self.dims.len())
                    .filter(|&d| d != self.row && matches!(self.dims[d].n, Some((a, _)) if a == axis)),
            );
        }
        let mut levels: Vec<Level> = order
            .into_iter()
            .map(|d| {
                let dim = &self.dims[d];
                let (len, step, n_step, k_step, reach) = match (dim.n, dim.k) {
                    (None, Some((k, step))) => (nest.extents[k].clone(), step, 0, 1, 0),
                    (Some((n, step)), None) => (count(n), step, 1, 0, 0),
                    (Some((n, s)), Some((_, d))) => {
                        let reach = (taps_of(dim).map_or(1, |(taps, _)| taps) - 1) * d;
                        let len = &(&count(n) - &Extent::ONE).scale(s) + &Extent::Const(reach + 1);
                        (len, 1, s, d, reach)
                    }
                    (None, None) => (Extent::ONE, 1, 0, 0, 0),
                };
                Level { dim: d, len, stride: Extent::ZERO, lines: Extent::ZERO, step, n_step, k_step, reach }
            })
            .collect();
        let mut lines = Extent::Const(phases.len() as i64);
        for level in levels.iter_mut().rev() {
            level.stride = &lines * &pitch;
            level.lines = lines.clone();
            lines = &lines * &level.len;
        }
        let elements = &lines * &pitch;
        Block { levels, row: self.row, step, phases, taps, pitch, elements }
    }
}

impl Block {
    /// Elements from one position of a column axis to the next.
    pub(super) fn column_stride(&self, window: &Window, axis: usize) -> Extent {
        let of_axis = |dim: usize| matches!(window.dims[dim].n, Some((a, _)) if a == axis);
        match self.levels.iter().find(|l| of_axis(l.dim)) {
            Some(level) => level.stride.scale(level.n_step),
            None => Extent::ONE,
        }
    }
}
