//! nnc-tile - inner blocks of kernels as data: small hashable specs, each with a scalar reference.
//!
//! A spec says what an inner block computes and how its operands lie in memory; it says nothing about instructions.
//! An emitter turns a spec into machine code, and the reference beside the spec is what every emitter is tested
//! against. Nothing here depends on the rest of nnc.
#![forbid(unsafe_code)]

pub mod program;

pub mod epilogue;
pub mod gemm;
pub mod lane_conv;
pub mod row_conv;
