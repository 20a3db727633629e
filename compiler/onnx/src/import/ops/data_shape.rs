//! data_shape - operators whose result has a shape that data decide: NonZero, Compress, Unique, NonMaxSuppression; and TopK.

use nnc_ir::{
    constant::Constant,
    dtype::{DType, Scalar},
    extent::Extent,
    graph::ValueId,
    ops::{self, Op},
};

use super::pick::scalar_extent;
use crate::import::{
    Outcome, Problem,
    cx::{OpCx, one},
    table::{Row, row},
};

pub(crate) const ROWS: &[Row] = &[
    row("NonZero", 9, 1..=1, non_zero),
    row("Compress", 9, 2..=2, compress),
    row("Unique", 11, 1..=1, unique),
    row("TopK", 1, 1..=2, top_k),
    row("NonMaxSuppression", 10, 2..=5, non_max_suppression),
];

/// Most elements of a constant that is searched when importing.
const MAX_SEARCHED: usize = 1 << 16;

fn non_zero(cx: &mut OpCx<'_>) -> Outcome {
    let x = cx.value(0)?;
    let ty = cx.ty(x).clone();
    if let Some(found) = cx.constant(x).filter(|c| c.elements() <= MAX_SEARCHED).map(indices) {
        return one(cx.constant_value(found));
    }
    // A vector that is nowhere zero: all positions, as exporters spell ranges.
    if let [n] = &ty.shape[..]
        && repeats_non_zero(cx, x)
    {
        return one(cx.iota(vec![Extent::ONE, n.clone()], 1, DType::I64)?);
    }
    let count = cx.data_symbol("count", Some(ty.elements()));
    one(cx.emit(ops::NonZero { count }, &[x])?)
}

/// Whether a value is one number that is not zero, repeated.
fn repeats_non_zero(cx: &OpCx<'_>, x: ValueId) -> bool {
    let module = cx.module();
    let Some(node) = module.def_node(x).map(|n| module.node(n)) else { return false };
    let Op::Broadcast(_) = &node.op else { return false };
    let splat = cx.constant(node.operands[0]).and_then(Constant::as_splat);
    splat.is_some_and(|s| s.as_f64().map_or(s.bits != 0, |x| x != 0.0))
}

/// Indices of the elements that are not zero, one column an element.
fn indices(constant: &Constant) -> Constant {
    let dims = constant.dims();
    let is_set = |s: &Scalar| s.as_f64().map_or(s.bits != 0, |x| x != 0.0);
    let hits: Vec<usize> =
        constant.scalars().iter().enumerate().filter(|(_, s)| is_set(s)).map(|(i, _)| i).collect();
    let mut elements = Vec::with_capacity(dims.len() * hits.len());
    for axis in 0..dims.len() {
        let inner: i64 = dims[axis + 1..].iter().product();
        elements.extend(hits.iter().map(|&i| Scalar::i64(i as i64 / inner % dims[axis])));
    }
    let shape = [dims.len() as i64, hits.len() as i64];
    Constant::from_scalars(DType::I64, &shape, &elements)
}

/// The attribute `axis`, or -1 for the flattened tensor.
fn flat_axis(cx: &OpCx<'_>, x: ValueId) -> Result<(i64, Extent), Problem> {
    let Some(axis) = cx.int("axis")? else { return Ok((-1, cx.ty(x).elements())) };
    let axis = cx.axis(axis, cx.rank(x))?;
    Ok((axis as i64, cx.shape(x)[axis].clone()))
}

fn compress(cx: &mut OpCx<'_>) -> Outcome {
    let (x, condition) = (cx.value(0)?, cx.value(1)?);
    let (axis, extent) = flat_axis(cx, x)?;
    let count = cx.data_symbol("count", Some(extent));
    one(cx.emit(ops::Compress { axis, count }, &[x, condition])?)
}

fn unique(cx: &mut OpCx<'_>) -> Outcome {
    let x = cx.value(0)?;
    let (axis, extent) = flat_axis(cx, x)?;
    let sorted = cx.flag_or("sorted", true)?;
    let count = cx.data_symbol("count", Some(extent));
    let results = cx.emit_all(ops::Unique { axis, sorted, count }, &[x])?;
    Ok(results.into_iter().map(Into::into).collect())
}

fn top_k(cx: &mut OpCx<'_>) -> Outcome {
    let x = cx.value(0)?;
    let axis = cx.int_or("axis", -1)?;
    let axis = cx.axis(axis, cx.rank(x))?;
    let (largest, sorted) = (cx.flag_or("largest", true)?, cx.flag_or("sorted", true)?);
    let k = if cx.opset() < 10 {
        let k = cx.int("k")?;
        Extent::Const(cx.required("k", k)?)
    } else {
        scalar_extent(cx, 1)?
    };
    let extent = cx.shape(x)[axis].clone();
    if let Some(k) = k.as_const()
        && (k < 0 || extent.as_const().is_some_and(|n| k > n))
    {
        return cx.error(228, format!("TopK of {k} of an axis of extent {extent}"));
    }
    let count = cx.extents(vec![k.clone()], DType::I64, 0)?;
    let results = cx.emit_all(ops::TopK { axis, largest, sorted, k }, &[x, count.id])?;
    Ok(results.into_iter().map(Into::into).collect())
}

fn non_max_suppression(cx: &mut OpCx<'_>) -> Outcome {
    let (boxes, scores) = (cx.value(0)?, cx.value(1)?);
    cx.need_rank(0, boxes, 3)?;
    cx.need_rank(1, scores, 3)?;
    let center_point_box = cx.flag_or("center_point_box", false)?;
    let shape = cx.shape(scores);
    let most = match cx.optional(2)? {
        Some(v) => cx.ints_of(&v).and_then(|v| v.first().copied()),
        None => Some(0),
    };
    let each = match most {
        Some(most) => shape[2].min_with(&Extent::Const(most.max(0))),
        None => shape[2].clone(),
    };
    let bound = &(&shape[0] * &shape[1]) * &each;
    let mut operands = vec![boxes, scores];
    let defaults = [
        (2, DType::I64, Scalar::i64(0)),
        (3, DType::F32, Scalar::f32(0.0)),
        (4, DType::F32, Scalar::f32(f32::NEG_INFINITY)),
    ];
    for (i, dtype, default) in defaults {
        let operand = match cx.optional_value(i)? {
            Some(v) => v,
            None => cx.full(default, dtype, &[])?,
        };
        operands.push(cx.reshape(operand, vec![])?);
    }
    let count = cx.data_symbol("count", Some(bound));
    one(cx.emit(ops::NonMaxSuppression { center_point_box, count }, &operands)?)
}
