//! non_max_suppression - boxes, best score first, that overlap no better box of their class too much.
//!
//! Operands: `boxes` f32 `[batches, n, 4]`, `scores` f32 `[batches, classes, n]`, and with one element each, or absent:
//! most boxes of a class (i64, 0 when absent), threshold of overlap (f32, 0 when absent), threshold of the score (f32, no
//! threshold when absent). Result: i64 `[count, 3]`, rows of batch, class and box; room for `batches * classes * n`
//! rows is enough. Attributes: `[center_point_box]`: 0 for boxes of two corners `y1, x1, y2, x2` in any order, 1 for
//! `x, y, width, height` around the centre.
//!
//! A box is taken when its score is above the threshold and no box taken before has an intersection over union with
//! it above the threshold. Equal scores come by index; NaN scores last, and never above a threshold. A threshold
//! of overlap outside of 0 to 1 is E0807.

use super::order::{key_fn, reserved};
use super::view::{Call, Fault, Function, INTERNAL};
use crate::elem::ElemType;

/// The function.
pub(super) struct NonMaxSuppression;

impl Function for NonMaxSuppression {
    fn run(mut call: Call<'_>) -> Result<(), Fault> {
        let (boxes, scores) = (call.input(0)?, call.input(1)?);
        let most = call.input(2)?.scalar::<i64>(ElemType::I64)?.unwrap_or(0);
        let max_overlap = call.input(3)?.scalar::<f32>(ElemType::F32)?.unwrap_or(0.0);
        let min_score = call.input(4)?.scalar::<f32>(ElemType::F32)?;
        let centered = call.attr(0)? != 0;
        let result = call.output(0)?;
        if [boxes.elem, scores.elem, result.elem] != [ElemType::F32, ElemType::F32, ElemType::I64] {
            return Err(INTERNAL);
        }
        let (&[batches, n, four], &[score_batches, classes, score_n]) = (boxes.dims, scores.dims) else {
            return Err(INTERNAL);
        };
        for (have, want) in [(four, 4), (score_batches, batches), (score_n, n)] {
            if have != want {
                return Err(Fault { limit: want, ..Fault::bad_extent(have) });
            }
        }
        if !(0.0..=1.0).contains(&max_overlap) {
            return Err(Fault::bad_value(max_overlap as i64));
        }
        let (boxes, scores) = (boxes.elements::<f32>()?, scores.elements::<f32>()?);
        let mut rows: Vec<[i64; 3]> = Vec::new();
        // Without boxes the other extents may be as large as they like.
        if n > 0 && most > 0 {
            let n = n as usize;
            let classes = classes.max(1) as usize;
            let mut picker =
                Picker { taken: reserved(n)?, ranked: reserved(n)?, most, max_overlap, min_score };
            for (slice, scores) in scores.chunks_exact(n).enumerate() {
                let (batch, class) = (slice / classes, slice % classes);
                let boxes = boxes.get(batch * n * 4..(batch + 1) * n * 4).ok_or(INTERNAL)?;
                picker.pick(boxes.as_chunks().0, scores, centered);
                rows.try_reserve(picker.taken.len())
                    .map_err(|_| Fault::no_memory::<[i64; 3]>(picker.taken.len()))?;
                rows.extend(
                    picker.taken.iter().map(|&(index, _)| [batch as i64, class as i64, index as i64]),
                );
            }
        }
        if let Some(room) = result.with_dims::<i64>(&[rows.len() as i64, 3])? {
            room.copy_from_slice(rows.as_flattened());
        }
        Ok(())
    }
}

/// A box by its lower and upper corner.
#[derive(Clone, Copy, Debug)]
struct Corners {
    low: [f32; 2],
    high: [f32; 2],
}

impl Corners {
    fn of(&[a, b, c, d]: &[f32; 4], centered: bool) -> Self {
        if centered {
            let (half_width, half_height) = (c / 2.0, d / 2.0);
            Self { low: [a - half_width, b - half_height], high: [a + half_width, b + half_height] }
        } else {
            Self { low: [a.min(c), b.min(d)], high: [a.max(c), b.max(d)] }
        }
    }

    fn area(&self) -> f32 {
        (self.high[0] - self.low[0]) * (self.high[1] - self.low[1])
    }

    /// Whether intersection over union is above `threshold`; boxes without area overlap nothing.
    fn overlaps(&self, other: &Self, threshold: f32) -> bool {
        let side = |k: usize| self.high[k].min(other.high[k]) - self.low[k].max(other.low[k]);
        let (a, b) = (side(0), side(1));
        if !(a > 0.0 && b > 0.0 && self.area() > 0.0 && other.area() > 0.0) {
            return false;
        }
        let shared = a * b;
        let union = self.area() + other.area() - shared;
        union > 0.0 && shared / union > threshold
    }
}

struct Picker {
    /// Boxes taken of the current class.
    taken: Vec<(usize, Corners)>,
    /// Candidates by score, best first: key and index.
    ranked: Vec<(u64, usize)>,
    most: i64,
    max_overlap: f32,
    min_score: Option<f32>,
}

impl Picker {
    fn pick(&mut self, boxes: &[[f32; 4]], scores: &[f32], centered: bool) {
        let key = key_fn(ElemType::F32);
        let rank = |score: f32| if score.is_nan() { u64::MAX } else { !key(&score.to_le_bytes()) };
        let above = |score: f32| self.min_score.is_none_or(|threshold| score > threshold);
        self.taken.clear();
        self.ranked.clear();
        self.ranked.extend(
            scores
                .iter()
                .enumerate()
                .filter(|&(_, &score)| above(score))
                .map(|(index, &score)| (rank(score), index)),
        );
        self.ranked.sort_unstable();
        for &(_, index) in &self.ranked {
            if self.taken.len() as i64 >= self.most {
                break;
            }
            let corners = Corners::of(&boxes[index], centered);
            if !self.taken.iter().any(|(_, better)| better.overlaps(&corners, self.max_overlap)) {
                self.taken.push((index, corners));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::view::tests::{Results, call};
    use super::*;
    use crate::abi::fault;
    use crate::tensor::Tensor;

    fn nms(
        boxes: &Tensor,
        scores: &Tensor,
        most: Option<i64>,
        overlap: Option<f32>,
        score: Option<f32>,
        centered: i64,
    ) -> Result<Results, Fault> {
        let most = most.map(|x| Tensor::from_slice(&[1], &[x]).unwrap());
        let overlap = overlap.map(|x| Tensor::from_slice(&[], &[x]).unwrap());
        let score = score.map(|x| Tensor::from_slice(&[1], &[x]).unwrap());
        let inputs = [Some(boxes), Some(scores), most.as_ref(), overlap.as_ref(), score.as_ref()];
        call::<NonMaxSuppression>(&[centered], &inputs, &[(ElemType::I64, 2, Some(60))])
    }

    /// Three pairs of boxes, of which each has one much like the other.
    fn pairs() -> (Tensor, Tensor) {
        let boxes: Vec<f32> =
            [0.0, 0.1, -0.1, 10.0, 10.1, 100.0].iter().flat_map(|&y| [y + 1.0, 1.0, y, 0.0]).collect();
        let scores = [0.9f32, 0.75, 0.6, 0.95, 0.5, 0.3];
        (Tensor::from_slice(&[1, 6, 4], &boxes).unwrap(), Tensor::from_slice(&[1, 1, 6], &scores).unwrap())
    }

    #[test]
    fn overlapping_boxes_are_left_out() {
        let (boxes, scores) = pairs();
        let r = nms(&boxes, &scores, Some(3), Some(0.5), Some(0.0), 0).unwrap();
        assert_eq!((r.dims(0), r.get::<i64>(0)), (&[3, 3][..], vec![0, 0, 3, 0, 0, 0, 0, 0, 5]));
        assert_eq!(nms(&boxes, &scores, Some(2), Some(0.5), Some(0.0), 0).unwrap().dims(0), [2, 3]);
        assert_eq!(nms(&boxes, &scores, Some(9), Some(0.5), Some(0.4), 0).unwrap().dims(0), [2, 3]);
        assert_eq!(nms(&boxes, &scores, Some(9), Some(1.0), None, 0).unwrap().dims(0), [6, 3]);
        assert_eq!(nms(&boxes, &scores, None, Some(0.5), None, 0).unwrap().dims(0), [0, 3]);
    }

    #[test]
    fn centered_boxes_batches_and_classes() {
        let boxes = [0.5f32, 0.5, 1.0, 1.0, 0.5, 0.6, 1.0, 1.0];
        let boxes = Tensor::from_slice(&[2, 2, 4], &[boxes, boxes].concat()).unwrap();
        let scores = Tensor::from_slice(&[2, 2, 2], &[0.1f32, 0.2, 0.2, 0.1, 0.5, 0.5, 0.0, -1.0]).unwrap();
        let r = nms(&boxes, &scores, Some(2), Some(0.5), None, 1).unwrap();
        assert_eq!(r.get::<i64>(0), [0, 0, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0]);
    }

    #[test]
    fn nans_ties_and_flat_boxes() {
        let flat = Tensor::from_slice(&[1, 3, 4], &[0.0f32; 12]).unwrap();
        let scores = Tensor::from_slice(&[1, 1, 3], &[f32::NAN, 0.5, 0.5]).unwrap();
        let r = nms(&flat, &scores, Some(9), Some(0.0), None, 0).unwrap();
        assert_eq!(r.get::<i64>(0), [0, 0, 1, 0, 0, 2, 0, 0, 0]);
        assert_eq!(nms(&flat, &scores, Some(9), None, Some(f32::NEG_INFINITY), 0).unwrap().dims(0), [2, 3]);
        let nans = Tensor::from_slice(&[1, 3, 4], &[f32::NAN; 12]).unwrap();
        assert_eq!(nms(&nans, &scores, Some(i64::MAX), None, None, 1).unwrap().dims(0), [3, 3]);
    }

    #[test]
    fn bad_operands_are_faults() {
        let (boxes, scores) = pairs();
        for overlap in [-0.1, 1.1, f32::NAN, f32::INFINITY] {
            let fault = nms(&boxes, &scores, Some(1), Some(overlap), None, 0).err().unwrap();
            assert_eq!(fault.code, fault::BAD_VALUE);
        }
        let fewer = Tensor::from_slice(&[1, 1, 5], &[0.0f32; 5]).unwrap();
        assert_eq!(nms(&boxes, &fewer, Some(1), None, None, 0).err().unwrap().code, fault::BAD_EXTENT);
        let none = Tensor::from_slice::<f32>(&[0, 6, 4], &[]).unwrap();
        let no_scores = Tensor::from_slice::<f32>(&[0, 7, 6], &[]).unwrap();
        assert_eq!(nms(&none, &no_scores, Some(1), None, None, 0).unwrap().dims(0), [0, 3]);
        let no_classes = Tensor::from_slice::<f32>(&[1, 0, 6], &[]).unwrap();
        assert_eq!(nms(&boxes, &no_classes, Some(1), None, None, 0).unwrap().dims(0), [0, 3]);
    }
}
