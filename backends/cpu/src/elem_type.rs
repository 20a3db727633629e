//! elem_type - the runtime's names of element types.

use nnc_ir::dtype::DType;
use nnc_runtime::ElemType;

/// The runtime's name of an element type.
#[must_use]
pub fn elem_type(dtype: DType) -> ElemType {
    match dtype {
        DType::Bool => ElemType::Bool,
        DType::U8 => ElemType::U8,
        DType::I8 => ElemType::I8,
        DType::U16 => ElemType::U16,
        DType::I16 => ElemType::I16,
        DType::U32 => ElemType::U32,
        DType::I32 => ElemType::I32,
        DType::U64 => ElemType::U64,
        DType::I64 => ElemType::I64,
        DType::F16 => ElemType::F16,
        DType::BF16 => ElemType::Bf16,
        DType::F32 => ElemType::F32,
        DType::F64 => ElemType::F64,
    }
}
