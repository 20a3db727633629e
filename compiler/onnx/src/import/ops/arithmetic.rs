//! arithmetic - operators on several tensors element by element, whose operands broadcast.

use nnc_ir::{dtype::DType, extent::Extent, graph::ValueId, ops};

use super::follow;
use crate::import::{
    Outcome, Problem,
    cx::{OpCx, one},
    known,
    table::{MANY, Row, row},
    value::Imported,
};

pub(crate) const ROWS: &[Row] = &[
    row("Add", 1, 2..=2, |cx| arithmetic(cx, OpCx::add, |_, a, b| Some(a + b))),
    row("Sub", 1, 2..=2, |cx| arithmetic(cx, OpCx::sub, |_, a, b| Some(a - b))),
    row("Mul", 1, 2..=2, |cx| arithmetic(cx, OpCx::mul, |_, a, b| Some(a * b))),
    row("Div", 1, 2..=2, div),
    row("Mod", 10, 2..=2, modulo),
    row("Pow", 1, 2..=2, pow),
    row("Max", 1, 1..=MANY, |cx| chain(cx, OpCx::max, |_, a, b| Some(a.max_with(b)))),
    row("Min", 1, 1..=MANY, |cx| chain(cx, OpCx::min, |_, a, b| Some(a.min_with(b)))),
    row("Sum", 1, 1..=MANY, |cx| chain(cx, OpCx::add, |_, a, b| Some(a + b))),
    row("Mean", 1, 1..=MANY, mean),
    row("BitShift", 11, 2..=2, bit_shift),
    row("And", 1, 2..=2, |cx| logic(cx, OpCx::and, |x, y| x & y)),
    row("Or", 1, 2..=2, |cx| logic(cx, OpCx::or, |x, y| x | y)),
    row("Xor", 1, 2..=2, |cx| bits(cx, OpCx::xor, "bool", |d| d == DType::Bool)),
    row("BitwiseAnd", 18, 2..=2, |cx| bits(cx, OpCx::and, "integers", DType::is_int)),
    row("BitwiseOr", 18, 2..=2, |cx| bits(cx, OpCx::or, "integers", DType::is_int)),
    row("BitwiseXor", 18, 2..=2, |cx| bits(cx, OpCx::xor, "integers", DType::is_int)),
];

type Emit<'b> = fn(&mut OpCx<'b>, ValueId, ValueId) -> Result<ValueId, Problem>;

/// Both operands, of one element type; before opset 7 the second one is aligned as `axis` says.
pub(super) fn operands(cx: &mut OpCx<'_>) -> Result<(Imported, Imported), Problem> {
    let (a, mut b) = (cx.input(0)?, cx.input(1)?);
    if cx.opset() < 7 && cx.node.domain.is_empty() {
        cx.skip_attrs(&["consumed_inputs"]);
        let broadcast = cx.int_or("broadcast", 0)? != 0;
        if let (Some(axis), true) = (cx.int("axis")?, broadcast) {
            let rank = cx.rank(a.id);
            let axis = cx.axis(axis, rank)?;
            let mut shape = cx.shape(b.id);
            let missing = rank.saturating_sub(axis + shape.len());
            shape.extend(std::iter::repeat_n(Extent::ONE, missing));
            b = cx.reshape(b.id, shape)?.into();
        }
    }
    Ok((a, b))
}

fn arithmetic<'b>(cx: &mut OpCx<'b>, emit: Emit<'b>, extents: follow::Binary) -> Outcome {
    let (a, b) = operands(cx)?;
    cx.same_dtype(&[a.id, b.id])?;
    cx.need_dtype(0, a.id, "numbers", cx.dtype(a.id) != DType::Bool)?;
    if let Some(value) = follow::binary(cx, &a, &b, extents)? {
        return one(value);
    }
    one(emit(cx, a.id, b.id)?)
}

fn div(cx: &mut OpCx<'_>) -> Outcome {
    let float = cx.dtype(cx.value(0)?).is_float();
    if float {
        arithmetic(cx, OpCx::div, |_, a, b| {
            let q = a.floor_div(b);
            (!b.is(0) && &q * b == *a).then_some(q)
        })
    } else {
        arithmetic(cx, OpCx::div, known::div)
    }
}

fn modulo(cx: &mut OpCx<'_>) -> Outcome {
    let (a, b) = operands(cx)?;
    let dtype = cx.same_dtype(&[a.id, b.id])?;
    let towards_zero = cx.flag_or("fmod", false)?;
    if dtype.is_float() && !towards_zero {
        return cx.error(205, "Mod of floats needs fmod = 1");
    }
    let extents: follow::Binary =
        if towards_zero { |m, a, b| known::rem(m, a, b, true) } else { |m, a, b| known::rem(m, a, b, false) };
    if let Some(value) = follow::binary(cx, &a, &b, extents)? {
        return one(value);
    }
    let (a, b) = cx.broadcast_pair(a.id, b.id)?;
    one(cx.emit(ops::Rem { floored: !towards_zero }, &[a, b])?)
}

fn pow(cx: &mut OpCx<'_>) -> Outcome {
    let (a, b) = operands(cx)?;
    let dtype = cx.dtype(a.id);
    let exponent = cx.constant(b.id).filter(|c| c.elements() == 1).map(|c| c.element(0));
    let exponent = exponent.and_then(|s| s.as_f64().or_else(|| s.as_i64().map(|i| i as f64)));
    let fits = cx.rank(b.id) <= cx.rank(a.id);
    if let (Some(e), true) = (exponent, fits) {
        // Exact, and exact but for one more rounding.
        if e == 2.0 {
            return one(cx.mul(a.id, a.id)?);
        } else if e == 3.0 {
            let square = cx.mul(a.id, a.id)?;
            return one(cx.mul(square, a.id)?);
        }
    }
    if dtype.is_int() && cx.dtype(b.id).is_float() {
        let wide = cx.cast(a.id, cx.dtype(b.id))?;
        let power = cx.pow(wide, b.id)?;
        return one(cx.cast(power, dtype)?);
    }
    let b = cx.cast(b.id, dtype)?;
    one(cx.pow(a.id, b)?)
}

/// Joins any number of tensors.
fn chain<'b>(cx: &mut OpCx<'b>, emit: Emit<'b>, extents: follow::Binary) -> Outcome {
    cx.skip_attrs(&["consumed_inputs"]);
    let inputs = cx.all_inputs()?;
    let ids: Vec<ValueId> = inputs.iter().map(|v| v.id).collect();
    cx.same_dtype(&ids)?;
    let mut joint = inputs[0].clone();
    for next in &inputs[1..] {
        joint = match follow::binary(cx, &joint, next, extents)? {
            Some(value) => value,
            None => emit(cx, joint.id, next.id)?.into(),
        };
    }
    one(joint)
}

fn mean(cx: &mut OpCx<'_>) -> Outcome {
    let n = cx.n_inputs() as f64;
    let sum = chain(cx, OpCx::add, |_, _, _| None)?;
    let sum = cx.only(sum)?;
    let n = cx.number_like(sum, n)?;
    one(cx.div(sum, n)?)
}

fn bits<'b>(cx: &mut OpCx<'b>, emit: Emit<'b>, what: &str, fits: fn(DType) -> bool) -> Outcome {
    let (a, b) = operands(cx)?;
    let dtype = cx.same_dtype(&[a.id, b.id])?;
    cx.need_dtype(0, a.id, what, fits(dtype))?;
    one(emit(cx, a.id, b.id)?)
}

/// And, Or: of two `bool` tensors.
fn logic<'b>(cx: &mut OpCx<'b>, emit: Emit<'b>, of: fn(i64, i64) -> i64) -> Outcome {
    let (a, b) = operands(cx)?;
    if let (Some([x]), Some([y])) = (a.ints().as_deref(), b.ints().as_deref())
        && cx.rank(a.id) == cx.rank(b.id)
    {
        let (dtype, shape) = (cx.dtype(a.id), cx.shape(a.id));
        return one(cx.extents_of_shape(vec![of(*x, *y).into()], dtype, &shape)?);
    }
    bits(cx, emit, "bool", |d| d == DType::Bool)
}

fn bit_shift(cx: &mut OpCx<'_>) -> Outcome {
    let (a, b) = operands(cx)?;
    cx.same_dtype(&[a.id, b.id])?;
    cx.need_dtype(0, a.id, "integers", cx.dtype(a.id).is_int())?;
    let direction = cx.text("direction")?;
    let direction = cx.required("direction", direction)?;
    let (a, b) = cx.broadcast_pair(a.id, b.id)?;
    one(match direction.as_str() {
        "LEFT" => cx.emit(ops::Shl {}, &[a, b])?,
        "RIGHT" => cx.emit(ops::Shr {}, &[a, b])?,
        other => return cx.error(205, format!("attribute 'direction' is '{other}', need LEFT or RIGHT")),
    })
}
