//! depthwise - convolutions of one channel by one window: rows of the result from rows of the padded channel.
//!
//! ```text
//! for item = (loops around, such as the channel; block of window rows):
//!   copy the part of the channel that the windows reach, padded
//!   for row in block:     row tile over all taps, with the epilogue
//! ```

use cranelift_codegen::ir::{InstBuilder, Value};
use nnc_ir::extent::{Extent, product};
use nnc_tile::{
    epilogue::{Epilogue, EpilogueInput},
    gemm::{Init, Stride},
    row_conv::{RowConv, Tap, Width},
};

use super::{
    analyze::{BFrom, Problem},
    emit::{Gen, kernel_function},
    fill::Fill,
    tiles::{Tiles, stride},
    window::{Block, Window},
};
use crate::{
    kernel::{Kernel, LowerCx, NestRequest},
    tile::{EpilogueArg, RowConvArgs},
};

/// Elements of a channel that an item copies, about.
const BLOCK: i64 = 64 << 10;
/// Taps that a row tile unrolls.
const TAPS: i64 = 128;
/// Elements that vectors may read and write beyond the block.
const SLACK: i64 = 64;

/// How a depthwise convolution will be done.
#[derive(Clone, Debug)]
pub(super) struct Depthwise {
    /// Columns along the first column axis in one item.
    first: Extent,
    block: Block,
    tile: RowConv,
}

impl Depthwise {
    /// Decides whether it is one, and how.
    pub(super) fn new(p: &Problem, window: &Window) -> Option<Depthwise> {
        let extents = &p.nest.extents;
        let taps = p.extent(&p.k).as_const().filter(|t| (1..=TAPS).contains(t))?;
        let own = window.dims.iter().all(|d| d.k.is_none() || d.n.is_some());
        if !p.m.is_empty() || !p.flat || !own || !(p.a_k.is(1) || taps == 1) {
            return None;
        }
        let mut counts: Vec<Extent> = p.n.iter().map(|&a| extents[a].clone()).collect();
        let whole = window.block(&p.nest, &p.n, &counts);
        let first = match (whole.elements.as_const(), counts[0].as_const()) {
            (Some(elements), Some(all)) if elements > BLOCK && counts.len() > 1 => {
                Extent::Const((all * BLOCK / elements).max(1))
            }
            (None, _) if counts.len() > 1 => {
                counts[0] = Extent::ONE;
                let one = window.block(&p.nest, &p.n, &counts).elements;
                let fits = Extent::Const(BLOCK).floor_div(&one.max_with(&Extent::ONE));
                fits.max_with(&Extent::ONE).min_with(&extents[p.n[0]])
            }
            _ => counts[0].clone(),
        };
        counts[0] = first.clone();
        let block = window.block(&p.nest, &p.n, &counts);
        let last = counts.last()?;
        let width = match last.as_const().and_then(|n| u32::try_from(n).ok()) {
            Some(n) if n > 0 && (counts.len() > 1 || first == extents[p.n[0]]) => Width::Const(n),
            _ => Width::Arg,
        };
        let taps = window_taps(p, window, &block)?;
        let inputs = p.operands.iter().map(|(o, _)| row_input(o.kind, counts.len())).collect();
        let epilogue = p.epilogue.as_ref().map(|e| Epilogue { inputs, ..e.clone() });
        let tile = RowConv { taps, width, x_row: stride(&block.pitch), init: Init::Zero, epilogue };
        Some(Depthwise { first, block, tile })
    }

    /// Makes the kernel.
    pub(super) fn lower(&self, p: &Problem, request: &NestRequest, cx: &mut LowerCx<'_>) -> Kernel {
        let BFrom::Window(window) = &p.b_from else { unreachable!("convolutions read windows") };
        let extents = &p.nest.extents;
        let first_axis = p.n[0];
        let mut digits: Vec<Extent> = p.outer.iter().map(|&a| extents[a].clone()).collect();
        let loops = digits.len();
        digits.push(extents[first_axis].ceil_div(&self.first));
        let memory_bytes =
            (&self.block.elements + &Extent::Const(SLACK)).ceil_div(&Extent::Const(16)).scale(64);
        // Axes of columns: those of loops, the one that rows of the tile run along, and that of its columns.
        let (&columns, rest) = p.n.split_last().expect("windows have columns");
        let (row_axis, around_rows) = match rest.split_last() {
            Some((&row, rest)) => (Some(row), rest),
            None => (None, rest),
        };
        let function = kernel_function(cx, |g, begin, end, worker| {
            let memory = g.scratch(worker);
            let tiles = Tiles::new(g, p);
            let mut fill = Fill { window, block: &self.block, first_axis, padded: false };
            if self.first == extents[first_axis] && fill.is_alike() {
                fill.clear(g, memory);
                fill.padded = true;
            }
            let (all, first) = (g.extent(&extents[first_axis]), g.extent(&self.first));
            let zero = g.int(0);
            g.range(begin, end, |g, item| {
                let at = g.digits(item, &digits);
                let from = g.b.ins().imul(at[loops], first);
                let left = g.b.ins().isub(all, from);
                let count = g.min(left, first);
                let mut around: Vec<(usize, Value)> =
                    p.outer.iter().copied().zip(at.iter().copied()).collect();
                let pointer = g.pointer(request.operands[p.nest.loads[p.b].operand].pointer);
                fill.emit(g, extents, pointer, memory, &around, (from, count));
                around.push((first_axis, from));
                let rows = |g: &mut Gen<'_, '_>, at: &[Value]| {
                    let mut place = around.clone();
                    let mut parts = Vec::new();
                    for (&axis, &i) in around_rows.iter().zip(at) {
                        parts.push((i, self.block.column_stride(window, axis)));
                        match place.iter_mut().find(|(a, _)| *a == axis) {
                            Some((_, from)) => *from = g.b.ins().iadd(*from, i),
                            None => place.push((axis, i)),
                        }
                    }
                    let x = g.address(memory, &parts);
                    let origin = tiles.origin(g, request, &place, zero);
                    let (n_rows, x_step, c_step) = match row_axis {
                        Some(axis) => {
                            let n = if axis == first_axis { count } else { g.extent(&extents[axis]) };
                            (
                                n,
                                g.extent(&self.block.column_stride(window, axis)),
                                g.extent(&p.c_at.coefficients[axis]),
                            )
                        }
                        None => (g.int(1), zero, zero),
                    };
                    let width = (self.tile.width == Width::Arg)
                        .then(|| if columns == first_axis { count } else { g.extent(&extents[columns]) });
                    let epilogue = p
                        .operands
                        .iter()
                        .zip(&origin.operands)
                        .map(|((o, at), &ptr)| {
                            let tile = row_input(o.kind, p.n.len()) == EpilogueInput::Tile;
                            let stride = row_axis.filter(|_| tile).map(|a| g.extent(&at.coefficients[a]));
                            EpilogueArg { ptr, stride }
                        })
                        .collect();
                    let x_row = (self.tile.x_row == Stride::Arg).then(|| g.extent(&self.block.pitch));
                    let args = RowConvArgs {
                        x,
                        w: origin.a,
                        c: origin.c,
                        rows: n_rows,
                        x_step,
                        c_step,
                        x_row,
                        width,
                        epilogue,
                    };
                    g.row_conv(&self.tile, &args);
                };
                // The first axis has a part in this item; it is a loop here if there are more than two.
                match around_rows.split_first() {
                    None => rows(g, &[]),
                    Some((_, others)) => {
                        let lengths: Vec<Extent> = others.iter().map(|&a| extents[a].clone()).collect();
                        g.range(zero, count, |g, i| {
                            g.space(&lengths, &mut |g, at| rows(g, &[&[i], at].concat()));
                        });
                    }
                }
            });
        });
        let per_item = &self.first * &product(p.n[1..].iter().map(|&a| &extents[a]));
        Kernel {
            function,
            name: request.name.clone(),
            items: product(&digits),
            item_cost: (&per_item * &p.extent(&p.k)).floor_div(&Extent::Const(4)),
            scratch_bytes: memory_bytes,
            may_fault: false,
            scheduled: true,
            plain: None,
            pace: None,
        }
    }
}

/// How a row tile reads an operand of the epilogue: its rows are those of the window.
fn row_input(kind: EpilogueInput, column_axes: usize) -> EpilogueInput {
    match kind {
        EpilogueInput::Scalar | EpilogueInput::Row => EpilogueInput::Scalar,
        _ if column_axes == 1 => EpilogueInput::Col,
        _ => EpilogueInput::Tile,
    }
}

/// The taps of the window in the order of the weights.
fn window_taps(p: &Problem, window: &Window, block: &Block) -> Option<Vec<Tap>> {
    let mut taps = vec![(0i64, 0i64)];
    for &axis in &p.k {
        let of_axis = |dim: usize| matches!(window.dims[dim].k, Some((a, _)) if a == axis);
        let steps: Vec<(i64, i64)> = if of_axis(window.row) {
            block.taps.iter().map(|&(phase, right)| (phase as i64, right)).collect()
        } else {
            let level = block.levels.iter().find(|l| of_axis(l.dim))?;
            let lines = level.lines.as_const()?;
            let n = p.nest.extents[axis].as_const()?;
            (0..n).map(|k| (k * level.k_step * lines, 0)).collect()
        };
        taps = taps.iter().flat_map(|&(r, a)| steps.iter().map(move |&(s, b)| (r + s, a + b))).collect();
    }
    let tap =
        |(row, at): (i64, i64)| Some(Tap { row: u16::try_from(row).ok()?, at: u32::try_from(at).ok()? });
    taps.into_iter().map(tap).collect()
}
