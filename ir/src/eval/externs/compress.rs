//! compress - elements, or slices along an axis, where a condition is true.
//!
//! Operands: x, condition (`bool`, rank 1). Attributes: has_axis, axis. A short condition leaves out the rest, the end of a
//! long one is ignored. ONNX Compress-11.

use super::take;
use crate::eval::tensor::Slot;

pub(super) fn compress(x: &Slot, condition: &Slot, axis: Option<usize>) -> Slot {
    let extent = axis.map_or(x.elements(), |axis| x.dims[axis] as usize);
    let chosen: Vec<usize> =
        (0..extent.min(condition.elements())).filter(|&i| condition.scalar(i).bits != 0).collect();
    take(x, axis, &chosen)
}
