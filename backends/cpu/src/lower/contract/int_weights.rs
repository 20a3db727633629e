//! int_weights - constant integers in panels of groups, made when compiling.
//!
//! ```text
//! bytes:  sum of a * w = sum of (a - o) * (w - c) + c * sum of (a - o) + o * sum of w        o: offset of A, c: of a column
//! words:  sum of a * w as it is
//! ```
//!
//! Bytes of A have no sign, those of the weights have one. So A less its least element `o`, and weights less an offset `c` of
//! their column, which is 0 where they are bytes already. The sums of the weights are known, those of A are made with its
//! bytes. All of this is exact modulo 2^32, as the sums are.
//!
//! Panel after panel, each `[group][width]`, with zeros for terms and columns that there are not.

use std::sync::Arc;

use nnc_ir::{
    constant::{Constant, Payload},
    dtype::DType,
};
use nnc_runtime::AlignedBytes;
use nnc_tile::product::Product;

use super::panel::Panels;
use crate::range::Range;

/// A matrix of integers.
pub(super) struct Matrix {
    /// Row-major, a row for each term of the sum.
    rows: Vec<i32>,
    columns: usize,
}

/// What is taken from the weights of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Offset {
    /// Nothing.
    Zero,
    /// One number.
    One(i32),
    /// A number for each column.
    Each(Vec<i32>),
}

/// How a matrix is multiplied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) product: Product,
    pub(super) offset: Offset,
}

impl Matrix {
    /// Elements of a constant: `base + row + column` for all places of rows and columns.
    pub(super) fn of(constant: &Constant, base: usize, rows: &[usize], columns: &[usize]) -> Option<Matrix> {
        if constant.dtype() != DType::I32 {
            return None;
        }
        let bytes = constant.bytes();
        let (elements, _) = bytes.as_chunks::<4>();
        let mut all = Vec::with_capacity(rows.len() * columns.len());
        for row in rows {
            for column in columns {
                all.push(i32::from_le_bytes(*elements.get(base + row + column)?));
            }
        }
        Some(Matrix { rows: all, columns: columns.len() })
    }

    /// Least and greatest element of each column.
    fn bounds(&self) -> Vec<(i32, i32)> {
        let mut bounds = vec![(0, 0); self.columns];
        for (number, row) in self.rows.chunks_exact(self.columns.max(1)).enumerate() {
            for ((least, greatest), &w) in bounds.iter_mut().zip(row) {
                (*least, *greatest) =
                    if number == 0 { (w, w) } else { ((*least).min(w), (*greatest).max(w)) };
            }
        }
        bounds
    }

    /// The sum of each column.
    pub(super) fn sums(&self) -> Vec<i32> {
        let mut sums = vec![0i32; self.columns];
        for row in self.rows.chunks_exact(self.columns.max(1)) {
            sums.iter_mut().zip(row).for_each(|(sum, w)| *sum = sum.wrapping_add(*w));
        }
        sums
    }

    /// How to multiply it with integers of such a range; `bytes` says whether the target multiplies bytes.
    pub(super) fn way(&self, range: Range, bytes: bool) -> Option<Way> {
        let bounds = self.bounds();
        let all = bounds.iter().fold((0, 0), |(a, b), (x, y)| (a.min(*x), b.max(*y)));
        // The pair of extremes may be further apart than i32.
        let apart = |(least, greatest): (i32, i32)| i64::from(greatest) - i64::from(least);
        let middle = |least: i32| least.wrapping_add(128);
        if bytes && range.spread <= 255 && bounds.iter().all(|b| apart(*b) <= 255) {
            let offset = match all {
                (-128.., ..=127) => Offset::Zero,
                _ if apart(all) <= 255 => Offset::One(middle(all.0)),
                _ => Offset::Each(bounds.iter().map(|(least, _)| middle(*least)).collect()),
            };
            return Some(Way { product: Product::Bytes, offset });
        }
        let words =
            |least: i64, greatest: i64| i64::from(i16::MIN) <= least && greatest <= i64::from(i16::MAX);
        (words(range.least, range.greatest) && words(i64::from(all.0), i64::from(all.1)))
            .then_some(Way { product: Product::Words, offset: Offset::Zero })
    }

    /// Panels of groups; `terms` are numbers of rows, or none where a group has a term too many.
    pub(super) fn pack(&self, way: &Way, panels: &Panels, terms: &[Option<usize>]) -> Option<Constant> {
        let Panels::Fixed(runs) = panels else { return None };
        let bytes = 4 / way.product.group();
        let mut out = AlignedBytes::zeroed(4 * terms.len() / way.product.group() * panels.padded()).ok()?;
        let mut rest = &mut *out;
        for run in runs {
            for number in 0..run.count {
                let (width, cols) = (usize::from(run.width), usize::from(run.cols));
                let first = run.start + number * width;
                for group in terms.chunks(way.product.group()) {
                    let (into, after) = rest.split_at_mut_checked(4 * width)?;
                    rest = after;
                    for (at, term) in group.iter().enumerate() {
                        let Some(term) = term else { continue };
                        let row = self.rows.get(term * self.columns + first..)?.get(..cols)?;
                        for (column, w) in row.iter().enumerate() {
                            let less = way.offset.at(first + column);
                            let place = 4 * column + bytes * at;
                            into[place..place + bytes]
                                .copy_from_slice(&w.wrapping_sub(less).to_le_bytes()[..bytes]);
                        }
                    }
                }
            }
        }
        let len = out.len();
        let payload = Payload::Range { offset: 0, len, buffer: Arc::new(out) };
        Constant::new(DType::I32, &[i64::try_from(len / 4).ok()?], payload)
    }
}

impl Offset {
    fn at(&self, column: usize) -> i32 {
        match self {
            Offset::Zero => 0,
            Offset::One(c) => *c,
            Offset::Each(all) => all[column],
        }
    }
}

/// A constant of integers.
pub(super) fn constant(values: &[i32]) -> Option<Constant> {
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    Constant::new(DType::I32, &[i64::try_from(values.len()).ok()?], Payload::Inline(bytes.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_beyond_bytes_get_offsets_or_are_words() {
        let byte = Range { least: -255, greatest: 255, spread: 255 };
        let way = |rows: &[i32], columns: usize, range: Range| {
            Matrix { rows: rows.to_vec(), columns }.way(range, true).map(|w| (w.product, w.offset))
        };
        assert_eq!(way(&[-128, 127, 3, 4], 2, byte), Some((Product::Bytes, Offset::Zero)));
        assert_eq!(way(&[-110, 140, 3, 4], 2, byte), Some((Product::Bytes, Offset::One(18))));
        let each = Offset::Each(vec![-300 + 128, 200 + 128]);
        assert_eq!(way(&[-300, 200, -100, 300], 2, byte), Some((Product::Bytes, each)));
        assert_eq!(way(&[-300, 200, 100, 300], 2, byte), Some((Product::Words, Offset::Zero)));
        assert_eq!(way(&[1, 2], 2, Range::between(-300, 300)), Some((Product::Words, Offset::Zero)));
        assert_eq!(way(&[1, 40_000], 1, byte), None);
        assert_eq!(way(&[i32::MIN, i32::MAX], 1, byte), None);
    }
}
