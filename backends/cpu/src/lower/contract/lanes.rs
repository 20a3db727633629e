//! lanes - depthwise convolutions with channels last: channels are lanes, the input is read where it is.
//!
//! ```text
//! for item = (loops around, block of rows of the result):
//!   for some rows of it, as many as keep what their windows share in the first-level cache:
//!     for some channels, for row:
//!       columns whose windows are inside:   one tile, with the taps in it (of a row at the border: those not in the padding)
//!     for row:
//!       the others:                         a tile each, with a list of the taps that are inside
//! ```

mod row;

use cranelift_codegen::ir::{InstBuilder, Value};
use nnc_ir::{
    constant::{Constant, Payload},
    dtype::DType,
    extent::{Extent, product},
};
use nnc_tile::{
    gemm::Init,
    lane_conv::{self, LaneConv},
    row_conv::Width,
};

use super::{
    analyze::{BFrom, Problem},
    emit::{Gen, kernel_function},
    fill_last,
    last::{Last, Taps, Windows},
    tiles::{Tiles, stride},
};
use crate::{
    frame::PointerSlot,
    kernel::{Kernel, LowerCx, NestRequest, Pace},
};
use row::Row;

/// Multiply-adds an item should have at least.
const ITEM_WORK: i64 = 1 << 15;
/// Items there should be where there is enough work.
const ITEMS: i64 = 16;
/// Bytes that stay in the first-level cache.
const L1: i64 = 40 << 10;
/// Channels of a line of the cache.
const LINE: i64 = 16;

/// How a depthwise convolution will be done.
#[derive(Clone, Debug)]
pub(super) struct Lanes {
    weight: PointerSlot,
    /// The tile for columns whose windows are inside.
    inner: Option<LaneConv>,
    /// Tiles for such columns of rows at the border: the first row of taps that is inside, the first after them.
    border: Vec<(i64, i64, LaneConv)>,
    /// The tile for any others.
    listed: LaneConv,
    /// The columns whose windows are inside: the first, and the first after them.
    inside: (Extent, Extent),
    /// Rows of the result in an item.
    rows: i64,
    /// How rows are walked together.
    walk: Walk,
}

/// Some channels of several rows after the other, before the next channels: what windows of these rows share is then in the
/// first-level cache.
#[derive(Clone, Copy, Debug)]
struct Walk {
    /// Channels at once.
    channels: u32,
    /// Items whose rows are walked together.
    items: i64,
    /// Rows at once.
    rows: i64,
}

impl Lanes {
    /// Whether the weights are known.
    pub(super) fn can_do(last: &Last, request: &NestRequest) -> bool {
        let p = &last.problem;
        let weights = || request.operands.get(p.nest.loads[p.b].operand)?.constant.as_ref();
        p.extent(&p.n).as_const().is_some() && weights().is_some_and(|c| packed(p, c).is_some())
    }

    /// Decides; packs the weights.
    pub(super) fn new(last: &Last, request: &NestRequest, cx: &mut LowerCx<'_>) -> Option<Lanes> {
        let (p, windows) = (&last.problem, &last.windows);
        let extents = &p.nest.extents;
        let channels = u32::try_from(p.extent(&p.n).as_const()?).ok()?;
        let taps = windows.rows() * windows.x.count;
        let weights = packed(p, request.operands.get(p.nest.loads[p.b].operand)?.constant.as_ref()?)?;
        let row = windows.dim(&windows.x);
        let columns = &extents[windows.x.pixel];
        let inside = inside(&windows.x, windows, columns);
        let x_step = stride(&row.stride.scale(windows.x.stride));
        let listed = LaneConv {
            taps: lane_conv::Taps::Listed,
            channels,
            width: Width::Const(1),
            x_step,
            c_step: stride(&p.c_row),
            init: Init::Zero,
            epilogue: p.epilogue.clone(),
        };
        // Rows of the input whose distance is known when running have their taps listed, too.
        let taps_of_inner = match fixed(windows) {
            Some(at) => lane_conv::Taps::Fixed { at, w_step: channels },
            None => lane_conv::Taps::Listed,
        };
        let inner = Some(LaneConv {
            taps: taps_of_inner,
            width: match (&inside.1 - &inside.0).as_const().and_then(|n| u32::try_from(n).ok()) {
                Some(n) if n > 0 => Width::Const(n),
                _ => Width::Arg,
            },
            ..listed.clone()
        });
        let inner = inner.filter(|_| !(&inside.1 - &inside.0).is(0));
        let border = inner.as_ref().map_or(vec![], |inner| border(last, inner));
        let around: Vec<Extent> = p
            .outer
            .iter()
            .filter(|&&a| windows.y.is_none_or(|y| y.pixel != a))
            .map(|&a| extents[a].clone())
            .collect();
        let work = columns.as_const().unwrap_or(32) * taps * i64::from(channels);
        let rows = windows.y.map_or(1, |y| extents[y.pixel].as_const().unwrap_or(64));
        let items = product(&around).as_const().unwrap_or(1).max(1);
        let parts = ((ITEMS + items - 1) / items).clamp(1, rows.max(1));
        let row = (&p.extent(&p.n) * columns).as_const().unwrap_or(1).max(1);
        let rows = match cx.choices.part() {
            Some(part) => (part / row).clamp(1, rows.max(1)),
            None => (rows / parts).max(ITEM_WORK / work.max(1)).clamp(1, rows.max(1)),
        };
        let walk = match windows.y.filter(|_| inner.is_some() && items == 1) {
            Some(y) => Walk::of(windows, &y, (columns, channels), rows),
            None => Walk { channels, items: 1, rows },
        };
        Some(Lanes { weight: cx.add_weight(weights), inner, border, listed, inside, rows, walk })
    }

    /// Makes the kernel.
    pub(super) fn lower(&self, last: &Last, request: &NestRequest, cx: &mut LowerCx<'_>) -> Kernel {
        let (p, windows) = (&last.problem, &last.windows);
        let extents = &p.nest.extents;
        let around: Vec<usize> =
            p.outer.iter().copied().filter(|&a| windows.y.is_none_or(|y| y.pixel != a)).collect();
        let mut digits: Vec<Extent> = around.iter().map(|&a| extents[a].clone()).collect();
        let all_rows = windows.y.map_or(Extent::ONE, |y| extents[y.pixel].clone());
        digits.push(all_rows.ceil_div(&Extent::Const(self.rows)));
        let taps = windows.rows() * windows.x.count;
        let row = &p.extent(&p.n) * &extents[windows.x.pixel];
        let pace = Pace::new(&(&row * &all_rows), &row.scale(self.rows), &Extent::ONE);
        let function = kernel_function(cx, |g, begin, end, worker| {
            let list = g.scratch(worker);
            let tiles = Tiles::new(g, p);
            let n_rows = g.extent(&all_rows);
            g.carry((begin, end), self.walk.items, &[], |g, item, _| {
                let at = g.digits(item, &digits);
                let place: Vec<(usize, Value)> = around.iter().copied().zip(at.iter().copied()).collect();
                let from = g.b.ins().imul_imm_s(at[around.len()], self.rows);
                let last = g.b.ins().iadd_imm_s(item, self.walk.items);
                let last = g.min(last, end);
                let count = g.b.ins().isub(last, item);
                let count = g.b.ins().imul_imm_s(count, self.rows);
                let to = g.b.ins().iadd(from, count);
                let to = g.min(to, n_rows);
                let input = g.pointer(request.operands[p.nest.loads[p.a].operand].pointer);
                let input = fill_last::source(g, windows, input, &place);
                let row_at = |g: &mut Gen<'_, '_>, row: Value| {
                    let mut place = place.clone();
                    if let Some(y) = windows.y {
                        place.push((y.pixel, row));
                    }
                    let zero = g.int(0);
                    let origin = tiles.origin(g, request, &place, zero);
                    Row { lanes: self, p, windows, list, input, origin, place: row }
                };
                let all = i64::from(self.listed.channels);
                g.carry((from, to), self.walk.rows, &[], |g, from, _| {
                    let end = g.b.ins().iadd_imm_s(from, self.walk.rows);
                    let to = g.min(to, end);
                    for (first, end, channels) in self.walk.runs(all) {
                        let (first, end) = (g.int(first), g.int(end));
                        g.carry((first, end), i64::from(channels), &[], |g, channel, _| {
                            g.range(from, to, |g, row| row_at(g, row).inside(g, (channel, channels)));
                            vec![]
                        });
                    }
                    g.range(from, to, |g, row| row_at(g, row).others(g));
                    vec![]
                });
                vec![]
            });
        });
        let per_row = &p.extent(&p.n) * &extents[windows.x.pixel];
        Kernel {
            function,
            name: request.name.clone(),
            items: product(&digits),
            item_cost: per_row.scale(taps * self.rows).floor_div(&Extent::Const(4)),
            scratch_bytes: Extent::Const((16 * taps + 63) / 64 * 64),
            may_fault: false,
            scheduled: true,
            plain: None,
            pace,
        }
    }
}

impl Walk {
    /// How rows of these columns and channels are walked, items of `rows` rows each.
    fn of(windows: &Windows, y: &Taps, (columns, channels): (&Extent, u32), rows: i64) -> Walk {
        let whole = Walk { channels, items: 1, rows };
        let Some(columns) = columns.as_const() else { return whole };
        let width = (columns - 1) * windows.x.stride + windows.x.reach() + 1;
        let all = i64::from(channels);
        if y.dilation > 1 || y.count * width * all * 4 <= L1 || all % LINE != 0 {
            return whole;
        }
        // Lines of one pixel after the other meet in so many sets of the cache fewer.
        let crowded = 1 << (all / LINE).trailing_zeros().min(6);
        let some = (LINE * crowded).min(all);
        let fit = (L1 / (width * some * 4) - (y.count - y.stride)) / y.stride;
        let Ok(some) = u32::try_from(some) else { return whole };
        if fit < 2 { whole } else { Walk { channels: some, items: (fit / rows).max(1), rows: fit } }
    }

    /// Runs of channels: the first, the first after them, how many at once.
    fn runs(&self, all: i64) -> Vec<(i64, i64, u32)> {
        let some = i64::from(self.channels);
        let whole = all / some * some;
        let rest = u32::try_from(all - whole).unwrap_or(0);
        [(0, whole, self.channels), (whole, all, rest)].into_iter().filter(|run| run.0 < run.1).collect()
    }
}

/// The weights as rows of channels, one a tap.
fn packed(p: &Problem, constant: &Constant) -> Option<Constant> {
    let BFrom::Linear { at, .. } = &p.b_from else { return None };
    if constant.dtype() != DType::F32 {
        return None;
    }
    let bytes = constant.bytes();
    let (elements, _) = bytes.as_chunks::<4>();
    let mut places = vec![at.base.as_const()?];
    for &axis in p.k.iter().chain(&p.n) {
        let (n, step) = (p.nest.extents[axis].as_const()?, at.coefficients[axis].as_const()?);
        places = places.iter().flat_map(|&place| (0..n).map(move |i| place + i * step)).collect();
    }
    // Axes around have no part in the weights of a depthwise convolution.
    if p.outer.iter().chain(&p.m).any(|&axis| !at.coefficients[axis].is(0)) {
        return None;
    }
    let element = |&place: &i64| elements.get(usize::try_from(place).ok()?).copied();
    let packed: Vec<[u8; 4]> = places.iter().map(element).collect::<Option<_>>()?;
    let n = i64::try_from(packed.len()).ok()?;
    Constant::new(DType::F32, &[n], Payload::Inline(packed.as_flattened().into()))
}

/// The pixels of an axis whose windows are inside the input.
fn inside(taps: &Taps, windows: &Windows, pixels: &Extent) -> (Extent, Extent) {
    let dim = windows.dim(taps);
    if !dim.guarded {
        return (Extent::ZERO, pixels.clone());
    }
    let step = Extent::Const(taps.stride);
    // base + i * step >= 0 and base + i * step + reach <= extent - 1
    let from = (&Extent::ZERO - &dim.base).ceil_div(&step).max_with(&Extent::ZERO).min_with(pixels);
    let room = &(&dim.extent - &dim.base) - &Extent::Const(taps.reach());
    let to = room.ceil_div(&step).min_with(pixels).max_with(&from);
    (from, to)
}

/// Kinds of rows at the border, at most.
const BORDERS: usize = 6;

/// The tiles of rows whose first or last taps are in the padding, where shapes tell which these are.
fn border(last: &Last, inner: &LaneConv) -> Vec<(i64, i64, LaneConv)> {
    let (windows, extents) = (&last.windows, &last.problem.nest.extents);
    let (Some(y), lane_conv::Taps::Fixed { at, w_step }) = (&windows.y, &inner.taps) else { return vec![] };
    let dim = windows.dim(y);
    let known = (extents[y.pixel].as_const(), dim.base.as_const(), dim.extent.as_const());
    let (Some(pixels), Some(base), Some(extent)) = known else { return vec![] };
    if !dim.guarded || pixels > 1 << 16 {
        return vec![];
    }
    let columns = usize::try_from(windows.x.count).unwrap_or(0);
    let mut found: Vec<(i64, i64, LaneConv)> = vec![];
    for pixel in 0..pixels {
        let row = |tap: i64| base + pixel * y.stride + tap * y.dilation;
        let inside: Vec<i64> = (0..y.count).filter(|&tap| (0..extent).contains(&row(tap))).collect();
        let (Some(&lo), Some(&hi)) = (inside.first(), inside.last()) else { continue };
        let (lo, hi) = (lo, hi + 1);
        if (lo, hi) == (0, y.count) || found.iter().any(|(a, b, _)| (*a, *b) == (lo, hi)) {
            continue;
        }
        let (Ok(from), Ok(to)) = (usize::try_from(lo), usize::try_from(hi)) else { continue };
        let at = at[from * columns..to * columns].to_vec();
        let taps = lane_conv::Taps::Fixed { at, w_step: *w_step };
        found.push((lo, hi, LaneConv { taps, ..inner.clone() }));
        if found.len() == BORDERS {
            break;
        }
    }
    found
}

/// Elements from the first tap to each.
fn fixed(windows: &Windows) -> Option<Vec<u32>> {
    let along = |taps: &Taps| -> Option<Vec<i64>> {
        let step = windows.dim(taps).stride.as_const()?.checked_mul(taps.dilation)?;
        (0..taps.count).map(|k| step.checked_mul(k)).collect()
    };
    let (rows, columns) = (windows.y.as_ref().map_or(Some(vec![0]), &along)?, along(&windows.x)?);
    let all = rows.iter().flat_map(|row| columns.iter().map(move |column| row + column));
    all.map(|at| u32::try_from(at).ok().filter(|&at| at < 1 << 28)).collect()
}
