//! nnc-ir - what a program is: graph, types, operations, text, verifier, evaluator.
#![forbid(unsafe_code)]

pub mod diag;
