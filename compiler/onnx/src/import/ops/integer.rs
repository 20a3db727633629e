//! integer - products and convolutions of quantized tensors, exact in `i32`.

use nnc_ir::{dtype::DType, extent::Extent, graph::ValueId};

use super::{
    conv::{conv_of, per_channel},
    matmul::matmul_of,
    quantize::saturated,
};
use crate::import::{
    Outcome, Problem,
    cx::{OpCx, one},
    table::{Row, row},
};
use crate::model::OnnxType;

pub(crate) const ROWS: &[Row] = &[
    row("MatMulInteger", 10, 2..=4, matmul_integer),
    row("ConvInteger", 10, 2..=4, conv_integer),
    row("QLinearMatMul", 10, 8..=8, qlinear_matmul),
    row("QLinearConv", 10, 8..=9, qlinear_conv),
];

/// Along which axis of a matrix a vector of scales or zero points lies.
#[derive(Clone, Copy)]
enum Along {
    Rows,
    Columns,
}

/// Operand `i` widened to `i32`.
fn wide(cx: &mut OpCx<'_>, i: usize) -> Result<ValueId, Problem> {
    let x = cx.value(i)?;
    cx.need_dtype(i, x, "u8 or i8", matches!(cx.dtype(x), DType::U8 | DType::I8))?;
    cx.cast(x, DType::I32)
}

/// A scale or zero point of a matrix: one number, one a row or column, or already aligned.
fn of_matrix(cx: &mut OpCx<'_>, parameter: ValueId, along: Along) -> Result<ValueId, Problem> {
    let shape = cx.shape(parameter);
    match (&shape[..], along) {
        (shape, _) if shape.iter().all(|e| e.is(1)) => cx.reshape(parameter, vec![]),
        ([n], Along::Rows) => cx.reshape(parameter, vec![n.clone(), Extent::ONE]),
        _ => Ok(parameter),
    }
}

/// `x` minus its zero point, in `i32`; `None` for the zero point is 0.
fn centred(cx: &mut OpCx<'_>, x: ValueId, zero_point: Option<ValueId>) -> Result<ValueId, Problem> {
    let Some(zero_point) = zero_point else { return Ok(x) };
    let all_zero = cx.constant(zero_point).and_then(nnc_ir::constant::Constant::as_splat);
    if all_zero.is_some_and(|z| z.bits == 0) {
        return Ok(x);
    }
    let zero_point = cx.cast(zero_point, DType::I32)?;
    cx.sub(x, zero_point)
}

/// Matrix operand `x` minus zero point operand `zero_point`.
fn matrix(cx: &mut OpCx<'_>, x: usize, zero_point: usize, along: Along) -> Result<ValueId, Problem> {
    let wide = wide(cx, x)?;
    let zero_point = match cx.optional_value(zero_point)? {
        Some(z) => Some(of_matrix(cx, z, along)?),
        None => None,
    };
    centred(cx, wide, zero_point)
}

fn matmul_integer(cx: &mut OpCx<'_>) -> Outcome {
    let (a, b) = (matrix(cx, 0, 2, Along::Rows)?, matrix(cx, 1, 3, Along::Columns)?);
    one(matmul_of(cx, a, b)?)
}

/// `sum * scale`, rounded and saturated to the type of the zero point in operand `zero_point`.
fn requantized(
    cx: &mut OpCx<'_>,
    sum: ValueId,
    scale: ValueId,
    zero_point: usize,
) -> Result<ValueId, Problem> {
    let sum = cx.cast(sum, DType::F32)?;
    let y = cx.mul(sum, scale)?;
    let zero_point = cx.value(zero_point)?;
    let to = match cx.dtype(zero_point) {
        DType::U8 => OnnxType::Uint8,
        DType::I8 => OnnxType::Int8,
        other => return cx.error(210, format!("{} gives {other}, needs u8 or i8", cx.op())),
    };
    let zero_point = if cx.ty(zero_point).elements().is(1) {
        cx.reshape(zero_point, vec![])?
    } else {
        of_matrix(cx, zero_point, Along::Rows)?
    };
    saturated(cx, y, Some(zero_point), to)
}

/// `a * b / y` of scales, in `f32`.
fn joint_scale(cx: &mut OpCx<'_>, a: ValueId, b: ValueId, y: ValueId) -> Result<ValueId, Problem> {
    let (a, b, y) = (cx.cast(a, DType::F32)?, cx.cast(b, DType::F32)?, cx.cast(y, DType::F32)?);
    let product = cx.mul(a, b)?;
    cx.div(product, y)
}

fn qlinear_matmul(cx: &mut OpCx<'_>) -> Outcome {
    let (a, b) = (matrix(cx, 0, 2, Along::Rows)?, matrix(cx, 3, 5, Along::Columns)?);
    let sum = matmul_of(cx, a, b)?;
    let scales = [(1, Along::Rows), (4, Along::Columns), (6, Along::Rows)];
    let mut scale = Vec::with_capacity(3);
    for (i, along) in scales {
        let v = cx.value(i)?;
        cx.need_float(i, v)?;
        scale.push(of_matrix(cx, v, along)?);
    }
    let scale = joint_scale(cx, scale[0], scale[1], scale[2])?;
    one(requantized(cx, sum, scale, 7)?)
}

/// Convolution of operands `x` and `w` minus their zero points.
fn convolution(cx: &mut OpCx<'_>, at: [usize; 4]) -> Result<ValueId, Problem> {
    let [x, x_zero, w, w_zero] = at;
    let (input, weight) = (wide(cx, x)?, wide(cx, w)?);
    let input_zero = match cx.optional_value(x_zero)? {
        Some(z) => Some(cx.reshape(z, vec![])?),
        None => None,
    };
    let weight_zero = match cx.optional_value(w_zero)? {
        // One number a filter, along axis 0.
        Some(z) if !cx.ty(z).elements().is(1) => {
            let mut shape = vec![Extent::ONE; cx.rank(weight)];
            shape[0] = cx.shape(weight)[0].clone();
            Some(cx.reshape(z, shape)?)
        }
        Some(z) => Some(cx.reshape(z, vec![])?),
        None => None,
    };
    let input = centred(cx, input, input_zero)?;
    let weight = centred(cx, weight, weight_zero)?;
    conv_of(cx, input, weight)
}

fn conv_integer(cx: &mut OpCx<'_>) -> Outcome {
    one(convolution(cx, [0, 2, 1, 3])?)
}

fn qlinear_conv(cx: &mut OpCx<'_>) -> Outcome {
    let mut sum = convolution(cx, [0, 2, 3, 5])?;
    if let Some(bias) = cx.optional_value(8)? {
        cx.need_dtype(8, bias, "i32", cx.dtype(bias) == DType::I32)?;
        let bias = per_channel(cx, sum, bias)?;
        sum = cx.add(sum, bias)?;
    }
    let (x, w, y) = (cx.value(1)?, cx.value(4)?, cx.value(6)?);
    let (x, y) = (cx.reshape(x, vec![])?, cx.reshape(y, vec![])?);
    let w = if cx.ty(w).elements().is(1) { cx.reshape(w, vec![])? } else { per_channel(cx, sum, w)? };
    let scale = joint_scale(cx, x, w, y)?;
    one(requantized(cx, sum, scale, 7)?)
}
