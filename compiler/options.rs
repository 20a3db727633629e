//! options - what a user may ask of the compiler.

use std::path::PathBuf;

use nnc_cpu::Winograd;
pub use nnc_passes::pipeline::OptLevel;

use crate::TuningFile;

/// What [`Options::without`] calls minimal filtering of convolutions, which is no pass but rounds differently, too.
pub(crate) const WINOGRAD: &str = "winograd";

/// Which form of a model is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Training {
    /// The one for inference: what belongs to training is taken out.
    Strip,
    /// As the model is written.
    Keep,
}

/// How to compile. [`Options::default`] is `-O2 --cpu native` with symbols left symbolic.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which passes run.
    pub level: OptLevel,
    /// Optional passes that are left out, and `winograd`: convolutions by minimal filtering, otherwise from -O2 on.
    pub without: Vec<String>,
    /// The largest squares of minimal filtering, where it is not left out.
    pub winograd: Winograd,
    /// Which form of the model.
    pub training: Training,
    /// Instruction set: `native`, `x86-64-v3`, `generic` ...
    pub cpu: String,
    /// Target triple; `None`: this machine's.
    pub triple: Option<String>,
    /// Symbols pinned to a number: makes faster code.
    pub dims: Vec<(String, i64)>,
    /// Shapes that replace the declared ones of inputs.
    pub shapes: Vec<(String, Vec<i64>)>,
    /// Base of the names of generated functions.
    pub name: String,
    /// Keep the text and a diff after each pass.
    pub watch_passes: bool,
    /// Keep what the module costs before and after each pass.
    pub watch_costs: bool,
    /// Bytes that the arena of intermediates may have; values are computed again rather than kept where it would be
    /// larger.
    pub max_memory: Option<i64>,
    /// Make code of which profiles see every kernel, also those that are too small to be worth several threads.
    pub trace: bool,
    /// Folder that programs are kept in and taken from; none: every program is made anew.
    pub cache: Option<PathBuf>,
    /// Measured choices that are used in place of the cost model's.
    pub tuning: Option<TuningFile>,
    /// Check generated code with Cranelift's verifier.
    pub verify_code: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            level: OptLevel::O2,
            without: Vec::new(),
            winograd: Winograd::F4,
            training: Training::Strip,
            cpu: "native".into(),
            triple: None,
            dims: Vec::new(),
            shapes: Vec::new(),
            name: "model".into(),
            watch_passes: false,
            watch_costs: false,
            max_memory: None,
            trace: false,
            cache: None,
            tuning: None,
            verify_code: false,
        }
    }
}
