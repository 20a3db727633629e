//! nnc-kit - what the tests of nnc share: random programs, bounds for reordered sums, conformance cases, ONNX files.
//!
//! Reading order: [`rng`], [`generate`] (random modules with inputs), [`bounds`] (what a run may give when sums are
//! added in another order), [`cases`] and [`compare`] (test data of others), [`proto`] (ONNX files of our own),
//! [`draft`] (a small random graph under way), [`rules`] (left sides for the rules of passes).
#![forbid(unsafe_code)]

pub mod bounds;
pub mod cases;
pub mod compare;
pub mod draft;
pub mod generate;
pub mod proto;
pub mod rng;
pub mod rules;
pub mod table;
