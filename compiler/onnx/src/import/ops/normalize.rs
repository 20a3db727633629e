//! normalize - batch, layer, instance, group and other normalizations, decomposed to means and pointwise operations.

use nnc_ir::{
    dtype::DType,
    extent::Extent,
    graph::ValueId,
    ops::{ReduceKind, TrainingKind},
};

use super::conv::per_channel;
use crate::import::{
    Outcome, Problem,
    cx::{OpCx, one},
    table::{Row, row},
    value::Binding,
};

pub(crate) const ROWS: &[Row] = &[
    row("BatchNormalization", 1, 5..=5, batch_norm),
    row("LayerNormalization", 17, 2..=3, layer_norm),
    row("RMSNormalization", 23, 2..=2, rms_norm),
    row("InstanceNormalization", 1, 3..=3, instance_norm),
    row("GroupNormalization", 18, 3..=3, group_norm),
    row("MeanVarianceNormalization", 9, 1..=1, mean_variance),
    row("LpNormalization", 1, 1..=1, lp_norm),
];

/// In training form where `training_mode` says so or, before opset 14, where statistics are among the results.
fn batch_norm(cx: &mut OpCx<'_>) -> Outcome {
    cx.skip_attrs(&["consumed_inputs", "is_test", "spatial", "epsilon", "momentum"]);
    let x = cx.value(0)?;
    cx.need_float(0, x)?;
    cx.need_min_rank(0, x, 2)?;
    let channels = cx.shape(x)[1].clone();
    for i in 1..5 {
        let v = cx.value(i)?;
        cx.need_rank(i, v, 1)?;
        let n = cx.shape(v)[0].clone();
        cx.need_equal(233, &n, &channels, || format!("input {i} has {n} elements for {channels} channels"))?;
    }
    let statistics = (1..cx.n_outputs()).any(|i| cx.wants(i));
    if cx.flag_or("training_mode", false)? || (cx.opset() < 14 && statistics) {
        let learns = [false, true, true, true, true];
        return cx.training_form(
            TrainingKind::BatchNorm,
            &learns,
            batch_norm_inference,
            Some(batch_norm_training),
        );
    }
    if statistics {
        return cx.unsupported("BatchNormalization that gives statistics without training_mode");
    }
    batch_norm_inference(cx)
}

/// What training and inference have in common: scale, bias, mean and variance.
fn parameters(cx: &OpCx<'_>) -> Result<[ValueId; 4], Problem> {
    Ok([cx.value(1)?, cx.value(2)?, cx.value(3)?, cx.value(4)?])
}

/// The results that this opset has: until 13 also the statistics of the batch.
fn statistics(cx: &OpCx<'_>, mut all: Vec<Binding>) -> Vec<Binding> {
    all.truncate(if cx.opset() < 14 { 5 } else { 3 });
    all
}

/// `x * s + b` with one `s` and `b` a channel, from constants where the parameters are. Statistics stay as they are.
fn batch_norm_inference(cx: &mut OpCx<'_>) -> Outcome {
    let (x, [scale, bias, mean, variance]) = (cx.value(0)?, parameters(cx)?);
    let epsilon = cx.float_or("epsilon", 1e-5)?;
    let y = scale_and_shift(cx, x, [scale, bias, mean, variance], epsilon)?;
    Ok(statistics(cx, [y, mean, variance, mean, variance].map(Binding::from).to_vec()))
}

fn scale_and_shift(
    cx: &mut OpCx<'_>,
    x: ValueId,
    [scale, bias, mean, variance]: [ValueId; 4],
    epsilon: f32,
) -> Result<ValueId, Problem> {
    let dtype = cx.dtype(x);
    // Parameters may be wider than the tensor.
    let wide = cx.dtype(variance);
    let (scale, bias, mean) = (cx.cast(scale, wide)?, cx.cast(bias, wide)?, cx.cast(mean, wide)?);
    let epsilon = cx.number_like(variance, epsilon.into())?;
    let deviation = cx.add(variance, epsilon)?;
    let deviation = cx.sqrt(deviation)?;
    let s = cx.div(scale, deviation)?;
    let moved = cx.mul(mean, s)?;
    let b = cx.sub(bias, moved)?;
    let x = cx.cast(x, wide)?;
    let (s, b) = (per_channel(cx, x, s)?, per_channel(cx, x, b)?);
    let y = cx.mul(x, s)?;
    let y = cx.add(y, b)?;
    cx.cast(y, dtype)
}

/// The same by the mean and variance of the batch, which also move the running ones.
fn batch_norm_training(cx: &mut OpCx<'_>) -> Outcome {
    let (x, [scale, bias, mean, variance]) = (cx.value(0)?, parameters(cx)?);
    let epsilon = cx.float_or("epsilon", 1e-5)?;
    let momentum = cx.float_or("momentum", 0.9)?;
    let axes: Vec<usize> = (0..cx.rank(x)).filter(|&a| a != 1).collect();
    let wide = cx.dtype(variance);
    let input = cx.cast(x, wide)?;
    let (now_mean, centred) = centre(cx, input, &axes)?;
    let now_variance = mean_square(cx, centred, &axes)?;
    let channels = cx.shape(mean);
    let now_mean = cx.reshape(now_mean, channels.clone())?;
    let now_variance = cx.reshape(now_variance, channels)?;
    let y = scale_and_shift(cx, x, [scale, bias, now_mean, now_variance], epsilon)?;
    let mut moved = |old: ValueId, new: ValueId| {
        let (keep, take) =
            (cx.number_like(old, momentum.into())?, cx.number_like(new, f64::from(1.0 - momentum))?);
        let (old, new) = (cx.mul(old, keep)?, cx.mul(new, take)?);
        cx.add(old, new)
    };
    let running = [moved(mean, now_mean)?, moved(variance, now_variance)?];
    Ok(statistics(cx, [y, running[0], running[1], now_mean, now_variance].map(Binding::from).to_vec()))
}

/// The mean along axes, which stay, and `x` minus it.
fn centre(cx: &mut OpCx<'_>, x: ValueId, axes: &[usize]) -> Result<(ValueId, ValueId), Problem> {
    let mean = cx.mean(x, axes, true)?;
    Ok((mean, cx.sub(x, mean)?))
}

fn mean_square(cx: &mut OpCx<'_>, x: ValueId, axes: &[usize]) -> Result<ValueId, Problem> {
    let square = cx.mul(x, x)?;
    cx.mean(square, axes, true)
}

/// `1 / sqrt(variance + epsilon)`.
fn inverse_deviation(cx: &mut OpCx<'_>, variance: ValueId, epsilon: f32) -> Result<ValueId, Problem> {
    let epsilon = cx.number_like(variance, epsilon.into())?;
    let deviation = cx.add(variance, epsilon)?;
    let deviation = cx.sqrt(deviation)?;
    cx.reciprocal(deviation)
}

/// The type statistics are computed in: `f32` for narrower floats.
fn stash(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

/// What is normalized over its axes from one on.
struct Rows {
    /// The input's type.
    dtype: DType,
    /// The input in the type that statistics are computed in.
    wide: ValueId,
    axes: Vec<usize>,
    epsilon: f32,
}

fn rows(cx: &mut OpCx<'_>) -> Result<Rows, Problem> {
    let x = cx.value(0)?;
    cx.need_float(0, x)?;
    cx.skip_attrs(&["stash_type"]);
    let (dtype, rank) = (cx.dtype(x), cx.rank(x));
    let axis = cx.int_or("axis", -1)?;
    let axis = cx.axis(axis, rank)?;
    let epsilon = cx.float_or("epsilon", 1e-5)?;
    let wide = cx.cast(x, stash(dtype))?;
    Ok(Rows { dtype, wide, axes: (axis..rank).collect(), epsilon })
}

fn layer_norm(cx: &mut OpCx<'_>) -> Outcome {
    let Rows { dtype, wide, axes, epsilon } = rows(cx)?;
    let (mean, centred) = centre(cx, wide, &axes)?;
    let variance = mean_square(cx, centred, &axes)?;
    let inverse = inverse_deviation(cx, variance, epsilon)?;
    let y = cx.mul(centred, inverse)?;
    let y = cx.cast(y, dtype)?;
    let y = cx.mul(y, cx.value(1)?)?;
    let y = match cx.optional_value(2)? {
        Some(bias) => cx.add(y, bias)?,
        None => y,
    };
    Ok(vec![y.into(), mean.into(), inverse.into()])
}

fn rms_norm(cx: &mut OpCx<'_>) -> Outcome {
    let Rows { dtype, wide, axes, epsilon } = rows(cx)?;
    let square = mean_square(cx, wide, &axes)?;
    let inverse = inverse_deviation(cx, square, epsilon)?;
    let y = cx.mul(wide, inverse)?;
    let y = cx.cast(y, dtype)?;
    let scale = cx.value(1)?;
    let scale = cx.cast(scale, dtype)?;
    one(cx.mul(y, scale)?)
}

/// Normalized along axes, in the wider type.
fn normalized(cx: &mut OpCx<'_>, x: ValueId, axes: &[usize], epsilon: f32) -> Result<ValueId, Problem> {
    let (_, centred) = centre(cx, x, axes)?;
    let variance = mean_square(cx, centred, axes)?;
    let inverse = inverse_deviation(cx, variance, epsilon)?;
    cx.mul(centred, inverse)
}

fn instance_norm(cx: &mut OpCx<'_>) -> Outcome {
    cx.skip_attrs(&["consumed_inputs"]);
    let (x, scale, bias) = (cx.value(0)?, cx.value(1)?, cx.value(2)?);
    cx.need_float(0, x)?;
    cx.need_min_rank(0, x, 3)?;
    let dtype = cx.dtype(x);
    let epsilon = cx.float_or("epsilon", 1e-5)?;
    let axes: Vec<usize> = (2..cx.rank(x)).collect();
    let wide = cx.cast(x, stash(dtype))?;
    let y = normalized(cx, wide, &axes, epsilon)?;
    let y = cx.cast(y, dtype)?;
    let (scale, bias) = (per_channel(cx, y, scale)?, per_channel(cx, y, bias)?);
    let y = cx.mul(y, scale)?;
    one(cx.add(y, bias)?)
}

fn group_norm(cx: &mut OpCx<'_>) -> Outcome {
    let (x, mut scale, mut bias) = (cx.value(0)?, cx.value(1)?, cx.value(2)?);
    cx.need_float(0, x)?;
    cx.need_min_rank(0, x, 2)?;
    cx.skip_attrs(&["stash_type"]);
    let epsilon = cx.float_or("epsilon", 1e-5)?;
    let groups = cx.int("num_groups")?;
    let groups = cx.required("num_groups", groups)?;
    let (shape, dtype) = (cx.shape(x), cx.dtype(x));
    if groups < 1 {
        return cx.error(215, format!("num_groups {groups}"));
    }
    let groups = Extent::Const(groups);
    let each = shape[1].floor_div(&groups);
    let all = &each * &groups;
    cx.need_equal(215, &shape[1], &all, || format!("{groups} groups do not divide {} channels", shape[1]))?;
    let apart = [&[shape[0].clone(), groups.clone(), each.clone()], &shape[2..]].concat();
    let wide = cx.cast(x, stash(dtype))?;
    let wide = cx.reshape(wide, apart.clone())?;
    let axes: Vec<usize> = (2..apart.len()).collect();
    let y = normalized(cx, wide, &axes, epsilon)?;
    let y = cx.cast(y, dtype)?;
    if cx.opset() < 21 {
        // One number a group.
        let y = {
            let (scale, bias) = (per_channel(cx, y, scale)?, per_channel(cx, y, bias)?);
            let y = cx.mul(y, scale)?;
            cx.add(y, bias)?
        };
        return one(cx.reshape(y, shape)?);
    }
    let y = cx.reshape(y, shape)?;
    (scale, bias) = (per_channel(cx, y, scale)?, per_channel(cx, y, bias)?);
    let y = cx.mul(y, scale)?;
    one(cx.add(y, bias)?)
}

fn mean_variance(cx: &mut OpCx<'_>) -> Outcome {
    let x = cx.value(0)?;
    cx.need_float(0, x)?;
    let axes = cx.ints("axes")?.unwrap_or_else(|| vec![0, 2, 3]);
    let axes = cx.axes(&axes, cx.rank(x))?;
    let (_, centred) = centre(cx, x, &axes)?;
    let variance = mean_square(cx, centred, &axes)?;
    let deviation = cx.sqrt(variance)?;
    let epsilon = cx.number_like(x, 1e-9)?;
    let deviation = cx.add(deviation, epsilon)?;
    one(cx.div(centred, deviation)?)
}

fn lp_norm(cx: &mut OpCx<'_>) -> Outcome {
    let x = cx.value(0)?;
    cx.need_float(0, x)?;
    let axis = cx.int_or("axis", -1)?;
    let axis = cx.axis(axis, cx.rank(x))?;
    let norm = match cx.int_or("p", 2)? {
        1 => {
            let magnitude = cx.abs(x)?;
            cx.reduce(ReduceKind::Sum, magnitude, &[axis], true)?
        }
        2 => {
            let square = cx.mul(x, x)?;
            let square = cx.sum(square, &[axis])?;
            cx.sqrt(square)?
        }
        p => return cx.error(205, format!("attribute 'p' is {p}, need 1 or 2")),
    };
    one(cx.div(x, norm)?)
}
