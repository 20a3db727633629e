//! image - all that makes a program: what the compiler produces, an artefact stores, and [`Program`] loads.
//!
//! [`Program`]: crate::Program

use crate::error::{Error, Result};
use crate::externs::Extern;
use crate::signature::Signature;
use crate::target::Target;
use crate::weights::Weights;

/// A compiled model, not loaded.
#[derive(Clone, Debug)]
pub struct Image {
    /// Name of the model, for reports.
    pub name: String,
    /// What the code needs of the machine.
    pub target: Target,
    /// Position-independent machine code that imports nothing.
    pub code: Vec<u8>,
    /// Where the code is entered.
    pub entries: Entries,
    /// Inputs, outputs and symbols.
    pub signature: Signature,
    /// Constant data, by section index.
    pub weights: Weights,
    /// The kernels in the code, for profiles and listings.
    pub kernels: Vec<Kernel>,
    /// Names of the model's nodes, by the index that faults give.
    pub nodes: Vec<String>,
    /// Functions of the runtime that the code calls.
    pub externs: Vec<Extern>,
    /// Facts worth recording, as key and text: options of the compiler, passes that ran.
    pub notes: Vec<(String, String)>,
}

/// Offsets of the four entries in the code; their types are in [`crate::abi`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entries {
    /// [`crate::abi::BindFn`].
    pub bind: u64,
    /// [`crate::abi::OutputDimsFn`].
    pub output_dims: u64,
    /// [`crate::abi::WorkspaceBytesFn`].
    pub workspace_bytes: u64,
    /// [`crate::abi::RunFn`].
    pub run: u64,
}

/// One kernel in the code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Symbol name.
    pub name: String,
    /// Offset in the code.
    pub offset: u64,
    /// Bytes of code.
    pub len: u64,
    /// Nodes it computes, as indices into [`Image::nodes`].
    pub nodes: Vec<u32>,
    /// What one call of it does.
    pub work: Work,
}

/// What a call of a kernel does, each figure a formula over the program's symbols: `2*s0*64`, `s0` being the value of
/// symbol 0. Empty where nobody said. The runtime does not look into them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Scalar operations, a multiply-add counted as two.
    pub flops: String,
    /// Bytes read: of each operand as much as is read of it, once.
    pub read: String,
    /// Bytes written.
    pub written: String,
}

impl Image {
    /// Checks that all parts fit together.
    ///
    /// # Errors
    /// E0707 naming the part.
    pub fn check(&self) -> Result<()> {
        let bad = |message: String| Err(Error::new(707, message));
        let code_len = self.code.len() as u64;
        let Entries { bind, output_dims, workspace_bytes, run } = self.entries;
        for (name, offset) in
            [("bind", bind), ("output_dims", output_dims), ("workspace_bytes", workspace_bytes), ("run", run)]
        {
            if offset >= code_len {
                return bad(format!("entry '{name}' is at {offset}, outside of {code_len} bytes of code"));
            }
        }
        for kernel in &self.kernels {
            let name = &kernel.name;
            if kernel.offset.checked_add(kernel.len).is_none_or(|end| end > code_len) {
                return bad(format!("kernel '{name}' is outside of {code_len} bytes of code"));
            }
            if let Some(node) = kernel.nodes.iter().find(|&&node| node as usize >= self.nodes.len()) {
                return bad(format!("kernel '{name}' names node {node} of {}", self.nodes.len()));
            }
        }
        self.signature.check()
    }
}
