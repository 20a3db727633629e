//! unary - functions of one element.

use nnc_ir::{dtype::DType, extent::Extent, graph::ValueId, ops};

use super::follow;
use crate::import::{
    Outcome, Problem,
    cx::{OpCx, one},
    table::{Row, row},
};

macro_rules! plain {
    ($name:literal, $since:literal, $op:ident) => {
        row($name, $since, 1..=1, |cx| unary(cx, |cx, x| cx.emit(ops::$op {}, &[x])))
    };
}

pub(crate) const ROWS: &[Row] = &[
    plain!("Abs", 1, Abs),
    plain!("Acos", 7, Acos),
    plain!("Acosh", 9, Acosh),
    plain!("Asin", 7, Asin),
    plain!("Asinh", 9, Asinh),
    plain!("Atan", 7, Atan),
    plain!("Atanh", 9, Atanh),
    plain!("BitwiseNot", 18, BitNot),
    plain!("Cos", 7, Cos),
    plain!("Cosh", 9, Cosh),
    plain!("Erf", 9, Erf),
    plain!("Exp", 1, Exp),
    plain!("IsNaN", 9, IsNan),
    plain!("Log", 1, Log),
    plain!("Relu", 1, Relu),
    plain!("Sigmoid", 1, Sigmoid),
    plain!("Sign", 9, Sign),
    plain!("Sin", 7, Sin),
    plain!("Sinh", 9, Sinh),
    plain!("Sqrt", 1, Sqrt),
    plain!("Tan", 7, Tan),
    plain!("Tanh", 1, Tanh),
    row("Neg", 1, 1..=1, neg),
    row("Not", 1, 1..=1, not),
    row("Reciprocal", 1, 1..=1, |cx| unary(cx, OpCx::reciprocal)),
    row("Ceil", 1, 1..=1, |cx| whole(cx, OpCx::ceil)),
    row("Floor", 1, 1..=1, |cx| whole(cx, OpCx::floor)),
    row("Round", 11, 1..=1, |cx| whole(cx, OpCx::round)),
];

type Emit<'b> = fn(&mut OpCx<'b>, ValueId) -> Result<ValueId, Problem>;

fn unary<'b>(cx: &mut OpCx<'b>, emit: Emit<'b>) -> Outcome {
    cx.skip_attrs(&["consumed_inputs"]);
    let x = cx.value(0)?;
    let refused = emit(cx, x);
    match refused {
        Ok(value) => one(value),
        // These operations refuse nothing but element types.
        Err(_) => cx.error(210, format!("{} of {} elements", cx.op(), cx.dtype(x))),
    }
}

fn neg(cx: &mut OpCx<'_>) -> Outcome {
    let x = cx.input(0)?;
    let dtype = cx.dtype(x.id);
    match follow::unary(cx, &x, dtype, |_, e| Some(e.scale(-1)))? {
        Some(value) if dtype != DType::Bool => one(value),
        _ => unary(cx, OpCx::neg),
    }
}

fn not(cx: &mut OpCx<'_>) -> Outcome {
    let x = cx.input(0)?;
    cx.need_dtype(0, x.id, "bool", cx.dtype(x.id) == DType::Bool)?;
    match follow::unary(cx, &x, DType::Bool, |_, e| Some(Extent::Const(1 - e.as_const()?)))? {
        Some(value) => one(value),
        None => one(cx.not(x.id)?),
    }
}

/// Rounding, which leaves whole numbers alone.
fn whole<'b>(cx: &mut OpCx<'b>, emit: Emit<'b>) -> Outcome {
    let x = cx.input(0)?;
    if x.known.is_some() {
        return one(x);
    }
    unary(cx, emit)
}
