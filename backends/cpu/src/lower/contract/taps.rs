//! taps - convolutions with channels last: products of a row's pixels, tap by tap, and packed weights.
//!
//! ```text
//! for item = (loops around, block of rows of the result, group of panels):
//!   copy the rows of the input that the windows reach, padded:   [rows][columns][channels]    (and spread them)
//!   for panel in group:
//!     for row in block:
//!       for pixels of the row:     tile, over all taps and channels, with the epilogue
//! ```
//!
//! In the copy a pixel's taps of one row are neighbours, so that the sum runs over a run of memory for each row of taps.
//! An input without padding that lies like that is read in place.

use cranelift_codegen::ir::{InstBuilder, Value, condcodes::IntCC};
use nnc_ir::extent::{Extent, product};

use super::{
    analyze::{BFrom, Problem},
    emit::kernel_function,
    fetch::Fetch,
    fill_last::{self, Target},
    last::{Last, Windows},
    panel::{Panels, Product, RowBlocks},
    portions::Portions,
    spread,
    tiles::{BPanel, Tiles},
    weights,
};
use crate::{
    choice::Knob,
    frame::PointerSlot,
    kernel::{Kernel, LowerCx, NestRequest},
};
use nnc_tile::gemm::Stride;

/// Multiply-adds an item should have at least.
const ITEM_WORK: i64 = 1 << 16;
/// Bytes of weights that stay in the second-level cache beside a block of the input.
const WEIGHTS: i64 = 512 << 10;
/// Bytes of the block of the input.
const BLOCK: i64 = 256 << 10;

/// How such a convolution will be done.
#[derive(Clone, Debug)]
pub(super) struct TapsConv {
    panels: Panels,
    /// Panels of an item.
    group: i64,
    /// Rows of the result in an item.
    rows: i64,
    weight: PointerSlot,
    /// Elements of the packed weights along axes around.
    strides: Vec<(usize, Extent)>,
    /// Elements of a run, and where each begins.
    run: u32,
    table: Vec<Extent>,
    /// Elements from one pixel of the result to the next, and from one row to the next, in the block or in the input.
    pixel: Extent,
    row: Extent,
    /// The block, or none if the input is read in place.
    block: Option<Target>,
    /// Whether it is spread. Then elements of the block are one each, and those of runs, pixels and rows that tiles read four.
    spread: bool,
}

impl TapsConv {
    /// Decides; packs the weights.
    pub(super) fn new(last: &Last, request: &NestRequest, cx: &mut LowerCx<'_>) -> Option<TapsConv> {
        let (p, windows) = (&last.problem, &last.windows);
        let BFrom::Linear { at, .. } = &p.b_from else { return None };
        let extents = &p.nest.extents;
        let (columns, n) = (&extents[windows.x.pixel], p.extent(&p.n));
        let (k, n_const) = (p.extent(&p.k).as_const()?, n.as_const()?);
        let panels =
            Panels::choose(Product::plain(columns.as_const(), n.as_const()), p.code(), &mut cx.choices);
        let constant = request.operands.get(p.nest.loads[p.b].operand)?.constant.as_ref()?;
        let outer: Vec<usize> = p.outer.iter().copied().filter(|&a| !at.coefficients[a].is(0)).collect();
        let packed = weights::pack(constant, at, extents, [&outer, &p.n, &p.k], (&panels, &[0]))?;
        let one = Extent::Const(k.checked_mul(i64::try_from(panels.padded()).ok()?)?);
        let below = |i: usize| product(outer[i + 1..].iter().map(|&a| &extents[a]));
        let strides = outer.iter().enumerate().map(|(i, &axis)| (axis, &one * &below(i))).collect();

        let channels = windows.channels.map_or(1, |(_, c)| c);
        // What is computed first is so for each pixel of the result: no matter which positions lie in between.
        let stride_of = |stride: i64| if p.prologue.is_some() { 1 } else { stride };
        let x_stride = stride_of(windows.x.stride);
        let pitch = &(columns - &Extent::ONE).scale(x_stride) + &Extent::Const(windows.x.reach() + 1);
        let (y_stride, y_reach) = windows.y.map_or((1, 0), |y| (stride_of(y.stride), y.reach()));
        // Elements from one position of the input to the next, where tiles read it.
        let spread = spread::pays(p, cx, &panels, &n);
        let lies = in_place(windows, channels).filter(|_| p.prologue.is_none() && !spread);
        let (line, position, in_place) = match lies {
            Some((line, position)) => (line, position, true),
            None => (pitch.scale(channels), Extent::Const(channels), false),
        };
        let (run, table) = windows.runs(&line, &position, channels);

        // Rows of an item: all if that fits, but enough items.
        let all_rows = windows.y.map_or(Extent::ONE, |y| extents[y.pixel].clone());
        let known_rows = all_rows.as_const().unwrap_or(64).max(1);
        let line_bytes = 4 * pitch.as_const().unwrap_or(64) * channels;
        let fit = if in_place {
            known_rows
        } else {
            let bytes = if spread { spread::BYTES / spread::COPIES } else { BLOCK };
            ((bytes / line_bytes.max(1) - y_reach - 1) / y_stride + 1).max(1)
        };
        let around: Vec<&Extent> = p
            .outer
            .iter()
            .filter(|&&a| windows.y.is_none_or(|y| y.pixel != a))
            .map(|&a| &extents[a])
            .collect();
        let items = product(around).as_const().unwrap_or(1).max(1);
        let row_work = (columns.as_const().unwrap_or(32) * k).saturating_mul(n_const).max(1);
        let portions = Portions::new(items, known_rows, row_work, ITEM_WORK);
        let rows = portions.rows(4 * k * n_const <= WEIGHTS, fit);
        let rows = cx.choices.amount(Knob::Rows, rows, 1, known_rows);
        let n_panels = panels.count(&n).as_const()?;
        let group = portions.panels(rows, n_panels);
        let group = cx.choices.amount(Knob::Panels, group, 1, n_panels);
        let block = (!in_place).then(|| Target {
            pitch: pitch.clone(),
            channels,
            lines: (rows - 1) * y_stride + y_reach + 1,
        });
        Some(TapsConv {
            panels,
            group,
            rows,
            weight: cx.add_packing(packed),
            strides,
            run: u32::try_from(run).ok()?,
            table,
            pixel: position.scale(x_stride),
            row: line.scale(y_stride),
            block,
            spread,
        })
    }

    /// Elements in memory of one that tiles read.
    fn copies(&self) -> i64 {
        if self.spread { spread::COPIES } else { 1 }
    }

    /// Makes the kernel.
    pub(super) fn lower(&self, last: &Last, request: &NestRequest, cx: &mut LowerCx<'_>) -> Kernel {
        let windows = &last.windows;
        let copies = self.copies();
        let a_row = self.pixel.scale(copies);
        let p = &Problem { a_row: a_row.clone(), ..last.problem.clone() };
        let extents = &p.nest.extents;
        let (n, k) = (p.extent(&p.n), p.extent(&p.k));
        let around: Vec<usize> =
            p.outer.iter().copied().filter(|&a| windows.y.is_none_or(|y| y.pixel != a)).collect();
        let mut digits: Vec<Extent> = around.iter().map(|&a| extents[a].clone()).collect();
        let all_rows = windows.y.map_or(Extent::ONE, |y| extents[y.pixel].clone());
        digits.push(all_rows.ceil_div(&Extent::Const(self.rows)));
        let n_panels = self.panels.count(&n);
        let groups = n_panels.ceil_div(&Extent::Const(self.group));
        let table_bytes = (8 * self.table.len()).next_multiple_of(64) as i64;
        let block_bytes = self.block.as_ref().map_or(Extent::ZERO, Target::bytes);
        let pixels =
            RowBlocks { m: extents[windows.x.pixel].clone(), block: extents[windows.x.pixel].clone() };
        let function = kernel_function(cx, |g, begin, end, worker| {
            let table = g.scratch(worker);
            let memory = g.plus(table, &Extent::Const(table_bytes));
            let copy = self.spread.then(|| g.plus(memory, &block_bytes));
            let runs: Vec<Extent> = self.table.iter().map(|start| start.scale(copies)).collect();
            g.write_numbers(&runs, table);
            let over = pixels.m.as_const().map(|pixels| self.rows * pixels);
            let fetch = k.as_const().map(|k| Fetch::of_weights(self.panels.padded(), k, over));
            let mut tiles = Tiles::new(g, p).with_runs(self.run, table).with_fetch(fetch.unwrap_or_default());
            if self.spread {
                tiles = tiles.over_spread(g, a_row);
            }
            let (columns, n_panels) = (g.extent(&n), g.extent(&n_panels));
            let (n_rows, n_pixels) = (g.extent(&all_rows), g.extent(&pixels.m));
            let none = g.int(-1);
            g.carry((begin, end), 1, &[none], |g, item, carried| {
                let (place, group) = g.div_rem(item, &groups);
                let at = g.digits(place, &digits);
                let around: Vec<(usize, Value)> = around.iter().copied().zip(at.iter().copied()).collect();
                let from = g.b.ins().imul_imm_s(at[around.len()], self.rows);
                let left = g.b.ins().isub(n_rows, from);
                let rows = g.int(self.rows);
                let rows = g.min(rows, left);
                let tensor = g.pointer(request.operands[p.nest.loads[p.a].operand].pointer);
                let source = fill_last::source(g, windows, tensor, &around);
                let input = match &self.block {
                    Some(target) => {
                        let stale = g.b.ins().icmp(IntCC::NotEqual, place, carried[0]);
                        g.when(stale, |g| {
                            match &p.prologue {
                                None => {
                                    fill_last::emit(
                                        g,
                                        windows,
                                        target,
                                        source,
                                        &around,
                                        (from, rows),
                                        memory,
                                    );
                                }
                                Some(prologue) => {
                                    let zero = g.int(0);
                                    g.range(zero, rows, |g, r| {
                                        let mut place = around.clone();
                                        if let Some(y) = windows.y {
                                            place.push((y.pixel, g.b.ins().iadd(from, r)));
                                        }
                                        let parts = prologue.origins(g, p, request, &place);
                                        let to = g.address(memory, &[(r, self.row.clone())]);
                                        let along = (windows.x.pixel, n_pixels);
                                        prologue.sums_of(g, (&parts, to), along, target.channels);
                                    });
                                }
                            }
                            if let Some(copy) = copy {
                                let elements = target.pitch.scale(target.channels * target.lines);
                                let elements = g.extent(&elements);
                                spread::elements(g, (memory, &Extent::ONE), elements, copy);
                            }
                        });
                        copy.unwrap_or(memory)
                    }
                    None => {
                        // Without padding the first tap of the first pixel is where the input's positions begin.
                        let mut parts = Vec::new();
                        for taps in windows.y.iter().chain([&windows.x]) {
                            let start = g.extent(&windows.dim(taps).base);
                            parts.push((start, windows.dim(taps).stride.clone()));
                        }
                        parts.push((from, self.row.clone()));
                        g.address(source, &parts)
                    }
                };
                let weights = g.pointer(self.weight);
                let parts: Vec<(Value, Extent)> = (self.strides.iter())
                    .filter_map(|(axis, s)| Some((around.iter().find(|(a, _)| a == axis)?.1, s.clone())))
                    .collect();
                let weights = g.address(weights, &parts);
                let first = g.b.ins().imul_imm_s(group, self.group);
                let end = g.b.ins().iadd_imm_s(first, self.group);
                let end = g.min(end, n_panels);
                self.panels.each(g, columns, (first, end), &mut |g, at| {
                    let start = g.address(weights, &[(at.start, k.clone())]);
                    let b = BPanel::Apart(start, Stride::Const(u32::from(at.width)), None);
                    let zero = g.int(0);
                    g.range(zero, rows, |g, r| {
                        let mut place = around.clone();
                        if let Some(y) = windows.y {
                            place.push((y.pixel, g.b.ins().iadd(from, r)));
                        }
                        let mut origin = tiles.origin(g, request, &place, zero);
                        origin.a = g.address(input, &[(r, self.row.scale(copies))]);
                        origin.done = Some(g.b.ins().imul(r, n_pixels));
                        tiles.panel(g, &origin, at, b, &pixels, n_pixels);
                    });
                });
                vec![place]
            });
        });
        let per_item = (&extents[windows.x.pixel] * &k).scale(self.rows * self.group);
        Kernel {
            function,
            name: request.name.clone(),
            items: &product(&digits) * &groups,
            item_cost: per_item.scale(self.panels.widest()).floor_div(&Extent::Const(4)),
            scratch_bytes: &block_bytes.scale(if self.spread { 1 + copies } else { 1 })
                + &Extent::Const(table_bytes),
            may_fault: false,
            scheduled: true,
            plain: None,
            pace: None,
        }
    }
}

/// Elements from one line of the input to the next and from one position to the next, if tiles can read it as it lies.
fn in_place(windows: &Windows, channels: i64) -> Option<(Extent, Extent)> {
    let guarded = windows.window.dims.iter().any(|d| d.guarded);
    let dense = windows.channels.is_none_or(|(d, _)| windows.window.dims[d].stride.is(1));
    let position = windows.dim(&windows.x).stride.clone();
    let fixed = position.as_const().is_some_and(|s| s >= channels);
    let line = windows.y.map_or(Extent::ZERO, |y| windows.dim(&y).stride.clone());
    (!guarded && dense && fixed).then_some((line, position))
}
