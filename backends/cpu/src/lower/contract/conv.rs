//! conv - convolutions: products with windows over a block of the input that is padded in scratch memory.
//!
//! ```text
//! for item = (loops around, block of window rows, block of result channels):
//!   copy the part of the input that the windows reach, padded          (once for neighbouring items)
//!   for panel of columns:      either within one row of windows, B by a table of taps;
//!     for channels in block:   or across rows, B copied from the block by runs
//! ```
//!
//! Where the windows of a few columns reach more than the caches hold, an item is done slice by slice of the input's channels: the sums so
//! far are in the result, and the last slice has the epilogue.

use cranelift_codegen::ir::{
    InstBuilder, Value,
    condcodes::IntCC,
    types::{F32X4, I64},
};
use nnc_ir::extent::{Extent, product};
use nnc_tile::gemm::Stride;

use super::{
    analyze::{BFrom, Problem},
    emit::{Gen, kernel_function},
    fill::Fill,
    pack::flags,
    panel::{At, Code, Panels, Product, RowBlocks},
    slices::{SLICE, Slices},
    tiles::{BPanel, Tiles},
    window::{Block, Window},
};
use crate::{
    choice::{Choices, Knob},
    kernel::{Kernel, LowerCx, NestRequest},
    tile::{cover_cost, wide_cover_cost},
};

/// Elements of the input that an item copies, about.
pub(super) const BLOCK: i64 = 48 << 10;
/// Items there should be.
const ITEMS: i64 = 16;
/// Elements that vectors may read beyond the block.
const SLACK: i64 = 64;

/// How a convolution will be done.
#[derive(Clone, Debug)]
pub(super) struct Conv {
    /// Columns along the first column axis in one item.
    first: Extent,
    /// The block for that many.
    block: Block,
    /// Rows of A.
    rows: RowBlocks,
    columns: Columns,
    slices: Option<Slices>,
}

/// An item of work.
#[derive(Clone, Copy)]
struct Item<'a> {
    /// Positions on axes around.
    around: &'a [(usize, Value)],
    /// First axis of columns, and the first position on it.
    at: (usize, Value),
    /// Positions on it.
    count: Value,
    /// First row of A, and how many.
    rows: (Value, Value),
}

/// How columns make panels.
#[derive(Clone, Debug)]
enum Columns {
    /// Within a row of windows.
    Row(Panels),
    /// Across rows: for a full item, and for the last one.
    Across(Panels, Panels),
}

impl Conv {
    /// Decides.
    pub(super) fn new(p: &Problem, window: &Window, choices: &mut Choices) -> Option<Conv> {
        let slices = Slices::of(p, window);
        let (p, window) = slices.as_ref().map_or((p, window), |s| (&s.problem, &s.window));
        let extents = &p.nest.extents;
        let counts: Vec<Extent> = p.n.iter().map(|&a| extents[a].clone()).collect();
        let m = p.extent(&p.m);
        let with_first = |first: Extent| {
            let mut counts = counts.clone();
            counts[0] = first;
            window.block(&p.nest, &p.n, &counts)
        };
        // Items of a single axis of columns are whole panels.
        let step = match p.level {
            _ if counts.len() > 1 => 1,
            Some(_) => Panels::new(m.as_const(), counts[0].as_const(), p.code()).widest(),
            None => 20,
        };
        let around = product(p.outer.iter().map(|&a| &extents[a])).as_const().unwrap_or(1).max(1);
        let one = with_first(Extent::Const(step)).elements;
        let two = with_first(Extent::Const(2 * step)).elements;
        // What one more step of the first axis adds; in the symbolic case about that.
        let more = &two - &one;
        let steps = match (more.as_const(), counts[0].as_const()) {
            (Some(more), Some(all)) => {
                let most = (if slices.is_some() { SLICE } else { BLOCK } / more.max(1)).max(1);
                let all = (all + step - 1) / step;
                let blocks = (all + most - 1) / most;
                // Slices of A are read again for each item: those are of other rows then.
                let wanted = if slices.is_some() {
                    blocks
                } else {
                    blocks.max((ITEMS / 2 / around).min(all / 4)).max(1)
                };
                Extent::Const(choices.amount(Knob::Rows, (all + wanted - 1) / wanted, 1, all))
            }
            _ => {
                let fits = Extent::Const(BLOCK).floor_div(&more.max_with(&Extent::ONE));
                // Many rows make items, too.
                let shares = if m.as_const().is_some_and(|m| m < 128) { ITEMS / 2 } else { ITEMS / 4 };
                let share = counts[0].ceil_div(&Extent::Const(step * shares));
                fits.min_with(&share).max_with(&Extent::ONE)
            }
        };
        let first = steps.scale(step);
        let first = match (first.as_const(), counts[0].as_const()) {
            (Some(a), Some(b)) => Extent::Const(a.min(b)),
            _ => first.min_with(&counts[0]),
        };
        let block = with_first(first.clone());
        let in_row = counts[counts.len() - 1].clone();
        let rest = product(&counts[1..]);
        let full = &first * &rest;
        let columns = if !p.flat {
            Columns::Row(Panels::choose(Product::plain(m.as_const(), in_row.as_const()), p.code(), choices))
        } else if counts.len() == 1 {
            let columns = first.as_const().filter(|_| counts[0] == first);
            Columns::Row(Panels::choose(Product::plain(m.as_const(), columns), p.code(), choices))
        } else {
            choose(&m, &in_row, (&full, &(&counts[0].modulo(&first) * &rest)), p.code(), choices)
        };
        let blocks = counts[0].ceil_div(&first).as_const().unwrap_or(1);
        let multiple = match &columns {
            Columns::Row(panels) => panels.rows_multiple(),
            Columns::Across(a, b) => a.rows_multiple() * b.rows_multiple(),
        };
        // Parts of the rows share the block of the input, but each copies panels again.
        let least = if matches!(columns, Columns::Row(_)) { 32 } else { 64 };
        let items = (blocks * around).max(1);
        let wanted = if slices.is_some() { ITEMS / 4 } else { ITEMS };
        let parts = |rows: i64| ((wanted + items - 1) / items).min(rows / least);
        let row_block = match m.as_const() {
            Some(rows) => {
                let parts = parts(rows).max(1);
                let block = (rows + parts - 1) / parts;
                let block = if parts > 1 { (block + multiple - 1) / multiple * multiple } else { block };
                Extent::Const(choices.amount(Knob::Channels, block.min(rows), multiple, rows))
            }
            None => m.clone(),
        };
        let rows = RowBlocks { m, block: row_block };
        Some(Conv { first, block, rows, columns, slices })
    }

    /// Makes the kernel.
    pub(super) fn lower(&self, p: &Problem, request: &NestRequest, cx: &mut LowerCx<'_>) -> Kernel {
        let BFrom::Window(window) = &p.b_from else { unreachable!("convolutions read windows") };
        let (p, window) = self.slices.as_ref().map_or((p, window), |s| (&s.problem, &s.window));
        let extents = &p.nest.extents;
        let k = p.extent(&p.k);
        let first_axis = p.n[0];
        let mut digits: Vec<Extent> = p.outer.iter().map(|&a| extents[a].clone()).collect();
        let loops = digits.len();
        digits.push(extents[first_axis].ceil_div(&self.first));
        let row_blocks = self.rows.count();
        let whole_items = product(&digits);
        let rest = product(p.n[1..].iter().map(|&a| &extents[a]));

        // Scratch memory: table of taps, block of the input, a panel.
        let line = |elements: &Extent| elements.ceil_div(&Extent::Const(16)).scale(16);
        let table_bytes = line(&k.scale(2)).scale(4);
        let block_bytes = line(&(&self.block.elements + &Extent::Const(SLACK))).scale(4);
        let panel_bytes = match &self.columns {
            Columns::Row(_) => Extent::ZERO,
            Columns::Across(a, b) => line(&k.scale(a.widest().max(b.widest()) + 4)).scale(4),
        };
        let scratch_bytes = &(&table_bytes + &block_bytes) + &panel_bytes;

        let function = kernel_function(cx, |g, begin, end, worker| {
            let table = g.scratch(worker);
            let memory = g.plus(table, &table_bytes);
            let panel = g.plus(memory, &block_bytes);
            self.write_table(g, p, window, table);
            let tiles = Tiles::new(g, p);
            let none = g.int(-1);
            let (all, first) = (g.extent(&extents[first_axis]), g.extent(&self.first));
            g.carry((begin, end), 1, &[none], |g, item, carried| {
                let (place, row_block) = g.div_rem(item, &row_blocks);
                let at = g.digits(place, &digits);
                let from = g.b.ins().imul(at[loops], first);
                let left = g.b.ins().isub(all, from);
                let count = g.min(left, first);
                let around: Vec<(usize, Value)> = p.outer.iter().copied().zip(at.iter().copied()).collect();
                let fill = Fill { window, block: &self.block, first_axis, padded: false };
                let copy = |g: &mut Gen<'_, '_>, around: &[(usize, Value)]| {
                    let pointer = g.pointer(request.operands[p.nest.loads[p.b].operand].pointer);
                    fill.emit(g, extents, pointer, memory, around, (from, count));
                };
                let (first_row, rows) = self.rows.at(g, row_block);
                let item = Item { around: &around, at: (first_axis, from), count, rows: (first_row, rows) };
                let Some(slices) = &self.slices else {
                    let stale = g.b.ins().icmp(IntCC::NotEqual, place, carried[0]);
                    g.when(stale, |g| copy(g, &around));
                    self.item(g, p, request, &tiles, [memory, table, panel], &item);
                    return vec![place];
                };
                slices.each(g, &mut |g, terms, at| {
                    let mut around = around.clone();
                    around.push((slices.axis, at));
                    copy(g, &around);
                    let item = Item { around: &around, ..item };
                    self.item(g, p, request, &tiles.of_terms(terms), [memory, table, panel], &item);
                });
                vec![place]
            });
        });
        let per_item = &self.first * &rest;
        Kernel {
            function,
            name: request.name.clone(),
            items: &whole_items * &row_blocks,
            item_cost: (&(&per_item * &self.rows.block) * &k).floor_div(&Extent::Const(4)),
            scratch_bytes,
            may_fault: false,
            scheduled: true,
            plain: None,
            pace: None,
        }
    }

    /// The tiles of an item.
    fn item(
        &self,
        g: &mut Gen<'_, '_>,
        p: &Problem,
        request: &NestRequest,
        tiles: &Tiles<'_>,
        [memory, table, panel]: [Value; 3],
        item: &Item<'_>,
    ) {
        let extents = &p.nest.extents;
        let Item { around, at: (first_axis, from), count, rows: (first_row, rows) } = *item;
        let around: Vec<(usize, Value)> = around.iter().copied().chain([(first_axis, from)]).collect();
        let first = g.extent(&self.first);
        let rest = product(p.n[1..].iter().map(|&a| &extents[a]));
        let origin = tiles.origin(g, request, &around, first_row);
        match &self.columns {
            Columns::Row(panels) => {
                self.by_rows(
                    g,
                    p,
                    request,
                    tiles,
                    panels,
                    &around,
                    (memory, table),
                    count,
                    (first_row, rows),
                );
            }
            Columns::Across(full, last) => {
                let columns = g.times(count, &rest);
                let run = |g: &mut Gen<'_, '_>, panels: &Panels| {
                    let (zero, to) = (g.int(0), g.int(i64::MAX));
                    let to = match panels {
                        Panels::Fixed(_) => to,
                        Panels::Counted { width, .. } => {
                            let up = g.b.ins().iadd_imm_s(columns, i64::from(*width) - 1);
                            g.div_rem(up, &Extent::Const(i64::from(*width))).0
                        }
                    };
                    panels.each(g, columns, (zero, to), &mut |g, at| {
                        self.copy_runs(g, p, at, columns, memory, table, panel);
                        let apart = Stride::Const(u32::from(at.width) + 4);
                        let b = BPanel::Apart(panel, apart, None);
                        tiles.panel(g, &origin, at, b, &self.rows, rows);
                    });
                };
                let one_kind =
                    matches!(full, Panels::Counted { .. }) || extents[first_axis].modulo(&self.first).is(0);
                if one_kind {
                    run(g, full);
                } else {
                    let is_full = g.b.ins().icmp(IntCC::Equal, count, first);
                    g.either(is_full, |g| run(g, full), |g| run(g, last));
                }
            }
        }
    }

    /// Panels within each row of windows.
    #[allow(clippy::too_many_arguments, reason = "all of them are the item's")]
    fn by_rows(
        &self,
        g: &mut Gen<'_, '_>,
        p: &Problem,
        request: &NestRequest,
        tiles: &Tiles<'_>,
        panels: &Panels,
        around: &[(usize, Value)],
        (memory, table): (Value, Value),
        count: Value,
        (first_row, rows): (Value, Value),
    ) {
        let extents = &p.nest.extents;
        let BFrom::Window(window) = &p.b_from else { unreachable!("convolutions read windows") };
        let outer_columns = &p.n[..p.n.len() - 1];
        let lengths: Vec<Extent> = outer_columns.iter().map(|&a| extents[a].clone()).collect();
        let each = |g: &mut Gen<'_, '_>, at: &[Value]| {
            let mut place = around.to_vec();
            let mut parts = Vec::new();
            for (&axis, &i) in outer_columns.iter().zip(at) {
                parts.push((i, self.block.column_stride(window, axis)));
                match place.iter_mut().find(|(a, _)| *a == axis) {
                    Some((_, from)) => *from = g.b.ins().iadd(*from, i),
                    None => place.push((axis, i)),
                }
            }
            let row = g.address(memory, &parts);
            let origin = tiles.origin(g, request, &place, first_row);
            let columns =
                if outer_columns.is_empty() { count } else { g.extent(&extents[p.n[p.n.len() - 1]]) };
            let zero = g.int(0);
            let to = match panels {
                Panels::Fixed(_) => g.int(i64::MAX),
                Panels::Counted { width, .. } => {
                    let up = g.b.ins().iadd_imm_s(columns, i64::from(*width) - 1);
                    g.div_rem(up, &Extent::Const(i64::from(*width))).0
                }
            };
            panels.each(g, columns, (zero, to), &mut |g, at| {
                let start = g.address(row, &[(at.start, Extent::ONE)]);
                tiles.panel(g, &origin, at, BPanel::Table(start, table), &self.rows, rows);
            });
        };
        if outer_columns.is_empty() {
            return each(g, &[]);
        }
        let zero = g.int(0);
        g.range(zero, count, |g, i| {
            g.space(&lengths[1..], &mut |g, at| {
                let at: Vec<Value> = std::iter::once(i).chain(at.iter().copied()).collect();
                each(g, &at);
            });
        });
    }

    /// Writes where each tap of the window is in the block.
    fn write_table(&self, g: &mut Gen<'_, '_>, p: &Problem, window: &Window, table: Value) {
        let extents = &p.nest.extents;
        let own_row = window.dims[window.row].k.map(|(axis, _)| axis);
        let axes: Vec<usize> = p.k.iter().copied().filter(|&a| Some(a) != own_row).collect();
        let lengths: Vec<Extent> = axes.iter().map(|&a| extents[a].clone()).collect();
        let place = |axis: usize| {
            let after = p.k.iter().skip_while(|&&a| a != axis).skip(1);
            product(after.map(|&a| &extents[a]))
        };
        let in_block = |axis: usize| {
            let level =
                self.block.levels.iter().find(|l| matches!(window.dims[l.dim].k, Some((a, _)) if a == axis));
            level.map_or(Extent::ZERO, |l| l.stride.scale(l.k_step))
        };
        g.space(&lengths, &mut |g, at| {
            let mut entry = table;
            let mut offset = g.int(0);
            for (&axis, &i) in axes.iter().zip(at) {
                let step = g.times(i, &place(axis).scale(8));
                entry = g.b.ins().iadd(entry, step);
                let step = g.times(i, &in_block(axis));
                offset = g.b.ins().iadd(offset, step);
            }
            let row_step = own_row.map_or(Extent::ZERO, place);
            for (i, &(phase, right)) in self.block.taps.iter().enumerate() {
                let value = g.plus(offset, &(&self.block.pitch.scale(phase as i64) + &Extent::Const(right)));
                let to = g.plus(entry, &row_step.scale(8 * i as i64));
                g.b.ins().store(flags(), value, to, 0);
            }
        });
    }

    /// Copies a panel of columns that may cross rows from the block.
    #[allow(clippy::too_many_arguments, reason = "where from, where to, and what")]
    fn copy_runs(
        &self,
        g: &mut Gen<'_, '_>,
        p: &Problem,
        at: At,
        columns: Value,
        memory: Value,
        table: Value,
        panel: Value,
    ) {
        let extents = &p.nest.extents;
        let lengths: Vec<Extent> = p.n.iter().map(|&a| extents[a].clone()).collect();
        let BFrom::Window(window) = &p.b_from else { unreachable!("convolutions read windows") };
        let strides: Vec<Extent> = p.n.iter().map(|&a| self.block.column_stride(window, a)).collect();
        let pitch = 4 * (i64::from(at.width) + 4);
        let k = g.extent(&p.extent(&p.k));
        let table_end = g.b.ins().ishl_imm_u(k, 3);
        let table_end = g.b.ins().iadd(table, table_end);
        let width = g.int(i64::from(at.width));
        let left = g.b.ins().isub(columns, at.start);
        let to = g.min(width, left);
        let in_row = g.extent(&lengths[lengths.len() - 1]);
        // The runs of a panel: columns from `done` on until the row ends.
        let zero = g.int(0);
        let walk = |g: &mut Gen<'_, '_>, source: Value, to: Value, vectors: usize| {
            g.carry((table, table_end), 8, &[to], |g, entry, to| {
                let element = g.b.ins().load(I64, flags(), entry, 0);
                let bytes = g.b.ins().ishl_imm_u(element, 2);
                let from = g.b.ins().iadd(source, bytes);
                for v in 0..vectors {
                    let x = g.b.ins().load(F32X4, flags(), from, 16 * v as i32);
                    g.b.ins().store(flags(), x, to[0], 16 * v as i32);
                }
                vec![g.b.ins().iadd_imm_s(to[0], pitch)]
            });
        };
        let (header, body, exit) = (g.b.create_block(), g.b.create_block(), g.b.create_block());
        g.b.append_block_param(header, I64);
        g.b.ins().jump(header, &[zero.into()]);
        g.b.switch_to_block(header);
        let done = g.b.block_params(header)[0];
        let more = g.b.ins().icmp(IntCC::SignedLessThan, done, to);
        g.b.ins().brif(more, body, &[], exit, &[]);
        g.b.switch_to_block(body);
        let column = g.b.ins().iadd(at.start, done);
        let digits = g.digits(column, &lengths);
        let parts: Vec<(Value, Extent)> = digits.iter().copied().zip(strides.iter().cloned()).collect();
        let source = g.address(memory, &parts);
        let in_this = g.b.ins().isub(in_row, digits[digits.len() - 1]);
        let remaining = g.b.ins().isub(to, done);
        let length = g.min(in_this, remaining);
        let target = g.address(panel, &[(done, Extent::ONE)]);
        let whole = g.b.ins().icmp(IntCC::Equal, length, width);
        g.either(
            whole,
            |g| walk(g, source, target, usize::from(at.width / 4)),
            |g| {
                // What a run's last vector has too many, the next run or the next row writes over; a row of the
                // panel has four elements to spare.
                let zero = g.int(0);
                g.carry((zero, length), 4, &[], |g, j, _| {
                    let (from, to) =
                        (g.address(source, &[(j, Extent::ONE)]), g.address(target, &[(j, Extent::ONE)]));
                    walk(g, from, to, 1);
                    vec![]
                });
            },
        );
        let done = g.b.ins().iadd(done, length);
        g.b.ins().jump(header, &[done.into()]);
        g.b.switch_to_block(exit);
    }
}

/// Panels within rows or across them, by what they cost.
fn choose(
    m: &Extent,
    in_row: &Extent,
    (full, last): (&Extent, &Extent),
    code: Code,
    choices: &mut Choices,
) -> Columns {
    let panels = |n: &Extent| Panels::new(m.as_const(), n.as_const(), code);
    let (Some(rows), Some(row), Some(all)) = (m.as_const(), in_row.as_const(), full.as_const()) else {
        return Columns::Across(panels(full), panels(last));
    };
    let size = |x: i64| usize::try_from(x).unwrap_or(0);
    // Copying a vector of 128 bits takes about as long as two multiply-adds.
    let (cost, vector): (&dyn Fn(usize, usize) -> u64, u64) = match code {
        Code::Wide(level) => (&move |m, n| wide_cover_cost(level, m, n), 1000),
        Code::Clif(arithmetic) => (&move |m, n| cover_cost(m, n, arithmetic), 2000),
    };
    let copies = vector * (all / 4 + all / row.max(1)).unsigned_abs();
    let by_row = cost(size(rows), size(row)) * (all / row.max(1)).unsigned_abs();
    let across = cost(size(rows), size(all)) + copies;
    let default = i64::from(by_row > across);
    if choices.number(Knob::Across, default, || vec![0, 1]) == 0 {
        Columns::Row(Panels::choose(Product::plain(m.as_const(), in_row.as_const()), code, choices))
    } else {
        Columns::Across(
            Panels::choose(Product::plain(m.as_const(), full.as_const()), code, choices),
            panels(last),
        )
    }
}
