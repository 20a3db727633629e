//! non_max_suppression - boxes, best score first, that overlap no better box of their class too much.
//!
//! Operands: boxes `f32` [batches, n, 4], scores `f32` [batches, classes, n], then up to three of one element (absent ones
//! have none): most boxes a class (0), overlap threshold (0), score threshold (no threshold). Attributes: center, 0 for
//! two corners `y1, x1, y2, x2` in any order, 1 for `x, y, width, height` around the centre. Result: `i64` [count, 3],
//! rows of batch, class, box. Of equal scores the first comes first; NaN comes last and is
//! above no threshold. ONNX NonMaxSuppression-11.

use std::cmp::Reverse;

use crate::eval::{copy, error::EvalError, order, tensor::Slot};

pub(super) fn non_max_suppression(
    boxes: &Slot,
    scores: &Slot,
    options: &[Slot],
    center: bool,
) -> Result<Slot, EvalError> {
    let option = |k: usize| options.get(k).filter(|o| o.elements() > 0);
    let most = option(0).map_or(Ok(0), copy::scalar)?;
    let overlap = option(1).map_or(0.0, |o| o.scalar(0).to_f32());
    let least_score = option(2).map(|o| o.scalar(0).to_f32());
    if !(0.0..=1.0).contains(&overlap) {
        return Err(EvalError::new(
            807,
            format!("non_max_suppression: overlap threshold {overlap} not in 0..=1"),
        ));
    }
    let (&[batches, n, 4], &[_, classes, _]) = (&boxes.dims[..], &scores.dims[..]) else {
        return Err(EvalError::bug(format!("boxes of {:?}, scores of {:?}", boxes.dims, scores.dims)));
    };
    let mut rows = Vec::new();
    // Without boxes the other extents may be as large as they like.
    for batch in 0..if n > 0 { batches } else { 0 } {
        for class in 0..classes {
            let score = |&b: &i64| scores.scalar(((batch * classes + class) * n + b) as usize);
            let corners = |b: i64| Corners::read(boxes, (batch * n + b) as usize, center);
            let good = |b: &i64| least_score.is_none_or(|least| score(b).to_f32() > least);
            let rank = |b: &i64| (score(b).to_f32().is_nan(), Reverse(order::key(score(b))));
            let mut candidates: Vec<i64> = (0..n).filter(good).collect();
            candidates.sort_by_key(rank);
            let mut taken: Vec<i64> = Vec::new();
            for b in candidates {
                if taken.len() as i64 >= most {
                    break;
                }
                if taken.iter().all(|&t| !corners(t).overlaps(&corners(b), overlap)) {
                    taken.push(b);
                    rows.extend([batch, class, b]);
                }
            }
        }
    }
    Ok(Slot::i64s(&[rows.len() as i64 / 3, 3], &rows))
}

/// Lower and upper corner.
struct Corners {
    low: [f32; 2],
    high: [f32; 2],
}

impl Corners {
    fn read(boxes: &Slot, number: usize, center: bool) -> Self {
        let [a, b, c, d] = [0, 1, 2, 3].map(|i| boxes.scalar(number * 4 + i).to_f32());
        if center {
            let (half_width, half_height) = (c / 2.0, d / 2.0);
            Self { low: [b - half_height, a - half_width], high: [b + half_height, a + half_width] }
        } else {
            Self { low: [a.min(c), b.min(d)], high: [a.max(c), b.max(d)] }
        }
    }
    fn area(&self) -> f32 {
        (self.high[0] - self.low[0]) * (self.high[1] - self.low[1])
    }
    /// Whether intersection over union is above the threshold.
    fn overlaps(&self, other: &Self, threshold: f32) -> bool {
        let side = |i: usize| (self.high[i].min(other.high[i]) - self.low[i].max(other.low[i])).max(0.0);
        let (a, b, both) = (self.area(), other.area(), side(0) * side(1));
        let union = a + b - both;
        a > 0.0 && b > 0.0 && union > 0.0 && both / union > threshold
    }
}
