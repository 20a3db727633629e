//! args - the run-time arguments of a tile.

use cranelift_codegen::ir::Value;
use nnc_tile::gemm::{GemmArg, GemmTile};

use super::super::epilogue::EpilogueArg;

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
    /// Blocks of rows, of tiles that have several.
    pub blocks: Option<Value>,
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
    /// Address of what later tiles read.
    pub ahead: Option<Value>,
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
        GemmArgs {
            a,
            b,
            c,
            k,
            ldc,
            blocks: None,
            a_row: None,
            a_k: None,
            a_table: None,
            b_k: None,
            b_table: None,
            cols: None,
            ahead: None,
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
            blocks: find(GemmArg::Blocks),
            a_row: find(GemmArg::ARow),
            a_k: find(GemmArg::AK),
            a_table: find(GemmArg::ATable),
            b_k: find(GemmArg::BK),
            b_table: find(GemmArg::BTable),
            cols: find(GemmArg::Cols),
            ahead: find(GemmArg::Ahead),
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
            GemmArg::Blocks => self.blocks,
            GemmArg::ARow => self.a_row,
            GemmArg::AK => self.a_k,
            GemmArg::ATable => self.a_table,
            GemmArg::BK => self.b_k,
            GemmArg::BTable => self.b_table,
            GemmArg::Cols => self.cols,
            GemmArg::Ahead => self.ahead,
            GemmArg::Epilogue(i) => Some(self.epilogue[i].ptr),
            GemmArg::EpilogueStride(i) => self.epilogue[i].stride,
            GemmArg::Output(i) => Some(self.outputs[i - 1].ptr),
            GemmArg::OutputStride(i) => Some(self.outputs[i - 1].stride),
        };
        spec.args().into_iter().map(|arg| value(arg).expect("what the spec asks for is given")).collect()
    }
}
