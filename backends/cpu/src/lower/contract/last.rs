//! last - convolutions with channels last: which axes are pixels, channels, taps.
//!
//! ```text
//! result[around.., oy, ox, m] = sum over ky, kx, c of input[around.., oy * s + ky * d - p, ox * s + kx * d - p, c] * weight[m, ky, kx, c]
//! ```
//!
//! The weights are constant and their output channels are the columns of the product: always whole vectors, packed when
//! compiling. Its rows are the pixels of one row of the result. The input is read through windows. A depthwise
//! convolution has no sum over channels: input and weights both walk along the last axis.

use nnc_ir::{
    dtype::DType,
    extent::Extent,
    form::{Bounds, Class},
    program::Program,
};
use nnc_tile::product::Product;

use super::{
    analyze::{BFrom, Linear, Problem, reads, single},
    epilogue::{self, Operand},
    prologue::Prologue,
    split,
    window::{self, Dim, Window},
};
use crate::{kernel::NestRequest, lower::access::Access, tile::Arithmetic};

/// Taps of a window, at most.
const TAPS: i64 = 128;

/// A convolution with channels last.
#[derive(Clone, Debug)]
pub(super) struct Last {
    /// Rows are pixels, columns are channels. Where the input is, `windows` says.
    pub(super) problem: Problem,
    /// How the input is read.
    pub(super) windows: Windows,
    /// Whether every channel has windows of its own.
    pub(super) depthwise: bool,
}

/// The windows over the input.
#[derive(Clone, Debug)]
pub(super) struct Windows {
    /// All axes of the input.
    pub(super) window: Window,
    /// Along the rows of the result, if it has more than one axis of pixels.
    pub(super) y: Option<Taps>,
    /// Along its columns.
    pub(super) x: Taps,
    /// Number of the input's axis that is summed over without a window, and its extent.
    pub(super) channels: Option<(usize, i64)>,
}

/// Taps along one axis of the input.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taps {
    /// Number of the input's axis.
    pub(super) dim: usize,
    /// The axis of pixels.
    pub(super) pixel: usize,
    /// Positions of the input from one pixel to the next.
    pub(super) stride: i64,
    /// Number of taps.
    pub(super) count: i64,
    /// Positions of the input from one tap to the next.
    pub(super) dilation: i64,
}

impl Taps {
    /// Positions beyond that of the first tap.
    pub(super) fn reach(&self) -> i64 {
        (self.count - 1) * self.dilation
    }
}

impl Windows {
    /// The input's axis of some taps.
    pub(super) fn dim(&self, taps: &Taps) -> &Dim {
        &self.window.dims[taps.dim]
    }

    /// Taps along the rows: one where there is no such axis.
    pub(super) fn rows(&self) -> i64 {
        self.y.map_or(1, |y| y.count)
    }

    /// The runs of the sum: elements of one, and where each begins, for lines and positions of the input so far apart and
    /// `depth` elements of a position.
    pub(super) fn runs(&self, line: &Extent, position: &Extent, depth: i64) -> (i64, Vec<Extent>) {
        let x = self.x;
        let joined = position.is(depth) && (x.dilation == 1 || x.count == 1);
        let (run, of_row) = if joined { (x.count * depth, 1) } else { (depth, x.count) };
        let dilation = self.y.map_or(1, |y| y.dilation);
        let of_rows = (0..self.rows()).flat_map(|ky| {
            (0..of_row).map(move |kx| &line.scale(ky * dilation) + &position.scale(kx * x.dilation))
        });
        (run, of_rows.collect())
    }

    /// The windows, and the axes of the sum in the order in which tiles walk along them: rows of taps, the taps of a row,
    /// channels.
    fn new(nest: &split::Nest, window: Window) -> Option<(Windows, Vec<usize>)> {
        let taps = |dim: usize| -> Option<Taps> {
            let (pixel, stride) = window.dims[dim].n?;
            let (count, dilation) = match window.dims[dim].k {
                Some((axis, step)) => (nest.extents[axis].as_const()?, step),
                None => (1, 1),
            };
            let alone = window.dims[dim].outer.is_empty();
            (count >= 1 && alone).then_some(Taps { dim, pixel, stride, count, dilation })
        };
        let x = taps(window.row)?;
        let dims = || 0..window.dims.len();
        let other = dims().find(|&d| window.dims[d].n.is_some() && d != window.row);
        let y = match other {
            Some(d) => Some(taps(d)?),
            None => None,
        };
        let sum = dims().find(|&d| window.dims[d].n.is_none() && window.dims[d].k.is_some());
        let channels = match sum {
            Some(d) => {
                let (axis, step) = window.dims[d].k?;
                let plain = step == 1 && !window.dims[d].guarded;
                Some((d, nest.extents[axis].as_const().filter(|&c| c >= 1 && plain)?))
            }
            None => None,
        };
        let axis = |dim: usize| window.dims[dim].k.map(|(axis, _)| axis);
        let order = [y.and_then(|y| axis(y.dim)), axis(x.dim), channels.and_then(|(d, _)| axis(d))];
        let order: Vec<usize> = order.into_iter().flatten().collect();
        let all = order.len() == nest.extents.len() - nest.space;
        let few = y.map_or(1, |y| y.count).checked_mul(x.count)? <= TAPS;
        (all && few).then_some((Windows { window, y, x, channels }, order))
    }
}

impl Last {
    /// The axes of its space from the outermost loop to the innermost: loops around, rows of pixels, pixels, channels.
    pub(super) fn walk(&self) -> Vec<usize> {
        let (p, windows) = (&self.problem, &self.windows);
        let y = windows.y.map(|y| y.pixel);
        let around = p.outer.iter().copied().filter(|&a| Some(a) != y);
        around.chain(y).chain([windows.x.pixel]).chain(p.n.iter().copied()).collect()
    }

    /// Whether it is for tiles of single channels, but has other results than these store.
    pub(super) fn is_single_channels(&self) -> bool {
        self.depthwise && !self.problem.is_single()
    }

    /// The nest of a request as such a convolution.
    pub(super) fn of(request: &NestRequest) -> Option<Last> {
        let form = &request.form;
        if form.class() != Class::Contraction {
            return None;
        }
        let [x, y] = form.factors()?;
        let multiplied = if reads(&x).iter().all(|&l| form.loads[l].dtype == DType::I32) {
            DType::I32
        } else {
            DType::F32
        };
        let integers = multiplied == DType::I32;
        if form.results.iter().any(|&dtype| epilogue::element(dtype, integers).is_none()) {
            return None;
        }
        let fits = |l: usize| form.loads[l].dtype == multiplied && form.loads[l].bounds != Bounds::Check;
        let constant = |factor: &Program| {
            let operand = |l: usize| request.operands.get(form.loads[l].operand);
            single(factor).filter(|&l| operand(l).is_some_and(|o| o.constant.is_some()))
        };
        let (factor, b) = match (constant(&x), constant(&y)) {
            (None, Some(b)) => (x, b),
            (Some(b), None) => (y, b),
            _ => return None,
        };
        let loads = reads(&factor);
        let nest = split::nest(request);
        let extents = nest.extents.clone();
        let last = nest.space.checked_sub(1)?;
        if !loads.iter().all(|&l| fits(l)) || !fits(b) || nest.results.iter().any(|r| !r.strides[last].is(1))
        {
            return None;
        }
        let access: Vec<Access> = nest.loads.iter().map(|l| Access::of_load(l, &extents)).collect();
        // Of an operand that is computed, the load that changes along most axes says where the windows are.
        let mentions = |l: usize, axis: usize| {
            !access[l].coefficients[axis].is(0) || access[l].indices().any(|ix| ix.mentions(axis))
        };
        let of_load = |&l: &usize| (0..extents.len()).filter(|&axis| mentions(l, axis)).count();
        let a = loads.iter().copied().rev().max_by_key(of_load)?;
        let at = Linear::of(&access[b])?;
        let depthwise = mentions(a, last);
        let zero = match form.loads[a].bounds {
            Bounds::Guard(outside) => outside.bits == 0,
            _ => true,
        };
        if integers && (depthwise || single(&factor).is_none() || !zero) {
            return None;
        }
        let k: Vec<usize> = (nest.space..extents.len()).collect();
        let pixels: Vec<usize> = (0..last).filter(|&x| mentions(a, x) && !mentions(b, x)).collect();
        let pixels = &pixels[pixels.len().saturating_sub(2)..];
        let (windows, k) = Windows::new(&nest, window::analyze(&nest, a, pixels, &k)?)?;
        let along =
            |d: &Dim| d.outer.iter().any(|(axis, step)| *axis == last && step.is(1)) && d.stride.is(1);
        let whole = windows.window.dims.iter().any(along) && windows.channels.is_none();
        if !mentions(b, last) || extents[last].as_const().is_none_or(|n| n <= 0) || (depthwise && !whole) {
            return None;
        }
        let (m, n) = (vec![windows.x.pixel], vec![last]);
        let row = |at: Linear| {
            let row = at.coefficients[m[0]].clone();
            (at, row)
        };
        let mut results = Linear::of_results(&nest).into_iter().map(row);
        let (c_at, c_row) = results.next()?;
        let further: Vec<(Linear, Extent)> = results.collect();
        let splat = |l: usize| {
            let operand = request.operands.get(nest.loads[l].operand)?;
            let plain = nest.loads[l].bounds == Bounds::Inside;
            let known = epilogue::splat_of(operand.constant.as_ref());
            known.filter(|c| plain && epilogue::reads(c.dtype, integers))
        };
        let prologue = match single(&factor) {
            Some(_) => None,
            None => {
                let inside = loads.iter().all(|&l| nest.loads[l].bounds == Bounds::Inside);
                let [sum] = k[..] else { return None };
                let alone = inside && windows.channels.is_some() && !depthwise;
                let linear = |l: usize| Linear::of(&access[l]);
                Some(Prologue::of(&factor, &splat, &linear, &[sum], &extents).ok().filter(|_| alone)?)
            }
        };
        let place = |l: usize| {
            let reads = epilogue::reads(nest.loads[l].dtype, integers);
            if reads { Linear::of(&access[l]) } else { None }
        };
        let operand = |l: usize| {
            let at = place(l).ok_or("what follows reads something else than f32 at linear places")?;
            let (row, col) = (&at.coefficients[m[0]], &at.coefficients[last]);
            Ok(Operand { load: l, kind: epilogue::kind(row, col)?, row_stride: row.clone() })
        };
        let (epilogue, operands) = epilogue::translate(&nest.finish, &splat, &operand, None).ok()?;
        let operands = operands.into_iter().map(|o| Some((place(o.load)?, o)).map(|(at, o)| (o, at)));
        let operands = operands.collect::<Option<Vec<_>>>()?;
        let splats = (0..nest.loads.len()).filter_map(|l| Some((l, splat(l)?))).collect();
        let problem = Problem {
            outer: (0..last).filter(|x| !m.contains(x)).collect(),
            flat: true,
            a,
            b,
            a_at: Linear { base: Extent::ZERO, coefficients: vec![Extent::ZERO; extents.len()] },
            a_row: Extent::ZERO,
            a_k: Extent::ONE,
            b_from: BFrom::Linear { n_stride: at.coefficients[last].clone(), at },
            c_at,
            c_row,
            further,
            epilogue,
            operands,
            level: None,
            arithmetic: Arithmetic { fused: true },
            groups: vec![0],
            splats,
            product: Product::F32,
            further_operands: vec![],
            prologue,
            m,
            n,
            k,
            nest,
        };
        Some(Last { problem, windows, depthwise })
    }
}
