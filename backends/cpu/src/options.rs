//! options - what a caller may ask of a compilation.

use nnc_tile::winograd::Winograd;

use crate::choice::Tuning;

/// What to compile besides the program.
#[derive(Clone, Debug, Default)]
pub struct CompileOptions {
    /// Name of the model, for reports.
    pub name: String,
    /// Whether to give the program as Cranelift IR.
    pub emit_clif: bool,
    /// Whether to give the program as assembly.
    pub emit_asm: bool,
    /// Facts to record in the program.
    pub notes: Vec<(String, String)>,
    /// Whether no result is written over an operand: for comparison.
    pub keep_operands: bool,
    /// Whether all tensors lie in the order of their axes: for comparison.
    pub keep_layouts: bool,
    /// Whether every kernel is called so that a profile sees it, also those that are not worth splitting.
    pub trace: bool,
    /// The largest squares by which convolutions may be done by minimal filtering, which rounds differently.
    pub winograd: Option<Winograd>,
    /// Decisions of kernels that are not to be the cost model's.
    pub tuning: Tuning,
    /// Whether to say what was decided for each kernel, and what else would do.
    pub record_choices: bool,
}
