//! int_taps - convolutions of small integers with channels last: products of a row's pixels and packed weights, tap by tap.
//!
//! ```text
//! for item = (loops around, block of rows of the result, group of panels):
//!   copy the rows of the input that the windows reach, padded:   [rows][columns][channels], 32 bits each    (fill_last)
//!   the same as groups of bytes or words:                        [rows][columns][groups]                    (int_pack)
//!   sums over windows, where weights have offsets:               [rows of the result][pixels]
//!   for panel in group, row in block:      tiles over the pixels of the row, all taps and groups, with the epilogue
//! ```
//!
//! A position has whole groups, so that every tap begins on one. Sums over a window are made of those of its positions.

use cranelift_codegen::ir::{
    InstBuilder, Value,
    condcodes::IntCC,
    types::{I32, I32X4},
};
use nnc_ir::extent::{Extent, product};
use nnc_tile::gemm::Stride;

use super::{
    Refusal,
    analyze::Problem,
    emit::{Gen, kernel_function},
    fill_last::{self, Target},
    int_pack::{Rows, To},
    ints::{Corrections, Whole},
    last::{Last, Windows},
    pack::flags,
    panel::RowBlocks,
    portions::Portions,
    tiles::{BPanel, Tiles},
};
use crate::kernel::{Kernel, LowerCx, NestRequest};

/// Terms an item should have at least.
const ITEM_WORK: i64 = 1 << 18;
/// Bytes of the block of the input.
const BLOCK: i64 = 256 << 10;

/// Where an item has what, in bytes from the start of a worker's memory.
struct Layout {
    offset: Extent,
    block: Extent,
    positions: Extent,
    windows: Extent,
    packed: Extent,
    end: Extent,
}

/// The kernel of a convolution, or why tiles cannot do it.
pub(super) fn lower(last: &Last, request: &NestRequest, cx: &mut LowerCx<'_>) -> Result<Kernel, Refusal> {
    const SIZES: Refusal = "tiles convolve integers by one filter of known size";
    let (p, windows) = (&last.problem, &last.windows);
    let (n, k) = super::ints::possible(p).map(|(k, n)| (n, k))?;
    let extents = &p.nest.extents;
    let channels = windows.channels.map_or(1, |(_, c)| c);
    let taps = k / channels;
    let terms = |group: usize| {
        let wide = (channels as usize).next_multiple_of(group);
        let of_tap = |tap: i64| {
            (0..wide as i64).map(move |c| usize::try_from(tap * channels + c).ok().filter(|_| c < channels))
        };
        (0..taps).flat_map(of_tap).collect::<Vec<_>>()
    };
    let columns = &extents[windows.x.pixel];
    let whole = Whole::new(p, request, &terms, columns.as_const(), cx)?;
    let group = whole.way.product.group() as i64;
    // From here on elements are groups.
    let depth = (channels + group - 1) / group;
    let x = windows.x;
    let pitch = &(columns - &Extent::ONE).scale(x.stride) + &Extent::Const(x.reach() + 1);
    let (y_stride, y_reach) = windows.y.map_or((1, 0), |y| (y.stride, y.reach()));
    let line = pitch.scale(depth);
    let (run, table) = windows.runs(&line, &Extent::Const(depth), depth);
    let problem =
        Problem { a_row: Extent::Const(x.stride * depth), a_k: Extent::ONE, ..whole.problem.clone() };

    // Rows of an item: all if that fits, but enough items.
    let all_rows = windows.y.map_or(Extent::ONE, |y| extents[y.pixel].clone());
    let known_rows = all_rows.as_const().unwrap_or(64).max(1);
    let around: Vec<usize> =
        p.outer.iter().copied().filter(|&a| windows.y.is_none_or(|y| y.pixel != a)).collect();
    let line_bytes = (4 * pitch.as_const().unwrap_or(64) * channels).max(1);
    let fit = ((BLOCK / line_bytes - y_reach - 1) / y_stride + 1).max(1);
    let images = product(around.iter().map(|&a| &extents[a])).as_const().unwrap_or(1).max(1);
    let row_work = columns.as_const().unwrap_or(32).saturating_mul(k).saturating_mul(n).max(1);
    let portions = Portions::new(images, known_rows, row_work, ITEM_WORK);
    let rows = portions.rows(true, fit);
    let n_panels = whole.panels.count(&Extent::Const(n)).as_const().unwrap_or(1).max(1);
    let panels_of_item = portions.panels(rows, n_panels);
    let groups = (n_panels + panels_of_item - 1) / panels_of_item;

    let target = Target { pitch: pitch.clone(), channels, lines: (rows - 1) * y_stride + y_reach + 1 };
    let table_bytes = 8 * i64::try_from(table.len()).map_err(|_| SIZES)?;
    let layout = Layout::new(&target, table_bytes, rows, columns, depth, whole.sums_rows());
    let copied = Rows {
        length: channels,
        step: Extent::ONE,
        row: Extent::Const(channels),
        product: whole.way.product,
        row_bytes: 4 * depth,
    };
    let mut digits: Vec<Extent> = around.iter().map(|&a| extents[a].clone()).collect();
    digits.push(all_rows.ceil_div(&Extent::Const(rows)));
    let pixels = RowBlocks { m: columns.clone(), block: columns.clone() };
    let run = u32::try_from(run).map_err(|_| SIZES)?;
    let row_step = line.scale(y_stride);
    let function = kernel_function(cx, |g, begin, end, worker| {
        let table_at = g.scratch(worker);
        g.write_numbers(&table, table_at);
        let place_of = |g: &mut Gen<'_, '_>, at: &Extent| g.plus(table_at, at);
        let offset = place_of(g, &layout.offset);
        let block = place_of(g, &layout.block);
        let positions = place_of(g, &layout.positions);
        let sums = place_of(g, &layout.windows);
        let packed = place_of(g, &layout.packed);
        let k_groups = g.int(taps * depth);
        let tiles = Tiles::new(g, &problem).with_terms(k_groups).with_runs(run, table_at);
        let (n_rows, n_pixels) = (g.extent(&all_rows), g.extent(&pixels.m));
        let (columns_of_all, last_panel, none) = (g.int(n), g.int(n_panels), g.int(-1));
        g.carry((begin, end), 1, &[none], |g, item, carried| {
            let (place, number) = g.div_rem(item, &Extent::Const(groups));
            let at = g.digits(place, &digits);
            let around: Vec<(usize, Value)> = around.iter().copied().zip(at.iter().copied()).collect();
            let from = g.b.ins().imul_imm_s(at[around.len()], rows);
            let left = g.b.ins().isub(n_rows, from);
            let most = g.int(rows);
            let count = g.min(most, left);
            let stale = g.b.ins().icmp(IntCC::NotEqual, place, carried[0]);
            g.when(stale, |g| {
                let tensor = g.pointer(request.operands[p.nest.loads[p.a].operand].pointer);
                let source = fill_last::source(g, windows, tensor, &around);
                fill_last::emit(g, windows, &target, source, &around, (from, count), block);
                let lines = g.b.ins().iadd_imm_s(count, -1);
                let lines = g.b.ins().imul_imm_s(lines, y_stride);
                let lines = g.b.ins().iadd_imm_s(lines, y_reach + 1);
                let all = g.times(lines, &pitch);
                let of_positions = whole.sums_rows().then_some(positions);
                copied.emit(g, block, all, To { packed, offset, sums: of_positions });
                if whole.sums_rows() {
                    sum_windows(g, windows, &pitch, (positions, sums), (count, n_pixels));
                }
            });
            let weights = whole.weights(g);
            let first = g.b.ins().imul_imm_s(number, panels_of_item);
            let end = g.b.ins().iadd_imm_s(first, panels_of_item);
            let end = g.min(end, last_panel);
            whole.panels.each(g, columns_of_all, (first, end), &mut |g, at| {
                let start = g.address(weights, &[(at.start, Extent::Const(taps * depth))]);
                let b = BPanel::Apart(start, Stride::Const(u32::from(at.width)), None);
                let zero = g.int(0);
                g.range(zero, count, |g, r| {
                    let mut place = around.clone();
                    if let Some(y) = windows.y {
                        place.push((y.pixel, g.b.ins().iadd(from, r)));
                    }
                    let mut origin = tiles.origin(g, request, &place, zero);
                    origin.a = g.address(packed, &[(r, row_step.clone())]);
                    let sums = g.address(sums, &[(r, columns.clone())]);
                    origin.operands.extend(whole.operands(g, Corrections { offset, sums }));
                    tiles.panel(g, &origin, at, b, &pixels, n_pixels);
                });
            });
            vec![place]
        });
    });
    let item = rows.saturating_mul(panels_of_item).saturating_mul(whole.panels.widest());
    Ok(Kernel {
        function,
        name: request.name.clone(),
        items: product(&digits).scale(groups),
        item_cost: columns.scale((taps * depth).saturating_mul(item) / 4),
        scratch_bytes: layout.end,
        may_fault: false,
        scheduled: true,
        plain: None,
        pace: None,
    })
}

impl Layout {
    fn new(target: &Target, table: i64, rows: i64, columns: &Extent, depth: i64, sums: bool) -> Layout {
        let lines = |bytes: &Extent| bytes.ceil_div(&Extent::Const(64)).scale(64);
        let after = |at: &Extent, bytes: &Extent| at + &lines(bytes);
        // Vectors may be written beyond the last of each.
        let slack = Extent::Const(64);
        let elements = target.pitch.scale(target.lines);
        let of_sums = |n: &Extent| if sums { &n.scale(4) + &slack } else { Extent::ZERO };
        let offset = lines(&Extent::Const(table));
        let block = after(&offset, &slack);
        let positions = after(&block, &target.bytes());
        let windows = after(&positions, &of_sums(&elements));
        let packed = after(&windows, &of_sums(&columns.scale(rows)));
        let end = after(&packed, &(&elements.scale(4 * depth) + &slack));
        Layout { offset, block, positions, windows, packed, end }
    }
}

/// Sums over the windows of `count` rows of pixels, of the sums of positions.
fn sum_windows(
    g: &mut Gen<'_, '_>,
    windows: &Windows,
    pitch: &Extent,
    (positions, sums): (Value, Value),
    (count, pixels): (Value, Value),
) {
    let x = windows.x;
    let (y_stride, y_dilation) = windows.y.map_or((1, 1), |y| (y.stride, y.dilation));
    let zero = g.int(0);
    // Four pixels at a time where their positions are neighbours; what is beyond a row is written by the next.
    let lanes = if x.stride == 1 { 4 } else { 1 };
    let ty = if lanes == 4 { I32X4 } else { I32 };
    g.carry((zero, count), 1, &[positions, sums], |g, _, at| {
        let taps: Vec<Value> =
            (0..windows.rows()).map(|ky| g.plus(at[0], &pitch.scale(4 * ky * y_dilation))).collect();
        let init = [&taps[..], &[at[1]]].concat();
        g.carry((zero, pixels), lanes, &init, |g, _, at| {
            let (&to, taps) = at.split_last().expect("the sums come last");
            let mut sum: Option<Value> = None;
            for &tap in taps {
                for kx in 0..x.count {
                    let term = g.b.ins().load(ty, flags(), tap, 4 * (kx * x.dilation) as i32);
                    sum = Some(sum.map_or(term, |sum| g.b.ins().iadd(sum, term)));
                }
            }
            if let Some(sum) = sum {
                g.b.ins().store(flags(), sum, to, 0);
            }
            let mut next: Vec<Value> =
                taps.iter().map(|&tap| g.b.ins().iadd_imm_s(tap, 4 * lanes * x.stride)).collect();
            next.push(g.b.ins().iadd_imm_s(to, 4 * lanes));
            next
        });
        let next = g.plus(at[0], &pitch.scale(4 * y_stride));
        let step = g.b.ins().ishl_imm_u(pixels, 2);
        vec![next, g.b.ins().iadd(at[1], step)]
    });
}
