//! lower - forms to kernels.
//!
//! [`lower_nest`] makes a kernel of any [`LoopForm`](nnc_ir::form::LoopForm). Reading order: `access` (addresses),
//! `collapse` (fewer axes), `nest` (the loops), `index` and `scalar` (what is inside of them).

mod access;
mod collapse;
pub mod concat;
mod half;
mod index;
mod nest;
mod scalar;
pub mod scatter;

use crate::kernel::{Kernel, LowerCx, NestRequest};

/// Why something cannot be lowered for a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LowerError {
    /// The target lacks an instruction that has no substitute.
    Target(&'static str),
}

impl std::fmt::Display for LowerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LowerError::Target(what) => write!(f, "the target cannot do {what}"),
        }
    }
}

impl std::error::Error for LowerError {}

/// Makes a kernel of a nest.
///
/// # Errors
/// The target lacks an instruction.
pub fn lower_nest(request: &NestRequest, cx: &mut LowerCx<'_>) -> Result<Kernel, LowerError> {
    nest::lower(request, cx)
}
