//! antialias - Resize to fewer elements with a filter as wide as those are apart: a matrix product an axis.

use nnc_ir::{
    constant::Constant,
    dtype::{DType, Scalar},
    extent::Extent,
    graph::ValueId,
    ops,
};

use crate::import::{
    Outcome, Problem,
    cx::{OpCx, one},
};

/// How one axis is resized.
pub(crate) struct Part {
    pub(crate) axis: usize,
    pub(crate) input: Extent,
    pub(crate) output: Extent,
    pub(crate) scale: Option<f32>,
    pub(crate) align_corners: bool,
    pub(crate) asymmetric: bool,
    pub(crate) exclude_outside: bool,
}

/// Resizes axes of known extents one after another.
pub(crate) fn resize(cx: &mut OpCx<'_>, x: ValueId, cubic: bool, a: f64, parts: &[Part]) -> Outcome {
    let dtype = cx.dtype(x);
    let compute = if dtype.is_float() { dtype } else { DType::F32 };
    let mut y = cx.cast(x, compute)?;
    for part in parts {
        y = axis(cx, y, cubic, a, part)?;
    }
    one(cx.cast(y, dtype)?)
}

fn axis(cx: &mut OpCx<'_>, x: ValueId, cubic: bool, a: f64, part: &Part) -> Result<ValueId, Problem> {
    let (Some(n), Some(m)) = (part.input.as_const(), part.output.as_const()) else {
        return cx.unsupported("antialias over an axis of unknown extent");
    };
    let (Ok(n), Ok(m)) = (usize::try_from(n), usize::try_from(m)) else {
        return cx.error(225, format!("Resize of {n} elements to {m}"));
    };
    let dtype = cx.dtype(x);
    let weights: Vec<Scalar> =
        matrix(n, m, cubic, a, part).into_iter().map(|w| Scalar::float(dtype, w)).collect();
    let dims = [i64::try_from(m).unwrap_or(0), i64::try_from(n).unwrap_or(0)];
    let weights = cx.constant_value(Constant::from_scalars(dtype, &dims, &weights));
    let rank = cx.rank(x);
    // Labels: the axes of the input, then the new axis.
    let lhs: Vec<usize> = (0..rank).collect();
    let mut result = lhs.clone();
    result[part.axis] = rank;
    cx.emit(ops::Contract { lhs, rhs: vec![rank, part.axis], result }, &[x, weights])
}

/// For each of `m` positions the weights of `n` elements.
fn matrix(n: usize, m: usize, cubic: bool, a: f64, part: &Part) -> Vec<f64> {
    let scale = part.scale.map_or(m as f64 / n as f64, f64::from);
    let narrow = scale.min(1.0);
    let reach = if cubic { 2.0 } else { 1.0 } / narrow;
    let mut out = vec![0.0; n * m];
    for (o, row) in out.chunks_exact_mut(n.max(1)).enumerate() {
        let o = o as f64;
        let at = match () {
            () if part.align_corners => o * (n as f64 - 1.0) / (m as f64 - 1.0).max(1.0),
            () if part.asymmetric => o / scale,
            () => (o + 0.5) / scale - 0.5,
        };
        let (first, last) = ((at - reach).floor() as i64, (at + reach).ceil() as i64);
        let mut total = 0.0;
        let top = n as i64 - 1;
        for i in first..=last {
            let weight = kernel(((i as f64 - at) * narrow).abs(), cubic, a);
            if part.exclude_outside && !(0..=top).contains(&i) {
                continue;
            }
            total += weight;
            row[i.clamp(0, top) as usize] += weight;
        }
        row.iter_mut().for_each(|w| *w /= total);
    }
    out
}

/// Weight at a distance (cubic: Keys 1981, eq. 15).
fn kernel(d: f64, cubic: bool, a: f64) -> f64 {
    match () {
        () if !cubic => (1.0 - d).max(0.0),
        () if d < 1.0 => ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0,
        () if d < 2.0 => ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a,
        () => 0.0,
    }
}
