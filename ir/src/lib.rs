//! nnc-ir - what a program is: graph, types, operations, text, verifier, evaluator.
//!
//! Reading order: [`extent`] (lengths of axes), [`form`] and [`program`] (how an operation iterates and what it computes),
//! [`ops`] (the table), [`graph`] (modules).
#![forbid(unsafe_code)]

pub mod compose;
pub mod constant;
pub mod definitions;
pub mod diag;
pub mod dtype;
pub mod edit;
pub mod entity;
pub mod eval;
pub mod extent;
pub mod form;
pub mod graph;
pub mod hash;
pub mod math;
pub mod ops;
pub mod overwrite;
pub mod program;
pub mod text;
pub mod types;
pub mod verify;
pub mod view;

pub use graph::Module;
