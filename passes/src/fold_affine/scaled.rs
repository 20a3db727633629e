//! scaled - a weight times a coefficient, without spelling out the coefficient: weights are large, and most are scaled.

use std::sync::Arc;

use nnc_ir::{
    constant::{Constant, Payload},
    dtype::DType,
};

/// The weight times a coefficient of as many axes or fewer, each of its extents 1 or the weight's, aligned with the last
/// axis; the same bits as multiplying element by element. `None` unless both are `f32` and every product is a finite
/// normal number or the zero that a zero gives: then the caller finds out what is wrong. Nor for a weight that is one
/// repeated element, however large.
pub(super) fn scaled(weight: &Constant, by: &Constant) -> Option<Constant> {
    let repeats = matches!(weight.payload(), Payload::Splat(_));
    if weight.dtype() != DType::F32 || by.dtype() != DType::F32 || weight.elements() == 0 || repeats {
        return None;
    }
    let dims: Vec<usize> = weight.dims().iter().map(|&d| usize::try_from(d).ok()).collect::<Option<_>>()?;
    let lead = dims.len().checked_sub(by.dims().len())?;
    let strides = strides(&dims[lead..], by.dims())?;
    let strides = [&vec![0; lead], &strides[..]].concat();
    let (dims, strides): (Vec<usize>, Vec<usize>) =
        dims.into_iter().zip(strides).filter(|(extent, _)| *extent != 1).unzip();
    // Axes from `inner` on are one run: the coefficient is the same all along it, or moves with it.
    let last = *strides.last().unwrap_or(&0);
    let mut inner = dims.len();
    let mut run = 1;
    while inner > 0 && strides[inner - 1] == last * run {
        inner -= 1;
        run *= dims[inner];
    }
    let (bytes, factors) = (weight.bytes(), by.bytes());
    let (elements, factors) = (bytes.as_chunks::<4>().0, factors.as_chunks::<4>().0);
    let mut out: Vec<[u8; 4]> = Vec::with_capacity(elements.len());
    let mut at = vec![0usize; inner];
    for row in elements.chunks_exact(run) {
        let from: usize = at.iter().zip(&strides).map(|(i, step)| i * step).sum();
        let sound = if last == 0 {
            let factor = f32::from_le_bytes(*factors.get(from)?);
            append(&mut out, row.iter().map(|&x| (f32::from_le_bytes(x), factor)))
        } else {
            let factors = factors.get(from..from + run)?;
            append(
                &mut out,
                row.iter().zip(factors).map(|(&x, &f)| (f32::from_le_bytes(x), f32::from_le_bytes(f))),
            )
        };
        if !sound {
            return None;
        }
        for axis in (0..inner).rev() {
            at[axis] += 1;
            if at[axis] < dims[axis] {
                break;
            }
            at[axis] = 0;
        }
    }
    let buffer = Arc::new(out.into_flattened());
    Constant::new(DType::F32, weight.dims(), Payload::Range { offset: 0, len: buffer.len(), buffer })
}

/// Appends the products; whether all are sound. Without branches, so that it is done in vectors.
fn append(out: &mut Vec<[u8; 4]>, pairs: impl Iterator<Item = (f32, f32)>) -> bool {
    let mut sound = 1u32;
    out.extend(pairs.map(|(x, f)| {
        let z = x * f;
        let normal = (z.abs() >= f32::MIN_POSITIVE) & (z.abs() <= f32::MAX);
        let zero = (z == 0.0) & ((x == 0.0) | (f == 0.0));
        sound &= u32::from(normal | zero);
        z.to_le_bytes()
    }));
    sound != 0
}

/// Element strides of a coefficient along the axes of what it is aligned with; `None` if its extents do not fit.
fn strides(dims: &[usize], by: &[i64]) -> Option<Vec<usize>> {
    let mut out = vec![0; dims.len()];
    let mut step = 1;
    for axis in (0..dims.len()).rev() {
        match usize::try_from(by[axis]).ok()? {
            1 => {}
            extent if extent == dims[axis] => {
                out[axis] = step;
                step *= extent;
            }
            _ => return None,
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nnc_ir::dtype::Scalar;

    fn constant(dims: &[i64], element: impl Fn(i64) -> f32) -> Constant {
        let elements: Vec<Scalar> = (0..dims.iter().product()).map(|i| Scalar::f32(element(i))).collect();
        Constant::from_scalars(DType::F32, dims, &elements)
    }

    #[test]
    fn every_alignment_gives_the_products() {
        let weight = constant(&[2, 3, 4], |i| i as f32 - 7.5);
        for dims in
            [&[][..], &[4], &[3, 1], &[3, 4], &[2, 1, 1], &[2, 1, 4], &[1, 3, 1], &[1, 1, 1], &[2, 3, 4]]
        {
            let by = constant(dims, |i| 0.25 + i as f32 / 3.0);
            let full: Vec<i64> = [&vec![1; 3 - dims.len()], dims].concat();
            let product = |i: i64| {
                let (mut at, mut left) = (0, i);
                let mut place = [0; 3];
                for axis in (0..3).rev() {
                    place[axis] = left % weight.dims()[axis];
                    left /= weight.dims()[axis];
                }
                for axis in 0..3 {
                    at = at * full[axis] + if full[axis] == 1 { 0 } else { place[axis] };
                }
                (i as f32 - 7.5) * (0.25 + at as f32 / 3.0)
            };
            assert_eq!(scaled(&weight, &by), Some(constant(&[2, 3, 4], product)), "{dims:?}");
        }
    }

    #[test]
    fn unsound_products_are_left_to_the_caller() {
        let weight = constant(&[2], |i| if i == 0 { 1e30 } else { 0.0 });
        assert!(scaled(&weight, &constant(&[], |_| 1e30)).is_none());
        assert!(scaled(&weight, &constant(&[], |_| f32::NAN)).is_none());
        assert!(scaled(&constant(&[1], |_| 1e-30), &constant(&[], |_| 1e-30)).is_none());
        assert!(scaled(&weight, &constant(&[3], |_| 1.0)).is_none());
        assert!(scaled(&weight, &constant(&[], |_| 0.0)).is_some());
    }
}
