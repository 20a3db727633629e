//! fill - copies the part of a tensor that windows reach to a block in scratch memory, padded and in phases.

use cranelift_codegen::ir::{InstBuilder, Value, condcodes::IntCC, types::F32X4};
use nnc_ir::extent::Extent;
use nnc_tile::{
    Tile,
    lines::{Lines, LinesArg},
};

use super::{
    emit::Gen,
    pack::flags,
    rows::{Part, copy_pair, copy_row},
    window::{Block, Dim, Window},
};
use crate::wide::{self, TileNumber};

/// What is copied where.
pub(super) struct Fill<'p> {
    pub(super) window: &'p Window,
    pub(super) block: &'p Block,
    /// The column axis of which an item has a part.
    pub(super) first_axis: usize,
    /// Whether the padding is there already.
    pub(super) padded: bool,
}

/// A phase of all rows: which of its elements are in the tensor.
struct Phase {
    /// Elements `from..to` are read.
    from: Value,
    to: Value,
    /// Bytes from the position 0 of a row to element `from`.
    source: Value,
    /// Bytes from the row's start in the block.
    target: Extent,
}

/// Where the loops over the levels are.
#[derive(Clone, Copy)]
struct Place {
    source: Value,
    target: Value,
    valid: Option<Value>,
}

impl Fill<'_> {
    /// Whether one tile copies all rows of an item: those of a plane, every column or every other one, between padding
    /// that is there already.
    pub(super) fn lines(&self) -> Option<Lines> {
        let row = &self.window.dims[self.block.row];
        let [level] = &self.block.levels[..] else { return None };
        let phases = match (&self.block.phases[..], self.block.step) {
            ([0], 1) => 1,
            ([0, 1], 2) => 2,
            _ => return None,
        };
        (self.padded && row.stride.is(1) && level.step == 1).then_some(Lines { phases })
    }

    /// The copy as a call of that tile; `source` is where the item's plane is.
    fn copy_lines(
        &self,
        g: &mut Gen<'_, '_>,
        (spec, tile): (Lines, TileNumber),
        [source, target]: [Value; 2],
        [row_start, level_start]: [Value; 2],
        length: Value,
    ) {
        let (row, level) = (&self.window.dims[self.block.row], &self.block.levels[0]);
        let dim = &self.window.dims[level.dim];
        let zero = g.int(0);
        // From where the windows or the tensor begin, whichever is later, to where the first of them ends.
        let clip = |g: &mut Gen<'_, '_>, start: Value, length: Value, extent: &Extent| {
            let extent = g.extent(extent);
            let from = g.max(start, zero);
            let end = g.b.ins().iadd(start, length);
            let end = g.min(end, extent);
            (from, g.b.ins().isub(from, start), g.b.ins().isub(end, from))
        };
        let columns = g.b.ins().imul_imm_s(length, self.block.step);
        let (x_from, x_at, width) = clip(g, row_start, columns, &row.extent);
        let lines = g.extent(&level.len);
        let (y_from, y_at, rows) = clip(g, level_start, lines, &dim.extent);
        let x = g.address(source, &[(y_from, dim.stride.clone()), (x_from, Extent::ONE)]);
        let line = g.address(target, &[(y_at, level.stride.clone())]);
        let args: Vec<Value> = (spec.args().into_iter())
            .map(|arg| match arg {
                LinesArg::X => x,
                LinesArg::Rows => rows,
                LinesArg::Width => width,
                LinesArg::XRow => g.extent(&dim.stride),
                LinesArg::Line => g.extent(&level.stride),
                LinesArg::To(_) if spec.phases == 1 => g.address(line, &[(x_at, Extent::ONE)]),
                LinesArg::To(phase) => {
                    // Column `at` is number `at / 2` of phase `at mod 2`.
                    let at = g.b.ins().iadd_imm_s(x_at, i64::from(phase));
                    let (number, phase) = g.div_rem(at, &Extent::Const(2));
                    g.address(line, &[(phase, self.block.pitch.clone()), (number, Extent::ONE)])
                }
            })
            .collect();
        wide::call(g.b, tile, &args);
    }

    /// Writes the value of padding to the whole block: blocks that are alike for all items need that once.
    pub(super) fn clear(&self, g: &mut Gen<'_, '_>, memory: Value) {
        let (zero, n) = (g.int(0), g.extent(&self.block.elements));
        let fill = g.b.ins().f32const(self.window.fill.to_f32());
        let fill = g.b.ins().splat(F32X4, fill);
        // The last vector may reach beyond the block, where there is memory to spare.
        g.carry((zero, n), 4, &[memory], |g, _, at| {
            g.b.ins().store(flags(), fill, at[0], 0);
            vec![g.b.ins().iadd_imm_s(at[0], 16)]
        });
    }

    /// Whether the padding of a block is at the same place for all items, if an item has the whole first axis.
    pub(super) fn is_alike(&self) -> bool {
        self.window.dims.iter().all(|d| !d.guarded || d.outer.is_empty())
    }

    /// Emits the copy for columns `first .. first + count` of the first axis.
    pub(super) fn emit(
        &self,
        g: &mut Gen<'_, '_>,
        extents: &[Extent],
        tensor: Value,
        memory: Value,
        around: &[(usize, Value)],
        (first, count): (Value, Value),
    ) {
        let row = &self.window.dims[self.block.row];
        // Axes that an item has one position of.
        let mut source = tensor;
        for dim in self.window.dims.iter().filter(|d| d.n.is_none() && d.k.is_none()) {
            let at = self.start(g, dim, around, first);
            source = g.address(source, &[(at, dim.stride.clone())]);
        }
        let row_start = self.start(g, row, around, first);
        let columns = match row.n {
            Some((axis, _)) if axis == self.first_axis => count,
            Some((axis, _)) => g.extent(&extents[axis]),
            None => g.int(1),
        };
        let reach = self.block.taps.iter().map(|&(_, right)| right).max().unwrap_or(0);
        let length = g.b.ins().iadd_imm_s(columns, reach);
        if let Some(spec) = self.lines()
            && let Some(tile) = g.wide_tile(&Tile::Lines(spec))
        {
            let start = self.start(g, &self.window.dims[self.block.levels[0].dim], around, first);
            return self.copy_lines(g, (spec, tile), [source, memory], [row_start, start], length);
        }
        let phases: Vec<Phase> =
            (0..self.block.phases.len()).map(|i| self.phase(g, row, row_start, length, i)).collect();
        let starts: Vec<Value> = self
            .block
            .levels
            .iter()
            .map(|l| self.start(g, &self.window.dims[l.dim], around, first))
            .collect();
        let place = Place { source, target: memory, valid: None };
        self.level(g, 0, &starts, count, place, &mut |g, place| {
            self.row(g, row, &phases, length, place);
        });
    }

    /// Position on an axis of the tensor that the first tap of the first column reads.
    fn start(&self, g: &mut Gen<'_, '_>, dim: &Dim, around: &[(usize, Value)], first: Value) -> Value {
        let mut at = g.extent(&dim.base);
        for (axis, step) in &dim.outer {
            if let Some((_, i)) = around.iter().find(|(a, _)| a == axis) {
                let step = g.times(*i, step);
                at = g.b.ins().iadd(at, step);
            }
        }
        if let Some((axis, step)) = dim.n
            && axis == self.first_axis
        {
            let step = g.times(first, &Extent::Const(step));
            at = g.b.ins().iadd(at, step);
        }
        at
    }

    /// Bounds of a phase: element i reads position `start + phase + i * step`.
    fn phase(&self, g: &mut Gen<'_, '_>, row: &Dim, start: Value, length: Value, number: usize) -> Phase {
        let step = self.block.step;
        let start = g.b.ins().iadd_imm_s(start, self.block.phases[number]);
        let zero = g.int(0);
        // Of several phases some are shorter than the longest.
        let (from, to) = if row.guarded || self.block.phases.len() > 1 {
            // The first i with start + i * step >= 0, and the first with start + i * step >= extent.
            let reaches = |g: &mut Gen<'_, '_>, bound: Value| {
                let gap = g.b.ins().isub(bound, start);
                let gap = g.max(gap, zero);
                let gap = g.b.ins().iadd_imm_s(gap, step - 1);
                let (i, _) = g.div_rem(gap, &Extent::Const(step));
                g.min(i, length)
            };
            let extent = g.extent(&row.extent);
            (reaches(g, zero), reaches(g, extent))
        } else {
            (zero, length)
        };
        let position = g.times(from, &Extent::Const(step));
        let position = g.b.ins().iadd(position, start);
        let source = g.times(position, &row.stride.scale(4));
        Phase { from, to, source, target: self.block.pitch.scale(4 * number as i64) }
    }

    /// Loops over the levels from `depth` on.
    fn level(
        &self,
        g: &mut Gen<'_, '_>,
        depth: usize,
        starts: &[Value],
        count: Value,
        place: Place,
        body: &mut dyn FnMut(&mut Gen<'_, '_>, Place),
    ) {
        let Some(level) = self.block.levels.get(depth) else { return body(g, place) };
        let dim = &self.window.dims[level.dim];
        let length = match dim.n {
            Some((axis, _)) if axis == self.first_axis => {
                // As many positions as `count` columns reach.
                let last = g.b.ins().iadd_imm_s(count, -1);
                let last = g.times(last, &Extent::Const(level.n_step));
                g.b.ins().iadd_imm_s(last, level.reach + 1)
            }
            _ => g.extent(&level.len),
        };
        let zero = g.int(0);
        let extent = dim.guarded.then(|| g.extent(&dim.extent));
        let step = Extent::Const(level.step);
        let source = g.address(place.source, &[(starts[depth], dim.stride.clone())]);
        let init = [starts[depth], source, place.target];
        let (source_step, target_step) = (dim.stride.scale(4 * level.step), level.stride.scale(4));
        g.carry((zero, length), 1, &init, |g, _, at| {
            let mut valid = place.valid;
            if let Some(extent) = extent {
                let inside = g.b.ins().icmp(IntCC::UnsignedLessThan, at[0], extent);
                valid = Some(match valid {
                    Some(outer) => g.b.ins().band(outer, inside),
                    None => inside,
                });
            }
            let here = Place { source: at[1], target: at[2], valid };
            self.level(g, depth + 1, starts, count, here, body);
            vec![g.plus(at[0], &step), g.plus(at[1], &source_step), g.plus(at[2], &target_step)]
        });
    }

    /// One row, all phases of it.
    fn row(&self, g: &mut Gen<'_, '_>, row: &Dim, phases: &[Phase], length: Value, place: Place) {
        let zero = g.int(0);
        let targets: Vec<Value> = phases.iter().map(|p| g.plus(place.target, &p.target)).collect();
        let copy = |g: &mut Gen<'_, '_>| {
            let mut parts = Vec::with_capacity(phases.len());
            for (phase, &target) in phases.iter().zip(&targets) {
                self.set(g, target, zero, phase.from);
                self.set(g, target, phase.to, length);
                let from = g.b.ins().iadd(place.source, phase.source);
                parts.push(Part { from, to: target, first: phase.from, end: phase.to });
            }
            match &parts[..] {
                [even, odd] if self.block.phases == [0, 1] && row.stride.is(1) && self.block.step == 2 => {
                    copy_pair(g, even, odd);
                }
                _ => parts.iter().for_each(|p| copy_row(g, p, &row.stride.scale(self.block.step))),
            }
        };
        let pad = |g: &mut Gen<'_, '_>| targets.iter().for_each(|&t| self.set(g, t, zero, length));
        match place.valid {
            Some(valid) if self.padded => g.when(valid, copy),
            Some(valid) => g.either(valid, copy, pad),
            None => copy(g),
        }
    }

    /// Writes the value of padding to elements `from..to`.
    fn set(&self, g: &mut Gen<'_, '_>, row: Value, from: Value, to: Value) {
        if self.padded {
            return;
        }
        let fill = g.b.ins().f32const(self.window.fill.to_f32());
        g.range(from, to, |g, i| {
            let at = g.address(row, &[(i, Extent::ONE)]);
            g.b.ins().store(flags(), fill, at, 0);
        });
    }
}
