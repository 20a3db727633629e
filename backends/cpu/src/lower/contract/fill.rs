//! fill - copies the part of a tensor that windows reach to a block in scratch memory, padded and in phases.

use cranelift_codegen::ir::{
    Endianness, InstBuilder, MemFlagsData, Value,
    condcodes::IntCC,
    types::{F32, F32X4, I8X16},
};
use nnc_ir::extent::Extent;

use super::{
    emit::Gen,
    pack::flags,
    window::{Block, Dim, Window},
};

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
            for phase in &phases {
                self.row(g, row, phase, length, place);
            }
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

    /// One phase of one row.
    fn row(&self, g: &mut Gen<'_, '_>, row: &Dim, phase: &Phase, length: Value, place: Place) {
        let target = g.plus(place.target, &phase.target);
        let zero = g.int(0);
        let copy = |g: &mut Gen<'_, '_>| {
            let from = g.b.ins().iadd(place.source, phase.source);
            self.set(g, target, zero, phase.from);
            let to = g.address(target, &[(phase.from, Extent::ONE)]);
            let n = g.b.ins().isub(phase.to, phase.from);
            copy_row(g, from, to, n, &row.stride.scale(self.block.step));
            self.set(g, target, phase.to, length);
        };
        match place.valid {
            Some(valid) if self.padded => g.when(valid, copy),
            Some(valid) => g.either(valid, copy, |g| self.set(g, target, zero, length)),
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

/// Copies `n` elements that are `step` apart to where they are neighbours.
fn copy_row(g: &mut Gen<'_, '_>, from: Value, to: Value, n: Value, step: &Extent) {
    let zero = g.int(0);
    let step_bytes = step.scale(4);
    let one = |g: &mut Gen<'_, '_>, at: &[Value]| {
        let x = g.b.ins().load(F32, flags(), at[0], 0);
        g.b.ins().store(flags(), x, at[1], 0);
        vec![g.plus(at[0], &step_bytes), g.b.ins().iadd_imm_s(at[1], 4)]
    };
    // Whole vectors, while as many elements as `reads` are there.
    let whole = |g: &mut Gen<'_, '_>, reads: i64| {
        let end = g.b.ins().iadd_imm_s(n, 1 - reads);
        g.carry_index((zero, end), 4, &[from, to], |g, _, at| {
            let x = match reads {
                4 => g.b.ins().load(F32X4, flags(), at[0], 0),
                _ => load_evens(g, at[0]),
            };
            g.b.ins().store(flags(), x, at[1], 0);
            vec![g.plus(at[0], &step_bytes.scale(4)), g.b.ins().iadd_imm_s(at[1], 16)]
        })
    };
    match step {
        Extent::Const(1) => {
            let few = g.b.ins().icmp_imm_s(IntCC::SignedLessThan, n, 4);
            g.either(
                few,
                |g| {
                    g.carry((zero, n), 1, &[from, to], |g, _, at| one(g, at));
                },
                |g| {
                    whole(g, 4);
                    // The last vector again, ending where the row ends.
                    let last = g.b.ins().iadd_imm_s(n, -4);
                    let from = g.address(from, &[(last, Extent::ONE)]);
                    let to = g.address(to, &[(last, Extent::ONE)]);
                    let x = g.b.ins().load(F32X4, flags(), from, 0);
                    g.b.ins().store(flags(), x, to, 0);
                },
            );
        }
        Extent::Const(2) => {
            // The element after the last may not be there.
            let (done, at) = whole(g, 5);
            g.carry((done, n), 1, &at, |g, _, at| one(g, at));
        }
        _ => {
            g.carry((zero, n), 1, &[from, to], |g, _, at| one(g, at));
        }
    }
}

/// Elements 0, 2, 4 and 6; reads element 7, too.
fn load_evens(g: &mut Gen<'_, '_>, from: Value) -> Value {
    let little = MemFlagsData::new().with_endianness(Endianness::Little);
    let a = g.b.ins().load(I8X16, flags(), from, 0);
    let b = g.b.ins().load(I8X16, flags(), from, 16);
    // Lanes of four bytes: 0 4 1 5 and 2 6 3 7, and of these the first halves' lanes by turns.
    let interleave = |g: &mut Gen<'_, '_>, a: Value, b: Value, first: u8| {
        let lanes = [first, 4 + first, first + 1, 5 + first];
        let mask: Vec<u8> = lanes.iter().flat_map(|l| (0..4).map(move |i| 4 * l + i)).collect();
        let mask = g.b.func.dfg.immediates.push(mask.into());
        g.b.ins().shuffle(a, b, mask)
    };
    let (low, high) = (interleave(g, a, b, 0), interleave(g, a, b, 2));
    let evens = interleave(g, low, high, 0);
    g.b.ins().bitcast(F32X4, little, evens)
}
