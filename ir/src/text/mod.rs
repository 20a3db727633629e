//! text - the `.nnir` text format: prints and parses back to the same module.

pub mod constant;
pub mod extent;
