//! basic - functions that are exact: signs, extremes, tests, shifts.

use crate::{
    dtype::DType,
    program::{Binary, Builder, Ref, Unary},
};

/// `|x|`; unsigned integers as they are.
pub fn abs(b: &mut Builder, x: Ref) -> Ref {
    if b.dtype(x).is_unsigned_int() { x } else { b.unary(Unary::Abs, x) }
}

/// 1, -1, or `x` where it is a zero or NaN.
pub fn sign(b: &mut Builder, x: Ref) -> Ref {
    let (zero, one) = (b.num(x, 0.0), b.num(x, 1.0));
    let is_positive = b.lt(zero, x);
    let positive_or_self = b.select(is_positive, one, x);
    if b.dtype(x).is_unsigned_int() {
        return positive_or_self;
    }
    let minus_one = b.num(x, -1.0);
    let is_negative = b.lt(x, zero);
    b.select(is_negative, minus_one, positive_or_self)
}

/// The greater; NaN where either is NaN; of two zeros `y`.
pub fn max(b: &mut Builder, x: Ref, y: Ref) -> Ref {
    let greater = b.max(x, y);
    or_nan(b, x, greater)
}

/// The lesser; NaN where either is NaN; of two zeros `y`.
pub fn min(b: &mut Builder, x: Ref, y: Ref) -> Ref {
    let lesser = b.min(x, y);
    or_nan(b, x, lesser)
}

fn or_nan(b: &mut Builder, x: Ref, other: Ref) -> Ref {
    if !b.dtype(x).is_float() {
        return other;
    }
    let nan = is_nan(b, x);
    b.select(nan, x, other)
}

/// Whether a float is NaN.
pub fn is_nan(b: &mut Builder, x: Ref) -> Ref {
    b.binary(Binary::Ne, x, x)
}

/// Whether a float is an infinity of one of the chosen signs.
pub fn is_inf(b: &mut Builder, x: Ref, positive: bool, negative: bool) -> Ref {
    let infinity = b.num(x, f64::INFINITY);
    match (positive, negative) {
        (true, true) => {
            let magnitude = b.unary(Unary::Abs, x);
            b.eq(magnitude, infinity)
        }
        (true, false) => b.eq(x, infinity),
        (false, true) => {
            let infinity = b.num(x, f64::NEG_INFINITY);
            b.eq(x, infinity)
        }
        // Never: `x < x`.
        (false, false) => b.lt(x, x),
    }
}

/// Bits moved down: filled with the sign for signed integers, with zeros otherwise.
pub fn shift_right(b: &mut Builder, x: Ref, count: Ref) -> Ref {
    let dtype: DType = b.dtype(x);
    b.binary(if dtype.is_signed_int() { Binary::ShrS } else { Binary::ShrU }, x, count)
}
