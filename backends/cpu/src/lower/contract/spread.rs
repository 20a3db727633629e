//! spread - copies of A in which each element lies four times, so that tiles load a vector where they would load and shuffle.
//!
//! Without multiply-adds a step of a tile keeps all units busy, and a shuffle takes the turn of a product
//! (`tile/gemm.rs`). An element is spread once for all panels of columns that it is multiplied with: that takes as long as what
//! two panels gain.

use cranelift_codegen::ir::{
    InstBuilder, Value,
    types::{F32, F32X4},
};
use nnc_ir::extent::Extent;
use nnc_tile::product::Product;

use super::{analyze::Problem, emit::Gen, pack::flags, panel::Panels};
use crate::{kernel::LowerCx, lower::vector::choose, tile::Arithmetic};

/// Times that an element lies there.
pub(super) const COPIES: i64 = 4;
/// Bytes of what is spread at once: they stay in the second-level cache.
pub(super) const BYTES: i64 = 512 << 10;
/// Panels from which on spreading pays.
const PANELS: i64 = 3;
/// Columns of a panel from which on tiles gain by it.
const COLUMNS: i64 = 16;

/// Whether tiles over these panels of `n` columns gain by an A that is spread.
pub(super) fn pays(p: &Problem, cx: &LowerCx<'_>, panels: &Panels, n: &Extent) -> bool {
    let many = panels.count(n).as_const().is_some_and(|count| count >= PANELS);
    let separate = !Arithmetic::of(cx.isa).fused && p.level.is_none();
    separate && p.product == Product::F32 && many && panels.widest() >= COLUMNS
}

/// Spreads `n` elements that are `step` apart.
pub(super) fn elements(g: &mut Gen<'_, '_>, (from, step): (Value, &Extent), n: Value, to: Value) {
    let zero = g.int(0);
    let (done, at) = if step.is(1) {
        let end = g.b.ins().iadd_imm_s(n, 1 - COPIES);
        g.carry_index((zero, end), COPIES, &[from, to], |g, _, at| {
            let x = g.b.ins().load(F32X4, flags(), at[0], 0);
            for (lane, place) in (0..).zip([0, 16, 32, 48]) {
                let x = choose(g.b, x, x, [lane; 4]);
                g.b.ins().store(flags(), x, at[1], place);
            }
            vec![g.b.ins().iadd_imm_s(at[0], 16), g.b.ins().iadd_imm_s(at[1], 64)]
        })
    } else {
        (zero, vec![from, to])
    };
    let step_bytes = step.scale(4);
    g.carry((done, n), 1, &at, |g, _, at| {
        let x = g.b.ins().load(F32, flags(), at[0], 0);
        let x = g.b.ins().splat(F32X4, x);
        g.b.ins().store(flags(), x, at[1], 0);
        vec![g.plus(at[0], &step_bytes), g.b.ins().iadd_imm_s(at[1], 16)]
    });
}
