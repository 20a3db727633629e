//! row - one row of a depthwise convolution with channels last.

use cranelift_codegen::ir::{InstBuilder, Value, condcodes::IntCC};
use nnc_ir::extent::Extent;
use nnc_tile::{
    epilogue::EpilogueInput,
    gemm::Stride,
    lane_conv::{self, LaneConv},
    row_conv::Width,
};

use super::Lanes;
use crate::{
    lower::contract::{
        analyze::Problem,
        emit::Gen,
        last::{Taps, Windows},
        pack::flags,
        tiles::Origin,
    },
    tile::{EpilogueArg, LaneConvArgs},
};

/// One row of the result.
pub(super) struct Row<'a> {
    pub(super) lanes: &'a Lanes,
    pub(super) p: &'a Problem,
    pub(super) windows: &'a Windows,
    /// Address of the list of taps.
    pub(super) list: Value,
    /// Address of the input at position 0 of both axes with windows.
    pub(super) input: Value,
    /// Addresses at column 0.
    pub(super) origin: Origin,
    /// The row.
    pub(super) place: Value,
}

/// Where a tile begins.
#[derive(Clone, Copy)]
struct At {
    /// Column of the result.
    column: Value,
    /// Address of the input.
    x: Value,
    /// The first channel, if not 0.
    channel: Option<Value>,
    /// The first tap.
    tap: i64,
}

impl Row<'_> {
    /// The taps of rows that are inside, and the address of the input at the first tap.
    fn start_of_rows(&self, g: &mut Gen<'_, '_>) -> ((Value, Value), Value) {
        match self.windows.y {
            Some(y) => {
                let start = self.start(g, &y, self.place);
                (self.taps_inside(g, &y, start), self.at(g, self.input, &y, start))
            }
            None => ((g.int(0), g.int(1)), self.input),
        }
    }

    /// Whether rows of taps `first..end` are those inside.
    fn is_inside(&self, g: &mut Gen<'_, '_>, rows: (Value, Value), first: i64, end: i64) -> Value {
        let begins = g.b.ins().icmp_imm_s(IntCC::Equal, rows.0, first);
        let ends = g.b.ins().icmp_imm_s(IntCC::Equal, rows.1, end);
        g.b.ins().band(begins, ends)
    }

    /// Some channels of the columns whose windows are inside.
    pub(super) fn inside(&self, g: &mut Gen<'_, '_>, (channel, channels): (Value, u32)) {
        let (lanes, windows) = (self.lanes, self.windows);
        let Some(inner) = &lanes.inner else { return };
        let (rows, start) = self.start_of_rows(g);
        let (from, to) = (g.extent(&lanes.inside.0), g.extent(&lanes.inside.1));
        let count = g.b.ins().isub(to, from);
        let x = self.start(g, &windows.x, from);
        let x = self.at(g, start, &windows.x, x);
        let channel = (channels < lanes.listed.channels).then_some(channel);
        let tile = |g: &mut Gen<'_, '_>, spec: &LaneConv, taps: Option<(Value, Value)>, tap: i64| {
            let spec = LaneConv { channels, ..spec.clone() };
            let width = (spec.width == Width::Arg).then_some(count);
            self.tile(g, &spec, At { column: from, x, channel, tap }, width, taps);
        };
        // A list may leave out rows of taps, too.
        if inner.taps == lane_conv::Taps::Listed {
            let (zero, all) = (g.int(0), g.int(windows.x.count));
            let taps = (self.list, self.write_list(g, rows, (zero, all)));
            return tile(g, inner, Some(taps), 0);
        }
        let full = self.is_inside(g, rows, 0, windows.rows());
        g.when(full, |g| tile(g, inner, None, 0));
        for (first, end, spec) in &lanes.border {
            let own = self.is_inside(g, rows, *first, *end);
            g.when(own, |g| tile(g, spec, None, first * windows.x.count));
        }
    }

    /// All other columns.
    pub(super) fn others(&self, g: &mut Gen<'_, '_>) {
        let (lanes, windows) = (self.lanes, self.windows);
        let columns = g.extent(&self.p.nest.extents[windows.x.pixel]);
        let (rows, start) = self.start_of_rows(g);
        let (mut skip_from, mut skipped) = (columns, g.int(0));
        if let Some(inner) = &lanes.inner {
            let (from, to) = (g.extent(&lanes.inside.0), g.extent(&lanes.inside.1));
            let count = g.b.ins().isub(to, from);
            skip_from = from;
            skipped = count;
            if inner.taps != lane_conv::Taps::Listed {
                let mut done = self.is_inside(g, rows, 0, windows.rows());
                for (first, end, _) in &lanes.border {
                    let own = self.is_inside(g, rows, *first, *end);
                    done = g.b.ins().bor(done, own);
                }
                let zero = g.int(0);
                skipped = g.b.ins().select(done, count, zero);
            }
        }
        let zero = g.int(0);
        let left = g.b.ins().isub(columns, skipped);
        g.range(zero, left, |g, i| {
            let beyond = g.b.ins().icmp(IntCC::SignedGreaterThanOrEqual, i, skip_from);
            let after = g.b.ins().iadd(i, skipped);
            let column = g.b.ins().select(beyond, after, i);
            let position = self.start(g, &windows.x, column);
            let inside = self.taps_inside(g, &windows.x, position);
            let count = self.write_list(g, rows, inside);
            let x = self.at(g, start, &windows.x, position);
            let at = At { column, x, channel: None, tap: 0 };
            self.tile(g, &lanes.listed, at, None, Some((self.list, count)));
        });
    }

    /// Position on the input's axis that the first tap of a pixel reads.
    fn start(&self, g: &mut Gen<'_, '_>, taps: &Taps, pixel: Value) -> Value {
        let at = g.times(pixel, &Extent::Const(taps.stride));
        g.plus(at, &self.windows.dim(taps).base)
    }

    /// The address of a position.
    fn at(&self, g: &mut Gen<'_, '_>, base: Value, taps: &Taps, position: Value) -> Value {
        g.address(base, &[(position, self.windows.dim(taps).stride.clone())])
    }

    /// The taps that are inside, for a window whose first tap is at `start`.
    fn taps_inside(&self, g: &mut Gen<'_, '_>, taps: &Taps, start: Value) -> (Value, Value) {
        let (zero, count) = (g.int(0), g.int(taps.count));
        let dim = self.windows.dim(taps);
        if !dim.guarded {
            return (zero, count);
        }
        // The first tap at or after a position.
        let first = |g: &mut Gen<'_, '_>, position: Value| {
            let gap = g.b.ins().isub(position, start);
            let gap = g.max(gap, zero);
            let up = g.b.ins().iadd_imm_s(gap, taps.dilation - 1);
            let (tap, _) = g.div_rem(up, &Extent::Const(taps.dilation));
            g.min(tap, count)
        };
        let extent = g.extent(&dim.extent);
        (first(g, zero), first(g, extent))
    }

    /// Lists the taps of these rows and columns; gives their number.
    fn write_list(&self, g: &mut Gen<'_, '_>, rows: (Value, Value), columns: (Value, Value)) -> Value {
        let windows = self.windows;
        let step = |taps: &Taps| windows.dim(taps).stride.scale(taps.dilation);
        let w_step = self.p.extent(&self.p.n);
        let end = g.carry(rows, 1, &[self.list], |g, ky, at| {
            let x = match &windows.y {
                Some(y) => g.times(ky, &step(y)),
                None => g.int(0),
            };
            let w = g.times(ky, &w_step.scale(windows.x.count));
            g.carry(columns, 1, &[at[0]], |g, kx, at| {
                let (dx, dw) = (g.times(kx, &step(&windows.x)), g.times(kx, &w_step));
                let (x, w) = (g.b.ins().iadd(x, dx), g.b.ins().iadd(w, dw));
                g.b.ins().store(flags(), x, at[0], 0);
                g.b.ins().store(flags(), w, at[0], 8);
                vec![g.b.ins().iadd_imm_s(at[0], 16)]
            })
        });
        let bytes = g.b.ins().isub(end[0], self.list);
        g.b.ins().ushr_imm_u(bytes, 4)
    }

    /// Columns from one on, with the weights from one tap on.
    fn tile(
        &self,
        g: &mut Gen<'_, '_>,
        spec: &LaneConv,
        at: At,
        width: Option<Value>,
        taps: Option<(Value, Value)>,
    ) {
        let p = self.p;
        let channel: Vec<(Value, Extent)> = at.channel.map(|c| (c, Extent::ONE)).into_iter().collect();
        let weight = g.pointer(self.lanes.weight);
        let weight = g.plus(weight, &p.extent(&p.n).scale(4 * at.tap));
        let weight = g.address(weight, &channel);
        let epilogue = p.operands.iter().zip(&self.origin.operands).map(|((o, _), &ptr)| {
            let mut ptr = g.address(ptr, &[(at.column, o.row_stride.clone())]);
            if matches!(o.kind, EpilogueInput::Col | EpilogueInput::Tile) {
                ptr = g.address(ptr, &channel);
            }
            EpilogueArg { ptr, stride: Some(g.extent(&o.row_stride)) }
        });
        let epilogue = epilogue.collect();
        let arg = |g: &mut Gen<'_, '_>, stride: Stride, extent: &Extent| {
            (stride == Stride::Arg).then(|| g.extent(extent))
        };
        let row = self.windows.dim(&self.windows.x).stride.scale(self.windows.x.stride);
        let args = LaneConvArgs {
            x: g.address(at.x, &channel),
            w: weight,
            c: g.address(self.origin.c, &[&[(at.column, p.c_row.clone())], &channel[..]].concat()),
            taps,
            width,
            x_step: arg(g, spec.x_step, &row),
            c_step: arg(g, spec.c_step, &p.c_row),
            epilogue,
        };
        g.lane_conv(spec, &args);
    }
}
