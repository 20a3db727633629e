//! epilogue - vector programs applied to accumulators in registers, with operands from memory.

use cranelift_codegen::ir::types::F32;
use cranelift_codegen::ir::{InstBuilder, Value};
use cranelift_frontend::FunctionBuilder;
use nnc_tile::epilogue::{Epilogue, EpilogueInput};

use super::arithmetic::Arithmetic;
use super::memory::{Rows, advance, byte_offset, load_lanes, load_splat, output_flags};
use super::multiply::as_input;
use super::program::{Lanes, emit_program, emit_programs};

/// Vectors whose programs are computed side by side, as far as registers go.
pub(super) const SIDE_BY_SIDE: usize = 2;

/// Run-time arguments of one epilogue input.
#[derive(Clone, Copy, Debug)]
pub struct EpilogueArg {
    /// Address of the first element.
    pub ptr: Value,
    /// Row stride in elements, for [`EpilogueInput::Tile`].
    pub stride: Option<Value>,
}

impl EpilogueArg {
    /// The arguments of all inputs; `pointer` and `stride` find those of one by its number. What is behind another has its
    /// pointer.
    pub(super) fn all(
        spec: Option<&Epilogue>,
        pointer: impl Fn(usize) -> Option<Value>,
        stride: impl Fn(usize) -> Option<Value>,
    ) -> Vec<Self> {
        let arg = |(idx, input): (usize, &EpilogueInput)| {
            let owner =
                if let EpilogueInput::Behind { input, .. } = input { usize::from(*input) } else { idx };
            let ptr = pointer(owner).expect("every epilogue input has an argument");
            EpilogueArg { ptr, stride: stride(idx) }
        };
        spec.into_iter().flat_map(|e| &e.inputs).enumerate().map(arg).collect()
    }
}

/// An operand of an epilogue within one row of a tile.
#[derive(Clone, Copy)]
pub(super) enum RowOperand {
    /// The same for all columns, in four lanes.
    Splat(Value),
    /// Address of the element for column 0.
    Columns(Value),
}

/// Operands of an epilogue before a row is chosen.
#[derive(Clone, Copy)]
pub(super) enum Operand {
    Row(Value),
    Col(Value),
    Tile(Rows),
    Scalar(Value),
}

/// Finds the operands of an epilogue; `stage` may move the rows of a `Tile` or the one row of a `Col` input (the
/// flag says which) to where they can be read whole.
pub(super) fn bind(
    builder: &mut FunctionBuilder,
    spec: Option<&Epilogue>,
    args: &[EpilogueArg],
    mut stage: impl FnMut(&mut FunctionBuilder, EpilogueInput, Rows) -> Rows,
) -> Vec<Operand> {
    let Some(spec) = spec else { return vec![] };
    assert!(args.len() == spec.inputs.len(), "an argument for every epilogue input");
    let mut operands: Vec<Operand> = Vec::with_capacity(args.len());
    for (kind, arg) in spec.inputs.iter().zip(args) {
        operands.push(match kind {
            EpilogueInput::Row => Operand::Row(arg.ptr),
            EpilogueInput::Scalar => Operand::Scalar(load_splat(builder, output_flags(), arg.ptr, 0)),
            EpilogueInput::Col => {
                let row = Rows { ptr: arg.ptr, stride_bytes: arg.ptr };
                Operand::Col(stage(builder, *kind, row).ptr)
            }
            EpilogueInput::Tile => {
                let stride = arg.stride.expect("a tile input has a stride");
                let rows = Rows { ptr: arg.ptr, stride_bytes: builder.ins().ishl_imm_u(stride, 2) };
                Operand::Tile(stage(builder, *kind, rows))
            }
            EpilogueInput::Behind { input, by } => {
                let by = i64::from(byte_offset(*by as usize));
                let further = |builder: &mut FunctionBuilder, ptr: Value| builder.ins().iadd_imm_s(ptr, by);
                match operands[usize::from(*input)] {
                    Operand::Tile(rows) => Operand::Tile(Rows { ptr: further(builder, rows.ptr), ..rows }),
                    Operand::Col(ptr) => Operand::Col(further(builder, ptr)),
                    _ => unreachable!("`check` has seen that it is behind columns"),
                }
            }
        });
    }
    operands
}

/// The operands for row `m`.
pub(super) fn of_row(builder: &mut FunctionBuilder, operands: &[Operand], m: usize) -> Vec<RowOperand> {
    let of = |operand: &Operand| match operand {
        Operand::Row(ptr) => RowOperand::Splat(load_splat(builder, output_flags(), *ptr, byte_offset(m))),
        Operand::Scalar(value) => RowOperand::Splat(*value),
        Operand::Col(ptr) => RowOperand::Columns(*ptr),
        Operand::Tile(rows) => RowOperand::Columns(advance(builder, rows.ptr, rows.stride_bytes, m)),
    };
    operands.iter().map(of).collect()
}

/// The operands for the row whose number is a value.
pub(super) fn of_row_value(builder: &mut FunctionBuilder, operands: &[Operand], m: Value) -> Vec<RowOperand> {
    let of = |operand: &Operand| match operand {
        Operand::Row(ptr) => {
            let offset = builder.ins().ishl_imm_u(m, 2);
            let ptr = builder.ins().iadd(*ptr, offset);
            RowOperand::Splat(load_splat(builder, output_flags(), ptr, 0))
        }
        Operand::Scalar(value) => RowOperand::Splat(*value),
        Operand::Col(ptr) => RowOperand::Columns(*ptr),
        Operand::Tile(rows) => {
            let offset = builder.ins().imul(rows.stride_bytes, m);
            RowOperand::Columns(builder.ins().iadd(rows.ptr, offset))
        }
    };
    operands.iter().map(of).collect()
}

/// Moves the operands of a row on by columns: `offset` is in bytes.
pub(super) fn at_column(
    builder: &mut FunctionBuilder,
    operands: &[RowOperand],
    offset: Value,
) -> Vec<RowOperand> {
    let of = |operand: &RowOperand| match operand {
        RowOperand::Splat(value) => RowOperand::Splat(*value),
        RowOperand::Columns(ptr) => RowOperand::Columns(builder.ins().iadd(*ptr, offset)),
    };
    operands.iter().map(of).collect()
}

/// Values to store for the accumulators of a row: vector `i` holds columns `4 i..`, of which `lanes(i)` count.
pub(super) fn apply(
    builder: &mut FunctionBuilder,
    arithmetic: Arithmetic,
    spec: Option<&Epilogue>,
    operands: &[RowOperand],
    accumulators: &[Value],
    lanes: impl Fn(usize) -> usize,
) -> Vec<Value> {
    let mut first = Vec::with_capacity(accumulators.len());
    let of = (accumulators.len(), |_: &mut FunctionBuilder, i: usize| accumulators[i]);
    apply_all(builder, arithmetic, spec, (operands, SIDE_BY_SIDE), of, lanes, |_, _, results| {
        first.push(results[0]);
    });
    first
}

/// Gives `then` all results for each vector of a row as soon as they are there; programs of `side` vectors are computed side
/// by side. The `n` accumulators, of which the function gives each when it is wanted, are those of its first group of
/// columns, of its second, ...
pub(super) fn apply_all(
    builder: &mut FunctionBuilder,
    arithmetic: Arithmetic,
    spec: Option<&Epilogue>,
    (operands, side): (&[RowOperand], usize),
    (n, accumulator): (usize, impl Fn(&mut FunctionBuilder, usize) -> Value),
    lanes: impl Fn(usize) -> usize,
    mut then: impl FnMut(&mut FunctionBuilder, usize, &[Value]),
) {
    let Some(spec) = spec else {
        for i in 0..n {
            let sum = accumulator(builder, i);
            then(builder, i, &[sum]);
        }
        return;
    };
    let own = n / usize::from(spec.sums);
    for first in (0..own).step_by(side) {
        let mut inputs = Vec::with_capacity(side);
        for i in first..own.min(first + side) {
            let mut of_vector: Vec<Value> = (i..n).step_by(own).map(|at| accumulator(builder, at)).collect();
            for (k, operand) in operands.iter().enumerate() {
                let value = match operand {
                    RowOperand::Splat(value) => *value,
                    RowOperand::Columns(ptr) => {
                        load_lanes(builder, output_flags(), *ptr, byte_offset(4 * i), lanes(i))
                    }
                };
                let number = k + usize::from(spec.sums);
                of_vector.push(as_input(builder, spec.program.input_type(number), value));
            }
            inputs.push(of_vector);
        }
        let inputs: Vec<&[Value]> = inputs.iter().map(Vec::as_slice).collect();
        let results = emit_programs(builder, arithmetic, &spec.program, Lanes::Four, &inputs);
        for (i, results) in (first..).zip(&results) {
            then(builder, i, results);
        }
    }
}

/// The value to store for one accumulator in a scalar.
pub(super) fn apply_scalar(
    builder: &mut FunctionBuilder,
    arithmetic: Arithmetic,
    spec: Option<&Epilogue>,
    operands: &[RowOperand],
    accumulator: Value,
) -> Value {
    let Some(spec) = spec else { return accumulator };
    let mut inputs = vec![accumulator];
    for operand in operands {
        inputs.push(match operand {
            RowOperand::Splat(value) => builder.ins().extractlane(*value, 0),
            RowOperand::Columns(ptr) => builder.ins().load(F32, output_flags(), *ptr, 0),
        });
    }
    emit_program(builder, arithmetic, &spec.program, Lanes::One, &inputs)[0]
}
