//! non_zero - indices of the elements that are not zero.
//!
//! Operand: `x` of any type. Result: i64 `[rank, count]`, one column an element, in row-major order; room for
//! `rank * elements(x)` is enough. A scalar gives `[0, count]`. No attributes. NaN is not zero; -0 is.

use super::order::{key_fn, zero_key};
use super::view::{Call, Fault, Function, INTERNAL};
use crate::elem::ElemType;

/// The function.
pub(super) struct NonZero;

impl Function for NonZero {
    fn run(mut call: Call<'_>) -> Result<(), Fault> {
        let x = call.input(0)?;
        let bytes = x.bytes.ok_or(INTERNAL)?;
        let result = call.output(0)?;
        if result.elem != ElemType::I64 {
            return Err(INTERNAL);
        }
        let (key, zero) = (key_fn(x.elem), zero_key(x.elem));
        let hits = || {
            let elements = bytes.chunks_exact(x.elem.size()).enumerate();
            elements.filter(|(_, element)| key(element) != zero).map(|(at, _)| at)
        };
        let count = hits().count();
        let room = result.with_dims::<i64>(&[x.dims.len() as i64, count as i64])?;
        let Some(room) = room else { return Ok(()) };
        for (column, mut at) in hits().enumerate() {
            for (axis, &extent) in x.dims.iter().enumerate().rev() {
                // An element exists, so no extent is zero.
                let extent = extent as usize;
                room[axis * count + column] = (at % extent) as i64;
                at /= extent;
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

    fn non_zero(x: &Tensor) -> Results {
        call::<NonZero>(&[], &[Some(x)], &[(ElemType::I64, 2, Some(64))]).unwrap()
    }

    #[test]
    fn indices_are_columns() {
        let x = Tensor::from_slice(&[2, 3], &[1.0f32, 0.0, f32::NAN, -0.0, -2.0, 0.0]).unwrap();
        let r = non_zero(&x);
        assert_eq!(r.dims(0), [2, 3]);
        assert_eq!(r.get::<i64>(0), [0, 0, 1, 0, 2, 1]);
    }

    #[test]
    fn bools_scalars_and_empties() {
        let x = Tensor::from_bytes(ElemType::Bool, &[4], &[0, 1, 255, 0]).unwrap();
        assert_eq!(non_zero(&x).get::<i64>(0), [1, 2]);
        let scalar = Tensor::from_slice(&[], &[5i64]).unwrap();
        assert_eq!(non_zero(&scalar).dims(0), [0, 1]);
        let empty = Tensor::from_slice::<u16>(&[3, 0], &[]).unwrap();
        assert_eq!(non_zero(&empty).dims(0), [2, 0]);
    }

    #[test]
    fn too_little_room_is_a_fault() {
        let x = Tensor::from_slice(&[3], &[1u8, 1, 1]).unwrap();
        let r = call::<NonZero>(&[], &[Some(&x)], &[(ElemType::I64, 2, Some(2))]);
        assert_eq!(r.err(), Some(INTERNAL));
    }
}
