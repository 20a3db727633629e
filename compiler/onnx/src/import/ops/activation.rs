//! activation - piecewise and smooth functions of one element, spelt in simpler operations.

use nnc_ir::{
    dtype::{DType, Scalar},
    extent::Extent,
    graph::ValueId,
};

use crate::import::{
    Outcome, Problem,
    cx::{OpCx, one},
    table::{Row, row},
};

pub(crate) const ROWS: &[Row] = &[
    row("Clip", 1, 1..=3, clip),
    row("HardSigmoid", 1, 1..=1, hard_sigmoid),
    row("HardSwish", 14, 1..=1, hard_swish),
    row("LeakyRelu", 1, 1..=1, leaky_relu),
    row("PRelu", 1, 2..=2, prelu),
    row("Elu", 1, 1..=1, elu),
    row("Selu", 1, 1..=1, selu),
    row("Celu", 12, 1..=1, celu),
    row("ThresholdedRelu", 10, 1..=1, thresholded_relu),
    row("Softplus", 1, 1..=1, softplus),
    row("Softsign", 1, 1..=1, softsign),
    row("Mish", 18, 1..=1, mish),
    row("Gelu", 20, 1..=1, gelu),
    row("Swish", 24, 1..=1, swish),
    row("Shrink", 9, 1..=1, shrink),
];

/// The float operand.
fn float(cx: &mut OpCx<'_>) -> Result<ValueId, Problem> {
    cx.skip_attrs(&["consumed_inputs"]);
    let x = cx.value(0)?;
    cx.need_float(0, x)?;
    Ok(x)
}

fn clip(cx: &mut OpCx<'_>) -> Outcome {
    cx.skip_attrs(&["consumed_inputs"]);
    let mut x = cx.value(0)?;
    let (least, most) = if cx.opset() < 11 {
        let bound = |x: Option<f32>| x.map(f64::from).filter(|x| x.is_finite());
        let (least, most) = (bound(cx.float("min")?), bound(cx.float("max")?));
        let dtype = cx.dtype(x);
        (least.map(|b| cx.number(dtype, b)), most.map(|b| cx.number(dtype, b)))
    } else {
        (cx.optional_value(1)?, cx.optional_value(2)?)
    };
    for bound in least.iter().chain(&most) {
        cx.same_dtype(&[x, *bound])?;
        if cx.ty(*bound).elements().as_const() != Some(1) {
            return cx.error(212, format!("Clip needs scalar bounds, has {}", cx.ty(*bound)));
        }
    }
    let scalar = |cx: &mut OpCx<'_>, v| cx.reshape(v, vec![]);
    if let Some(least) = least {
        let least = scalar(cx, least)?;
        x = cx.max(x, least)?;
    }
    if let Some(most) = most {
        let most = scalar(cx, most)?;
        x = cx.min(x, most)?;
    }
    one(x)
}

/// `max(0, min(1, alpha * x + beta))`, in the order of Clip: the bounds commute.
pub(crate) fn hard_sigmoid_of(
    cx: &mut OpCx<'_>,
    x: ValueId,
    alpha: f64,
    beta: f64,
) -> Result<ValueId, Problem> {
    let (a, b) = (cx.number_like(x, alpha)?, cx.number_like(x, beta)?);
    let unit = cx.number_like(x, 1.0)?;
    let line = cx.mul(x, a)?;
    let line = cx.add(line, b)?;
    let line = cx.relu(line)?;
    cx.min(line, unit)
}

fn hard_sigmoid(cx: &mut OpCx<'_>) -> Outcome {
    let x = float(cx)?;
    let (alpha, beta) = (cx.float_or("alpha", 0.2)?, cx.float_or("beta", 0.5)?);
    one(hard_sigmoid_of(cx, x, alpha.into(), beta.into())?)
}

fn hard_swish(cx: &mut OpCx<'_>) -> Outcome {
    let x = float(cx)?;
    let gate = hard_sigmoid_of(cx, x, 1.0 / 6.0, 0.5)?;
    one(cx.mul(x, gate)?)
}

/// `x` where it is not negative, `other` elsewhere.
fn where_negative(cx: &mut OpCx<'_>, x: ValueId, other: ValueId) -> Outcome {
    let zero = cx.number_like(x, 0.0)?;
    let negative = cx.lt(x, zero)?;
    one(cx.select(negative, other, x)?)
}

/// `alpha * x` where `x` is negative.
pub(crate) fn leaky_relu_of(cx: &mut OpCx<'_>, x: ValueId, alpha: f64) -> Result<ValueId, Problem> {
    let alpha = cx.number_like(x, alpha)?;
    let scaled = cx.mul(x, alpha)?;
    let result = where_negative(cx, x, scaled)?;
    cx.only(result)
}

fn leaky_relu(cx: &mut OpCx<'_>) -> Outcome {
    let x = float(cx)?;
    let alpha = cx.float_or("alpha", 0.01)?;
    one(leaky_relu_of(cx, x, alpha.into())?)
}

fn prelu(cx: &mut OpCx<'_>) -> Outcome {
    cx.skip_attrs(&["consumed_inputs"]);
    let (x, mut slope) = (cx.value(0)?, cx.value(1)?);
    cx.same_dtype(&[x, slope])?;
    // Old exporters give one slope a channel as a vector.
    let (shape, has) = (cx.shape(x), cx.shape(slope));
    if let ([n], Some(channels)) = (&has[..], shape.get(1))
        && shape.len() > 2
        && n == channels
        && !n.is(1)
        && shape.last() != Some(n)
    {
        let mut aligned = vec![n.clone()];
        aligned.resize(shape.len() - 1, Extent::ONE);
        slope = cx.reshape(slope, aligned)?;
    }
    let slope = cx.broadcast_to_checked(slope, &shape)?;
    let scaled = cx.mul(x, slope)?;
    where_negative(cx, x, scaled)
}

/// `alpha * (exp(x) - 1)`.
fn exp_branch(cx: &mut OpCx<'_>, x: ValueId, alpha: f64) -> Result<ValueId, Problem> {
    let unit = cx.number_like(x, 1.0)?;
    let e = cx.exp(x)?;
    let e = cx.sub(e, unit)?;
    let alpha = cx.number_like(x, alpha)?;
    cx.mul(e, alpha)
}

/// `alpha * (exp(x) - 1)` where `x` is negative.
pub(crate) fn elu_of(cx: &mut OpCx<'_>, x: ValueId, alpha: f64) -> Result<ValueId, Problem> {
    let branch = exp_branch(cx, x, alpha)?;
    let result = where_negative(cx, x, branch)?;
    cx.only(result)
}

fn elu(cx: &mut OpCx<'_>) -> Outcome {
    let x = float(cx)?;
    let alpha = cx.float_or("alpha", 1.0)?;
    one(elu_of(cx, x, alpha.into())?)
}

fn selu(cx: &mut OpCx<'_>) -> Outcome {
    let x = float(cx)?;
    let alpha = cx.float_or("alpha", 1.673_263_2)?;
    let gamma = cx.float_or("gamma", 1.050_701)?;
    let y = elu_of(cx, x, alpha.into())?;
    let gamma = cx.number_like(x, gamma.into())?;
    one(cx.mul(y, gamma)?)
}

fn celu(cx: &mut OpCx<'_>) -> Outcome {
    let x = float(cx)?;
    let alpha = f64::from(cx.float_or("alpha", 1.0)?);
    let divisor = cx.number_like(x, alpha)?;
    let scaled = cx.div(x, divisor)?;
    let branch = exp_branch(cx, scaled, alpha)?;
    where_negative(cx, x, branch)
}

fn thresholded_relu(cx: &mut OpCx<'_>) -> Outcome {
    let x = float(cx)?;
    let alpha = cx.float_or("alpha", 1.0)?;
    let (alpha, zero) = (cx.number_like(x, alpha.into())?, cx.number_like(x, 0.0)?);
    let above = cx.lt(alpha, x)?;
    one(cx.select(above, x, zero)?)
}

/// `log(1 + exp(x))`, as `max(x, 0) + log(1 + exp(-|x|))` so that it does not overflow.
pub(crate) fn softplus_of(cx: &mut OpCx<'_>, x: ValueId) -> Result<ValueId, Problem> {
    let unit = cx.number_like(x, 1.0)?;
    let magnitude = cx.abs(x)?;
    let small = cx.neg(magnitude)?;
    let small = cx.exp(small)?;
    let small = cx.add(small, unit)?;
    let small = cx.log(small)?;
    let large = cx.relu(x)?;
    cx.add(large, small)
}

fn softplus(cx: &mut OpCx<'_>) -> Outcome {
    let x = float(cx)?;
    one(softplus_of(cx, x)?)
}

/// `x / (1 + |x|)`.
pub(crate) fn softsign_of(cx: &mut OpCx<'_>, x: ValueId) -> Result<ValueId, Problem> {
    let unit = cx.number_like(x, 1.0)?;
    let below = cx.abs(x)?;
    let below = cx.add(below, unit)?;
    cx.div(x, below)
}

fn softsign(cx: &mut OpCx<'_>) -> Outcome {
    let x = float(cx)?;
    one(softsign_of(cx, x)?)
}

fn mish(cx: &mut OpCx<'_>) -> Outcome {
    let x = float(cx)?;
    let gate = softplus_of(cx, x)?;
    let gate = cx.tanh(gate)?;
    one(cx.mul(x, gate)?)
}

fn gelu(cx: &mut OpCx<'_>) -> Outcome {
    let x = float(cx)?;
    if cx.choice("approximate", &["none", "tanh"])? == "tanh" {
        return one(gelu_tanh(cx, x)?);
    }
    one(cx.gelu(x)?)
}

/// `x (1 + tanh(u)) / 2`, `u = sqrt(2 / pi) (x + 0.044715 x^3)` (Hendrycks & Gimpel 2016), as `x * sigmoid(2 u)`: the gate is
/// the same function with fewer operations, and keeps the digits of its small values, which `1 + tanh` cancels.
fn gelu_tanh(cx: &mut OpCx<'_>, x: ValueId) -> Result<ValueId, Problem> {
    let line = 2.0 * (2.0 / std::f64::consts::PI).sqrt();
    let (cube, line) = (cx.number_like(x, line * 0.044_715)?, cx.number_like(x, line)?);
    let square = cx.mul(x, x)?;
    let inner = cx.mul(square, cube)?;
    let inner = cx.add(inner, line)?;
    let inner = cx.mul(x, inner)?;
    let gate = cx.sigmoid(inner)?;
    cx.mul(x, gate)
}

fn swish(cx: &mut OpCx<'_>) -> Outcome {
    let x = float(cx)?;
    let alpha = cx.float_or("alpha", 1.0)?;
    let alpha = cx.number_like(x, alpha.into())?;
    let gate = cx.mul(x, alpha)?;
    let gate = cx.sigmoid(gate)?;
    one(cx.mul(x, gate)?)
}

fn shrink(cx: &mut OpCx<'_>) -> Outcome {
    let x = cx.value(0)?;
    cx.need_dtype(0, x, "numbers", cx.dtype(x) != DType::Bool)?;
    let dtype = cx.dtype(x);
    let (bias, lambda) = (cx.float_or("bias", 0.0)?, cx.float_or("lambd", 0.5)?);
    // In floats: of an unsigned type minus lambda is no number.
    let compute = if dtype.is_float() { dtype } else { DType::F32 };
    let y = cx.cast(x, compute)?;
    let number = |cx: &mut OpCx<'_>, v: f32| cx.number(compute, f64::from(v));
    let (bias, low, high) = (number(cx, bias), number(cx, -lambda), number(cx, lambda));
    let zero = cx.full(Scalar::zero(compute), compute, &[])?;
    let (up, down) = (cx.add(y, bias)?, cx.sub(y, bias)?);
    let (is_low, is_high) = (cx.lt(y, low)?, cx.lt(high, y)?);
    let inner = cx.select(is_high, down, zero)?;
    let outer = cx.select(is_low, up, inner)?;
    one(cx.cast(outer, dtype)?)
}
