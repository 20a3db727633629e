//! lane_conv - columns of a depthwise convolution with channels last, as CLIF.
//!
//! With fixed taps the weights of four channels stay in registers while the tile walks along the columns, four at once.
//! With a list of taps a column's channels are walked along, up to thirty-two at once: two loads a multiply-add, for
//! columns at the border.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{F32X4, I64};
use cranelift_codegen::ir::{Function, InstBuilder, Value};
use cranelift_codegen::isa::TargetIsa;
use cranelift_frontend::FunctionBuilder;
use nnc_tile::gemm::{Init, Stride};
use nnc_tile::lane_conv::{LaneConv, LaneConvArg, Taps};
use nnc_tile::row_conv::Width;

use super::arithmetic::Arithmetic;
use super::epilogue::{self, EpilogueArg, Operand};
use super::loops::{counted_loop, function_of_i64, while_loop};
use super::memory::{byte_offset, input_flags, load_lanes, output_flags, store_lanes};
use super::program::splat_f32;

/// Columns that one turn of the main loop computes.
const COLUMNS: usize = 4;
/// Up to so many weights of four channels stay in registers.
const WEIGHTS_IN_REGISTERS: usize = 9;
/// Vectors of channels that one turn computes where taps are listed.
const VECTORS: usize = 8;

/// Run-time arguments of a tile, as 64-bit values. Strides and counts are in elements; those that the spec makes
/// constant are not looked at.
#[derive(Clone, Debug)]
pub struct LaneConvArgs {
    /// Address of the first element of x.
    pub x: Value,
    /// Address of the first weight.
    pub w: Value,
    /// Address of the first element of the result.
    pub c: Value,
    /// Address of the list of taps, and their number.
    pub taps: Option<(Value, Value)>,
    /// Columns of the result.
    pub width: Option<Value>,
    /// Elements of x from one column of the result to the next.
    pub x_step: Option<Value>,
    /// Elements from one column of the result to the next.
    pub c_step: Option<Value>,
    /// Operands of the epilogue.
    pub epilogue: Vec<EpilogueArg>,
}

impl LaneConvArgs {
    /// Takes the arguments in the order of [`LaneConv::args`].
    ///
    /// # Panics
    /// If `params` is shorter than that.
    #[must_use]
    pub fn from_params(spec: &LaneConv, params: &[Value]) -> Self {
        let order = spec.args();
        let find = |arg: LaneConvArg| order.iter().position(|a| *a == arg).map(|idx| params[idx]);
        LaneConvArgs {
            x: params[0],
            w: params[1],
            c: params[2],
            taps: find(LaneConvArg::Taps).zip(find(LaneConvArg::TapCount)),
            width: find(LaneConvArg::Width),
            x_step: find(LaneConvArg::XStep),
            c_step: find(LaneConvArg::CStep),
            epilogue: EpilogueArg::all(
                spec.epilogue.as_ref(),
                |idx| find(LaneConvArg::Epilogue(idx)),
                |idx| find(LaneConvArg::EpilogueStride(idx)),
            ),
        }
    }

    /// The arguments in the order of [`LaneConv::args`].
    ///
    /// # Panics
    /// If one that the spec asks for is missing.
    #[must_use]
    pub fn values(&self, spec: &LaneConv) -> Vec<Value> {
        let value = |arg: LaneConvArg| match arg {
            LaneConvArg::X => Some(self.x),
            LaneConvArg::W => Some(self.w),
            LaneConvArg::C => Some(self.c),
            LaneConvArg::Taps => self.taps.map(|(list, _)| list),
            LaneConvArg::TapCount => self.taps.map(|(_, count)| count),
            LaneConvArg::Width => self.width,
            LaneConvArg::XStep => self.x_step,
            LaneConvArg::CStep => self.c_step,
            LaneConvArg::Epilogue(i) => Some(self.epilogue[i].ptr),
            LaneConvArg::EpilogueStride(i) => self.epilogue[i].stride,
        };
        spec.args().into_iter().map(|arg| value(arg).expect("what the spec asks for is given")).collect()
    }
}

/// A function of the arguments of [`LaneConv::args`], 64-bit each, that computes one tile.
#[must_use]
pub fn lane_conv_function(spec: &LaneConv, isa: &dyn TargetIsa) -> Function {
    function_of_i64(spec.args().len(), isa, |builder, params| {
        emit_lane_conv(builder, Arithmetic::of(isa), spec, &LaneConvArgs::from_params(spec, params));
    })
}

/// Emits a tile at the builder's current block.
///
/// # Panics
/// If the spec is not valid or an argument it asks for is missing.
pub fn emit_lane_conv(
    builder: &mut FunctionBuilder,
    arithmetic: Arithmetic,
    spec: &LaneConv,
    args: &LaneConvArgs,
) {
    spec.check();
    let bytes = |builder: &mut FunctionBuilder, stride: Stride, arg: Option<Value>| match stride {
        Stride::Const(n) => builder.ins().iconst(I64, 4 * i64::from(n)),
        Stride::Arg => {
            let elements = arg.expect("a stride that is not constant is an argument");
            builder.ins().ishl_imm_u(elements, 2)
        }
    };
    let x_step = bytes(builder, spec.x_step, args.x_step);
    let c_step = bytes(builder, spec.c_step, args.c_step);
    let width = match spec.width {
        Width::Const(n) => builder.ins().iconst(I64, i64::from(n)),
        Width::Arg => args.width.expect("a width that is not constant is an argument"),
    };
    let operands = epilogue::bind(builder, spec.epilogue.as_ref(), &args.epilogue, |_, _, rows| rows);
    let tile = Tile { arithmetic, spec, args, x_step, c_step, width, operands };
    let channels = spec.channels as usize;
    match &spec.taps {
        Taps::Fixed { at, w_step } => {
            let end = builder.ins().iconst(I64, 16 * i64::from(spec.channels / 4));
            if channels >= 4 {
                counted_loop(builder, end, 16, &[], |builder, offset, _| {
                    tile.emit_channels(builder, (at, *w_step as usize), offset, 4);
                    vec![]
                });
            }
            if !channels.is_multiple_of(4) {
                tile.emit_channels(builder, (at, *w_step as usize), end, channels % 4);
            }
        }
        Taps::Listed => {
            counted_loop(builder, width, 1, &[args.x, args.c], |builder, i, carried| {
                tile.emit_listed(builder, i, (carried[0], carried[1]));
                vec![builder.ins().iadd(carried[0], x_step), builder.ins().iadd(carried[1], c_step)]
            });
        }
    }
}

/// What the parts of a tile have in common; steps are in bytes.
struct Tile<'a> {
    arithmetic: Arithmetic,
    spec: &'a LaneConv,
    args: &'a LaneConvArgs,
    x_step: Value,
    c_step: Value,
    width: Value,
    operands: Vec<Operand>,
}

impl Tile<'_> {
    /// All columns of up to four channels, which begin at a byte offset.
    fn emit_channels(
        &self,
        builder: &mut FunctionBuilder,
        taps: (&[u32], usize),
        offset: Value,
        lanes: usize,
    ) {
        let w = builder.ins().iadd(self.args.w, offset);
        let x = builder.ins().iadd(self.args.x, offset);
        let c = builder.ins().iadd(self.args.c, offset);
        let load_weight = |builder: &mut FunctionBuilder, t: usize| {
            load_lanes(builder, input_flags(), w, byte_offset(t * taps.1), lanes)
        };
        let weights = (taps.0.len() <= WEIGHTS_IN_REGISTERS)
            .then(|| (0..taps.0.len()).map(|t| load_weight(builder, t)).collect::<Vec<_>>());
        let mut at = vec![builder.ins().iconst(I64, 0), x, c];
        for columns in [COLUMNS, 1] {
            if matches!(self.spec.width, Width::Const(n) if (n as usize) < columns || (columns == 1 && (n as usize).is_multiple_of(COLUMNS)))
            {
                continue;
            }
            let n_columns = i64::try_from(columns).expect("there are few");
            let last = builder.ins().iadd_imm_s(self.width, -n_columns);
            at = while_loop(
                builder,
                &at,
                |builder, carried| builder.ins().icmp(IntCC::SignedLessThanOrEqual, carried[0], last),
                |builder, carried| {
                    let (mut xs, mut cs) = (vec![carried[1]], vec![carried[2]]);
                    for j in 0..columns {
                        xs.push(builder.ins().iadd(xs[j], self.x_step));
                        cs.push(builder.ins().iadd(cs[j], self.c_step));
                    }
                    let mut sums: Vec<Value> =
                        cs[..columns].iter().map(|&c| self.start(builder, c, 0, lanes)).collect();
                    for (t, &at) in taps.0.iter().enumerate() {
                        let weight = match &weights {
                            Some(weights) => weights[t],
                            None => load_weight(builder, t),
                        };
                        for (sum, &x) in sums.iter_mut().zip(&xs) {
                            let x = load_lanes(builder, input_flags(), x, byte_offset(at as usize), lanes);
                            *sum = self.arithmetic.step(builder, x, weight, *sum);
                        }
                    }
                    for (j, (&sum, &c)) in sums.iter().zip(&cs).enumerate() {
                        let i = builder.ins().iadd_imm_s(carried[0], i64::try_from(j).unwrap_or(0));
                        self.finish(builder, i, offset, &[sum], c, &|_| lanes);
                    }
                    vec![builder.ins().iadd_imm_s(carried[0], n_columns), xs[columns], cs[columns]]
                },
            );
        }
    }

    /// All channels of column `i`, whose element of x and of the result are at these addresses.
    fn emit_listed(&self, builder: &mut FunctionBuilder, i: Value, at: (Value, Value)) {
        let channels = self.spec.channels as usize;
        let turn = 4 * VECTORS;
        let whole = builder.ins().iconst(I64, i64::from(byte_offset(channels / turn * turn)));
        if channels >= turn {
            counted_loop(builder, whole, i64::from(byte_offset(turn)), &[], |builder, offset, _| {
                self.emit_vectors(builder, i, at, offset, turn);
                vec![]
            });
        }
        if !channels.is_multiple_of(turn) {
            self.emit_vectors(builder, i, at, whole, channels % turn);
        }
    }

    /// Channels of one column from a byte offset on, in vectors.
    fn emit_vectors(
        &self,
        builder: &mut FunctionBuilder,
        i: Value,
        (x, c): (Value, Value),
        offset: Value,
        channels: usize,
    ) {
        let lanes = |v: usize| (channels - 4 * v).min(4);
        let w = builder.ins().iadd(self.args.w, offset);
        let x = builder.ins().iadd(x, offset);
        let c = builder.ins().iadd(c, offset);
        let n_vectors = channels.div_ceil(4);
        let (list, count) = self.args.taps.expect("a list of taps is an argument");
        let end = builder.ins().ishl_imm_u(count, 4);
        let end = builder.ins().iadd(list, end);
        let mut init = vec![list];
        init.extend((0..n_vectors).map(|v| self.start(builder, c, 4 * v, lanes(v))));
        let sums = while_loop(
            builder,
            &init,
            |builder, carried| builder.ins().icmp(IntCC::UnsignedLessThan, carried[0], end),
            |builder, carried| {
                let place = |builder: &mut FunctionBuilder, base: Value, entry: i32| {
                    let elements = builder.ins().load(I64, input_flags(), carried[0], entry);
                    let bytes = builder.ins().ishl_imm_u(elements, 2);
                    builder.ins().iadd(base, bytes)
                };
                let (x, w) = (place(builder, x, 0), place(builder, w, 8));
                let mut next = vec![builder.ins().iadd_imm_s(carried[0], 16)];
                for (v, &sum) in carried[1..].iter().enumerate() {
                    let [x, w] = [x, w]
                        .map(|ptr| load_lanes(builder, input_flags(), ptr, byte_offset(4 * v), lanes(v)));
                    next.push(self.arithmetic.step(builder, w, x, sum));
                }
                next
            },
        );
        self.finish(builder, i, offset, &sums[1..], c, &lanes);
    }

    /// What the sum of up to four channels starts from.
    fn start(&self, builder: &mut FunctionBuilder, c: Value, at: usize, lanes: usize) -> Value {
        match self.spec.init {
            Init::Zero => splat_f32(builder, 0),
            Init::Load if lanes == 4 => builder.ins().load(F32X4, output_flags(), c, byte_offset(at)),
            Init::Load => load_lanes(builder, output_flags(), c, byte_offset(at), lanes),
        }
    }

    /// Stores sums of column `i` and of the channels from a byte offset on.
    fn finish(
        &self,
        builder: &mut FunctionBuilder,
        i: Value,
        offset: Value,
        sums: &[Value],
        c: Value,
        lanes: &dyn Fn(usize) -> usize,
    ) {
        let operands = epilogue::of_row_value(builder, &self.operands, i);
        let operands = epilogue::at_column(builder, &operands, offset);
        let values =
            epilogue::apply(builder, self.arithmetic, self.spec.epilogue.as_ref(), &operands, sums, lanes);
        for (v, value) in values.into_iter().enumerate() {
            store_lanes(builder, value, c, byte_offset(4 * v), lanes(v));
        }
    }
}
