//! pack - copies a panel of columns into scratch memory while running, also into the order of chains.

use cranelift_codegen::ir::{
    InstBuilder, MemFlagsData, Type, Value,
    types::{F32, F32X4},
};
use nnc_ir::extent::Extent;
use nnc_tile::{
    Tile,
    gemm::{Chains, Cols, Part},
    transpose::{Transpose, TransposeArg},
};

use super::{emit::Gen, panel::At};
use crate::wide::{self, TileNumber};

/// Flags of every access to tensors and scratch memory.
pub(super) fn flags() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

/// Copies columns of rows that lie `n_stride` apart in memory, for all positions of the sum.
///
/// `sums` are extents and distances of the axes of the sum; the panel gets rows of its width. Lanes beyond the columns of
/// the panel are left as they are: tiles compute with them and store nothing of it.
pub(super) fn columns(
    g: &mut Gen<'_, '_>,
    from: Value,
    to: Value,
    at: At,
    n_stride: &Extent,
    sums: &[(Extent, Extent)],
) {
    let width = i64::from(at.width);
    let is_dense = n_stride.is(1);
    if let [(k, step)] = sums
        && step.is(1)
        && !is_dense
        && let Some(tile) = g.wide_tile(&Tile::Transpose(TURNED))
    {
        return turned(g, tile, (from, n_stride), (to, width), (k, at));
    }
    match at.cols {
        Cols::Const(cols) => {
            let cols = i64::from(cols);
            let quads = if is_dense { cols / 4 } else { 0 };
            if quads > 0 {
                let lanes: Vec<i64> = (0..quads).map(|q| 4 * q).collect();
                walk(g, from, to, width, sums, F32X4, &lanes, n_stride);
            }
            let lanes: Vec<i64> = (4 * quads..cols).collect();
            // Few at a time, so that the loop's addresses stay in registers.
            for lanes in lanes.chunks(if is_dense { 4 } else { 10 }) {
                walk(g, from, to, width, sums, F32, lanes, n_stride);
            }
        }
        Cols::Arg => {
            let cols = at.cols_value.expect("a run-time number of columns comes with its value");
            let zero = g.int(0);
            let whole = if is_dense { g.b.ins().band_imm_s(cols, -4) } else { zero };
            let column = |g: &mut Gen<'_, '_>, j: Value, ty: Type| {
                let from = g.address(from, &[(j, n_stride.clone())]);
                let to = g.address(to, &[(j, Extent::ONE)]);
                walk(g, from, to, width, sums, ty, &[0], n_stride);
            };
            if is_dense {
                g.carry((zero, whole), 4, &[], |g, j, _| {
                    column(g, j, F32X4);
                    vec![]
                });
            }
            g.range(whole, cols, |g, j| column(g, j, F32));
        }
    }
}

/// Columns become rows, by a tile.
const TURNED: Transpose = Transpose { pairs: false };

/// Copies columns whose elements are neighbours along the sum.
fn turned(
    g: &mut Gen<'_, '_>,
    tile: TileNumber,
    (from, n_stride): (Value, &Extent),
    (to, width): (Value, i64),
    (k, at): (&Extent, At),
) {
    let columns = match at.cols {
        Cols::Const(cols) => g.int(i64::from(cols)),
        Cols::Arg => at.cols_value.expect("a run-time number of columns comes with its value"),
    };
    let args = TURNED.args().into_iter().map(|arg| match arg {
        TransposeArg::X => from,
        TransposeArg::Y => to,
        TransposeArg::Rows => g.extent(k),
        TransposeArg::Columns => columns,
        TransposeArg::XStep => g.extent(n_stride),
        TransposeArg::YStep => g.int(width),
    });
    let args: Vec<Value> = args.collect();
    wide::call(g.b, tile, &args);
}

/// For every position of the sum, moves lanes of type `ty`: element j of a row is `j * n_stride` from its start.
#[allow(clippy::too_many_arguments, reason = "one call says where from, where to and how much")]
fn walk(
    g: &mut Gen<'_, '_>,
    from: Value,
    to: Value,
    width: i64,
    sums: &[(Extent, Extent)],
    ty: Type,
    lanes: &[i64],
    n_stride: &Extent,
) {
    let Some(((extent, step), rest)) = sums.split_first() else {
        return move_lanes(g, from, to, ty, lanes, n_stride);
    };
    let below = rest.iter().fold(Extent::ONE, |p, (e, _)| &p * e);
    let (zero, n) = (g.int(0), g.extent(extent));
    let step = step.scale(4);
    let to_step = below.scale(4 * width);
    g.carry((zero, n), 1, &[from, to], |g, _, at| {
        walk(g, at[0], at[1], width, rest, ty, lanes, n_stride);
        vec![g.plus(at[0], &step), g.plus(at[1], &to_step)]
    });
}

fn move_lanes(g: &mut Gen<'_, '_>, from: Value, to: Value, ty: Type, lanes: &[i64], n_stride: &Extent) {
    let disp = |x: i64| i32::try_from(4 * x).ok();
    for &lane in lanes {
        let constant = n_stride.as_const().and_then(|s| disp(s.checked_mul(lane)?));
        let (addr, at) = match constant {
            Some(at) => (from, at),
            None => {
                let lane = Extent::Const(lane);
                (g.plus(from, &(n_stride * &lane).scale(4)), 0)
            }
        };
        let x = g.b.ins().load(ty, flags(), addr, at);
        g.b.ins().store(flags(), x, to, disp(lane).unwrap_or(0));
    }
}

/// Copies a panel of k rows in the order of its chains: elements are `steps` apart along k and along columns. What is beyond the
/// rows and is multiplied all the same becomes zero.
pub(super) fn in_chains(
    g: &mut Gen<'_, '_>,
    [from, to]: [Value; 2],
    (panel, k, chains): (u16, i64, Chains),
    steps: [&Extent; 2],
) {
    let turn = i64::from(chains.count);
    let (zero, turns) = (g.int(0), g.int(k / turn));
    let (from_step, to_step) = (steps[0].scale(4 * turn), 4 * turn * i64::from(panel));
    let parts = chains.parts(usize::from(panel));
    let of_turn = |g: &mut Gen<'_, '_>, at: &[Value], some: i64| {
        for part in &parts {
            let from = g.plus(at[0], &steps[1].scale(4 * part.first as i64));
            let to = g.b.ins().iadd_imm_s(at[1], 4 * turn * part.first as i64);
            for first in (0..some).step_by(part.chains) {
                let from = g.plus(from, &steps[0].scale(4 * first));
                let to = g.b.ins().iadd_imm_s(to, 4 * first * part.cols as i64);
                columns_of_chains(g, [from, to], (*part, some - first), steps);
            }
        }
    };
    let rest = g.carry((zero, turns), 1, &[from, to], |g, _, at| {
        of_turn(g, at, turn);
        vec![g.plus(at[0], &from_step), g.b.ins().iadd_imm_s(at[1], to_step)]
    });
    of_turn(g, &rest, k % turn);
}

/// One step of each chain, for all columns of a part; `left` rows are there.
fn columns_of_chains(
    g: &mut Gen<'_, '_>,
    [from, to]: [Value; 2],
    (part, left): (Part, i64),
    [k_step, n_step]: [&Extent; 2],
) {
    let (zero, columns) = (g.int(0), g.int(part.cols as i64));
    // Neighbours of one row stay neighbours.
    let (ty, at_once) = if part.chains == 1 && n_step.is(1) { (F32X4, 4) } else { (F32, 1) };
    let (from_step, to_step) = (n_step.scale(4 * at_once), 4 * at_once * part.chains as i64);
    g.carry((zero, columns), at_once, &[from, to], |g, _, at| {
        let mut chain = 0;
        while chain < part.chains as i64 {
            // Steps that are neighbours are moved four at once.
            let four = k_step.is(1) && chain + 4 <= left.min(part.chains as i64);
            let moved = if four { F32X4 } else { ty };
            let x = if chain < left {
                let distance = k_step.scale(4 * chain);
                let near = distance.as_const().and_then(|bytes| i32::try_from(bytes).ok());
                let from = if near.is_some() { at[0] } else { g.plus(at[0], &distance) };
                g.b.ins().load(moved, flags(), from, near.unwrap_or(0))
            } else {
                g.b.ins().f32const(0.0)
            };
            let place = i32::try_from(4 * chain).expect("chains are few");
            g.b.ins().store(flags(), x, at[1], place);
            chain += if four { 4 } else { 1 };
        }
        vec![g.plus(at[0], &from_step), g.b.ins().iadd_imm_s(at[1], to_step)]
    });
}
