//! unique - the distinct elements of a tensor, or its distinct slices along an axis.
//!
//! Operand: `x` of any type. Attributes: `[has_axis, axis, sorted]`, the axis counted from 0. Results: the distinct
//! ones, as `x`, of rank 1 without an axis, else with the extent of the axis replaced by their number u; then three
//! of i64, which may be unwanted: `[u]` index of each one's first occurrence, `[n]` for each occurrence which distinct
//! one it is, `[u]` number of occurrences. Room for u = n is enough.
//!
//! `sorted` gives ascending order (slices compare element by element), otherwise the order is that of first
//! occurrence. NaN is above every number and equal to itself; -0 equals 0; the first occurrence stands for all.

use super::order::{Split, key_fn, reserved};
use super::view::{Call, Fault, Function, INTERNAL, Output};
use crate::abi::MAX_RANK;
use crate::elem::ElemType;

/// The function.
pub(super) struct Unique;

impl Function for Unique {
    fn run(mut call: Call<'_>) -> Result<(), Fault> {
        let x = call.input(0)?;
        let bytes = x.bytes.ok_or(INTERNAL)?;
        let (has_axis, axis, sorted) = (call.attr(0)? != 0, call.attr(1)?, call.attr(2)? != 0);
        let (distinct, first, inverse, counts) =
            (call.output(0)?, call.output(1)?, call.output(2)?, call.output(3)?);
        let i64s = [&first, &inverse, &counts].iter().all(|output| output.elem == ElemType::I64);
        if distinct.elem != x.elem || !i64s {
            return Err(INTERNAL);
        }
        let size = x.elem.size();
        let flat = [(bytes.len() / size) as i64];
        let (all_dims, axis) = if has_axis { (x.dims, axis) } else { (&flat[..], 0) };
        let axis_index = usize::try_from(axis).map_err(|_| INTERNAL)?;
        let n = usize::try_from(*all_dims.get(axis_index).ok_or(INTERNAL)?).map_err(|_| INTERNAL)?;
        // Slices without elements are all the same.
        let split = if bytes.is_empty() {
            Split { outer: 0, extent: n, inner: 0 }
        } else {
            Split::at(all_dims, axis).ok_or(INTERNAL)?
        };
        let groups = Groups::of(bytes, x.elem, split, sorted)?;

        let u = groups.first.len();
        let mut dims = [0; MAX_RANK];
        let dims = dims.get_mut(..all_dims.len()).ok_or(INTERNAL)?;
        dims.copy_from_slice(all_dims);
        dims[axis_index] = u as i64;
        if let Some(room) = distinct.with_bytes(dims)? {
            let Split { outer, extent, inner } = split;
            let slice = inner * size;
            for o in 0..outer {
                for (place, &j) in groups.first.iter().enumerate() {
                    let (to, from) = ((o * u + place) * slice, (o * extent + j) * slice);
                    room[to..to + slice].copy_from_slice(&bytes[from..from + slice]);
                }
            }
        }
        write(first, &groups.first)?;
        write(inverse, &groups.inverse)?;
        write(counts, &groups.counts)
    }
}

fn write(output: Output<'_>, numbers: &[usize]) -> Result<(), Fault> {
    if let Some(room) = output.with_dims::<i64>(&[numbers.len() as i64])? {
        for (into, &number) in room.iter_mut().zip(numbers) {
            *into = number as i64;
        }
    }
    Ok(())
}

/// Which slices are the same.
struct Groups {
    /// First occurrence of each group, in the order of the result.
    first: Vec<usize>,
    /// Group of each slice.
    inverse: Vec<usize>,
    /// Slices of each group.
    counts: Vec<usize>,
}

impl Groups {
    fn of(x: &[u8], elem: ElemType, split: Split, sorted: bool) -> Result<Self, Fault> {
        let Split { outer, extent: n, inner } = split;
        let (size, key) = (elem.size(), key_fn(elem));
        // Keys of one slice after the other.
        let width = outer * inner;
        let mut keys: Vec<u64> = reserved(n * width)?;
        for j in 0..n {
            for o in 0..outer {
                let from = (o * n + j) * inner * size;
                keys.extend(x[from..from + inner * size].chunks_exact(size).map(key));
            }
        }
        let slice = |j: usize| &keys[j * width..(j + 1) * width];
        let mut order: Vec<usize> = reserved(n)?;
        order.extend(0..n);
        // By index where slices are equal, so the first of a group is its first occurrence.
        order.sort_unstable_by(|&a, &b| slice(a).cmp(slice(b)).then(a.cmp(&b)));

        let mut first = reserved(n)?;
        let mut counts = reserved(n)?;
        let mut inverse = reserved(n)?;
        inverse.resize(n, 0);
        for (at, &j) in order.iter().enumerate() {
            if at == 0 || slice(order[at - 1]) != slice(j) {
                first.push(j);
                counts.push(0);
            }
            let group = first.len() - 1;
            counts[group] += 1;
            inverse[j] = group;
        }
        let mut groups = Self { first, inverse, counts };
        if !sorted {
            groups.sort_by_occurrence()?;
        }
        Ok(groups)
    }

    fn sort_by_occurrence(&mut self) -> Result<(), Fault> {
        let u = self.first.len();
        let mut order: Vec<usize> = reserved(u)?;
        order.extend(0..u);
        order.sort_unstable_by_key(|&group| self.first[group]);
        let mut place: Vec<usize> = reserved(u)?;
        place.resize(u, 0);
        let mut first = reserved(u)?;
        let mut counts = reserved(u)?;
        for (at, &group) in order.iter().enumerate() {
            place[group] = at;
            first.push(self.first[group]);
            counts.push(self.counts[group]);
        }
        for group in &mut self.inverse {
            *group = place[*group];
        }
        (self.first, self.counts) = (first, counts);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::view::tests::{Results, call};
    use super::*;
    use crate::tensor::Tensor;

    fn unique(x: &Tensor, axis: Option<i64>, sorted: i64) -> Result<Results, Fault> {
        let rank = if axis.is_some() { x.dims().len() } else { 1 };
        let i64s = (ElemType::I64, 1, Some(16));
        let wanted = [(x.elem(), rank, Some(16)), i64s, i64s, i64s];
        call::<Unique>(&[i64::from(axis.is_some()), axis.unwrap_or(0), sorted], &[Some(x)], &wanted)
    }

    #[test]
    fn sorted_and_by_occurrence() {
        let x = Tensor::from_slice(&[6], &[2.0f32, 1.0, 1.0, 3.0, 4.0, 3.0]).unwrap();
        let r = unique(&x, None, 1).unwrap();
        assert_eq!(r.get::<f32>(0), [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(r.get::<i64>(1), [1, 0, 3, 4]);
        assert_eq!(r.get::<i64>(2), [1, 0, 0, 2, 3, 2]);
        assert_eq!(r.get::<i64>(3), [2, 1, 2, 1]);
        let r = unique(&x, None, 0).unwrap();
        assert_eq!(r.get::<f32>(0), [2.0, 1.0, 3.0, 4.0]);
        assert_eq!(r.get::<i64>(1), [0, 1, 3, 4]);
        assert_eq!(r.get::<i64>(2), [0, 1, 1, 2, 3, 2]);
        assert_eq!(r.get::<i64>(3), [1, 2, 2, 1]);
    }

    #[test]
    fn slices_along_an_axis() {
        let x = Tensor::from_slice(&[3, 3], &[1i32, 0, 0, 1, 0, 0, 2, 3, 3]).unwrap();
        let r = unique(&x, Some(0), 1).unwrap();
        assert_eq!((r.dims(0), r.get::<i32>(0)), (&[2, 3][..], vec![1, 0, 0, 2, 3, 3]));
        assert_eq!(r.get::<i64>(2), [0, 0, 1]);
        let r = unique(&x, Some(1), 1).unwrap();
        assert_eq!((r.dims(0), r.get::<i32>(0)), (&[3, 2][..], vec![0, 1, 0, 1, 3, 2]));
        assert_eq!((r.get::<i64>(1), r.get::<i64>(3)), (vec![1, 0], vec![2, 1]));
    }

    #[test]
    fn nans_and_zeros_are_one_each() {
        let x = Tensor::from_slice(&[5], &[f64::NAN, -0.0, -f64::NAN, 0.0, 1.0]).unwrap();
        let r = unique(&x, None, 1).unwrap();
        assert_eq!(r.get::<i64>(1), [1, 4, 0]);
        assert_eq!(r.get::<i64>(3), [2, 1, 2]);
    }

    #[test]
    fn empties_and_unwanted_results() {
        let empty = Tensor::from_slice::<i8>(&[0, 3], &[]).unwrap();
        assert_eq!(unique(&empty, None, 1).unwrap().dims(0), [0]);
        assert_eq!(unique(&empty, Some(0), 1).unwrap().dims(0), [0, 3]);
        // Three slices without elements are the same slice.
        let r = unique(&empty, Some(1), 0).unwrap();
        assert_eq!((r.dims(0), r.get::<i64>(2), r.get::<i64>(3)), (&[0, 1][..], vec![0; 3], vec![3]));
        let scalar = Tensor::from_slice(&[], &[7u64]).unwrap();
        assert_eq!(unique(&scalar, None, 1).unwrap().get::<u64>(0), [7]);
        let none = (ElemType::I64, 1, None);
        let r = call::<Unique>(&[0, 0, 1], &[Some(&scalar)], &[(ElemType::U64, 1, None), none, none, none])
            .unwrap();
        assert_eq!(r.dims(3), [1]);
        assert_eq!(unique(&empty, Some(2), 1).err(), Some(INTERNAL));
    }
}
