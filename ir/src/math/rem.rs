//! rem - remainders.
//!
//! Floats: `a - q m` with `q` the quotient rounded to `f64` is exact under fma (Markstein 1990) and smaller than `a` by a
//! factor of about 2^52, so a few steps reach the remainder: six for every pair of `f32`. Of `f64` values three steps
//! are taken, which is exact for quotients up to 2^150; beyond, the result is within the range but not the remainder.

use super::{flip_sign, sign_bit};
use crate::{
    dtype::DType,
    program::{Binary, Builder, Ref, Unary},
};

/// `x - q y` with the quotient rounded towards zero; the sign is that of `x`. Integers: 0 where `y` is 0.
pub fn rem(b: &mut Builder, x: Ref, y: Ref) -> Ref {
    let dtype = b.dtype(x);
    if !dtype.is_float() {
        return b.binary(Binary::Rem, x, y);
    }
    let steps = if dtype == DType::F32 { 6 } else { 3 };
    let (x, y) = (b.cast(DType::F64, x), b.cast(DType::F64, y));
    let (a, m) = (b.unary(Unary::Abs, x), b.unary(Unary::Abs, y));
    let (zero, infinity) = (b.num(x, 0.0), b.num(x, f64::INFINITY));
    let mut r = a;
    for _ in 0..steps {
        let quotient = b.div(r, m);
        let whole = b.unary(Unary::Trunc, quotient);
        let minus = b.unary(Unary::Neg, whole);
        r = b.fma(minus, m, r);
    }
    // A quotient that was rounded up leaves a negative rest.
    let is_negative = b.lt(r, zero);
    let up = b.add(r, m);
    let r = b.select(is_negative, up, r);
    // With an infinite divisor `0 * infinity` has got in.
    let is_finite = b.lt(a, infinity);
    let is_whole = b.eq(m, infinity);
    let untouched = b.binary(Binary::And, is_finite, is_whole);
    let r = b.select(untouched, a, r);
    let r = b.unary(Unary::Abs, r);
    let sign = sign_bit(b, x);
    let r = flip_sign(b, r, sign);
    b.cast(dtype, r)
}

/// `x - q y` with the quotient rounded towards minus infinity; the sign is that of `y`. Integers: 0 where `y` is 0.
pub fn floor_mod(b: &mut Builder, x: Ref, y: Ref) -> Ref {
    let r = rem(b, x, y);
    let dtype = b.dtype(x);
    if dtype.is_unsigned_int() {
        return r;
    }
    let zero = b.num(x, 0.0);
    let (r_negative, y_negative) = (b.lt(r, zero), b.lt(y, zero));
    let differ = b.binary(Binary::Xor, r_negative, y_negative);
    let sum = b.add(r, y);
    let moved = b.select(differ, sum, r);
    let is_zero = b.eq(r, zero);
    let kept = if dtype.is_float() {
        let sign = sign_bit(b, y);
        flip_sign(b, zero, sign)
    } else {
        r
    };
    b.select(is_zero, kept, moved)
}
