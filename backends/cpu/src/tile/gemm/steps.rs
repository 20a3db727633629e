//! steps - the steps of k of a tile: where A and B are at each, and the multiply-adds.

use cranelift_codegen::ir::{
    Endianness, InstBuilder, MemFlagsData, Value,
    condcodes::IntCC,
    types::{F32X4, I32X4, I64},
};
use cranelift_frontend::FunctionBuilder;
use nnc_tile::{
    gemm::{BRows, GemmTile, Stride},
    product::Product,
};

use super::{
    super::{
        arithmetic::Arithmetic,
        loops::while_loop,
        memory::{advance, byte_offset, input_flags, load_splat},
        multiply,
    },
    GemmArgs, Schedule,
};

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
pub(super) fn emit_sums(
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
