//! non_zero - indices of the elements that are not zero: one row an axis, one column an element, in row-major order.
//!
//! Operand: x. Result: `i64` [rank, count]. NaN is not zero, -0 is. ONNX NonZero-13.

use crate::eval::{
    order,
    tensor::{Slot, strides},
};

pub(super) fn non_zero(x: &Slot) -> Slot {
    let zero = order::key_of(x.dtype, 0);
    let found: Vec<usize> = (0..x.elements()).filter(|&i| order::key(x.scalar(i)) != zero).collect();
    let mut indices = Vec::with_capacity(x.dims.len() * found.len());
    for (&dim, stride) in x.dims.iter().zip(strides(&x.dims)) {
        indices.extend(found.iter().map(|&i| i as i64 / stride.max(1) % dim));
    }
    Slot::i64s(&[x.dims.len() as i64, found.len() as i64], &indices)
}
