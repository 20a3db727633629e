//! quantize - QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear.

use nnc_ir::{dtype::DType, extent::Extent, graph::ValueId, ops::ReduceKind};

use crate::import::{
    Outcome, Problem, constant,
    cx::{OpCx, one},
    narrow,
    table::{Row, row},
};
use crate::model::OnnxType;

pub(crate) const ROWS: &[Row] = &[
    row("QuantizeLinear", 10, 2..=3, quantize),
    row("DequantizeLinear", 10, 2..=3, dequantize),
    row("DynamicQuantizeLinear", 11, 1..=1, dynamic),
];

/// How scales and zero points lie along the tensor.
struct Grain {
    axis: Option<i64>,
    block: i64,
}

impl Grain {
    fn read(cx: &OpCx<'_>) -> Result<Self, Problem> {
        let axis = if cx.opset() < 13 { None } else { Some(cx.int_or("axis", 1)?) };
        let block = cx.int_or("block_size", 0)?;
        if block < 0 {
            return cx.error(205, format!("attribute 'block_size' is {block}"));
        }
        Ok(Self { axis, block })
    }

    /// Operand `i`, a scale or zero point, in a shape that broadcasts against `shape`.
    fn aligned(&self, cx: &mut OpCx<'_>, i: usize, shape: &[Extent]) -> Result<ValueId, Problem> {
        let parameter = cx.value(i)?;
        let have = cx.shape(parameter);
        if have.iter().all(|e| e.is(1)) && self.block == 0 {
            return cx.reshape(parameter, vec![]);
        }
        let axis = match self.axis {
            Some(axis) => cx.axis(axis, shape.len())?,
            None => return cx.error(212, format!("input {i} has shape {have:?}, needs a scalar")),
        };
        if self.block == 0 {
            cx.need_rank(i, parameter, 1)?;
            cx.need_equal(212, &have[0], &shape[axis], || {
                format!("input {i} has {} elements for an axis of {}", have[0], shape[axis])
            })?;
            let mut aligned = vec![Extent::ONE; shape.len()];
            aligned[axis] = have[0].clone();
            return cx.reshape(parameter, aligned);
        }
        cx.need_rank(i, parameter, shape.len())?;
        let blocks = shape[axis].ceil_div(&Extent::Const(self.block));
        cx.need_equal(212, &have[axis], &blocks, || {
            format!("input {i} has {} blocks along axis {axis}, needs {blocks}", have[axis])
        })?;
        let apart = cx.unsqueeze(parameter, axis + 1)?;
        let mut wide = cx.shape(apart);
        wide[axis + 1] = Extent::Const(self.block);
        let repeated = cx.broadcast_to(apart, &wide)?;
        let mut joint = have;
        joint[axis] = joint[axis].scale(self.block);
        let repeated = cx.reshape(repeated, joint)?;
        cx.slice_axis(repeated, axis, Extent::ZERO, shape[axis].clone())
    }
}

/// The type of an attribute that names one (0: none).
fn type_attr(cx: &OpCx<'_>, name: &str) -> Result<Option<OnnxType>, Problem> {
    match cx.int_or(name, 0)? {
        0 => Ok(None),
        n => match OnnxType::from_number(n) {
            Some(onnx) => Ok(Some(onnx)),
            None => cx.error(235, format!("attribute '{name}' is {n}, which is no element type")),
        },
    }
}

/// The type that is declared for operand `i`, or what its elements say.
fn onnx_type(cx: &OpCx<'_>, i: usize) -> Result<Option<OnnxType>, Problem> {
    let Some(value) = cx.optional_value(i)? else { return Ok(None) };
    let plain = match cx.dtype(value) {
        DType::U8 => OnnxType::Uint8,
        DType::I8 => OnnxType::Int8,
        DType::U16 => OnnxType::Uint16,
        DType::I16 => OnnxType::Int16,
        DType::I32 => OnnxType::Int32,
        other => return cx.error(210, format!("input {i} of {} has {other} elements", cx.op())),
    };
    Ok(Some(cx.narrow_input(i).unwrap_or(plain)))
}

/// `x` rounded to even, moved by the zero point, kept in the range of `to`.
///
/// In `f32`, or wider if `x` is: every integer that survives the bounds is exact.
pub(crate) fn saturated(
    cx: &mut OpCx<'_>,
    x: ValueId,
    zero_point: Option<ValueId>,
    to: OnnxType,
) -> Result<ValueId, Problem> {
    let (Some((low, high)), Ok(dtype)) = (narrow::range(to), constant::dtype(to)) else {
        return cx.unsupported(format!("quantization to {to}"));
    };
    let x = if cx.dtype(x) == DType::F64 { x } else { cx.cast(x, DType::F32)? };
    let compute = cx.dtype(x);
    let mut y = cx.round(x)?;
    if let Some(zero_point) = zero_point {
        let zero_point = cx.cast(zero_point, compute)?;
        y = cx.add(y, zero_point)?;
    }
    let (low, high) = (cx.number(compute, low as f64), cx.number(compute, high as f64));
    let y = cx.max(y, low)?;
    let y = cx.min(y, high)?;
    cx.cast(y, dtype)
}

fn quantize(cx: &mut OpCx<'_>) -> Outcome {
    cx.skip_attrs(&["saturate"]);
    let x = cx.value(0)?;
    let shape = cx.shape(x);
    let grain = Grain::read(cx)?;
    let declared = type_attr(cx, "output_dtype")?;
    let to = onnx_type(cx, 2)?.or(declared).unwrap_or(OnnxType::Uint8);
    let scale = grain.aligned(cx, 1, &shape)?;
    let precision = match type_attr(cx, "precision")? {
        Some(onnx) => constant::dtype(onnx)?,
        None => cx.dtype(scale),
    };
    if !precision.is_float() {
        return cx.error(210, format!("QuantizeLinear divides in {precision}, needs floats"));
    }
    let (x, scale) = (cx.cast(x, precision)?, cx.cast(scale, precision)?);
    let quotient = cx.div(x, scale)?;
    let zero_point = match cx.optional_value(2)? {
        Some(_) => Some(grain.aligned(cx, 2, &shape)?),
        None => None,
    };
    one(saturated(cx, quotient, zero_point, to)?)
}

fn dequantize(cx: &mut OpCx<'_>) -> Outcome {
    let x = cx.value(0)?;
    let shape = cx.shape(x);
    cx.need_dtype(0, x, "integers", cx.dtype(x).is_int())?;
    let grain = Grain::read(cx)?;
    let scale = grain.aligned(cx, 1, &shape)?;
    cx.need_float(1, scale)?;
    let to = match type_attr(cx, "output_dtype")? {
        Some(onnx) => constant::dtype(onnx)?,
        None => cx.dtype(scale),
    };
    let mut y = x;
    if cx.optional_value(2)?.is_some() {
        let zero_point = grain.aligned(cx, 2, &shape)?;
        cx.same_dtype(&[x, zero_point])?;
        let (wide, zero_point) = (cx.cast(x, DType::I32)?, cx.cast(zero_point, DType::I32)?);
        y = cx.sub(wide, zero_point)?;
    }
    let y = cx.cast(y, DType::F32)?;
    let scale = cx.cast(scale, DType::F32)?;
    let y = cx.mul(y, scale)?;
    one(cx.cast(y, to)?)
}

fn dynamic(cx: &mut OpCx<'_>) -> Outcome {
    let x = cx.value(0)?;
    cx.need_dtype(0, x, "f32", cx.dtype(x) == DType::F32)?;
    Ok(dynamic_of(cx, x)?.map(Into::into).to_vec())
}

/// `x` as `u8`, its scale and its zero point, which come from its least and greatest element, with 0 among them.
pub(crate) fn dynamic_of(cx: &mut OpCx<'_>, x: ValueId) -> Result<[ValueId; 3], Problem> {
    let axes: Vec<usize> = (0..cx.rank(x)).collect();
    let (zero, unit) = (cx.number(DType::F32, 0.0), cx.number(DType::F32, 1.0));
    let most = cx.number(DType::F32, 255.0);
    let (mut low, mut high) = (x, x);
    if !axes.is_empty() {
        low = cx.reduce(ReduceKind::Min, x, &axes, false)?;
        high = cx.reduce(ReduceKind::Max, x, &axes, false)?;
    }
    let (low, high) = (cx.min(low, zero)?, cx.max(high, zero)?);
    let span = cx.sub(high, low)?;
    let flat = cx.eq(span, zero)?;
    let span = cx.select(flat, unit, span)?;
    let scale = cx.div(span, most)?;
    let start = cx.div(low, scale)?;
    let start = cx.neg(start)?;
    let zero_point = saturated(cx, start, None, OnnxType::Uint8)?;
    let quotient = cx.div(x, scale)?;
    let y = saturated(cx, quotient, Some(zero_point), OnnxType::Uint8)?;
    Ok([y, scale, zero_point])
}
