//! top_k - the k largest or smallest elements along an axis.
//!
//! Operands: `x` of any type, `k` i64 with one element. Results: values as `x`, indices i64, both with the extent of
//! the axis replaced by k. Attributes: `[axis, largest, sorted]`, the axis counted from 0, the others 0 or 1.
//!
//! Equal elements come by index, the lower first. NaN is above every number; -0 equals 0. Results are in order whether
//! `sorted` asks for it or not. k below 0 or over the extent is E0807.

use super::order::{Split, key_fn, reserved};
use super::view::{Call, Fault, Function, INTERNAL};
use crate::abi::MAX_RANK;
use crate::elem::ElemType;

/// The function.
pub(super) struct TopK;

impl Function for TopK {
    fn run(mut call: Call<'_>) -> Result<(), Fault> {
        let x = call.input(0)?;
        let bytes = x.bytes.ok_or(INTERNAL)?;
        let given = call.input(1)?.scalar::<i64>(ElemType::I64)?.ok_or(INTERNAL)?;
        let (axis, largest) = (call.attr(0)?, call.attr(1)? != 0);
        let (values, indices) = (call.output(0)?, call.output(1)?);
        if values.elem != x.elem || indices.elem != ElemType::I64 {
            return Err(INTERNAL);
        }

        let axis_index = usize::try_from(axis).map_err(|_| INTERNAL)?;
        let extent = *x.dims.get(axis_index).ok_or(INTERNAL)?;
        if !(0..=extent).contains(&given) {
            return Err(Fault { limit: extent, ..Fault::bad_value(given) });
        }
        let mut dims = [0; MAX_RANK];
        let dims = dims.get_mut(..x.dims.len()).ok_or(INTERNAL)?;
        dims.copy_from_slice(x.dims);
        dims[axis_index] = given;

        let value_bytes = values.with_bytes(dims)?;
        let index_room = indices.with_dims::<i64>(dims)?;
        if dims.contains(&0) {
            return Ok(());
        }
        let split = Split::at(x.dims, axis).ok_or(INTERNAL)?;
        select(bytes, x.elem, split, given as usize, largest, value_bytes, index_room)
    }
}

fn select(
    x: &[u8],
    elem: ElemType,
    Split { outer, extent, inner }: Split,
    k: usize,
    largest: bool,
    mut values: Option<&mut [u8]>,
    mut indices: Option<&mut [i64]>,
) -> Result<(), Fault> {
    let (size, key) = (elem.size(), key_fn(elem));
    let mut ranked: Vec<(u64, usize)> = reserved(extent)?;
    for o in 0..outer {
        for i in 0..inner {
            let at = |j: usize| ((o * extent + j) * inner + i) * size;
            ranked.clear();
            ranked.extend((0..extent).map(|j| {
                let key = key(&x[at(j)..][..size]);
                (if largest { !key } else { key }, j)
            }));
            if k < extent {
                ranked.select_nth_unstable(k);
            }
            ranked[..k].sort_unstable();
            for (place, &(_, j)) in ranked[..k].iter().enumerate() {
                let to = (o * k + place) * inner + i;
                if let Some(values) = &mut values {
                    values[to * size..][..size].copy_from_slice(&x[at(j)..][..size]);
                }
                if let Some(indices) = &mut indices {
                    indices[to] = j as i64;
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::view::tests::{Results, call};
    use super::*;
    use crate::abi::fault;
    use crate::tensor::Tensor;

    fn top(x: &Tensor, k: i64, attrs: [i64; 3]) -> Result<Results, Fault> {
        let rank = x.dims().len();
        let k = Tensor::from_slice(&[1], &[k]).unwrap();
        call::<TopK>(
            &attrs,
            &[Some(x), Some(&k)],
            &[(x.elem(), rank, Some(64)), (ElemType::I64, rank, Some(64))],
        )
    }

    #[test]
    fn largest_and_smallest_along_each_axis() {
        let x = Tensor::from_slice(&[2, 3], &[1, 5, 3, 6, 2, 4i32]).unwrap();
        let r = top(&x, 2, [1, 1, 1]).unwrap();
        assert_eq!(r.dims(0), [2, 2]);
        assert_eq!((r.get::<i32>(0), r.get::<i64>(1)), (vec![5, 3, 6, 4], vec![1, 2, 0, 2]));
        let r = top(&x, 1, [0, 0, 0]).unwrap();
        assert_eq!(r.dims(1), [1, 3]);
        assert_eq!((r.get::<i32>(0), r.get::<i64>(1)), (vec![1, 2, 3], vec![0, 1, 0]));
    }

    #[test]
    fn ties_come_by_index_and_nan_is_above_all() {
        let x = Tensor::from_slice(&[6], &[0.0, f32::NAN, -0.0, 7.0, f32::INFINITY, 7.0]).unwrap();
        let r = top(&x, 6, [0, 1, 1]).unwrap();
        assert_eq!(r.get::<i64>(1), [1, 4, 3, 5, 0, 2]);
        let r = top(&x, 6, [0, 0, 1]).unwrap();
        assert_eq!(r.get::<i64>(1), [0, 2, 3, 5, 4, 1]);
        assert!(r.get::<f32>(0)[1].is_sign_negative());
    }

    #[test]
    fn selection_is_a_sorted_prefix() {
        let elements: Vec<i64> = (0..50).map(|i| i * 37 % 11).collect();
        let x = Tensor::from_slice(&[50], &elements).unwrap();
        let all = top(&x, 50, [0, 1, 1]).unwrap();
        for k in 0..50 {
            let r = top(&x, k, [0, 1, 1]).unwrap();
            assert_eq!(r.get::<i64>(1), all.get::<i64>(1)[..k as usize]);
        }
    }

    #[test]
    fn extremes() {
        let x = Tensor::from_slice(&[3], &[1u8, 2, 3]).unwrap();
        assert_eq!(top(&x, 0, [0, 1, 1]).unwrap().dims(0), [0]);
        for k in [4, -1, i64::MAX, i64::MIN] {
            let fault = top(&x, k, [0, 1, 1]).err().unwrap();
            assert_eq!((fault.code, fault.value, fault.limit), (fault::BAD_VALUE, k, 3));
        }
        for axis in [1, -1, i64::MAX] {
            assert_eq!(top(&x, 1, [axis, 1, 1]).err(), Some(INTERNAL));
        }
        let empty = Tensor::from_slice::<f32>(&[0, 4], &[]).unwrap();
        assert_eq!(top(&empty, 2, [1, 1, 1]).unwrap().dims(0), [0, 2]);
        assert_eq!(top(&empty, 1, [0, 1, 1]).err().map(|f| f.code), Some(fault::BAD_VALUE));
    }
}
