//! transposed - the elements of a constant with its axes in another order, which are copied only where somebody asks for bytes.
//!
//! A weight of hundreds of megabytes that is transposed and then packed would be held three times.

use std::ops::Range;

use super::Constant;

/// A constant with its axes in another order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transposed {
    of: Constant,
    /// Of each axis, from the outermost on: its extent, and elements of `of` from one position to the next.
    axes: Vec<(usize, usize)>,
}

impl Transposed {
    /// `of`, its axis `perm[i]` as axis i; `None` if that does not permute its axes.
    #[must_use]
    pub fn new(of: Constant, perm: &[usize]) -> Option<Self> {
        let mut sorted = perm.to_vec();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..of.dims().len()) {
            return None;
        }
        let extents: Vec<usize> =
            of.dims().iter().map(|&d| usize::try_from(d).ok()).collect::<Option<_>>()?;
        let axes = perm.iter().map(|&p| (extents[p], extents[p + 1..].iter().product())).collect();
        Some(Self { of, axes })
    }

    /// The constant as it lies.
    #[must_use]
    pub fn of(&self) -> &Constant {
        &self.of
    }

    /// The constant as it lies.
    #[must_use]
    pub fn into_of(self) -> Constant {
        self.of
    }

    /// Where element number `index` is.
    #[must_use]
    pub fn place(&self, index: usize) -> usize {
        let mut rest = index;
        let mut place = 0;
        for &(extent, step) in self.axes.iter().rev() {
            place += rest % extent * step;
            rest /= extent;
        }
        place
    }

    /// Where elements of these numbers are, so that the place of a number that is a sum of one of each list is the sum of
    /// their places; `None` if that does not hold of all such sums.
    #[must_use]
    pub fn places(&self, lists: &[&[usize]]) -> Option<Vec<Vec<usize>>> {
        let mut most = vec![0; self.axes.len()];
        for list in lists {
            let mut of_list = vec![0; self.axes.len()];
            for &index in *list {
                let mut rest = index;
                for (&(extent, _), most) in self.axes.iter().zip(&mut of_list).rev() {
                    *most = (*most).max(rest % extent);
                    rest /= extent;
                }
                if rest > 0 {
                    return None;
                }
            }
            most.iter_mut().zip(of_list).for_each(|(all, of_list)| *all += of_list);
        }
        let within = self.axes.iter().zip(most).all(|(&(extent, _), most)| most < extent);
        within.then(|| lists.iter().map(|list| list.iter().map(|&i| self.place(i)).collect()).collect())
    }

    /// The bytes of elements of these numbers.
    #[must_use]
    pub fn bytes(&self, elements: Range<usize>) -> Vec<u8> {
        let (held, size) = (self.of.bytes(), self.of.dtype().bytes());
        let mut bytes = Vec::with_capacity(elements.len() * size);
        for place in elements.map(|index| size * self.place(index)) {
            bytes.extend_from_slice(&held[place..place + size]);
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        constant::Payload,
        dtype::{DType, Scalar},
    };

    fn numbers(dims: &[i64]) -> Constant {
        let n: i64 = dims.iter().product();
        let all: Vec<Scalar> = (0..n).map(|i| Scalar::f32(i as f32)).collect();
        Constant::from_scalars(DType::F32, dims, &all)
    }

    #[test]
    fn what_is_transposed_equals_its_spelling() {
        let (of, dims) = (numbers(&[3, 4, 50]), [50, 3, 4]);
        let lazy = Transposed::new(of, &[2, 0, 1]).unwrap();
        let lazy = Constant::new(DType::F32, &dims, Payload::Transposed(lazy)).unwrap();
        let spelt: Vec<Scalar> = (0..50)
            .flat_map(|k| (0..3).flat_map(move |i| (0..4).map(move |j| i * 200 + j * 50 + k)))
            .map(|x| Scalar::f32(x as f32))
            .collect();
        let spelt = Constant::from_scalars(DType::F32, &dims, &spelt);
        assert!(lazy == spelt && lazy.fingerprint() == spelt.fingerprint());
        assert_eq!(lazy.digest(), spelt.digest());
        assert!((0..600).all(|i| lazy.element(i) == spelt.element(i)));
        assert!(Transposed::new(numbers(&[2, 3]), &[0, 0]).is_none());
    }

    #[test]
    fn places_add_where_no_axis_overflows() {
        let t = Transposed::new(numbers(&[4, 6]), &[1, 0]).unwrap();
        // Rows are the six columns of `of`, columns its four rows.
        let places = t.places(&[&[0, 4, 8], &[1, 2]]).unwrap();
        assert_eq!(places, [vec![0, 1, 2], vec![6, 12]]);
        assert!(t.places(&[&[0, 3], &[1, 2]]).is_none());
        assert!(t.places(&[&[24]]).is_none());
    }
}
