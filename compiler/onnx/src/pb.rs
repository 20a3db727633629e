//! pb - lone values in protobuf files, as test data comes in: `input_0.pb`.

use crate::decode::Decoder;
use crate::external::ExternalFiles;
use crate::limits::Limits;
use crate::load::parse;
use crate::model::{Tensor, ValueType};
use crate::problems::Problems;
use crate::scan;
use crate::schema::Msg;
use crate::wire::{Cursor, WireError};
use nnc_ir::diag::Diagnostic;
use onnx_protobuf as pb;
use std::sync::Arc;

/// A value of test data.
#[derive(Clone, Debug)]
pub enum PbValue {
    /// TensorProto
    Tensor(Tensor),
    /// SequenceProto
    Sequence(Vec<PbValue>),
    /// OptionalProto
    Optional(Option<Box<PbValue>>),
}

/// Field of SequenceProto and OptionalProto for elements that are tensors, sequences and optionals.
const TENSOR_VALUES: u32 = 3;
const SEQUENCE_VALUES: u32 = 5;
const OPTIONAL_VALUES: u32 = 7;

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
            Err(first.map_or_else(not_a_value, Box::new))
        }
        (None, Ok(_)) => Err(not_a_value()),
    }
}

/// Reads the bytes of a value of type `ty`: the file does not say which of TensorProto, SequenceProto and OptionalProto
/// it is.
///
/// # Errors
/// The first problem. Maps and sparse tensors are not supported (E0405).
pub fn read_value_pb(bytes: Vec<u8>, ty: &ValueType) -> Result<PbValue, Box<Diagnostic>> {
    match ty {
        ValueType::Tensor { .. } => Ok(PbValue::Tensor(read_tensor_pb(bytes)?)),
        ValueType::Sequence(element) => Ok(PbValue::Sequence(elements(&bytes, element)?)),
        ValueType::Optional(element) => {
            // Writers of test data give the element itself or an OptionalProto around it.
            let found = elements(&bytes, element);
            match found.map(|mut values| values.pop()) {
                Ok(value) => Ok(PbValue::Optional(value.map(Box::new))),
                Err(_) => Ok(PbValue::Optional(Some(Box::new(read_value_pb(bytes, element)?)))),
            }
        }
        ValueType::Map { .. } | ValueType::Sparse { .. } => {
            Err(Box::new(Diagnostic::error(405, "maps and sparse tensors are not supported as test data")))
        }
    }
}

/// Elements of a SequenceProto or OptionalProto.
fn elements(bytes: &[u8], element: &ValueType) -> Result<Vec<PbValue>, Box<Diagnostic>> {
    let wanted = match element {
        ValueType::Tensor { .. } => TENSOR_VALUES,
        ValueType::Sequence(_) => SEQUENCE_VALUES,
        ValueType::Optional(_) => OPTIONAL_VALUES,
        ValueType::Map { .. } | ValueType::Sparse { .. } => 0,
    };
    let mut cursor = Cursor::new(bytes, 0, bytes.len());
    let mut values = Vec::new();
    while !cursor.at_end() {
        let (field, wire_type) = cursor.tag().map_err(damaged)?;
        let payload = cursor.payload(wire_type).map_err(damaged)?;
        if field == wanted {
            values.push(read_value_pb(bytes[payload].to_vec(), element)?);
        } else if !matches!(field, 1 | 2) {
            return Err(not_a_value());
        }
    }
    Ok(values)
}

fn not_a_value() -> Box<Diagnostic> {
    Box::new(Diagnostic::error(17, "not a value of the expected type"))
}

fn damaged(e: WireError) -> Box<Diagnostic> {
    Box::new(Diagnostic::error(7, format!("damaged at byte {}: {:?}", e.at, e.kind)).at_byte(e.at as u64))
}

fn read(bytes: Vec<u8>, limits: &Limits, problems: &mut Problems) -> Option<Tensor> {
    let buffer = Arc::new(bytes);
    let scanned = scan::scan(Msg::Tensor, &buffer, limits, problems)?;
    let proto: pb::TensorProto = parse(&scanned.slim, limits, problems)?;
    let external = ExternalFiles::new(None, false, false, limits);
    Decoder::new(buffer, scanned.payloads, external, limits, problems).tensor(proto)
}
