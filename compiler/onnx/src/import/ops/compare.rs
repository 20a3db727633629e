//! compare - comparisons, Where, Cast and what tells numbers apart.

use nnc_ir::{dtype::DType, extent::Extent, ops};

use super::{arithmetic::operands, follow};
use crate::import::{
    Outcome, Problem, constant,
    cx::{OpCx, one},
    known, narrow,
    table::{Row, row},
    value::Imported,
};
use crate::model::OnnxType;

pub(crate) const ROWS: &[Row] = &[
    row("Equal", 1, 2..=2, equal),
    row("Less", 1, 2..=2, |cx| order(cx, Order::Less)),
    row("LessOrEqual", 12, 2..=2, |cx| order(cx, Order::LessOrEqual)),
    row("Greater", 1, 2..=2, |cx| order(cx, Order::Greater)),
    row("GreaterOrEqual", 12, 2..=2, |cx| order(cx, Order::GreaterOrEqual)),
    row("Where", 9, 3..=3, where_op),
    row("Cast", 6, 1..=1, cast),
    row("CastLike", 15, 2..=2, cast_like),
    row("IsInf", 10, 1..=1, is_inf),
];

fn truth(x: Option<bool>) -> Option<Extent> {
    x.map(|t| Extent::Const(i64::from(t)))
}

fn equal(cx: &mut OpCx<'_>) -> Outcome {
    let (a, b) = operands(cx)?;
    cx.same_dtype(&[a.id, b.id])?;
    let known = follow::binary_as(cx, &a, &b, DType::Bool, |m, x, y| truth(known::equal(m, x, y)))?;
    if let Some(value) = known {
        return one(value);
    }
    let value = cx.eq(a.id, b.id)?;
    if let (Some([x]), Some([y])) = (a.known.as_deref(), b.known.as_deref()) {
        cx.importer.equalities.insert(value, (x.clone(), y.clone()));
    }
    one(value)
}

#[derive(Clone, Copy)]
enum Order {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

fn order(cx: &mut OpCx<'_>, order: Order) -> Outcome {
    let (a, b) = operands(cx)?;
    cx.same_dtype(&[a.id, b.id])?;
    cx.need_dtype(0, a.id, "numbers", cx.dtype(a.id) != DType::Bool)?;
    let element: follow::Binary = match order {
        Order::Less => |m, x, y| truth(known::less(m, x, y)),
        Order::LessOrEqual => |m, x, y| truth(known::less(m, y, x).map(|t| !t)),
        Order::Greater => |m, x, y| truth(known::less(m, y, x)),
        Order::GreaterOrEqual => |m, x, y| truth(known::less(m, x, y).map(|t| !t)),
    };
    if let Some(value) = follow::binary_as(cx, &a, &b, DType::Bool, element)? {
        return one(value);
    }
    one(match order {
        Order::Less => cx.lt(a.id, b.id)?,
        Order::LessOrEqual => cx.le(a.id, b.id)?,
        Order::Greater => cx.lt(b.id, a.id)?,
        Order::GreaterOrEqual => cx.le(b.id, a.id)?,
    })
}

fn where_op(cx: &mut OpCx<'_>) -> Outcome {
    let (condition, a, b) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    cx.need_dtype(0, condition.id, "bool", cx.dtype(condition.id) == DType::Bool)?;
    cx.same_dtype(&[a.id, b.id])?;
    if let Some(value) = where_known(cx, &condition, &a, &b)? {
        return one(value);
    }
    one(cx.select(condition.id, a.id, b.id)?)
}

fn where_known(
    cx: &mut OpCx<'_>,
    condition: &Imported,
    a: &Imported,
    b: &Imported,
) -> Result<Option<Imported>, Problem> {
    let (Some(c), Some(x), Some(y)) = (condition.ints(), &a.known, &b.known) else { return Ok(None) };
    let n = [c.len(), x.len(), y.len()].into_iter().find(|&n| n != 1).unwrap_or(1);
    if [c.len(), x.len(), y.len()].iter().any(|&l| l != n && l != 1) {
        return Ok(None);
    }
    let at = |len: usize, i: usize| if len == 1 { 0 } else { i };
    let value = |i: usize| if c[at(c.len(), i)] != 0 { &x[at(x.len(), i)] } else { &y[at(y.len(), i)] };
    let values = (0..n).map(|i| value(i).clone()).collect();
    let rank = cx.rank(condition.id).max(cx.rank(a.id)).max(cx.rank(b.id));
    if rank > 1 {
        return Ok(None);
    }
    Ok(Some(cx.extents(values, cx.dtype(a.id), rank)?))
}

fn cast(cx: &mut OpCx<'_>) -> Outcome {
    cx.skip_attrs(&["saturate", "round_mode"]);
    let x = cx.input(0)?;
    let to = cx.int("to")?;
    let to = cx.required("to", to)?;
    let Some(onnx) = OnnxType::from_number(to) else {
        return cx.error(235, format!("cast to unknown element type {to}"));
    };
    if narrow::is_narrow(onnx) {
        return one(narrow::wrapped(cx, x.id, onnx)?);
    }
    let to = constant::dtype(onnx)?;
    convert(cx, &x, to)
}

fn cast_like(cx: &mut OpCx<'_>) -> Outcome {
    cx.skip_attrs(&["saturate", "round_mode"]);
    let x = cx.input(0)?;
    let to = cx.dtype(cx.value(1)?);
    if let Some(onnx) = cx.narrow_input(1) {
        return one(narrow::wrapped(cx, x.id, onnx)?);
    }
    convert(cx, &x, to)
}

fn convert(cx: &mut OpCx<'_>, x: &Imported, to: DType) -> Outcome {
    if cx.dtype(x.id) == to {
        return one(x.clone());
    }
    let truth = |e: &Extent| truth(e.as_const().map(|c| c != 0));
    let known = follow::unary(cx, x, to, |_, e| if to == DType::Bool { truth(e) } else { Some(e.clone()) })?;
    match known {
        Some(value) => one(value),
        None => one(cx.cast(x.id, to)?),
    }
}

fn is_inf(cx: &mut OpCx<'_>) -> Outcome {
    let x = cx.value(0)?;
    cx.need_float(0, x)?;
    let positive = cx.flag_or("detect_positive", true)?;
    let negative = cx.flag_or("detect_negative", true)?;
    one(cx.emit(ops::IsInf { positive, negative }, &[x])?)
}
