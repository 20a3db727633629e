//! nnc-kit - what tests share: conformance cases and comparisons.
#![forbid(unsafe_code)]

pub mod cases;
pub mod compare;
