//! product - what the multiply-add of a matrix product does with one element of A and one of B.
//!
//! An element has 32 bits: one f32, or a group of small integers that are next to each other along the sum. So products of
//! integers are products of f32 in all that concerns places, panels and strides.
//!
//! ```text
//! Bytes:  sum += a0 * b0 + a1 * b1 + a2 * b2 + a3 * b3      a: u8, b: i8
//! Words:  sum += a0 * b0 + a1 * b1                          a, b: i16
//! ```
//!
//! Sums of integers are i32 and wrap, so their order does not matter: every way to compute one gives the same bits.

use crate::{program::LaneType, stream::Element};

/// What elements are, and what a multiply-add is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Product {
    /// One f32: a fused multiply-add.
    #[default]
    F32,
    /// Four bytes, the lowest first along the sum: those of A without sign, those of B with one.
    Bytes,
    /// Two 16-bit integers, the lower first along the sum.
    Words,
}

impl Product {
    /// Terms of the sum in an element.
    #[must_use]
    pub fn group(self) -> usize {
        match self {
            Product::F32 => 1,
            Product::Bytes => 4,
            Product::Words => 2,
        }
    }

    /// Type of the sums.
    #[must_use]
    pub fn lane_type(self) -> LaneType {
        if self == Product::F32 { LaneType::F32 } else { LaneType::I32 }
    }

    /// Sums as they are stored.
    #[must_use]
    pub fn element(self) -> Element {
        if self == Product::F32 { Element::F32 } else { Element::I32 }
    }

    /// One step of a sum over the bits of elements; `fused` is that of f32.
    pub(crate) fn step(self, fused: fn(f32, f32, f32) -> f32, a: f32, b: f32, sum: f32) -> f32 {
        let [x, y] = [a, b].map(f32::to_bits);
        let term =
            |of: &dyn Fn(u32) -> i32, by: &dyn Fn(u32) -> i32, at: u32| of(x >> at).wrapping_mul(by(y >> at));
        let unsigned = |bits: u32| i32::from(bits.to_le_bytes()[0]);
        let signed = |bits: u32| i32::from(bits.to_le_bytes()[0].cast_signed());
        let word = |bits: u32| {
            let [low, high, ..] = bits.to_le_bytes();
            i32::from(i16::from_le_bytes([low, high]))
        };
        let terms: Vec<i32> = match self {
            Product::F32 => return fused(a, b, sum),
            Product::Bytes => [0, 8, 16, 24].map(|at| term(&unsigned, &signed, at)).to_vec(),
            Product::Words => [0, 16].map(|at| term(&word, &word, at)).to_vec(),
        };
        let sum = terms.into_iter().fold(sum.to_bits().cast_signed(), i32::wrapping_add);
        f32::from_bits(sum.cast_unsigned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_multiplied_term_by_term() {
        let step = |product: Product, a: u32, b: u32, sum: i32| {
            let [a, b, sum] = [a, b, sum.cast_unsigned()].map(f32::from_bits);
            product.step(f32::mul_add, a, b, sum).to_bits().cast_signed()
        };
        let bytes = |x: [i32; 4]| u32::from_le_bytes(x.map(|x| x.to_le_bytes()[0]));
        let (a, b) = (bytes([255, 1, 0, 200]), bytes([-128, 127, -1, -2]));
        assert_eq!(step(Product::Bytes, a, b, 7), -255 * 128 + 127 - 400 + 7);
        let words = |x: [i16; 2]| u32::from(x[0].cast_unsigned()) | u32::from(x[1].cast_unsigned()) << 16;
        assert_eq!(step(Product::Words, words([-3, 255]), words([100, -255]), 0), -300 - 255 * 255);
        let least = words([i16::MIN; 2]);
        assert_eq!(step(Product::Words, least, least, -1), i32::MAX, "sums wrap");
        assert_eq!(step(Product::F32, 2f32.to_bits(), 3f32.to_bits(), 0), 6f32.to_bits().cast_signed());
    }
}
