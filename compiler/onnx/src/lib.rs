//! nnc-onnx - bytes of an ONNX file to a checked model, or every problem at once.
//!
//! A file passes through `magic` (is it something else?), `scan` (the wire format, limits, where the weights lie),
//! `decode` (owned structs, tensors and attributes checked, `external` data found), `check_graph` (names, order, bodies)
//! and `inline` (no calls of local functions left). [`load::load_file`] does all of it and gives a [`model::Model`].
#![forbid(unsafe_code)]

pub mod import;
pub mod limits;
pub mod load;
pub mod model;
pub mod pb;

mod apart;
mod attribute;
mod check_graph;
mod decode;
mod external;
mod fields;
mod functions;
pub mod header;
mod inline;
mod magic;
mod nearest;
mod order;
mod problems;
mod scan;
mod schema;
mod sparse;
mod tensor;
mod wire;
