//! diagonal - operators that compare positions on two axes (Trilu, EyeLike), and running sums.

use nnc_ir::{dtype::DType, extent::Extent, graph::ValueId, ops};

use super::pick::zero_of;
use crate::import::{
    Outcome, Problem, constant,
    cx::{OpCx, one},
    table::{Row, row},
};
use crate::model::OnnxType;

pub(crate) const ROWS: &[Row] =
    &[row("Trilu", 14, 1..=2, trilu), row("EyeLike", 9, 1..=1, eye_like), row("CumSum", 11, 2..=2, cum_sum)];

/// Positions along the last two axes of `shape`, as a column and a row.
fn rows_and_columns(cx: &mut OpCx<'_>, shape: &[Extent]) -> Result<(ValueId, ValueId), Problem> {
    let (r, c) = (shape[shape.len() - 2].clone(), shape[shape.len() - 1].clone());
    Ok((cx.iota(vec![r, Extent::ONE], 0, DType::I64)?, cx.iota(vec![Extent::ONE, c], 1, DType::I64)?))
}

/// Elements on one side of diagonal `k`, zeros on the other.
fn trilu(cx: &mut OpCx<'_>) -> Outcome {
    let x = cx.value(0)?;
    cx.need_min_rank(0, x, 2)?;
    let upper = cx.flag_or("upper", true)?;
    let shape = cx.shape(x);
    let (rows, columns) = rows_and_columns(cx, &shape)?;
    let diagonal = match cx.optional_value(1)? {
        None => rows,
        Some(k) => {
            cx.need_dtype(1, k, "i64", cx.dtype(k) == DType::I64)?;
            let k = cx.reshape(k, vec![])?;
            cx.add(rows, k)?
        }
    };
    let kept = if upper { cx.le(diagonal, columns)? } else { cx.le(columns, diagonal)? };
    let zero = zero_of(cx, cx.dtype(x))?;
    one(cx.select(kept, x, zero)?)
}

fn eye_like(cx: &mut OpCx<'_>) -> Outcome {
    let x = cx.value(0)?;
    cx.need_rank(0, x, 2)?;
    let dtype = match cx.int("dtype")? {
        None => cx.dtype(x),
        Some(n) => match OnnxType::from_number(n) {
            Some(onnx) => constant::dtype(onnx)?,
            None => return cx.error(235, format!("attribute 'dtype' is {n}, which is no element type")),
        },
    };
    let k = cx.int_or("k", 0)?;
    let shape = cx.shape(x);
    let (rows, columns) = rows_and_columns(cx, &shape)?;
    let k = cx.int_scalar(DType::I64, k);
    let diagonal = cx.add(rows, k)?;
    let hit = cx.eq(diagonal, columns)?;
    one(cx.cast(hit, dtype)?)
}

fn cum_sum(cx: &mut OpCx<'_>) -> Outcome {
    let x = cx.value(0)?;
    let Some(axis) = cx.optional_ints(1)?.and_then(|a| a.first().copied()) else {
        return cx.error(203, "input 1 of CumSum has no element");
    };
    let axis = cx.axis(axis, cx.rank(x))?;
    let (exclusive, reverse) = (cx.flag_or("exclusive", false)?, cx.flag_or("reverse", false)?);
    one(cx.emit(ops::CumSum { axis, exclusive, reverse }, &[x])?)
}
