//! pb - lone TensorProto files, as test data comes in: `input_0.pb`.

use crate::decode::Decoder;
use crate::external::ExternalFiles;
use crate::limits::Limits;
use crate::load::parse;
use crate::model::Tensor;
use crate::problems::Problems;
use crate::scan;
use crate::schema::Msg;
use nnc_ir::diag::Diagnostic;
use onnx_protobuf as pb;
use std::sync::Arc;

/// Reads the bytes of a TensorProto.
///
/// # Errors
/// The first problem.
pub fn read_tensor_pb(bytes: Vec<u8>) -> Result<Tensor, Box<Diagnostic>> {
    let limits = Limits::default();
    let mut problems = Problems::new(limits.problems);
    let tensor = read(bytes, &limits, &mut problems);
    match (tensor, problems.into_result()) {
        (Some(tensor), Ok(_)) => Ok(tensor),
        (_, Err(list)) => {
            let first = list.into_iter().find(Diagnostic::is_error);
            Err(Box::new(first.unwrap_or_else(|| Diagnostic::error(17, "not a TensorProto"))))
        }
        (None, Ok(_)) => Err(Box::new(Diagnostic::error(17, "not a TensorProto"))),
    }
}

fn read(bytes: Vec<u8>, limits: &Limits, problems: &mut Problems) -> Option<Tensor> {
    let buffer = Arc::new(bytes);
    let scanned = scan::scan(Msg::Tensor, &buffer, limits, problems)?;
    let proto: pb::TensorProto = parse(&scanned.slim, limits, problems)?;
    let external = ExternalFiles::new(None, false, false, limits);
    Decoder::new(buffer, scanned.payloads, external, limits, problems).tensor(proto)
}
