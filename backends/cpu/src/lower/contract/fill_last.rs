//! fill_last - copies the rows of the input that windows reach to scratch memory, padded and with channels last.

use cranelift_codegen::ir::{
    InstBuilder, Value,
    condcodes::IntCC,
    types::{F32, F32X4},
};
use nnc_ir::extent::Extent;

use super::{
    emit::Gen,
    last::Windows,
    pack::flags,
    rows::{Part, copy_row},
};

/// Elements that vectors may write beyond the block.
const SLACK: i64 = 16;
/// Up to so many channels of a pixel are copied one after another.
const FEW: i64 = 8;

/// The block: lines of positions of channels.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// Positions of a line.
    pub(super) pitch: Extent,
    /// Channels of a position.
    pub(super) channels: i64,
    /// Lines, at most.
    pub(super) lines: i64,
}

impl Target {
    /// Bytes of the block.
    pub(super) fn bytes(&self) -> Extent {
        let elements = self.pitch.scale(self.channels * self.lines);
        (&elements + &Extent::Const(SLACK)).ceil_div(&Extent::Const(16)).scale(64)
    }
}

/// Address of the input at the first channel and at position 0 of the axes with windows; `around` are positions on the
/// axes around.
pub(super) fn source(
    g: &mut Gen<'_, '_>,
    windows: &Windows,
    tensor: Value,
    around: &[(usize, Value)],
) -> Value {
    let mut source = tensor;
    for (d, dim) in windows.window.dims.iter().enumerate() {
        if d == windows.x.dim || windows.y.is_some_and(|y| y.dim == d) {
            continue;
        }
        let mut position = g.extent(&dim.base);
        for (axis, step) in &dim.outer {
            if let Some((_, i)) = around.iter().find(|(a, _)| a == axis) {
                let step = g.times(*i, step);
                position = g.b.ins().iadd(position, step);
            }
        }
        source = g.address(source, &[(position, dim.stride.clone())]);
    }
    source
}

/// Emits the copy for rows `from .. from + count` of the result.
pub(super) fn emit(
    g: &mut Gen<'_, '_>,
    windows: &Windows,
    target: &Target,
    source: Value,
    around: &[(usize, Value)],
    (from, count): (Value, Value),
    memory: Value,
) {
    let (zero, pitch) = (g.int(0), g.extent(&target.pitch));
    let shifted = |g: &mut Gen<'_, '_>, dim: usize| {
        let dim = &windows.window.dims[dim];
        let mut at = g.extent(&dim.base);
        for (axis, step) in &dim.outer {
            if let Some((_, i)) = around.iter().find(|(a, _)| a == axis) {
                let step = g.times(*i, step);
                at = g.b.ins().iadd(at, step);
            }
        }
        at
    };
    let row = windows.dim(&windows.x);
    let x0 = shifted(g, windows.x.dim);
    // Positions of a line that are in the input.
    let (left, right) = if row.guarded {
        let before = g.b.ins().isub(zero, x0);
        let before = g.max(before, zero);
        let before = g.min(before, pitch);
        let extent = g.extent(&row.extent);
        let after = g.b.ins().isub(extent, x0);
        let after = g.max(after, before);
        (before, g.min(after, pitch))
    } else {
        (zero, pitch)
    };
    let at = g.b.ins().iadd(x0, left);
    let source = g.address(source, &[(at, row.stride.clone())]);
    let line_bytes = target.pitch.scale(4 * target.channels);
    let (left_end, right_start, line_end) = {
        let channels = Extent::Const(target.channels);
        (g.times(left, &channels), g.times(right, &channels), g.times(pitch, &channels))
    };
    let line = |g: &mut Gen<'_, '_>, source: Value, to: Value| {
        // Vectors of the value of padding may reach beyond it: what lies there is written later.
        set(g, windows, to, zero, left_end);
        pixels(g, windows, target, (source, to), (left, right));
        set(g, windows, to, right_start, line_end);
    };
    match windows.y {
        None => line(g, source, memory),
        Some(y) => {
            let dim = windows.dim(&y);
            let start = shifted(g, y.dim);
            let first = g.times(from, &Extent::Const(y.stride));
            let start = g.b.ins().iadd(start, first);
            let last = g.b.ins().iadd_imm_s(count, -1);
            let last = g.times(last, &Extent::Const(y.stride));
            let lines = g.b.ins().iadd_imm_s(last, y.reach() + 1);
            let source = g.address(source, &[(start, dim.stride.clone())]);
            let extent = dim.guarded.then(|| g.extent(&dim.extent));
            g.carry((zero, lines), 1, &[start, source, memory], |g, _, at| {
                match extent {
                    Some(extent) => {
                        let inside = g.b.ins().icmp(IntCC::UnsignedLessThan, at[0], extent);
                        g.either(
                            inside,
                            |g| line(g, at[1], at[2]),
                            |g| set(g, windows, at[2], zero, line_end),
                        );
                    }
                    None => line(g, at[1], at[2]),
                }
                let next = g.plus(at[1], &dim.stride.scale(4));
                vec![g.b.ins().iadd_imm_s(at[0], 1), next, g.plus(at[2], &line_bytes)]
            });
        }
    }
}

/// Copies positions `left..right` of a line; the source begins at position `left`.
fn pixels(
    g: &mut Gen<'_, '_>,
    windows: &Windows,
    target: &Target,
    (source, to): (Value, Value),
    (left, right): (Value, Value),
) {
    let position = &windows.dim(&windows.x).stride;
    let channel = windows.channels.map_or(Extent::ONE, |(d, _)| windows.window.dims[d].stride.clone());
    let channels = Extent::Const(target.channels);
    if channel.is(1) && *position == channels {
        let (first, end) = (g.times(left, &channels), g.times(right, &channels));
        copy_row(g, &Part { from: source, to, first, end }, &Extent::ONE);
        return;
    }
    let to = g.address(to, &[(left, channels.clone())]);
    let count = g.b.ins().isub(right, left);
    let zero = g.int(0);
    let move_one = |g: &mut Gen<'_, '_>, from: Value, to: Value, at: i64| {
        let x = g.b.ins().load(F32, flags(), from, 0);
        g.b.ins().store(flags(), x, to, 4 * at as i32);
    };
    if channel.is(1) {
        g.carry((zero, count), 1, &[source, to], |g, _, at| {
            let end = g.extent(&channels);
            copy_row(g, &Part { from: at[0], to: at[1], first: zero, end }, &Extent::ONE);
            vec![g.plus(at[0], &position.scale(4)), g.plus(at[1], &channels.scale(4))]
        });
    } else if target.channels <= FEW {
        g.carry((zero, count), 1, &[source, to], |g, _, at| {
            let mut from = at[0];
            for c in 0..target.channels {
                move_one(g, from, at[1], c);
                from = g.plus(from, &channel.scale(4));
            }
            vec![g.plus(at[0], &position.scale(4)), g.plus(at[1], &channels.scale(4))]
        });
    } else {
        let all = g.extent(&channels);
        g.carry((zero, all), 1, &[source, to], |g, _, at| {
            g.carry((zero, count), 1, &[at[0], at[1]], |g, _, at| {
                move_one(g, at[0], at[1], 0);
                vec![g.plus(at[0], &position.scale(4)), g.plus(at[1], &channels.scale(4))]
            });
            vec![g.plus(at[0], &channel.scale(4)), g.b.ins().iadd_imm_s(at[1], 4)]
        });
    }
}

/// Writes the value of padding to elements `from..to` of a line, and to up to three after them.
fn set(g: &mut Gen<'_, '_>, windows: &Windows, line: Value, from: Value, to: Value) {
    let fill = g.b.ins().f32const(windows.window.fill.to_f32());
    let fill = g.b.ins().splat(F32X4, fill);
    let start = g.address(line, &[(from, Extent::ONE)]);
    g.carry((from, to), 4, &[start], |g, _, at| {
        g.b.ins().store(flags(), fill, at[0], 0);
        vec![g.b.ins().iadd_imm_s(at[0], 16)]
    });
}
