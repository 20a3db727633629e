//! nnc-cpu - planned graphs to machine code: loop nests around tile kernels, through Cranelift.
#![forbid(unsafe_code)]

pub mod tile;
