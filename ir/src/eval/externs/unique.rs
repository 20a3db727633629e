//! unique - the distinct elements of a tensor, or its distinct slices along an axis.
//!
//! Operand: x. Attributes: has_axis, axis, sorted. Results: the distinct ones; then `i64`: the first occurrence of each,
//! for each occurrence which distinct one it is, the number of occurrences of each. Sorted: ascending, slices element by
//! element, NaN above all; otherwise in order of first occurrence. ONNX Unique-11.

use std::collections::BTreeMap;

use super::{Split, take};
use crate::eval::{order, tensor::Slot};

pub(super) fn unique(x: &Slot, axis: Option<usize>, sorted: bool) -> Vec<Slot> {
    let split = match axis {
        Some(axis) => Split::at(x, axis),
        None => Split { outer: 1, extent: x.elements(), inner: 1 },
    };
    let slice_key = |j: usize| -> Vec<u64> {
        let places = (0..split.outer).flat_map(|o| (0..split.inner).map(move |i| (o, i)));
        places.map(|(o, i)| order::key(x.scalar(split.offset(o, j, i)))).collect()
    };
    let keys: Vec<Vec<u64>> = (0..split.extent).map(slice_key).collect();
    let mut occurrences: BTreeMap<&[u64], Vec<usize>> = BTreeMap::new();
    for (j, key) in keys.iter().enumerate() {
        occurrences.entry(key).or_default().push(j);
    }
    let mut groups: Vec<Vec<usize>> = occurrences.into_values().collect();
    if !sorted {
        groups.sort_by_key(|g| g[0]);
    }
    let first: Vec<usize> = groups.iter().map(|g| g[0]).collect();
    let mut inverse = vec![0i64; split.extent];
    for (number, group) in groups.iter().enumerate() {
        for &j in group {
            inverse[j] = number as i64;
        }
    }
    let first_indices: Vec<i64> = first.iter().map(|&j| j as i64).collect();
    let counts: Vec<i64> = groups.iter().map(|g| g.len() as i64).collect();
    let vector = |v: &[i64]| Slot::i64s(&[v.len() as i64], v);
    vec![take(x, axis, &first), vector(&first_indices), vector(&inverse), vector(&counts)]
}
