//! externs - what the functions of the runtime's allowlist compute.

mod compress;
mod non_max_suppression;
mod non_zero;
mod top_k;
mod unique;

use crate::{
    eval::{copy, error::EvalError, tensor::Slot},
    form::ExternForm,
};

/// Results of a call.
pub(super) fn call(form: &ExternForm, operands: &[Slot]) -> Result<Vec<Slot>, EvalError> {
    let attrs = &form.attrs[..];
    let wrong =
        || EvalError::bug(format!("{}: attributes {attrs:?}, {} operands", form.name, operands.len()));
    match (form.name, operands, attrs) {
        ("top_k", [x, k], &[axis, largest, _sorted]) => {
            top_k::top_k(x, copy::scalar(k)?, axis as usize, largest != 0)
        }
        ("non_zero", [x], []) => Ok(vec![non_zero::non_zero(x)]),
        ("unique", [x], &[has_axis, axis, sorted]) => {
            Ok(unique::unique(x, (has_axis != 0).then_some(axis as usize), sorted != 0))
        }
        ("compress", [x, condition], &[has_axis, axis]) => {
            Ok(vec![compress::compress(x, condition, (has_axis != 0).then_some(axis as usize))])
        }
        ("non_max_suppression", [boxes, scores, options @ ..], &[center]) => {
            Ok(vec![non_max_suppression::non_max_suppression(boxes, scores, options, center != 0)?])
        }
        _ => Err(wrong()),
    }
}

/// A tensor seen from one axis: `outer` x `extent` x `inner` elements.
#[derive(Clone, Copy)]
struct Split {
    outer: usize,
    extent: usize,
    inner: usize,
}

impl Split {
    fn at(x: &Slot, axis: usize) -> Self {
        let product = |dims: &[i64]| dims.iter().map(|&d| d as usize).product();
        let extent = x.dims.get(axis).map_or(1, |&d| d as usize);
        let inner = product(x.dims.get(axis + 1..).unwrap_or(&[]));
        Self { outer: product(&x.dims[..axis.min(x.dims.len())]), extent, inner }
    }
    /// Number of the element at `(o, j, i)`.
    fn offset(self, o: usize, j: usize, i: usize) -> usize {
        (o * self.extent + j) * self.inner + i
    }
}

/// The slices `chosen` along `axis`, in that order; without an axis, elements.
fn take(x: &Slot, axis: Option<usize>, chosen: &[usize]) -> Slot {
    let size = x.dtype.bytes();
    let (split, mut dims) = match axis {
        Some(axis) => (Split::at(x, axis), x.dims.clone()),
        None => (Split { outer: 1, extent: x.elements(), inner: 1 }, vec![0]),
    };
    dims[axis.unwrap_or(0)] = chosen.len() as i64;
    let mut bytes = Vec::with_capacity(split.outer * chosen.len() * split.inner * size);
    for o in 0..split.outer {
        for &j in chosen {
            bytes.extend_from_slice(&x.bytes()[split.offset(o, j, 0) * size..][..split.inner * size]);
        }
    }
    Slot::new(x.dtype, &dims, bytes)
}

#[cfg(test)]
mod tests;
