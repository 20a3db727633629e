//! repeat - constants that repeat along an axis are stored and read once.
//!
//! Folding makes `[1, 128, 4]` of a bias of 128 channels and four positions. Read as `[1, 128, 1]` it is a bias again, which
//! tiles know how to read in any order of axes.

use nnc_ir::constant::{Constant, Payload};

/// Constants with more elements are weights, which are packed.
const MOST_ELEMENTS: usize = 1 << 18;

/// The constant with one position for each axis along which it repeats, and these axes; `None` if there are none, or
/// all of it is one element.
pub(super) fn without_repetition(constant: &Constant) -> Option<(Constant, Vec<usize>)> {
    let dims = constant.dims();
    let n = constant.elements();
    if !(2..=MOST_ELEMENTS).contains(&n) || constant.as_splat().is_some() {
        return None;
    }
    let bytes = constant.bytes();
    let size = constant.dtype().bytes();
    let elements: Vec<&[u8]> = bytes.chunks_exact(size).collect();
    if elements.len() != n {
        return None;
    }
    let stride =
        |axis: usize| dims[axis + 1..].iter().map(|&d| usize::try_from(d).unwrap_or(0)).product::<usize>();
    let repeats = |axis: usize| {
        let (step, extent) = (stride(axis), usize::try_from(dims[axis]).unwrap_or(1));
        extent > 1 && (0..n).all(|i| i / step % extent == 0 || elements[i] == elements[i - step])
    };
    let axes: Vec<usize> = (0..dims.len()).filter(|&axis| repeats(axis)).collect();
    if axes.is_empty() {
        return None;
    }
    let extent = |axis: usize| usize::try_from(dims[axis]).unwrap_or(1);
    let first = |i: usize| axes.iter().all(|&a| (i / stride(a)).is_multiple_of(extent(a)));
    let kept: Vec<u8> = (0..n).filter(|&i| first(i)).flat_map(|i| elements[i].iter().copied()).collect();
    let mut small = dims.to_vec();
    axes.iter().for_each(|&a| small[a] = 1);
    Some((Constant::new(constant.dtype(), &small, Payload::Inline(kept.into()))?, axes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nnc_ir::dtype::{DType, Scalar};

    #[test]
    fn a_bias_of_positions_is_a_bias_of_channels() {
        let elements: Vec<Scalar> = [1.0, 1.0, 2.0, 2.0, 3.0, 3.0].map(Scalar::f32).to_vec();
        let bias = Constant::from_scalars(DType::F32, &[1, 3, 2], &elements);
        let (small, axes) = without_repetition(&bias).unwrap_or_else(|| panic!("it repeats"));
        assert_eq!((small.dims(), &axes[..]), (&[1, 3, 1][..], &[2][..]));
        assert_eq!(small.scalars(), [1.0, 2.0, 3.0].map(Scalar::f32));
        assert!(without_repetition(&small).is_none(), "nothing repeats any more");
    }
}
