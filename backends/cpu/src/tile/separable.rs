//! separable - transforms of squares of pixels, as CLIF: four channels at once, columns to scratch memory, then rows.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{Block, Function, InstBuilder, Value};
use cranelift_codegen::isa::TargetIsa;
use cranelift_frontend::FunctionBuilder;
use nnc_tile::epilogue::EpilogueInput;
use nnc_tile::gemm::Stride;
use nnc_tile::separable::{Separable, SeparableArg};

use super::arithmetic::Arithmetic;
use super::epilogue::{self, RowOperand};
use super::loops::{counted_loop, function_of_i64};
use super::memory::{byte_offset, input_flags, load_lanes, load_splat, output_flags, scratch, store_lanes};
use super::program::{Lanes, emit_program};

/// An operand of the epilogue.
#[derive(Clone, Copy, Debug)]
pub struct SquareArg {
    /// Address of the first element.
    pub ptr: Value,
    /// Elements from one row and from one column to the next, for [`EpilogueInput::Tile`].
    pub steps: Option<[Value; 2]>,
}

/// Run-time arguments of a tile, as 64-bit values. Steps and counts are in elements; those that the spec makes constant are
/// not looked at.
#[derive(Clone, Debug)]
pub struct SeparableArgs {
    /// Address of the first input.
    pub x: Value,
    /// Address of the first result.
    pub y: Value,
    /// Elements from one row and from one column of inputs to the next.
    pub x_steps: [Option<Value>; 2],
    /// Likewise of the results.
    pub y_steps: [Option<Value>; 2],
    /// Rows and columns that are stored.
    pub counts: Option<[Value; 2]>,
    /// Operands of the epilogue.
    pub epilogue: Vec<SquareArg>,
}

impl SeparableArgs {
    /// Takes the arguments in the order of [`Separable::args`].
    ///
    /// # Panics
    /// If `params` is shorter than that.
    #[must_use]
    pub fn from_params(spec: &Separable, params: &[Value]) -> Self {
        use SeparableArg as Arg;
        let order = spec.args();
        let find = |arg: SeparableArg| order.iter().position(|a| *a == arg).map(|idx| params[idx]);
        let pair = |a: SeparableArg, b: SeparableArg| Some([find(a)?, find(b)?]);
        let n_epilogue = spec.epilogue.as_ref().map_or(0, |e| e.inputs.len());
        SeparableArgs {
            x: params[0],
            y: params[1],
            x_steps: [find(Arg::XRow), find(Arg::XCol)],
            y_steps: [find(Arg::YRow), find(Arg::YCol)],
            counts: pair(Arg::Rows, Arg::Cols),
            epilogue: (0..n_epilogue)
                .map(|idx| SquareArg {
                    ptr: find(Arg::Epilogue(idx)).expect("every epilogue input has an argument"),
                    steps: pair(Arg::EpilogueRow(idx), Arg::EpilogueCol(idx)),
                })
                .collect(),
        }
    }

    /// The arguments in the order of [`Separable::args`].
    ///
    /// # Panics
    /// If one that the spec asks for is missing.
    #[must_use]
    pub fn values(&self, spec: &Separable) -> Vec<Value> {
        let value = |arg: SeparableArg| match arg {
            SeparableArg::X => Some(self.x),
            SeparableArg::Y => Some(self.y),
            SeparableArg::XRow => self.x_steps[0],
            SeparableArg::XCol => self.x_steps[1],
            SeparableArg::YRow => self.y_steps[0],
            SeparableArg::YCol => self.y_steps[1],
            SeparableArg::Rows => self.counts.map(|c| c[0]),
            SeparableArg::Cols => self.counts.map(|c| c[1]),
            SeparableArg::Epilogue(i) => Some(self.epilogue[i].ptr),
            SeparableArg::EpilogueRow(i) => self.epilogue[i].steps.map(|s| s[0]),
            SeparableArg::EpilogueCol(i) => self.epilogue[i].steps.map(|s| s[1]),
        };
        spec.args().into_iter().map(|arg| value(arg).expect("what the spec asks for is given")).collect()
    }
}

/// A function of the arguments of [`Separable::args`], 64-bit each, that computes one tile.
#[must_use]
pub fn separable_function(spec: &Separable, isa: &dyn TargetIsa) -> Function {
    function_of_i64(spec.args().len(), isa, |builder, params| {
        emit_separable(builder, Arithmetic::of(isa), spec, &SeparableArgs::from_params(spec, params));
    })
}

/// Emits a tile at the builder's current block.
///
/// # Panics
/// If the spec is not valid or an argument it asks for is missing.
pub fn emit_separable(
    builder: &mut FunctionBuilder,
    arithmetic: Arithmetic,
    spec: &Separable,
    args: &SeparableArgs,
) {
    spec.check();
    let temporary = scratch(builder, 4 * spec.n() * spec.m());
    let bytes = |builder: &mut FunctionBuilder, step: Stride, arg: Option<Value>| match step {
        Stride::Const(n) => builder.ins().iconst(I64, 4 * i64::from(n)),
        Stride::Arg => {
            let elements = arg.expect("a step that is not constant is an argument");
            builder.ins().ishl_imm_u(elements, 2)
        }
    };
    let x_steps = [0, 1].map(|a| bytes(builder, spec.x[a], args.x_steps[a]));
    let y_steps = [0, 1].map(|a| bytes(builder, spec.y[a], args.y_steps[a]));
    let tile = Tile { arithmetic, spec, args, temporary, x_steps, y_steps };
    let channels = spec.channels;
    let whole = builder.ins().iconst(I64, 16 * i64::from(channels / 4));
    if channels >= 4 {
        counted_loop(builder, whole, 16, &[], |builder, offset, _| {
            tile.channels(builder, offset, 4);
            vec![]
        });
    }
    if !channels.is_multiple_of(4) {
        tile.channels(builder, whole, (channels % 4) as usize);
    }
}

/// What the parts of a tile have in common; steps are in bytes.
struct Tile<'a> {
    arithmetic: Arithmetic,
    spec: &'a Separable,
    args: &'a SeparableArgs,
    temporary: Value,
    x_steps: [Value; 2],
    y_steps: [Value; 2],
}

impl Tile<'_> {
    /// Up to four channels, which begin at a byte offset.
    fn channels(&self, builder: &mut FunctionBuilder, offset: Value, lanes: usize) {
        let (n, m) = (self.spec.n(), self.spec.m());
        let at = |i: usize, j: usize| byte_offset(4 * (i * n + j));
        let mut column = builder.ins().iadd(self.args.x, offset);
        for j in 0..n {
            let mut x = column;
            let mut inputs = Vec::with_capacity(n);
            for i in 0..n {
                inputs.push(load_lanes(builder, input_flags(), x, 0, lanes));
                if i + 1 < n {
                    x = builder.ins().iadd(x, self.x_steps[0]);
                }
            }
            let results = emit_program(builder, self.arithmetic, &self.spec.program, Lanes::Four, &inputs);
            for (i, &result) in results.iter().enumerate() {
                builder.ins().store(output_flags(), result, self.temporary, at(i, j));
            }
            column = builder.ins().iadd(column, self.x_steps[1]);
        }
        let mut row = builder.ins().iadd(self.args.y, offset);
        let done = builder.create_block();
        for i in 0..m {
            self.stop_at(builder, 0, i, done);
            let inputs: Vec<Value> =
                (0..n).map(|j| load_lanes(builder, output_flags(), self.temporary, at(i, j), 4)).collect();
            let results = emit_program(builder, self.arithmetic, &self.spec.program, Lanes::Four, &inputs);
            let row_done = builder.create_block();
            let mut y = row;
            for (j, &result) in results.iter().enumerate() {
                self.stop_at(builder, 1, j, row_done);
                let operands = self.operands(builder, offset, (i, j));
                let of_spec = self.spec.epilogue.as_ref();
                let value =
                    epilogue::apply(builder, self.arithmetic, of_spec, &operands, &[result], |_| lanes)[0];
                store_lanes(builder, value, y, 0, lanes);
                y = builder.ins().iadd(y, self.y_steps[1]);
            }
            builder.ins().jump(row_done, &[]);
            builder.switch_to_block(row_done);
            row = builder.ins().iadd(row, self.y_steps[0]);
        }
        builder.ins().jump(done, &[]);
        builder.switch_to_block(done);
    }

    /// Leaves for `to` where the count along an axis is at most `at`.
    fn stop_at(&self, builder: &mut FunctionBuilder, axis: usize, at: usize, to: Block) {
        if !self.spec.partial || at == 0 {
            return;
        }
        let count = self.args.counts.expect("counts that are not constant are arguments")[axis];
        let more = builder.create_block();
        let at = i64::try_from(at).expect("squares are small");
        let inside = builder.ins().icmp_imm_s(IntCC::SignedGreaterThan, count, at);
        builder.ins().brif(inside, more, &[], to, &[]);
        builder.switch_to_block(more);
    }

    /// Operands of the epilogue for a pixel and the channels from a byte offset on.
    fn operands(
        &self,
        builder: &mut FunctionBuilder,
        offset: Value,
        (i, j): (usize, usize),
    ) -> Vec<RowOperand> {
        let kinds = self.spec.epilogue.iter().flat_map(|e| &e.inputs);
        let mut operands = vec![];
        for (kind, arg) in kinds.zip(&self.args.epilogue) {
            operands.push(match kind {
                EpilogueInput::Col => RowOperand::Columns(builder.ins().iadd(arg.ptr, offset)),
                EpilogueInput::Tile => {
                    let steps = arg.steps.expect("a tile input has steps");
                    let mut at = builder.ins().iadd(arg.ptr, offset);
                    for (step, by) in steps.into_iter().zip([i, j]) {
                        let by = i64::from(byte_offset(by));
                        let distance = builder.ins().imul_imm_s(step, by);
                        at = builder.ins().iadd(at, distance);
                    }
                    RowOperand::Columns(at)
                }
                EpilogueInput::Scalar | EpilogueInput::Row => {
                    RowOperand::Splat(load_splat(builder, output_flags(), arg.ptr, 0))
                }
                EpilogueInput::Behind { .. } => unreachable!("`check` has ruled it out"),
            });
        }
        operands
    }
}
