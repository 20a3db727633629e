//! order - the total order of elements that sorting and searching follow.
//!
//! NaN is above everything and equal to itself; the two zeros are equal.

use crate::dtype::{DType, Scalar};

/// A number that compares as the element does.
pub(super) fn key(x: Scalar) -> u64 {
    let top = 1u64 << 63;
    match x.dtype {
        d if d.is_float() => {
            // Widening to f64 keeps the order.
            let x = x.as_f64().unwrap_or(0.0);
            let magnitude = x.abs().to_bits();
            if x.is_nan() {
                u64::MAX
            } else if x < 0.0 {
                top - magnitude
            } else {
                top + magnitude
            }
        }
        d if d.is_signed_int() => x.as_i64().unwrap_or(0).cast_unsigned() ^ top,
        _ => x.bits,
    }
}

/// A number that is greater, the better the element is: for ArgMax (`greatest`) and ArgMin. NaN is best either way.
pub(super) fn score(x: Scalar, greatest: bool) -> u64 {
    let key = key(x);
    let nan = x.dtype.is_float() && key == u64::MAX;
    if greatest || nan { key } else { !key }
}

/// `key` of an element of `dtype` given by its bits.
pub(super) fn key_of(dtype: DType, bits: u64) -> u64 {
    key(Scalar { dtype: dtype.compute(), bits })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_compare_as_elements() {
        let floats = [f64::NEG_INFINITY, -1.0, -5e-324, 0.0, 5e-324, 1.0, f64::INFINITY, f64::NAN];
        assert!(floats.map(|x| key(Scalar::f64(x))).is_sorted_by(|a, b| a < b));
        assert!([-2.0, 0.5, f32::NAN].map(|x| key(Scalar::f32(x))).is_sorted_by(|a, b| a < b));
        assert_eq!(key(Scalar::f32(-0.0)), key(Scalar::f32(0.0)));
        assert!([i64::MIN, -1, 0, i64::MAX].map(|x| key(Scalar::i64(x))).is_sorted_by(|a, b| a < b));
        assert!(key_of(DType::I8, 0xff) < key_of(DType::I8, 0));
        assert!(score(Scalar::f32(f32::NAN), false) > score(Scalar::f32(f32::NEG_INFINITY), false));
        assert!(score(Scalar::i64(i64::MIN), false) > score(Scalar::i64(0), false));
    }
}
