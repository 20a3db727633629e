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

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{F32X4, I32X4, I64};
use cranelift_codegen::ir::{Endianness, Function, InstBuilder, MemFlagsData, Value};
use cranelift_codegen::isa::TargetIsa;
use cranelift_frontend::FunctionBuilder;
use nnc_tile::epilogue::EpilogueInput;
use nnc_tile::gemm::{BRows, Cols, GemmArg, GemmTile, Init, Stride};
use nnc_tile::product::Product;
use nnc_tile::stream::Element;

use super::arithmetic::Arithmetic;
use super::chains;
use super::epilogue::{self, EpilogueArg, SIDE_BY_SIDE};
use super::loops::{function_of_i64, while_loop};
use super::memory::{
    Rows, advance, byte_offset, copy_elements, copy_rows, input_flags, load_lanes, load_splat, output_flags,
    scratch, store_bytes, store_lanes,
};
use super::multiply;

/// Run-time arguments of a tile, as 64-bit values. Strides and counts are in elements; those that the spec makes
/// constant are not looked at.
#[derive(Clone, Debug)]
pub struct GemmArgs {
    /// Address of the first element of A.
    pub a: Value,
    /// Address of the first element of B.
    pub b: Value,
    /// Address of the first element of C.
    pub c: Value,
    /// Length of the sum, possibly 0.
    pub k: Value,
    /// Row stride of C.
    pub ldc: Value,
    /// Stride of A along m.
    pub a_row: Option<Value>,
    /// Stride of A along k.
    pub a_k: Option<Value>,
    /// Address of the table of runs of A.
    pub a_table: Option<Value>,
    /// Stride of B along k.
    pub b_k: Option<Value>,
    /// Address of the table of rows of B.
    pub b_table: Option<Value>,
    /// Columns of C.
    pub cols: Option<Value>,
    /// Operands of the epilogue.
    pub epilogue: Vec<EpilogueArg>,
    /// Results of the epilogue but the first.
    pub outputs: Vec<OutputArg>,
}

/// Run-time arguments of a further output.
#[derive(Clone, Copy, Debug)]
pub struct OutputArg {
    /// Address of the first element.
    pub ptr: Value,
    /// Row stride in elements.
    pub stride: Value,
}

impl GemmArgs {
    /// Arguments of a tile whose strides and columns are constant and that has no epilogue.
    #[must_use]
    pub fn new(a: Value, b: Value, c: Value, k: Value, ldc: Value) -> Self {
        let none = (None, None, None, None, None, None);
        let (a_row, a_k, a_table, b_k, b_table, cols) = none;
        GemmArgs {
            a,
            b,
            c,
            k,
            ldc,
            a_row,
            a_k,
            a_table,
            b_k,
            b_table,
            cols,
            epilogue: vec![],
            outputs: vec![],
        }
    }

    /// Takes the arguments in the order of [`GemmTile::args`].
    ///
    /// # Panics
    /// If `params` is shorter than that.
    #[must_use]
    pub fn from_params(spec: &GemmTile, params: &[Value]) -> Self {
        let order = spec.args();
        let find = |arg: GemmArg| order.iter().position(|a| *a == arg).map(|idx| params[idx]);
        GemmArgs {
            a: params[0],
            b: params[1],
            c: params[2],
            k: params[3],
            ldc: params[4],
            a_row: find(GemmArg::ARow),
            a_k: find(GemmArg::AK),
            a_table: find(GemmArg::ATable),
            b_k: find(GemmArg::BK),
            b_table: find(GemmArg::BTable),
            cols: find(GemmArg::Cols),
            epilogue: EpilogueArg::all(
                spec.epilogue.as_ref(),
                |idx| find(GemmArg::Epilogue(idx)),
                |idx| find(GemmArg::EpilogueStride(idx)),
            ),
            outputs: (1..spec.stores().len())
                .map(|idx| OutputArg {
                    ptr: find(GemmArg::Output(idx)).expect("every output has an argument"),
                    stride: find(GemmArg::OutputStride(idx)).expect("every output has a stride"),
                })
                .collect(),
        }
    }

    /// The arguments in the order of [`GemmTile::args`].
    ///
    /// # Panics
    /// If one that the spec asks for is missing.
    #[must_use]
    pub fn values(&self, spec: &GemmTile) -> Vec<Value> {
        let value = |arg: GemmArg| match arg {
            GemmArg::A => Some(self.a),
            GemmArg::B => Some(self.b),
            GemmArg::C => Some(self.c),
            GemmArg::K => Some(self.k),
            GemmArg::Ldc => Some(self.ldc),
            GemmArg::ARow => self.a_row,
            GemmArg::AK => self.a_k,
            GemmArg::ATable => self.a_table,
            GemmArg::BK => self.b_k,
            GemmArg::BTable => self.b_table,
            GemmArg::Cols => self.cols,
            GemmArg::Epilogue(i) => Some(self.epilogue[i].ptr),
            GemmArg::EpilogueStride(i) => self.epilogue[i].stride,
            GemmArg::Output(i) => Some(self.outputs[i - 1].ptr),
            GemmArg::OutputStride(i) => Some(self.outputs[i - 1].stride),
        };
        spec.args().into_iter().map(|arg| value(arg).expect("what the spec asks for is given")).collect()
    }
}

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

/// Bytes between neighbours: constant, or a value.
#[derive(Clone, Copy)]
enum Step {
    Const(usize),
    Value(Value),
}

impl Step {
    fn new(builder: &mut FunctionBuilder, stride: Stride, arg: Option<Value>) -> Self {
        match stride {
            Stride::Const(n) => Step::Const(n as usize),
            Stride::Arg => {
                let elements = arg.expect("a stride that is not constant is an argument");
                Step::Value(builder.ins().ishl_imm_u(elements, 2))
            }
        }
    }

    /// `n` steps as a value.
    fn times(self, builder: &mut FunctionBuilder, n: Value) -> Value {
        match self {
            Step::Const(elements) => builder.ins().imul_imm_s(n, i64::from(byte_offset(elements))),
            Step::Value(bytes) => builder.ins().imul(n, bytes),
        }
    }
}

/// Where steps of k find B: the position moves along k, and tells when the sum is complete.
#[derive(Clone, Copy)]
enum BSource {
    /// The position is the address of a row.
    Rows(Step),
    /// The position is the address of a table entry, which says how far from the base the row is.
    Table { base: Value },
}

impl BSource {
    /// Elements of the moving operand's memory that a step of k takes, if that is known.
    fn step(self) -> Step {
        match self {
            BSource::Rows(step) => step,
            // Entries have 8 bytes, elements 4.
            BSource::Table { .. } => Step::Const(2),
        }
    }

    /// Address of the row of B for a position and a displacement in elements, and the displacement that remains.
    fn row(self, builder: &mut FunctionBuilder, position: Value, at: usize) -> (Value, usize) {
        match self {
            BSource::Rows(_) => (position, at),
            BSource::Table { base } => {
                let elements = builder.ins().load(I64, input_flags(), position, byte_offset(at));
                let bytes = builder.ins().ishl_imm_u(elements, 2);
                (builder.ins().iadd(base, bytes), 0)
            }
        }
    }
}

/// The accumulators after all steps of k.
fn emit_sums(
    builder: &mut FunctionBuilder,
    spec: &GemmTile,
    args: &GemmArgs,
    (schedule, arithmetic): (Schedule, Arithmetic),
    n_vectors: usize,
    init: Vec<Value>,
) -> Vec<Value> {
    let a_row = Step::new(builder, spec.a_row, args.a_row);
    let a_k = Step::new(builder, spec.a_k, args.a_k);
    let (b, start) = match spec.b_rows {
        BRows::Apart(stride) => (BSource::Rows(Step::new(builder, stride, args.b_k)), args.b),
        BRows::Table => {
            let table = args.b_table.expect("a table is an argument");
            (BSource::Table { base: args.b }, table)
        }
    };
    // Rows of A at a run-time distance: one moving offset, and a fixed base for each row.
    let bases: Option<Vec<Value>> = match a_row {
        Step::Const(_) => None,
        Step::Value(bytes) => {
            Some((0..usize::from(spec.rows)).map(|m| advance(builder, args.a, bytes, m)).collect())
        }
    };
    let a_start = if bases.is_some() { builder.ins().iconst(I64, 0) } else { args.a };
    let mut carried = vec![a_start, start];
    carried.extend(init);

    let block = Block { spec, schedule, arithmetic, n_vectors, a_row, a_k, b, bases: bases.as_deref() };
    let end_after = |builder: &mut FunctionBuilder, k: Value| {
        let length = b.step().times(builder, k);
        builder.ins().iadd(start, length)
    };
    if let Some(run) = spec.a_runs {
        return block.emit_runs(builder, args, (carried, a_start), end_after, run as usize);
    }
    if schedule.unroll > 1 {
        assert!(schedule.unroll.is_power_of_two(), "unrolling by a power of two");
        let main_k = builder.ins().band_imm_s(args.k, -i64::from(schedule.unroll));
        let end = end_after(builder, main_k);
        carried = block.emit_loop(builder, carried, end, schedule.unroll as usize);
    }
    let end = end_after(builder, args.k);
    carried = block.emit_loop(builder, carried, end, 1);
    carried[2..].to_vec()
}

/// What the steps of k have in common.
struct Block<'a> {
    spec: &'a GemmTile,
    schedule: Schedule,
    arithmetic: Arithmetic,
    n_vectors: usize,
    a_row: Step,
    a_k: Step,
    b: BSource,
    bases: Option<&'a [Value]>,
}

impl Block<'_> {
    /// Steps of k until the position in B is at `end`; carried are the position in A, that in B, and the sums.
    fn emit_loop(
        &self,
        builder: &mut FunctionBuilder,
        init: Vec<Value>,
        end: Value,
        unroll: usize,
    ) -> Vec<Value> {
        while_loop(
            builder,
            &init,
            |builder, carried| builder.ins().icmp(IntCC::UnsignedLessThan, carried[1], end),
            |builder, carried| self.emit_turn(builder, carried, unroll),
        )
    }

    /// `unroll` steps of k one after another.
    fn emit_turn(&self, builder: &mut FunctionBuilder, carried: &[Value], unroll: usize) -> Vec<Value> {
        let strides = [self.a_k, self.b.step()];
        let mut positions = [carried[0], carried[1]];
        let mut sums = carried[2..].to_vec();
        // Constant strides become displacements of one pointer; others move the pointer at each step.
        for step in 0..unroll {
            let at = strides.map(|stride| if let Step::Const(n) = stride { n * step } else { 0 });
            self.emit_step(builder, positions, at, &mut sums);
            for (position, stride) in positions.iter_mut().zip(strides) {
                if let Step::Value(bytes) = stride {
                    *position = builder.ins().iadd(*position, bytes);
                }
            }
        }
        for (position, stride) in positions.iter_mut().zip(strides) {
            if let Step::Const(n) = stride {
                *position = builder.ins().iadd_imm_s(*position, i64::from(byte_offset(n * unroll)));
            }
        }
        positions.into_iter().chain(sums).collect()
    }

    /// All steps of k where A lies in runs; gives the sums.
    fn emit_runs(
        &self,
        builder: &mut FunctionBuilder,
        args: &GemmArgs,
        (init, a_start): (Vec<Value>, Value),
        end_after: impl Fn(&mut FunctionBuilder, Value) -> Value,
        run: usize,
    ) -> Vec<Value> {
        let table = args.a_table.expect("a table is an argument");
        let end = end_after(builder, args.k);
        // The position in the table takes the place of that in A.
        let init: Vec<Value> = std::iter::once(table).chain(init[1..].iter().copied()).collect();
        let unroll = self.schedule.unroll as usize;
        let (whole, rest) = (run / unroll, run % unroll);
        let carried = while_loop(
            builder,
            &init,
            |builder, carried| builder.ins().icmp(IntCC::UnsignedLessThan, carried[1], end),
            |builder, carried| {
                let elements = builder.ins().load(I64, input_flags(), carried[0], 0);
                let bytes = builder.ins().ishl_imm_u(elements, 2);
                let a = builder.ins().iadd(a_start, bytes);
                let mut inner: Vec<Value> = std::iter::once(a).chain(carried[1..].iter().copied()).collect();
                match whole {
                    0 => {}
                    1 => inner = self.emit_turn(builder, &inner, unroll),
                    _ => {
                        let steps = i64::try_from(whole * unroll).expect("a run has less than 2^32 elements");
                        let steps = builder.ins().iconst(I64, steps);
                        let length = self.b.step().times(builder, steps);
                        let end = builder.ins().iadd(inner[1], length);
                        inner = self.emit_loop(builder, inner, end, unroll);
                    }
                }
                if rest > 0 {
                    inner = self.emit_turn(builder, &inner, rest);
                }
                inner[0] = builder.ins().iadd_imm_s(carried[0], 8);
                inner
            },
        );
        carried[2..].to_vec()
    }

    /// One step of k, at the positions in A and B and displacements in elements from them.
    fn emit_step(
        &self,
        builder: &mut FunctionBuilder,
        positions: [Value; 2],
        at: [usize; 2],
        sums: &mut [Value],
    ) {
        let rows = usize::from(self.spec.rows);
        let load_a = |builder: &mut FunctionBuilder, m: usize| {
            let (ptr, at) = match (self.bases, self.a_row) {
                (Some(bases), _) => (builder.ins().iadd(bases[m], positions[0]), at[0]),
                (None, Step::Const(row)) => (positions[0], at[0] + m * row),
                (None, Step::Value(_)) => unreachable!("rows at a run-time distance have bases"),
            };
            match self.spec.a_spread {
                true => builder.ins().load(F32X4, input_flags(), ptr, byte_offset(at)),
                false => load_splat(builder, input_flags(), ptr, byte_offset(at)),
            }
        };
        let (b_row, b_at) = self.b.row(builder, positions[1], at[1]);
        // Vectors of one group of columns, then those of the next.
        let own = self.n_vectors / usize::from(self.spec.groups());
        let b_place = |i: usize| byte_offset(b_at + i / own * usize::from(self.spec.panel) + 4 * (i % own));
        let load_b = |builder: &mut FunctionBuilder, i: usize| {
            builder.ins().load(F32X4, input_flags(), b_row, b_place(i))
        };
        let fma = |builder: &mut FunctionBuilder, a: Value, b: Value, sum: &mut Value| {
            let product = self.spec.product;
            let vector_first = self.schedule.vector_first && product == Product::F32;
            let factors = if vector_first { [b, a] } else { [a, b] };
            *sum = multiply::step(builder, self.arithmetic, product, factors, *sum);
        };
        if self.schedule.reload {
            let a: Vec<Value> = (0..rows).map(|m| load_a(builder, m)).collect();
            // As integers, since Cranelift takes the other operand of a product over where one is a load.
            let load_b = |builder: &mut FunctionBuilder, i: usize| {
                let b = builder.ins().load(I32X4, input_flags(), b_row, b_place(i));
                builder.ins().bitcast(F32X4, MemFlagsData::new().with_endianness(Endianness::Little), b)
            };
            let turns =
                if self.schedule.cols_outer { (self.n_vectors, rows) } else { (rows, self.n_vectors) };
            // Vectors that are copied, where they have been read.
            let mut read: Vec<Option<Value>> = vec![None; self.schedule.copied.min(self.n_vectors)];
            for outer in 0..turns.0 {
                for inner in 0..turns.1 {
                    let (i, m) = if self.schedule.cols_outer { (outer, inner) } else { (inner, outer) };
                    let b = match read.get_mut(i) {
                        Some(read) => *read.get_or_insert_with(|| load_b(builder, i)),
                        None => load_b(builder, i),
                    };
                    let sum = &mut sums[m * self.n_vectors + i];
                    let product = self.spec.product;
                    let factors = if product == Product::F32 { [b, a[m]] } else { [a[m], b] };
                    *sum = multiply::step(builder, self.arithmetic, product, factors, *sum);
                }
            }
        } else if self.schedule.cols_outer {
            let a: Vec<Value> = (0..rows).map(|m| load_a(builder, m)).collect();
            for i in 0..self.n_vectors {
                let b = load_b(builder, i);
                for (m, a) in a.iter().enumerate() {
                    fma(builder, *a, b, &mut sums[m * self.n_vectors + i]);
                }
            }
        } else {
            let b: Vec<Value> = (0..self.n_vectors).map(|i| load_b(builder, i)).collect();
            for m in 0..rows {
                let a = load_a(builder, m);
                for (i, b) in b.iter().enumerate() {
                    fma(builder, a, *b, &mut sums[m * self.n_vectors + i]);
                }
            }
        }
    }
}
