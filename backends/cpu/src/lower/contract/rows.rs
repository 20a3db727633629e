//! rows - copies of rows: elements that are some distance apart become neighbours.

use cranelift_codegen::ir::{
    InstBuilder, Value,
    condcodes::IntCC,
    types::{F32, F32X4, I32X4},
};
use nnc_ir::extent::Extent;

use super::{emit::Gen, pack::flags};
use crate::lower::vector::{bitcast, interleaved};

/// Elements `first..end` of a row.
#[derive(Clone, Copy)]
pub(super) struct Part {
    /// Address of what becomes element `first`.
    pub(super) from: Value,
    /// Address where element 0 would be.
    pub(super) to: Value,
    pub(super) first: Value,
    pub(super) end: Value,
}

/// Copies elements that are `step` apart.
pub(super) fn copy_row(g: &mut Gen<'_, '_>, part: &Part, step: &Extent) {
    let zero = g.int(0);
    let n = g.b.ins().isub(part.end, part.first);
    let (from, to) = (part.from, g.address(part.to, &[(part.first, Extent::ONE)]));
    let step_bytes = step.scale(4);
    // Whole vectors, while as many elements as `reads` are there.
    let whole = |g: &mut Gen<'_, '_>, (start, at): (Value, [Value; 2]), vectors: i32, reads: i64| {
        let end = g.b.ins().iadd_imm_s(n, 1 - reads);
        g.carry_index((start, end), 4 * i64::from(vectors), &at, |g, _, at| {
            for v in 0..vectors {
                let x = match step {
                    Extent::Const(1) => g.b.ins().load(F32X4, flags(), at[0], 16 * v),
                    _ => load_halves(g, at[0])[0],
                };
                g.b.ins().store(flags(), x, at[1], 16 * v);
            }
            let bytes = i64::from(16 * vectors);
            vec![g.plus(at[0], &step_bytes.scale(4 * i64::from(vectors))), g.b.ins().iadd_imm_s(at[1], bytes)]
        })
    };
    match step {
        Extent::Const(1) => {
            let few = g.b.ins().icmp_imm_s(IntCC::SignedLessThan, n, 4);
            g.either(
                few,
                |g| singles(g, (zero, n), [from, to], &step_bytes),
                |g| {
                    let (done, at) = whole(g, (zero, [from, to]), 4, 16);
                    whole(g, (done, [at[0], at[1]]), 1, 4);
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
            let (done, at) = whole(g, (zero, [from, to]), 1, 5);
            singles(g, (done, n), [at[0], at[1]], &step_bytes);
        }
        _ => singles(g, (zero, n), [from, to], &step_bytes),
    }
}

fn singles(g: &mut Gen<'_, '_>, range: (Value, Value), at: [Value; 2], step_bytes: &Extent) {
    g.carry(range, 1, &at, |g, _, at| {
        let x = g.b.ins().load(F32, flags(), at[0], 0);
        g.b.ins().store(flags(), x, at[1], 0);
        vec![g.plus(at[0], step_bytes), g.b.ins().iadd_imm_s(at[1], 4)]
    });
}

/// Copies the elements at even and at odd positions of one row: element i of `odd` comes right after that of `even`.
pub(super) fn copy_pair(g: &mut Gen<'_, '_>, even: &Part, odd: &Part) {
    let two = Extent::Const(2);
    let first = g.max(even.first, odd.first);
    let end = g.min(even.end, odd.end);
    let skipped = g.b.ins().isub(first, even.first);
    let from = g.address(even.from, &[(skipped, two.clone())]);
    let to = [even, odd].map(|part| g.address(part.to, &[(first, Extent::ONE)]));
    let last = g.b.ins().iadd_imm_s(end, -3);
    let (done, _) = g.carry_index((first, last), 4, &[from, to[0], to[1]], |g, _, at| {
        let halves = load_halves(g, at[0]);
        for (half, to) in halves.into_iter().zip(&at[1..]) {
            g.b.ins().store(flags(), half, *to, 0);
        }
        let from = g.b.ins().iadd_imm_s(at[0], 32);
        vec![from, g.b.ins().iadd_imm_s(at[1], 16), g.b.ins().iadd_imm_s(at[2], 16)]
    });
    // What only one of them has, and what makes no whole vector.
    for part in [even, odd] {
        let before = g.min(first, part.end);
        let after = g.max(done, part.first);
        for (from, to) in [(part.first, before), (after, part.end)] {
            let skipped = g.b.ins().isub(from, part.first);
            let source = g.address(part.from, &[(skipped, two.clone())]);
            let target = g.address(part.to, &[(from, Extent::ONE)]);
            singles(g, (from, to), [source, target], &Extent::Const(8));
        }
    }
}

/// Elements 0, 2, 4, 6 of eight, and 1, 3, 5, 7.
fn load_halves(g: &mut Gen<'_, '_>, from: Value) -> [Value; 2] {
    let both = [0, 16].map(|at| g.b.ins().load(I32X4, flags(), from, at));
    // Elements 0 4 1 5, and 2 6 3 7.
    let parts = interleaved(g.b, both);
    interleaved(g.b, parts).map(|half| bitcast(g.b, F32X4, half))
}
