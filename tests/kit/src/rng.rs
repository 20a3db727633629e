//! rng - a small random number generator of our own, so that a seed means the same program for ever.

use nnc_ir::dtype::{DType, Scalar};

/// xorshift64* (Vigna 2016), seeded through one step of splitmix64.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator for `seed`; close seeds give unlike sequences.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self((z ^ (z >> 31)) | 1)
    }
    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    /// A number in `0..n`; 0 for an empty range.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }
    /// A number in `lo..=hi`.
    pub fn range(&mut self, lo: i64, hi: i64) -> i64 {
        lo + self.below((hi - lo + 1).max(1) as usize) as i64
    }
    /// True in `percent` of 100 cases.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
    /// One of `items`.
    ///
    /// # Panics
    /// If there is none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
    /// A number in `-1..1`.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

/// Which elements a tensor is filled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// Finite numbers of moderate size.
    Finite,
    /// Integers from -3 to 3, whatever the type: sums of their products are exact.
    Whole,
    /// NaN, infinities, minus zero, denormals, extremes among others.
    Special,
}

/// A random element of the compute type of `dtype`.
pub fn element(rng: &mut Rng, dtype: DType, fill: Fill) -> Scalar {
    if dtype == DType::Bool {
        return Scalar::bool(rng.chance(50));
    }
    if fill == Fill::Whole || (rng.chance(10) && fill == Fill::Finite) {
        let least = if dtype.is_unsigned_int() { 0 } else { -3 };
        return Scalar::int(dtype, rng.range(least, 3));
    }
    if dtype.is_float() {
        if fill == Fill::Special && rng.chance(30) {
            return special(rng, dtype);
        }
        // A value that the storage type holds.
        let mut bytes = [0; 8];
        Scalar::float(dtype, 2.0 * rng.unit()).store(dtype, &mut bytes);
        return Scalar::load(dtype, &bytes);
    }
    if fill == Fill::Special && rng.chance(30) {
        let extremes =
            [Scalar::lowest(dtype), Scalar::highest(dtype), Scalar::int(dtype, -1), Scalar::int(dtype, 0)];
        return *rng.pick(&extremes);
    }
    Scalar::int(dtype, if dtype.is_signed_int() { rng.range(-8, 8) } else { rng.range(0, 16) })
}

fn special(rng: &mut Rng, dtype: DType) -> Scalar {
    let (tiny, huge) = match dtype {
        DType::F16 => (6e-8, 65504.0),
        DType::F64 => (5e-324, f64::MAX),
        _ => (f64::from(f32::from_bits(1)), f64::from(f32::MAX)),
    };
    let values = [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        0.0,
        -0.0,
        tiny,
        -tiny,
        tiny * 100.0,
        huge,
        -huge,
        1.0,
        -1.0,
        0.5,
        88.8,
        -104.0,
    ];
    let mut bytes = [0; 8];
    Scalar::float(dtype, *rng.pick(&values)).store(dtype, &mut bytes);
    Scalar::load(dtype, &bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_means_the_same_numbers_for_ever() {
        let mut rng = Rng::new(7);
        assert_eq!([rng.bits(), rng.bits(), rng.bits()], SEVEN);
        assert!((0..1000).all(|_| (3..=5).contains(&rng.range(3, 5)) && rng.unit().abs() <= 1.0));
    }

    const SEVEN: [u64; 3] = [1507201545562260538, 4764137222614882372, 6531706806203711957];
}
