//! gemm - the inner block of matrix products as CLIF.
//!
//! Share of the machine's 128-bit multiply-add peak (half of that of 256 bits), measured on a Zen 5 core by
//! `cargo bench --profile dev -p nnc-cpu --bench tile`; k = 256, operands in the first-level cache:
//!
//! | rows x columns | 2x20 | 2x24 | 3x12 | 1x40 | 10x4 | 8x4 | 5x8 | 4x8 | 2x16 | 6x8 | 2x12 | 3x8 | 1x16 |
//! |---|---|---|---|---|---|---|---|---|---|---|---|---|---|
//! | % of peak | 93 | 91 | 90 | 89 | 88 | 87 | 86 | 84 | 83 | 81 | 68 | 68 | 50 |
//!
//! Rows of A at a constant or run-time distance are as fast as packed A. 2x20 and 3x12 are as fast at k = 32 as at 1024;
//! 10x4 has 79 % at k = 32. With k = 256 run-time columns cost 2 to 4 %. Bias and relu cost 10 % at k = 16, 2.5 % at 64,
//! 0.5 % at 256. One tile is 0.5 to 2 KB of code and compiles in about 0.6 ms. At `opt_level=speed` the same tiles have
//! half the speed or less (2x20 45 %, 3x12 43 %, 10x4 38 %).
//!
//! Tiles chosen by `cover`, all of k in one step, panel after panel and for each panel all rows (blocks along k or m
//! change nothing here):
//!
//! | whole product | % of peak |
//! |---|---|
//! | 512x512x512; 128x3072x768; 3136x64x576; 2048x512x2048; A in rows, B packed beforehand | 92; 91; 91; 91 |
//! | convolution of window 1 (rows, pixels, k) 256, 3136, 64; 512, 196, 1024; 2048, 49, 512; nothing packed | 89; 92; 87 |
//! | window 3, taps in a table, (rows, image, channels) 64, 56x56, 64; 128, 28x28, 128; 256, 14x14, 256; 512, 7x7, 512 | 91; 90; 86; 80 |
//! | the same, unfolded into packed panels, with the copying | 84; 90; 89; 85 |
//!
//! Why these shapes: below eight accumulators the latency shows; above twelve, Cranelift's copies of a tied multiplicand
//! (it knows only the forms of `vfmadd` that overwrite one) no longer fit in sixteen registers. A broadcast of A that
//! has several uses becomes a load and a shuffle, which takes a multiplier's slot: few rows and many columns make few.
//! Storing A with each element four times avoids the shuffle, and brought the best shape from 93 to 94 %: not worth it.
//!
//! Without multiply-adds (`-- sweep plain`; products and sums are two instructions on two pairs of units) the same shapes have, in
//! % of the same peak: 2x24 81, 2x20 79, 2x16 77, 1x24 75, 3x12 72, 6x8 71, 5x8 69, 4x8 69, 10x4 62. An instruction overwrites one of its
//! operands, so a product takes three: one that fills a register, product and sum, and the core begins six of them a cycle. With
//! two rows the first is a load of B, which is faster than a copy (77 for 2x24). A broadcast of A takes more than its two instructions:
//! its shuffle takes a unit from a product and its load one of two a cycle, and products alone need all of either. In assembly the
//! best order of any such tile has 84 %.
//!
//! With A spread (`contract/spread.rs`, `-- spread plain`), each element four times in memory, a broadcast is one load: 2x24 89, 1x40 89,
//! 2x20 85, 3x12 83, 2x16 82, 2x12 78, 3x8 78, 4x8 78. Loads bound it: 12 products of two rows, whose first vector of B is copied for
//! one of them, take 13 loads, six and a half cycles (92 %; assembly has 93). Copying more of them takes
//! more than it saves. Each element twice would do, with an instruction that doubles what it loads, but Cranelift makes
//! that of a load and a splat only where one instruction uses it.

mod args;
mod steps;

pub use self::args::{GemmArgs, OutputArg};

use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{Function, InstBuilder, Value};
use cranelift_codegen::isa::TargetIsa;
use cranelift_frontend::FunctionBuilder;
use nnc_tile::epilogue::EpilogueInput;
use nnc_tile::gemm::{Cols, GemmTile, Init};
use nnc_tile::stream::Element;

use self::steps::emit_sums;
use super::arithmetic::Arithmetic;
use super::chains;
use super::epilogue::{self, SIDE_BY_SIDE};
use super::loops::function_of_i64;
use super::memory::{
    Rows, advance, byte_offset, copy_elements, copy_rows, load_lanes, output_flags, scratch, store_bytes,
    store_lanes,
};
use super::multiply;

/// Operations of an epilogue that leave no register for sums that wait.
const LONG: usize = 12;

/// Choices of the emission that change speed and no bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Schedule {
    /// Steps of k in one turn of the main loop.
    pub unroll: u32,
    /// Whether the vector of B is the first multiplicand, whose register the result takes over.
    pub vector_first: bool,
    /// Whether vectors of B go round outside rows of A.
    pub cols_outer: bool,
    /// Whether each product reads its vector of B itself, into the register that the product takes over.
    pub reload: bool,
    /// How many vectors of each row of B are read once all the same, and copied: the first.
    pub copied: usize,
}

impl Schedule {
    /// The best found for a tile; see the table above.
    #[must_use]
    pub fn of(spec: &GemmTile, arithmetic: Arithmetic) -> Self {
        if !arithmetic.fused {
            let (vector_first, cols_outer) = match (spec.rows, spec.panel) {
                (1, 32..) => (true, true),
                (1, _) => (true, false),
                (2, _) => (true, true),
                (3, 12) => (true, false),
                (3 | 4, _) => (false, true),
                _ => (false, false),
            };
            return Schedule {
                unroll: 4,
                vector_first,
                cols_outer,
                reload: spec.panel >= 16 && (spec.rows == 2 || spec.a_spread && spec.rows == 1),
                copied: if spec.a_spread { 1 } else { 0 },
            };
        }
        let (unroll, vector_first, cols_outer) = match (spec.rows, spec.panel) {
            (1 | 2, _) => (8, false, true),
            (4, 8) => (4, false, true),
            (5, 8) => (8, false, false),
            _ => (8, true, false),
        };
        Schedule { unroll, vector_first, cols_outer, reload: false, copied: 0 }
    }
}

/// A function of the arguments of [`GemmTile::args`], 64-bit each, that computes one tile.
#[must_use]
pub fn gemm_tile_function(spec: &GemmTile, isa: &dyn TargetIsa, schedule: Schedule) -> Function {
    function_of_i64(spec.args().len(), isa, |builder, params| {
        emit_gemm_tile(builder, Arithmetic::of(isa), spec, &GemmArgs::from_params(spec, params), schedule);
    })
}

/// Emits a tile at the builder's current block.
///
/// # Panics
/// If the spec is not valid or an argument it asks for is missing.
pub fn emit_gemm_tile(
    builder: &mut FunctionBuilder,
    arithmetic: Arithmetic,
    spec: &GemmTile,
    args: &GemmArgs,
    schedule: Schedule,
) {
    spec.check();
    if spec.is_stacked() {
        return chains::emit_blocks(builder, spec, args, |builder, args| {
            emit_block(builder, arithmetic, spec, args, schedule);
        });
    }
    emit_block(builder, arithmetic, spec, args, schedule);
}

/// One block of rows.
fn emit_block(
    builder: &mut FunctionBuilder,
    arithmetic: Arithmetic,
    spec: &GemmTile,
    args: &GemmArgs,
    schedule: Schedule,
) {
    let rows = usize::from(spec.rows);
    // Lanes of C in each vector of a row. With a run-time number of columns all lanes are computed, in scratch.
    let n_cols = match spec.cols {
        Cols::Const(n) => usize::from(n),
        Cols::Arg => usize::from(spec.panel),
    };
    let n_vectors = n_cols.div_ceil(4) * usize::from(spec.groups());
    let lanes = |i: usize| (n_cols - 4 * i).min(4);

    let n_stored = args.cols.filter(|_| spec.cols == Cols::Arg);
    assert!(spec.cols != Cols::Arg || n_stored.is_some(), "run-time columns are an argument");
    let places: Vec<(Value, Value)> =
        std::iter::once((args.c, args.ldc)).chain(args.outputs.iter().map(|o| (o.ptr, o.stride))).collect();
    let mut outputs = Vec::with_capacity(places.len());
    for ((ptr, stride), element) in places.into_iter().zip(spec.stores()) {
        let stride_bytes = match element.bytes() {
            1 => stride,
            _ => builder.ins().ishl_imm_u(stride, 2),
        };
        let memory = Rows { ptr, stride_bytes };
        let rows = match n_stored {
            None => memory,
            Some(_) => Rows {
                ptr: scratch(builder, rows * n_cols),
                stride_bytes: {
                    let bytes = i64::try_from(n_cols * element.bytes()).expect("tiles are small");
                    builder.ins().iconst(I64, bytes)
                },
            },
        };
        outputs.push(Target { rows, memory, element: *element });
    }
    let (c, target) = (outputs[0].memory, outputs[0].rows);

    let init = match spec.init {
        Init::Zero => (0..rows * n_vectors).map(|_| multiply::zero(builder, spec.product)).collect(),
        Init::Load => {
            if let Some(n) = n_stored {
                copy_rows(builder, target, c, rows, n);
            }
            let mut init = Vec::with_capacity(rows * n_vectors);
            for m in 0..rows {
                let row = advance(builder, target.ptr, target.stride_bytes, m);
                for i in 0..n_vectors {
                    let sums = load_lanes(builder, output_flags(), row, byte_offset(4 * i), lanes(i));
                    init.push(multiply::of_type(builder, spec.product, sums));
                }
            }
            init
        }
    };

    let sums = match spec.chains {
        Some(of) => chains::emit_sums(builder, arithmetic, spec, of, args),
        None => emit_sums(builder, spec, args, (schedule, arithmetic), n_vectors, init),
    };

    let operands = epilogue::bind(builder, spec.epilogue.as_ref(), &args.epilogue, |builder, kind, from| {
        let n_rows = if kind == EpilogueInput::Tile { rows } else { 1 };
        stage(builder, from, n_stored, n_rows, n_cols)
    });
    // Where an epilogue needs many registers, sums wait in memory: else some would be there during the loop, too.
    let long = spec.epilogue.as_ref().is_some_and(|e| e.program.ops().len() > LONG);
    let waiting = long.then(|| {
        let memory = scratch(builder, sums.len() * 4);
        for (at, &sum) in sums.iter().enumerate() {
            builder.ins().store(output_flags(), sum, memory, byte_offset(4 * at));
        }
        memory
    });
    // Sums that wait in registers leave few for others.
    let side = if long || arithmetic.fused { SIDE_BY_SIDE } else { 1 };
    for m in 0..rows {
        let of_row = epilogue::of_row(builder, &operands, m);
        let sum = |builder: &mut FunctionBuilder, i: usize| {
            let at = m * n_vectors + i;
            let ty = builder.func.dfg.value_type(sums[at]);
            let load = |memory| builder.ins().load(ty, output_flags(), memory, byte_offset(4 * at));
            waiting.map_or(sums[at], load)
        };
        let places: Vec<Value> = outputs
            .iter()
            .map(|output| advance(builder, output.rows.ptr, output.rows.stride_bytes, m))
            .collect();
        epilogue::apply_all(
            builder,
            arithmetic,
            spec.epilogue.as_ref(),
            (&of_row, side),
            (n_vectors, sum),
            lanes,
            |builder, i, results| {
                for ((output, &row), &result) in outputs.iter().zip(&places).zip(results) {
                    match output.element.bytes() {
                        1 => store_bytes(builder, result, row, 4 * i, lanes(i)),
                        _ => store_lanes(builder, result, row, byte_offset(4 * i), lanes(i)),
                    }
                }
            },
        );
    }
    if let Some(n) = n_stored {
        for output in &outputs {
            copy_elements(builder, output.memory, output.rows, rows, n, output.element.bytes());
        }
    }
}

/// Where results are put, and where they are to be: the same but for a run-time number of columns.
struct Target {
    rows: Rows,
    memory: Rows,
    element: Element,
}

/// Rows as they are, or copied to scratch memory with all `n_cols` columns readable if only `n` may be read.
fn stage(builder: &mut FunctionBuilder, from: Rows, n: Option<Value>, n_rows: usize, n_cols: usize) -> Rows {
    let Some(n) = n else { return from };
    let ptr = scratch(builder, n_rows * n_cols);
    let stride_bytes = builder.ins().iconst(I64, i64::from(byte_offset(n_cols)));
    let to = Rows { ptr, stride_bytes };
    copy_rows(builder, to, from, n_rows, n);
    to
}
