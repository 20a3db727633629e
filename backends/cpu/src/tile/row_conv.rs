//! row_conv - rows of a depthwise convolution as CLIF.
//!
//! Share of the 128-bit multiply-add peak, measured as for `gemm` (`-- rows`), sizes constant: window 3 over 112x112 80 %,
//! 56x56 80 %, 14x14 67 %, 7x7 55 %; window 5 over 28x28 66 %. With a run-time width the last columns are done one by one:
//! 14x14 41 %, 7x7 21 %.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{F32, F32X4, I64};
use cranelift_codegen::ir::{Function, InstBuilder, Value};
use cranelift_codegen::isa::TargetIsa;
use cranelift_frontend::FunctionBuilder;
use nnc_tile::gemm::{Init, Stride};
use nnc_tile::row_conv::{RowConv, RowConvArg, Tap, Width};

use super::arithmetic::Arithmetic;
use super::epilogue::{self, EpilogueArg, RowOperand};
use super::loops::{counted_loop, function_of_i64, while_loop};
use super::memory::{advance, byte_offset, input_flags, load_lanes, load_splat, output_flags, store_lanes};
use super::program::splat_f32;

/// Vectors of the result that one turn of the main loop computes.
const VECTORS: usize = 4;

/// Up to so many weights stay in registers; more are broadcast again at every turn.
const WEIGHTS_IN_REGISTERS: usize = 10;

/// Run-time arguments of a tile, as 64-bit values. Strides and counts are in elements; those that the spec makes
/// constant are not looked at.
#[derive(Clone, Debug)]
pub struct RowConvArgs {
    /// Address of the first element of x.
    pub x: Value,
    /// Address of the first weight.
    pub w: Value,
    /// Address of the first element of the result.
    pub c: Value,
    /// Rows of the result, possibly 0.
    pub rows: Value,
    /// Elements of x from one row of the result to the next.
    pub x_step: Value,
    /// Elements from one row of the result to the next.
    pub c_step: Value,
    /// Distance of rows of x.
    pub x_row: Option<Value>,
    /// Columns of the result.
    pub width: Option<Value>,
    /// Operands of the epilogue.
    pub epilogue: Vec<EpilogueArg>,
}

impl RowConvArgs {
    /// Takes the arguments in the order of [`RowConv::args`].
    ///
    /// # Panics
    /// If `params` is shorter than that.
    #[must_use]
    pub fn from_params(spec: &RowConv, params: &[Value]) -> Self {
        let order = spec.args();
        let find = |arg: RowConvArg| order.iter().position(|a| *a == arg).map(|idx| params[idx]);
        RowConvArgs {
            x: params[0],
            w: params[1],
            c: params[2],
            rows: params[3],
            x_step: params[4],
            c_step: params[5],
            x_row: find(RowConvArg::XRow),
            width: find(RowConvArg::Width),
            epilogue: EpilogueArg::all(
                spec.epilogue.as_ref(),
                |idx| find(RowConvArg::Epilogue(idx)),
                |idx| find(RowConvArg::EpilogueStride(idx)),
            ),
        }
    }
}

impl RowConvArgs {
    /// The values in the order of [`RowConv::args`].
    ///
    /// # Panics
    /// If one that the spec asks for is missing.
    #[must_use]
    pub fn values(&self, spec: &RowConv) -> Vec<Value> {
        let value = |arg: RowConvArg| match arg {
            RowConvArg::X => Some(self.x),
            RowConvArg::W => Some(self.w),
            RowConvArg::C => Some(self.c),
            RowConvArg::Rows => Some(self.rows),
            RowConvArg::XStep => Some(self.x_step),
            RowConvArg::CStep => Some(self.c_step),
            RowConvArg::XRow => self.x_row,
            RowConvArg::Width => self.width,
            RowConvArg::Epilogue(idx) => Some(self.epilogue[idx].ptr),
            RowConvArg::EpilogueStride(idx) => self.epilogue[idx].stride,
        };
        spec.args().into_iter().map(|arg| value(arg).expect("an argument that the spec asks for")).collect()
    }
}

/// A function of the arguments of [`RowConv::args`], 64-bit each, that computes one tile.
#[must_use]
pub fn row_conv_function(spec: &RowConv, isa: &dyn TargetIsa) -> Function {
    function_of_i64(spec.args().len(), isa, |builder, params| {
        emit_row_conv(builder, Arithmetic::of(isa), spec, &RowConvArgs::from_params(spec, params));
    })
}

/// Emits a tile at the builder's current block.
///
/// # Panics
/// If the spec is not valid or an argument it asks for is missing.
pub fn emit_row_conv(
    builder: &mut FunctionBuilder,
    arithmetic: Arithmetic,
    spec: &RowConv,
    args: &RowConvArgs,
) {
    spec.check();
    let weights = (spec.taps.len() <= WEIGHTS_IN_REGISTERS).then(|| {
        let at = 0..spec.taps.len();
        at.map(|idx| load_splat(builder, input_flags(), args.w, byte_offset(idx))).collect::<Vec<_>>()
    });
    let operands = epilogue::bind(builder, spec.epilogue.as_ref(), &args.epilogue, |_, _, rows| rows);
    let x_step = builder.ins().ishl_imm_u(args.x_step, 2);
    let c_step = builder.ins().ishl_imm_u(args.c_step, 2);
    counted_loop(builder, args.rows, 1, &[args.x, args.c], |builder, r, carried| {
        let (x, c) = (carried[0], carried[1]);
        let operands = epilogue::of_row_value(builder, &operands, r);
        let row = Row {
            arithmetic,
            spec,
            w: args.w,
            weights: weights.as_deref(),
            x: rows_of_x(builder, spec, args, x),
            c,
            operands,
        };
        row.emit(builder, args.width);
        vec![builder.ins().iadd(x, x_step), builder.ins().iadd(c, c_step)]
    });
}

/// Addresses of the rows of x, or of row 0 only where the others are at a constant distance.
fn rows_of_x(builder: &mut FunctionBuilder, spec: &RowConv, args: &RowConvArgs, x: Value) -> Vec<Value> {
    match spec.x_row {
        Stride::Const(_) => vec![x],
        Stride::Arg => {
            let elements = args.x_row.expect("a stride that is not constant is an argument");
            let stride = builder.ins().ishl_imm_u(elements, 2);
            let n_rows = 1 + spec.taps.iter().map(|tap| usize::from(tap.row)).max().unwrap_or(0);
            (0..n_rows).map(|row| advance(builder, x, stride, row)).collect()
        }
    }
}

/// One row of the result.
struct Row<'a> {
    arithmetic: Arithmetic,
    spec: &'a RowConv,
    w: Value,
    /// Weights in four lanes each, if they are in registers.
    weights: Option<&'a [Value]>,
    x: Vec<Value>,
    c: Value,
    operands: Vec<RowOperand>,
}

impl Row<'_> {
    fn emit(&self, builder: &mut FunctionBuilder, width: Option<Value>) {
        let turn = i64::from(byte_offset(4 * VECTORS));
        match self.spec.width {
            Width::Const(n) => {
                let n = n as usize;
                let (whole, rest) = (n / (4 * VECTORS), n % (4 * VECTORS));
                let end = builder.ins().iconst(I64, i64::from(byte_offset(4 * VECTORS * whole)));
                if whole > 0 {
                    counted_loop(builder, end, turn, &[], |builder, offset, _| {
                        self.emit_vectors(builder, offset, VECTORS, |_| 4);
                        vec![]
                    });
                }
                if rest > 0 {
                    self.emit_vectors(builder, end, rest.div_ceil(4), |i| (rest - 4 * i).min(4));
                }
            }
            Width::Arg => {
                let n = width.expect("a width that is not constant is an argument");
                let end = builder.ins().ishl_imm_u(n, 2);
                let mut offset = builder.ins().iconst(I64, 0);
                for n_vectors in [VECTORS, 1] {
                    let bytes = i64::from(byte_offset(4 * n_vectors));
                    let last = builder.ins().iadd_imm_s(end, -bytes);
                    offset = while_loop(
                        builder,
                        &[offset],
                        |builder, carried| builder.ins().icmp(IntCC::SignedLessThanOrEqual, carried[0], last),
                        |builder, carried| {
                            self.emit_vectors(builder, carried[0], n_vectors, |_| 4);
                            vec![builder.ins().iadd_imm_s(carried[0], bytes)]
                        },
                    )[0];
                }
                while_loop(
                    builder,
                    &[offset],
                    |builder, carried| builder.ins().icmp(IntCC::SignedLessThan, carried[0], end),
                    |builder, carried| {
                        self.emit_one(builder, carried[0]);
                        vec![builder.ins().iadd_imm_s(carried[0], 4)]
                    },
                );
            }
        }
    }

    /// Address and constant offset of what a tap reads for the column at a byte offset.
    fn tap(&self, builder: &mut FunctionBuilder, tap: &Tap, offset: Value) -> (Value, i32) {
        let (base, at) = match self.spec.x_row {
            Stride::Const(row) => (self.x[0], usize::from(tap.row) * row as usize),
            Stride::Arg => (self.x[usize::from(tap.row)], 0),
        };
        (builder.ins().iadd(base, offset), byte_offset(at + tap.at as usize))
    }

    /// Columns from a byte offset on, four a vector, of which `lanes` count.
    fn emit_vectors(
        &self,
        builder: &mut FunctionBuilder,
        offset: Value,
        n_vectors: usize,
        lanes: impl Fn(usize) -> usize,
    ) {
        let c = builder.ins().iadd(self.c, offset);
        let mut sums: Vec<Value> = (0..n_vectors)
            .map(|i| match self.spec.init {
                Init::Zero => splat_f32(builder, 0),
                Init::Load => load_lanes(builder, output_flags(), c, byte_offset(4 * i), lanes(i)),
            })
            .collect();
        for (idx, tap) in self.spec.taps.iter().enumerate() {
            let weight = match self.weights {
                Some(weights) => weights[idx],
                None => load_splat(builder, input_flags(), self.w, byte_offset(idx)),
            };
            let (ptr, at) = self.tap(builder, tap, offset);
            for (i, sum) in sums.iter_mut().enumerate() {
                let x = builder.ins().load(F32X4, input_flags(), ptr, at + byte_offset(4 * i));
                *sum = self.arithmetic.step(builder, x, weight, *sum);
            }
        }
        let operands = epilogue::at_column(builder, &self.operands, offset);
        let values =
            epilogue::apply(builder, self.arithmetic, self.spec.epilogue.as_ref(), &operands, &sums, &lanes);
        for (i, value) in values.into_iter().enumerate() {
            store_lanes(builder, value, c, byte_offset(4 * i), lanes(i));
        }
    }

    /// The column at a byte offset.
    fn emit_one(&self, builder: &mut FunctionBuilder, offset: Value) {
        let c = builder.ins().iadd(self.c, offset);
        let mut sum = match self.spec.init {
            Init::Zero => builder.ins().f32const(0.0),
            Init::Load => builder.ins().load(F32, output_flags(), c, 0),
        };
        for (idx, tap) in self.spec.taps.iter().enumerate() {
            let weight = builder.ins().load(F32, input_flags(), self.w, byte_offset(idx));
            let (ptr, at) = self.tap(builder, tap, offset);
            let x = builder.ins().load(F32, input_flags(), ptr, at);
            sum = self.arithmetic.step(builder, x, weight, sum);
        }
        let operands = epilogue::at_column(builder, &self.operands, offset);
        let value =
            epilogue::apply_scalar(builder, self.arithmetic, self.spec.epilogue.as_ref(), &operands, sum);
        builder.ins().store(output_flags(), value, c, 0);
    }
}
