//! pool - windows over planes by wide tiles.
//!
//! ```text
//! for item = (axes around the planes; block of rows):
//!   pool tile over the rows, its lines in scratch memory
//! ```

use cranelift_codegen::ir::{InstBuilder, Value};
use nnc_ir::extent::{Extent, product};
use nnc_tile::{
    Tile,
    pool::{HALF_SLACK, LINE_SLACK, Pool, PoolArg, SLACK},
};

use super::{
    access::Access,
    emit::{Gen, kernel_function},
    windows::Windows,
};
use crate::{
    kernel::{Kernel, LowerCx, NestRequest},
    wide,
};

/// Elements of the lines of a group of rows, about: while lines are read, the memory for the next ones is on its way.
const GROUP: i64 = 1 << 10;
/// Rows of a group where their length is not known, and the fewest.
const ROWS: [i64; 2] = [8, 2];
/// Elements of the lines of an item, about.
const ITEM: i64 = 12 << 10;
/// Elements of x between what is read and what is asked for, about. Longer rows are read as they lie, which the processor sees.
const AHEAD: i64 = 1 << 10;
/// Elements of x that the caches next to a core hold, with room for what else is used.
const HELD: i64 = 64 << 10;
/// Elements of a line of the cache.
const LINE: i64 = 16;
/// Most taps of an item's cost that count one by one.
const ELEMENTS_AT_ONCE: i64 = 8;

/// Whether a request is a pool that there may be wide code for.
pub(super) fn may_be(request: &NestRequest) -> bool {
    Windows::of(request).is_some()
}

/// The kernel of a request, if it is a pool that there is wide code for.
pub(super) fn lower(request: &NestRequest, cx: &mut LowerCx<'_>) -> Option<Kernel> {
    cx.tiles.level()?;
    let windows = Windows::of(request)?;
    let spec = spec_of(&windows, request)?;
    let tile = cx.tiles.number(&Tile::Pool(spec.clone()))?;
    let extents = &request.form.space;
    let longest = windows.span.max_with(&(&windows.x_width + &Extent::Const(windows.left)));
    let whole = |n: &Extent| n.ceil_div(&Extent::Const(LINE)).scale(LINE);
    // With even and odd positions apart, the first of either that x has begins a line of the cache.
    let [even, odd] = [windows.left + windows.left % 2, windows.left - windows.left % 2].map(|at| at / 2);
    let slack = HALF_SLACK as i64 + (even - odd) % LINE;
    let half = &whole(&longest.ceil_div(&Extent::Const(2))) + &Extent::Const(slack);
    let pitch = if spec.stride == 2 {
        whole(&half.scale(2))
    } else {
        &whole(&longest) + &Extent::Const(LINE_SLACK as i64)
    };
    let rows = windows.rows.as_ref().map_or(Extent::ONE, |r| extents[r.axis].clone());
    let fit = |elements: i64| {
        let few = pitch.as_const().map_or(ROWS[0], |p| (elements / p.max(1)).max(ROWS[1]));
        rows.as_const().map_or(few, |n| few.min(n.max(1)))
    };
    let [group, block] = [GROUP, ITEM].map(fit);
    let mut digits: Vec<Extent> = windows.outer.iter().map(|&a| extents[a].clone()).collect();
    digits.push(rows.ceil_div(&Extent::Const(block)));
    // What x begins with in a line begins a line of the cache.
    let first = if spec.stride == 2 { even } else { windows.left };
    let shift = (LINE - first % LINE) % LINE;
    let memory = &pitch.scale(group) + &Extent::Const(SLACK as i64 + shift);
    let function = kernel_function(cx, |g, begin, end, worker| {
        let scratch = g.scratch(worker);
        let lines = g.b.ins().iadd_imm_s(scratch, 4 * shift);
        g.range(begin, end, |g, item| {
            let at = g.digits(item, &digits);
            let first = g.b.ins().imul_imm_s(at[windows.outer.len()], block);
            let all = g.extent(&rows);
            let left = g.b.ins().isub(all, first);
            let most = g.int(block);
            let count = g.min(left, most);
            let call = Call {
                windows: &windows,
                request,
                pitch: &pitch,
                half: &half,
                outer: &at,
                first,
                count,
                group,
                lines,
            };
            let args: Vec<Value> = spec.args().into_iter().map(|arg| call.arg(g, arg)).collect();
            wide::call(g.b, tile, &args);
        });
    });
    let taps = windows.width + i64::from(spec.height);
    let cells = windows.cells.as_ref().map_or(Extent::ONE, |c| extents[c.axis].clone());
    let per_row = (&cells * &windows.columns).scale(taps).ceil_div(&Extent::Const(ELEMENTS_AT_ONCE));
    Some(Kernel {
        function,
        name: request.name.clone(),
        items: product(&digits),
        item_cost: per_row.scale(block),
        scratch_bytes: memory.ceil_div(&Extent::Const(LINE)).scale(4 * LINE),
        may_fault: false,
        scheduled: true,
        plain: None,
        pace: None,
    })
}

/// How many rows of the result before their use rows of x are asked for.
fn ahead(windows: &Windows, request: &NestRequest) -> u32 {
    let x = product(&request.form.loads[windows.load].extents);
    if x.as_const().is_some_and(|n| n <= HELD) {
        return 0;
    }
    let step = windows.rows.as_ref().and_then(|rows| rows.pitch.scale(rows.stride).as_const());
    let few = step.filter(|step| (1..=AHEAD).contains(step));
    few.map_or(0, |step| u32::try_from((AHEAD + step - 1) / step).unwrap_or(0))
}

fn spec_of(windows: &Windows, request: &NestRequest) -> Option<Pool> {
    let known = |n: i64| u32::try_from(n).ok();
    Some(Pool {
        join: windows.join,
        height: known(windows.rows.as_ref().map_or(1, |r| r.height))?,
        width: known(windows.width)?,
        apart: known(windows.apart)?,
        stride: known(windows.stride)?,
        row_stride: known(windows.rows.as_ref().map_or(1, |r| r.stride))?,
        ahead: ahead(windows, request),
        cells: windows.cells.is_some(),
        finish: windows.finish.clone(),
        operands: windows.operands.iter().map(|(_, _, walk)| *walk).collect(),
    })
}

/// One call of the tile.
struct Call<'a> {
    windows: &'a Windows,
    request: &'a NestRequest,
    pitch: &'a Extent,
    half: &'a Extent,
    /// Positions on the axes around the planes.
    outer: &'a [Value],
    /// The first row, and how many.
    first: Value,
    count: Value,
    /// Rows that there are lines for.
    group: i64,
    lines: Value,
}

impl Call<'_> {
    fn arg(&self, g: &mut Gen<'_, '_>, arg: PoolArg) -> Value {
        let w = self.windows;
        let (rows, cells) = (w.rows.as_ref(), w.cells.as_ref());
        let step = |coefficients: &[Extent], axis: Option<usize>| {
            axis.map_or(Extent::ZERO, |a| coefficients[a].clone())
        };
        let (row, cell) = (rows.map(|r| r.axis), cells.map(|c| c.axis));
        match arg {
            PoolArg::X => {
                let slot = self.request.operands[self.request.form.loads[w.load].operand].pointer;
                let pointer = g.pointer(slot);
                let plane = g.plus(pointer, &w.base.scale(4));
                self.plane(g, plane, &w.coefficients)
            }
            PoolArg::Y => {
                let pointer = g.pointer(self.request.results[0]);
                let start = g.plus(pointer, &w.result.offset.scale(4));
                self.row(g, start, &w.result.strides)
            }
            PoolArg::Lines => self.lines,
            PoolArg::Rows => self.count,
            PoolArg::Group => g.int(self.group),
            PoolArg::Top => match rows {
                Some(r) => {
                    let top = g.b.ins().imul_imm_s(self.first, r.stride);
                    g.b.ins().iadd_imm_s(top, -r.pad)
                }
                None => g.int(0),
            },
            PoolArg::XHeight => g.extent(&rows.map_or(Extent::ONE, |r| r.extent.clone())),
            PoolArg::XWidth => g.extent(&w.x_width),
            PoolArg::XRow => g.extent(&rows.map_or(Extent::ZERO, |r| r.pitch.clone())),
            PoolArg::Left => g.int(w.left),
            PoolArg::Span => g.extent(&w.span),
            PoolArg::Pitch => g.extent(self.pitch),
            PoolArg::Half => g.extent(self.half),
            PoolArg::YRow => g.extent(&step(&w.result.strides, row)),
            PoolArg::N => g.extent(&w.columns),
            PoolArg::Cells => {
                let count = cell.map_or(Extent::ONE, |a| self.request.form.space[a].clone());
                g.extent(&count)
            }
            PoolArg::XCell => g.extent(&cells.map_or(Extent::ZERO, |c| c.step.clone())),
            PoolArg::YCell => g.extent(&step(&w.result.strides, cell)),
            PoolArg::Operand(k) => {
                let (access, load, _) = &w.operands[k];
                let slot = self.request.operands[self.request.form.loads[*load].operand].pointer;
                let pointer = g.pointer(slot);
                let start = g.plus(pointer, &access.base.scale(4));
                self.row(g, start, &access.coefficients)
            }
            PoolArg::OperandRow(k) => g.extent(&step(self.coefficients(k), row)),
            PoolArg::OperandCell(k) => g.extent(&step(self.coefficients(k), cell)),
        }
    }

    fn coefficients(&self, k: usize) -> &[Extent] {
        let (Access { coefficients, .. }, ..) = &self.windows.operands[k];
        coefficients
    }

    /// Where the item's plane is.
    fn plane(&self, g: &mut Gen<'_, '_>, start: Value, coefficients: &[Extent]) -> Value {
        let outer = self.windows.outer.iter().zip(self.outer);
        let parts: Vec<(Value, Extent)> = outer.map(|(&a, &at)| (at, coefficients[a].clone())).collect();
        g.address(start, &parts)
    }

    /// Where the item's first row is in it.
    fn row(&self, g: &mut Gen<'_, '_>, start: Value, coefficients: &[Extent]) -> Value {
        let plane = self.plane(g, start, coefficients);
        match &self.windows.rows {
            Some(rows) => g.address(plane, &[(self.first, coefficients[rows.axis].clone())]),
            None => plane,
        }
    }
}
