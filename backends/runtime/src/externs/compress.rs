//! compress - elements, or slices along an axis, chosen by a condition.
//!
//! Operands: `x` of any type, `condition` bool of rank 1. Result: as `x`, of rank 1 without an axis, else with the
//! extent of the axis replaced by the number chosen; room for all of `x` is enough. Attributes: `[has_axis, axis]`, the axis counted
//! from 0. A condition shorter than what it chooses from leaves out the rest; a longer one's end is ignored.

use super::order::Split;
use super::view::{Call, Fault, Function, INTERNAL};
use crate::abi::MAX_RANK;
use crate::elem::ElemType;

/// The function.
pub(super) struct Compress;

impl Function for Compress {
    fn run(mut call: Call<'_>) -> Result<(), Fault> {
        let (x, condition) = (call.input(0)?, call.input(1)?);
        let bytes = x.bytes.ok_or(INTERNAL)?;
        let (has_axis, axis) = (call.attr(0)? != 0, call.attr(1)?);
        let result = call.output(0)?;
        if condition.elem != ElemType::Bool || result.elem != x.elem {
            return Err(INTERNAL);
        }
        let size = x.elem.size();
        let extent = if has_axis {
            let axis = usize::try_from(axis).map_err(|_| INTERNAL)?;
            usize::try_from(*x.dims.get(axis).ok_or(INTERNAL)?).map_err(|_| INTERNAL)?
        } else {
            bytes.len() / size
        };
        let condition = condition.elements::<u8>()?;
        let condition = &condition[..condition.len().min(extent)];
        let chosen = condition.iter().filter(|&&c| c != 0).count();

        let mut dims = [0; MAX_RANK];
        let dims = if has_axis {
            let dims = dims.get_mut(..x.dims.len()).ok_or(INTERNAL)?;
            dims.copy_from_slice(x.dims);
            dims[axis as usize] = chosen as i64;
            dims
        } else {
            dims[0] = chosen as i64;
            &mut dims[..1]
        };
        let Some(room) = result.with_bytes(dims)? else { return Ok(()) };
        if room.is_empty() {
            return Ok(());
        }
        // Something was chosen, so no extent of `x` is zero.
        let flat = [extent as i64];
        let split = if has_axis { Split::at(x.dims, axis) } else { Split::at(&flat, 0) };
        let Split { outer, extent, inner } = split.ok_or(INTERNAL)?;
        let slice = inner * size;
        let mut to = 0;
        for o in 0..outer {
            for (j, _) in condition.iter().enumerate().filter(|&(_, &c)| c != 0) {
                let from = (o * extent + j) * slice;
                room[to..to + slice].copy_from_slice(&bytes[from..from + slice]);
                to += slice;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::view::tests::{Results, call};
    use super::*;
    use crate::tensor::Tensor;

    fn compress(x: &Tensor, condition: &[u8], axis: Option<i64>) -> Result<Results, Fault> {
        let condition = Tensor::from_bytes(ElemType::Bool, &[condition.len() as i64], condition).unwrap();
        let rank = if axis.is_some() { x.dims().len() } else { 1 };
        let attrs = [i64::from(axis.is_some()), axis.unwrap_or(0)];
        call::<Compress>(&attrs, &[Some(x), Some(&condition)], &[(x.elem(), rank, Some(12))])
    }

    #[test]
    fn along_each_axis_and_flat() {
        let x = Tensor::from_slice(&[3, 2], &[1, 2, 3, 4, 5, 6i16]).unwrap();
        let r = compress(&x, &[0, 1, 1], Some(0)).unwrap();
        assert_eq!((r.dims(0), r.get::<i16>(0)), (&[2, 2][..], vec![3, 4, 5, 6]));
        let r = compress(&x, &[0, 1], Some(1)).unwrap();
        assert_eq!((r.dims(0), r.get::<i16>(0)), (&[3, 1][..], vec![2, 4, 6]));
        let r = compress(&x, &[0, 1, 0, 0, 9], None).unwrap();
        assert_eq!((r.dims(0), r.get::<i16>(0)), (&[2][..], vec![2, 5]));
    }

    #[test]
    fn lengths_that_differ_and_empties() {
        let x = Tensor::from_slice(&[3], &[1u8, 2, 3]).unwrap();
        assert_eq!(compress(&x, &[1, 0, 0, 1, 1], Some(0)).unwrap().get::<u8>(0), [1]);
        assert_eq!(compress(&x, &[1], Some(0)).unwrap().get::<u8>(0), [1]);
        assert_eq!(compress(&x, &[], Some(0)).unwrap().dims(0), [0]);
        let empty = Tensor::from_slice::<f64>(&[0, 3], &[]).unwrap();
        assert_eq!(compress(&empty, &[1, 1], Some(1)).unwrap().dims(0), [0, 2]);
        assert_eq!(compress(&empty, &[1, 1], None).unwrap().dims(0), [0]);
        let scalar = Tensor::from_slice(&[], &[8i32]).unwrap();
        assert_eq!(compress(&scalar, &[1], None).unwrap().get::<i32>(0), [8]);
        assert_eq!(compress(&scalar, &[1], Some(0)).err(), Some(INTERNAL));
        assert_eq!(compress(&x, &[1], Some(-1)).err(), Some(INTERNAL));
    }
}
