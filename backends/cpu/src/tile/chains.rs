//! chains - sums of several chains as CLIF, element by element; columns may be in parts.
//!
//! No target needs them fast: tiles of chains fill vectors of 256 or 512 bits, and those with 128 have narrower panels.

use cranelift_codegen::ir::{
    InstBuilder, Value,
    condcodes::IntCC,
    types::{F32X4, I64},
};
use cranelift_frontend::FunctionBuilder;
use nnc_tile::{
    epilogue::EpilogueInput,
    gemm::{Chains, GemmTile, Part, Stride},
};

use super::{
    arithmetic::Arithmetic,
    gemm::GemmArgs,
    loops::{counted_loop, while_loop},
    memory::{byte_offset, input_flags, load_splat, output_flags, scratch, store_lanes},
    program::splat_f32,
};

/// Runs `body` for every block of rows.
pub(super) fn emit_blocks(
    builder: &mut FunctionBuilder,
    spec: &GemmTile,
    args: &GemmArgs,
    body: impl FnOnce(&mut FunctionBuilder, &GemmArgs),
) {
    let rows = i64::from(spec.rows);
    let blocks = args.blocks.expect("tiles of chains are told their number of blocks");
    // What each pointer moves on by, in bytes.
    let rows_of = |builder: &mut FunctionBuilder, stride: Value, bytes: usize| {
        builder.ins().imul_imm_s(stride, rows * bytes as i64)
    };
    let a_step = match spec.a_row {
        Stride::Const(n) => builder.ins().iconst(I64, 4 * rows * i64::from(n)),
        Stride::Arg => {
            let stride = args.a_row.expect("a stride that is not constant is an argument");
            rows_of(builder, stride, 4)
        }
    };
    let mut moves = vec![(args.a, a_step)];
    let results = std::iter::once((args.c, args.ldc)).chain(args.outputs.iter().map(|o| (o.ptr, o.stride)));
    for ((ptr, stride), element) in results.zip(spec.stores()) {
        moves.push((ptr, rows_of(builder, stride, element.bytes())));
    }
    let kinds = spec.epilogue.as_ref().map_or(&[][..], |e| &e.inputs);
    for (kind, arg) in kinds.iter().zip(&args.epilogue) {
        let step = match (kind, arg.stride) {
            (EpilogueInput::Row, _) => builder.ins().iconst(I64, 4 * rows),
            (EpilogueInput::Tile, Some(stride)) => rows_of(builder, stride, 4),
            _ => builder.ins().iconst(I64, 0),
        };
        moves.push((arg.ptr, step));
    }
    let (start, steps): (Vec<Value>, Vec<Value>) = moves.into_iter().unzip();
    counted_loop(builder, blocks, 1, &start, |builder, _, at| {
        let mut args = args.clone();
        (args.a, args.c) = (at[0], at[1]);
        let (outputs, operands) = at[2..].split_at(args.outputs.len());
        for (output, &ptr) in args.outputs.iter_mut().zip(outputs) {
            output.ptr = ptr;
        }
        for (operand, &ptr) in args.epilogue.iter_mut().zip(operands) {
            operand.ptr = ptr;
        }
        body(builder, &args);
        at.iter().zip(&steps).map(|(&ptr, &step)| builder.ins().iadd(ptr, step)).collect()
    });
}

/// The sums of all rows, four columns in a vector.
pub(super) fn emit_sums(
    builder: &mut FunctionBuilder,
    arithmetic: Arithmetic,
    spec: &GemmTile,
    chains: Chains,
    args: &GemmArgs,
) -> Vec<Value> {
    let (rows, panel, turn) = (usize::from(spec.rows), usize::from(spec.panel), usize::from(chains.count));
    let quads = panel.div_ceil(4);
    let memory = scratch(builder, rows * 4 * quads);
    let row_bytes = match spec.a_row {
        Stride::Const(n) => builder.ins().iconst(I64, i64::from(byte_offset(n as usize))),
        Stride::Arg => {
            let elements = args.a_row.expect("a stride that is not constant is an argument");
            builder.ins().ishl_imm_u(elements, 2)
        }
    };
    let count = |builder: &mut FunctionBuilder, n: usize| {
        let n = i64::try_from(n).expect("tiles are small");
        builder.ins().iconst(I64, n)
    };
    let turns = builder.ins().ushr_imm_u(args.k, i64::from(turn.trailing_zeros()));
    let length = builder.ins().imul_imm_s(turns, i64::from(byte_offset(turn)));
    let n_rows = count(builder, rows);
    counted_loop(builder, n_rows, 1, &[args.a, memory], |builder, _, row| {
        let (a, to) = (row[0], row[1]);
        let end = builder.ins().iadd(a, length);
        for part in chains.parts(panel) {
            let n_columns = count(builder, part.cols);
            let b = builder.ins().iadd_imm_s(args.b, i64::from(byte_offset(turn * part.first)));
            let to = builder.ins().iadd_imm_s(to, i64::from(byte_offset(part.first)));
            counted_loop(builder, n_columns, 1, &[b, to], |builder, _, column| {
                let zero = splat_f32(builder, 0);
                let chain = |_| zero;
                let start: Vec<Value> =
                    [a, column[0]].into_iter().chain((0..part.chains).map(chain)).collect();
                let done = while_loop(
                    builder,
                    &start,
                    |builder, at| builder.ins().icmp(IntCC::UnsignedLessThan, at[0], end),
                    |builder, at| {
                        let sums = steps(builder, arithmetic, part, at, turn);
                        let a = builder.ins().iadd_imm_s(at[0], i64::from(byte_offset(turn)));
                        let b = builder.ins().iadd_imm_s(at[1], i64::from(byte_offset(turn * panel)));
                        [a, b].into_iter().chain(sums).collect()
                    },
                );
                let mut sums = steps(builder, arithmetic, part, &done, usize::from(chains.rest));
                while sums.len() > 1 {
                    sums = sums.chunks(2).map(|pair| builder.ins().fadd(pair[0], pair[1])).collect();
                }
                store_lanes(builder, sums[0], column[1], 0, 1);
                let b = builder.ins().iadd_imm_s(column[0], i64::from(byte_offset(part.chains)));
                vec![b, builder.ins().iadd_imm_s(column[1], 4)]
            });
        }
        let a = builder.ins().iadd(a, row_bytes);
        vec![a, builder.ins().iadd_imm_s(to, i64::from(byte_offset(4 * quads)))]
    });
    (0..rows * quads)
        .map(|at| builder.ins().load(F32X4, output_flags(), memory, byte_offset(4 * at)))
        .collect()
}

/// So many steps of a column's chains: at the places in A and B, with sums behind these.
fn steps(
    builder: &mut FunctionBuilder,
    arithmetic: Arithmetic,
    part: Part,
    at: &[Value],
    some: usize,
) -> Vec<Value> {
    let mut sums = at[2..].to_vec();
    for k in 0..some.next_multiple_of(part.chains) {
        let (group, chain) = (k / part.chains, k % part.chains);
        let x = match k < some {
            true => load_splat(builder, input_flags(), at[0], byte_offset(k)),
            false => splat_f32(builder, 0),
        };
        let place = group * part.cols * part.chains + chain;
        let y = load_splat(builder, input_flags(), at[1], byte_offset(place));
        sums[chain] = arithmetic.step(builder, x, y, sums[chain]);
    }
    sums
}
