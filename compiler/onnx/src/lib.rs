//! nnc-onnx - bytes of an ONNX file to a checked model, or every problem at once.
#![forbid(unsafe_code)]

pub mod limits;
pub mod load;
pub mod model;
pub mod pb;

mod attribute;
mod decode;
mod external;
pub mod header;
mod magic;
mod problems;
mod scan;
mod schema;
mod sparse;
mod tensor;
mod wire;
