//! nnc-cpu - planned graph to loop nests to machine code, by Cranelift.
#![forbid(unsafe_code)]

pub mod frame;
pub mod kernel;
pub mod lower;
pub mod tile;
