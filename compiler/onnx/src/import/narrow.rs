//! narrow - integers of 2 and 4 bits, which are held in bytes: what a name is declared as tells their range.

use std::collections::HashMap;

use nnc_ir::{dtype::DType, graph::ValueId, ops};

use super::{Problem, constant, cx::OpCx};
use crate::model::{AttrValue, Graph, OnnxType, ValueType};

/// Whether elements of that type have fewer bits than a byte.
pub(crate) fn is_narrow(onnx: OnnxType) -> bool {
    matches!(onnx, OnnxType::Int4 | OnnxType::Uint4 | OnnxType::Int2 | OnnxType::Uint2)
}

/// Names of narrow integers in the main graph.
pub(crate) fn declared(graph: &Graph) -> HashMap<String, OnnxType> {
    let mut found = HashMap::new();
    let mut note = |name: &str, onnx: OnnxType| {
        if is_narrow(onnx) {
            found.insert(name.to_owned(), onnx);
        }
    };
    for info in graph.inputs.iter().chain(&graph.outputs).chain(&graph.value_info) {
        if let Some(ValueType::Tensor { elem, .. }) = &info.ty {
            note(&info.name, *elem);
        }
    }
    graph.initializers.iter().for_each(|t| note(&t.name, t.dtype));
    for node in graph.nodes.iter().filter(|n| n.op_type == "Constant") {
        if let (Some(AttrValue::Tensor(t)), Some(name)) = (node.attr("value"), node.outputs.first()) {
            note(name, t.dtype);
        }
    }
    found
}

/// Least and greatest integer of a type.
pub(crate) fn range(onnx: OnnxType) -> Option<(i64, i64)> {
    let bits = u32::try_from(onnx.bits()?).ok()?;
    let dtype = constant::dtype(onnx).ok().filter(|d| d.is_int() && bits < 64)?;
    let signed = dtype.is_signed_int();
    Some(if signed { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) })
}

impl OpCx<'_> {
    /// The narrow type operand `i` is declared as, if it is.
    pub(crate) fn narrow_input(&self, i: usize) -> Option<OnnxType> {
        self.importer.narrow.get(self.node.inputs.get(i)?).copied()
    }
}

/// `x` as a narrow integer: truncated towards zero, and wrapped to its bits.
pub(crate) fn wrapped(cx: &mut OpCx<'_>, x: ValueId, to: OnnxType) -> Result<ValueId, Problem> {
    let (dtype, bits) = (constant::dtype(to)?, i64::try_from(to.bits().unwrap_or(8)).unwrap_or(8));
    let wide = cx.cast(x, DType::I32)?;
    let held = if dtype.is_signed_int() {
        // To the top and down again, which extends the sign.
        let up = cx.int_scalar(DType::I32, 32 - bits);
        let (wide, up) = cx.broadcast_pair(wide, up)?;
        let top = cx.emit(ops::Shl {}, &[wide, up])?;
        cx.emit(ops::Shr {}, &[top, up])?
    } else {
        let mask = cx.int_scalar(DType::I32, (1 << bits) - 1);
        cx.and(wide, mask)?
    };
    cx.cast(held, dtype)
}
