//! constant - ONNX tensors as constants: a range of the same buffer wherever element types agree.

use nnc_ir::{
    constant::{Constant, Payload},
    diag::Diagnostic,
    dtype::DType,
};

use super::Problem;
use crate::model::{OnnxType, Tensor, TensorData};

/// The element type that stands for an ONNX one.
///
/// Integers of fewer than 8 bits are held in 8.
///
/// # Errors
/// E0405 for strings, complex numbers and small floats.
pub(crate) fn dtype(onnx: OnnxType) -> Result<DType, Problem> {
    Ok(match onnx {
        OnnxType::Float => DType::F32,
        OnnxType::Uint8 | OnnxType::Uint4 | OnnxType::Uint2 => DType::U8,
        OnnxType::Int8 | OnnxType::Int4 | OnnxType::Int2 => DType::I8,
        OnnxType::Uint16 => DType::U16,
        OnnxType::Int16 => DType::I16,
        OnnxType::Int32 => DType::I32,
        OnnxType::Int64 => DType::I64,
        OnnxType::Bool => DType::Bool,
        OnnxType::Float16 => DType::F16,
        OnnxType::Double => DType::F64,
        OnnxType::Uint32 => DType::U32,
        OnnxType::Uint64 => DType::U64,
        OnnxType::Bfloat16 => DType::BF16,
        OnnxType::String
        | OnnxType::Complex64
        | OnnxType::Complex128
        | OnnxType::Float8E4m3fn
        | OnnxType::Float8E4m3fnuz
        | OnnxType::Float8E5m2
        | OnnxType::Float8E5m2fnuz
        | OnnxType::Float4E2m1
        | OnnxType::Float8E8m0 => {
            let message = format!("elements of type {onnx} are not supported");
            return Err(Box::new(Diagnostic::error(405, message)));
        }
    })
}

/// The constant that an ONNX tensor is.
///
/// # Errors
/// E0405 for an element type without a counterpart.
pub(crate) fn constant(tensor: &Tensor) -> Result<Constant, Problem> {
    let dtype = dtype(tensor.dtype).map_err(|p| Box::new(p.tensor(tensor.name.clone())))?;
    let payload = match (&tensor.data, tensor.dtype.bits()) {
        (_, Some(bits @ (2 | 4))) => Payload::Inline(unpack(tensor, bits, dtype == DType::I8).into()),
        (TensorData::Range { buffer, offset, len }, _) => {
            Payload::Range { buffer: buffer.clone(), offset: *offset, len: *len }
        }
        (TensorData::Inline(bytes), _) => {
            Payload::Range { buffer: bytes.clone(), offset: 0, len: bytes.len() }
        }
        (TensorData::Strings(_), _) => Payload::Inline([].into()),
    };
    Constant::new(dtype, &tensor.dims, payload).ok_or_else(|| {
        let message = format!("dims {:?} of {dtype} do not fit its bytes", tensor.dims);
        Box::new(Diagnostic::error(240, message).tensor(tensor.name.clone()))
    })
}

/// Elements of 2 or 4 bits, the first in the lowest bits, as bytes.
fn unpack(tensor: &Tensor, bits: usize, signed: bool) -> Vec<u8> {
    let bytes = tensor.bytes();
    let element = |i: usize| {
        let byte = bytes.get(i * bits / 8).copied().unwrap_or(0);
        // To the top, so that shifting down extends the sign.
        let top = (byte >> (i * bits % 8)) << (8 - bits);
        if signed { (top.cast_signed() >> (8 - bits)).cast_unsigned() } else { top >> (8 - bits) }
    };
    (0..tensor.n_elements()).map(element).collect()
}
