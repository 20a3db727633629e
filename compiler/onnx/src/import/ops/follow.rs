//! follow - carries the symbolic elements of small integer tensors through element-wise operators.

use nnc_ir::{dtype::DType, extent::Extent, graph::Module};

use crate::import::{
    Problem,
    cx::OpCx,
    known,
    value::{Imported, MAX_KNOWN},
};

/// One element of the result from those of the operands; `None` if it is not known.
pub(crate) type Binary = fn(&Module, &Extent, &Extent) -> Option<Extent>;

/// The result of an element-wise operator whose operands and result are known, of the first operand's element type.
pub(crate) fn binary(
    cx: &mut OpCx<'_>,
    a: &Imported,
    b: &Imported,
    element: Binary,
) -> Result<Option<Imported>, Problem> {
    let dtype = cx.dtype(a.id);
    binary_as(cx, a, b, dtype, element)
}

/// Likewise, of element type `to`.
pub(crate) fn binary_as(
    cx: &mut OpCx<'_>,
    a: &Imported,
    b: &Imported,
    to: DType,
    element: Binary,
) -> Result<Option<Imported>, Problem> {
    let (Some(x), Some(y)) = (&a.known, &b.known) else { return Ok(None) };
    let (xs, ys) = (cx.shape(a.id), cx.shape(b.id));
    let shape = match (xs.len(), ys.len()) {
        _ if xs == ys || y.len() == 1 && xs.len() >= ys.len() => xs,
        _ if x.len() == 1 && ys.len() >= xs.len() => ys,
        _ => return Ok(None),
    };
    let n = if x.len() == 1 { y.len() } else { x.len() };
    if !known::followed(to) || n > MAX_KNOWN {
        return Ok(None);
    }
    let pick = |v: &[Extent], i: usize| if v.len() == 1 { v[0].clone() } else { v[i].clone() };
    let values: Option<Vec<Extent>> =
        (0..n).map(|i| element(cx.module(), &pick(x, i), &pick(y, i)).filter(|e| fits(to, e))).collect();
    match values {
        Some(values) => Ok(Some(cx.extents_of_shape(values, to, &shape)?)),
        None => Ok(None),
    }
}

/// The result of an element-wise operator on one known operand.
pub(crate) fn unary(
    cx: &mut OpCx<'_>,
    a: &Imported,
    to: DType,
    element: impl Fn(&Module, &Extent) -> Option<Extent>,
) -> Result<Option<Imported>, Problem> {
    let Some(x) = &a.known else { return Ok(None) };
    if !known::followed(to) {
        return Ok(None);
    }
    let values: Option<Vec<Extent>> =
        x.iter().map(|e| element(cx.module(), e).filter(|e| fits(to, e))).collect();
    let shape = cx.shape(a.id);
    match values {
        Some(values) => Ok(Some(cx.extents_of_shape(values, to, &shape)?)),
        None => Ok(None),
    }
}

/// Whether the type holds the number exactly; extents that are not known yet are taken to be small.
fn fits(dtype: DType, extent: &Extent) -> bool {
    let Some(x) = extent.as_const() else { return dtype != DType::Bool };
    match dtype {
        DType::Bool => x == 0 || x == 1,
        DType::I32 => i32::try_from(x).is_ok(),
        DType::F32 => x.abs() <= 1 << 24,
        DType::F64 => x.abs() <= 1 << 53,
        _ => x != i64::MAX && x != i64::MIN,
    }
}
