//! top_k - the k largest or smallest elements along an axis, best first; of equal ones the first.
//!
//! Operands: x, k. Attributes: axis, largest, sorted (they come sorted always). Results: elements, indices (`i64`).
//! NaN is above every number. ONNX TopK-11.

use std::cmp::Reverse;

use super::Split;
use crate::eval::{error::EvalError, order, tensor::Slot};

pub(super) fn top_k(x: &Slot, k: i64, axis: usize, largest: bool) -> Result<Vec<Slot>, EvalError> {
    let split = Split::at(x, axis);
    if k < 0 || k > split.extent as i64 {
        return Err(EvalError::new(807, format!("top_k: k is {k}, the axis has {} elements", split.extent)));
    }
    let mut dims = x.dims.clone();
    dims[axis] = k;
    let (k, size) = (k as usize, x.dtype.bytes());
    let mut values = vec![0; split.outer * k * split.inner * size];
    let mut indices = vec![0i64; split.outer * k * split.inner];
    for o in 0..split.outer {
        for i in 0..split.inner {
            let key = |&j: &usize| order::key(x.scalar(split.offset(o, j, i)));
            let mut ranked: Vec<usize> = (0..split.extent).collect();
            // Stable, so that equal elements stay in order.
            if largest {
                ranked.sort_by_cached_key(|j| Reverse(key(j)));
            } else {
                ranked.sort_by_cached_key(key);
            }
            for (place, &j) in ranked[..k].iter().enumerate() {
                let (to, from) = ((o * k + place) * split.inner + i, split.offset(o, j, i));
                values[to * size..][..size].copy_from_slice(&x.bytes()[from * size..][..size]);
                indices[to] = j as i64;
            }
        }
    }
    Ok(vec![Slot::new(x.dtype, &dims, values), Slot::i64s(&dims, &indices)])
}
