//! epilogue - vector programs applied to accumulators in registers, with operands from memory.

use cranelift_codegen::ir::Value;
use cranelift_frontend::FunctionBuilder;
use nnc_tile::epilogue::{Epilogue, EpilogueInput};

use super::memory::{Rows, advance, byte_offset, load_lanes, load_splat, output_flags};
use super::program::{Lanes, emit_program};

/// Run-time arguments of one epilogue input.
#[derive(Clone, Copy, Debug)]
pub struct EpilogueArg {
    /// Address of the first element.
    pub ptr: Value,
    /// Row stride in elements, for [`EpilogueInput::Tile`].
    pub stride: Option<Value>,
}

/// An epilogue with the addresses of its operands, ready to be applied to vectors of a tile.
pub(super) struct BoundEpilogue<'a> {
    spec: &'a Epilogue,
    operands: Vec<Operand>,
}

enum Operand {
    Row(Value),
    Col(Value),
    Tile(Rows),
    /// In four lanes already.
    Scalar(Value),
}

impl<'a> BoundEpilogue<'a> {
    /// Finds the operands; `tile_rows` gives the rows of a `Tile` input (its stride in bytes), through scratch memory
    /// where its columns may not be read whole, and `col` the same for a `Col` input.
    pub(super) fn new(
        builder: &mut FunctionBuilder,
        spec: &'a Epilogue,
        args: &[EpilogueArg],
        mut tile_rows: impl FnMut(&mut FunctionBuilder, EpilogueArg) -> Rows,
        mut col: impl FnMut(&mut FunctionBuilder, Value) -> Value,
    ) -> Self {
        assert!(args.len() == spec.inputs.len(), "an argument for every epilogue input");
        let mut operands = Vec::with_capacity(args.len());
        for (kind, arg) in spec.inputs.iter().zip(args) {
            operands.push(match kind {
                EpilogueInput::Row => Operand::Row(arg.ptr),
                EpilogueInput::Col => Operand::Col(col(builder, arg.ptr)),
                EpilogueInput::Tile => Operand::Tile(tile_rows(builder, *arg)),
                EpilogueInput::Scalar => Operand::Scalar(load_splat(builder, output_flags(), arg.ptr, 0)),
            });
        }
        BoundEpilogue { spec, operands }
    }

    /// Values to store for the accumulators of row `m`; vector `i` holds the lanes `4 i..` of which `lanes(i)` count.
    pub(super) fn apply_row(
        &self,
        builder: &mut FunctionBuilder,
        m: usize,
        accumulators: &[Value],
        lanes: impl Fn(usize) -> usize,
    ) -> Vec<Value> {
        // Operands of the row are loaded once, not once a vector.
        let of_row: Vec<(Value, bool)> = self
            .operands
            .iter()
            .map(|operand| match operand {
                Operand::Row(ptr) => (load_splat(builder, output_flags(), *ptr, byte_offset(m)), true),
                Operand::Scalar(value) => (*value, true),
                Operand::Col(ptr) => (*ptr, false),
                Operand::Tile(rows) => (advance(builder, rows.ptr, rows.stride_bytes, m), false),
            })
            .collect();
        let mut out = Vec::with_capacity(accumulators.len());
        for (i, acc) in accumulators.iter().enumerate() {
            let mut inputs = vec![*acc];
            for (value, is_vector) in &of_row {
                inputs.push(if *is_vector {
                    *value
                } else {
                    load_lanes(builder, output_flags(), *value, byte_offset(4 * i), lanes(i))
                });
            }
            out.push(emit_program(builder, &self.spec.program, Lanes::Four, &inputs)[0]);
        }
        out
    }
}
