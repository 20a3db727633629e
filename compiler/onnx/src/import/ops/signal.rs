//! signal - Fourier transforms as matrix products, windows, and mel filters.

use std::f64::consts::TAU;

use nnc_ir::{
    constant::Constant,
    dtype::{DType, Scalar},
    extent::Extent,
    graph::ValueId,
    ops::{self, PadMode},
};

use super::{matmul::matmul_of, pick::scalar_extent};
use crate::import::{
    Outcome, Problem, constant,
    cx::{OpCx, one},
    table::{Row, row},
};
use crate::model::OnnxType;

pub(crate) const ROWS: &[Row] = &[
    row("DFT", 17, 1..=3, dft),
    row("STFT", 17, 2..=4, stft),
    row("HannWindow", 17, 1..=1, |cx| window(cx, &[0.5, -0.5])),
    row("HammingWindow", 17, 1..=1, |cx| window(cx, &[25.0 / 46.0, -21.0 / 46.0])),
    row("BlackmanWindow", 17, 1..=1, |cx| window(cx, &[0.42, -0.5, 0.08])),
    row("MelWeightMatrix", 17, 5..=5, mel),
];

/// Most elements of a transform's matrix.
const MAX_MATRIX: i64 = 1 << 24;

/// The matrix that takes `n` numbers of `parts` parts (1 real, 2 complex) to `bins` complex ones.
fn matrix(
    cx: &mut OpCx<'_>,
    dtype: DType,
    n: i64,
    parts: i64,
    bins: i64,
    inverse: bool,
) -> Result<ValueId, Problem> {
    if n < 1 || n.saturating_mul(bins).saturating_mul(2 * parts) > MAX_MATRIX {
        return cx.unsupported(format!("{} of {n} elements", cx.op()));
    }
    let (sign, scale) = if inverse { (1.0, 1.0 / n as f64) } else { (-1.0, 1.0) };
    let mut elements = Vec::new();
    for j in 0..n {
        for part in 0..parts {
            for k in 0..bins {
                // The turns are reduced as integers, so that angles stay exact.
                let angle = TAU * ((j * k) % n) as f64 / n as f64;
                let (re, im) = (angle.cos() * scale, sign * angle.sin() * scale);
                let pair = if part == 0 { [re, im] } else { [-im, re] };
                elements.extend(pair.map(|x| Scalar::float(dtype, x)));
            }
        }
    }
    Ok(cx.constant_value(Constant::from_scalars(dtype, &[n * parts, bins * 2], &elements)))
}

/// Rows `[.., n, parts]` transformed to `[.., bins, 2]`.
fn transformed(cx: &mut OpCx<'_>, x: ValueId, onesided: bool, inverse: bool) -> Result<ValueId, Problem> {
    let shape = cx.shape(x);
    let rank = shape.len();
    let (Some(n), Some(parts @ (1 | 2))) = (shape[rank - 2].as_const(), shape[rank - 1].as_const()) else {
        return cx.unsupported(format!("{} of {}: its length must be known", cx.op(), cx.ty(x)));
    };
    let bins = if onesided { n / 2 + 1 } else { n };
    let dtype = cx.dtype(x);
    let matrix = matrix(cx, dtype, n, parts, bins, inverse)?;
    let lead = &shape[..rank - 2];
    let rows = cx.reshape(x, [lead, &[Extent::Const(n * parts)]].concat())?;
    let y = matmul_of(cx, rows, matrix)?;
    cx.reshape(y, [lead, &[Extent::Const(bins), Extent::Const(2)]].concat())
}

fn dft(cx: &mut OpCx<'_>) -> Outcome {
    let x = cx.value(0)?;
    cx.need_float(0, x)?;
    cx.need_min_rank(0, x, 2)?;
    let rank = cx.rank(x);
    let axis = if cx.opset() < 20 {
        cx.int_or("axis", 1)?
    } else {
        cx.optional_ints(2)?.and_then(|a| a.first().copied()).unwrap_or(-2)
    };
    let axis = cx.axis(axis, rank)?;
    if axis == rank - 1 {
        return cx.error(211, "DFT along the last axis, which holds the parts of numbers");
    }
    let (onesided, inverse) = (cx.flag_or("onesided", false)?, cx.flag_or("inverse", false)?);
    let mut x = x;
    if cx.optional_value(1)?.is_some() {
        let length = scalar_extent(cx, 1)?;
        let more = &length - &cx.shape(x)[axis];
        let (mut before, mut after) = (vec![Extent::ZERO; rank], vec![Extent::ZERO; rank]);
        before[axis] = Extent::ZERO;
        after[axis] = more;
        let zero = Scalar::zero(cx.dtype(x));
        x = cx.pad(x, before, after, PadMode::Constant(zero))?;
    }
    let mut perm: Vec<usize> = (0..rank).collect();
    perm.swap(axis, rank - 2);
    let rows = cx.transpose(x, &perm)?;
    let y = transformed(cx, rows, onesided, inverse)?;
    one(cx.transpose(y, &perm)?)
}

fn stft(cx: &mut OpCx<'_>) -> Outcome {
    let mut x = cx.value(0)?;
    cx.need_float(0, x)?;
    if cx.rank(x) == 2 {
        x = cx.unsqueeze(x, 2)?;
    }
    cx.need_rank(0, x, 3)?;
    let Some(step) = cx.optional_ints(1)?.and_then(|s| s.first().copied()).filter(|&s| s > 0) else {
        return cx.error(205, "STFT needs a positive frame_step");
    };
    let window = cx.optional_value(2)?;
    let length = match (cx.optional_ints(3)?, window) {
        (Some(length), _) => Extent::Const(length.first().copied().unwrap_or(0)),
        (None, Some(window)) => cx.shape(window).first().cloned().unwrap_or(Extent::ONE),
        (None, None) => cx.shape(x)[1].clone(),
    };
    let onesided = cx.flag_or("onesided", true)?;
    let frames = &(&cx.shape(x)[1] - &length).floor_div(&Extent::Const(step)) + &Extent::ONE;
    let starts = cx.iota(vec![frames, Extent::ONE], 0, DType::I64)?;
    let stride = cx.int_scalar(DType::I64, step);
    let starts = cx.mul(starts, stride)?;
    let inner = cx.iota(vec![Extent::ONE, length.clone()], 1, DType::I64)?;
    let at = cx.add(starts, inner)?;
    let mut framed = cx.gather(x, at, 1)?;
    if let Some(window) = window {
        let window = cx.reshape(window, vec![length, Extent::ONE])?;
        framed = cx.mul(framed, window)?;
    }
    one(transformed(cx, framed, onesided, false)?)
}

/// The element type that `output_datatype` names, `f32` by default.
fn output_type(cx: &OpCx<'_>) -> Result<DType, Problem> {
    let n = cx.int_or("output_datatype", 1)?;
    match OnnxType::from_number(n) {
        Some(onnx) => constant::dtype(onnx),
        None => cx.error(235, format!("attribute 'output_datatype' is {n}, which is no element type")),
    }
}

/// `sum over k of terms[k] * cos(2 pi k n / N)`.
fn window(cx: &mut OpCx<'_>, terms: &[f64]) -> Outcome {
    let dtype = output_type(cx)?;
    let size = scalar_extent(cx, 0)?;
    let turns = if cx.flag_or("periodic", true)? { size.clone() } else { &size - &Extent::ONE };
    let compute = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
    let at = cx.iota(vec![size], 0, compute)?;
    let turns = cx.extents(vec![turns], compute, 0)?.id;
    let mut y = cx.number(compute, terms[0]);
    for (k, &term) in terms.iter().enumerate().skip(1) {
        let (angle, term) = (cx.number(compute, TAU * k as f64), cx.number(compute, term));
        let angle = cx.mul(at, angle)?;
        let angle = cx.div(angle, turns)?;
        let wave = cx.emit(ops::Cos {}, &[angle])?;
        let wave = cx.mul(wave, term)?;
        y = cx.add(wave, y)?;
    }
    one(cx.cast(y, dtype)?)
}

/// Number in operand `i`, which must be known.
fn number(cx: &OpCx<'_>, i: usize) -> Result<f64, Problem> {
    let value = cx.input(i)?;
    let floats = cx.floats_of(value.id).and_then(|v| v.first().copied());
    let ints = || cx.ints_of(&value)?.first().map(|&x| x as f64);
    match floats.or_else(ints) {
        Some(x) => Ok(x),
        None => cx.unsupported(format!("input {i} of {} must be known when compiling", cx.op())),
    }
}

/// Triangles over the bins of a spectrum, equally wide on the mel scale 2595 log10(1 + f / 700).
fn mel(cx: &mut OpCx<'_>) -> Outcome {
    let dtype = output_type(cx)?;
    let (count, length) = (number(cx, 0)? as i64, number(cx, 1)? as i64);
    let (rate, low, high) = (number(cx, 2)?, number(cx, 3)?, number(cx, 4)?);
    let bins = length / 2 + 1;
    if count < 1 || length < 1 || rate <= 0.0 || count.saturating_mul(bins) > MAX_MATRIX {
        return cx.error(205, format!("MelWeightMatrix of {count} mels, length {length}, rate {rate}"));
    }
    let to_mel = |hertz: f64| 2595.0 * (1.0 + hertz / 700.0).log10();
    let step = (to_mel(high) - to_mel(low)) / (count + 2) as f64;
    let edge = |i: i64| {
        let hertz = 700.0 * (10f64.powf((i as f64 * step + to_mel(low)) / 2595.0) - 1.0);
        (((length + 1) as f64 * hertz) / rate).floor() as i64
    };
    let weight = |bin: i64, i: i64| {
        let (left, centre, right) = (edge(i), edge(i + 1), edge(i + 2));
        if (centre..right).contains(&bin) {
            (right - bin) as f64 / (right - centre) as f64
        } else if left == centre {
            f64::from(u8::from(bin == centre))
        } else if (left..=centre).contains(&bin) {
            (bin - left) as f64 / (centre - left) as f64
        } else {
            0.0
        }
    };
    let elements: Vec<Scalar> =
        (0..bins).flat_map(|b| (0..count).map(move |i| Scalar::float(dtype, weight(b, i)))).collect();
    one(cx.constant_value(Constant::from_scalars(dtype, &[bins, count], &elements)))
}
