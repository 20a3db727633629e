//! nnc-onnx - bytes of an ONNX file to a checked model, or every problem at once.
#![forbid(unsafe_code)]

pub mod limits;
pub mod load;
pub mod model;
pub mod pb;

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
