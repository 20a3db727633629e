//! pow - powers.
//!
//! `|x|^y = e^(y ln |x|)`, `f32` in `f64`, `f64` with a logarithm of about 2^-66 in two parts (as fdlibm's, Ng 1993); then
//! the special cases of IEEE 754-2019, 9.2.1. Integers: exponentiation by squaring, unrolled over the exponent's bits.

use super::{
    exp,
    exp::exp_sum,
    flip_sign, int, is_nan, log,
    log::{Split, split},
    polynomial, sign_bit,
};
use crate::{
    dtype::DType,
    program::{Binary, Builder, Ref, Unary},
};

/// `((ln((1 + s) / (1 - s)) / s - 2) / z - 2/3) / z` for `z = s^2`, off by 2^-51 at most.
const TAIL: [f64; 7] = [
    0.1291402271694836,
    0.13285924657242199,
    0.15385575782820043,
    0.18181808234003144,
    0.22222222271185313,
    0.28571428571338325,
    0.40000000000000024,
];
/// 2/3 in two parts.
const TWO_THIRDS: (f64, f64) = (0.6666666666666666, 3.700743415417188e-17);
/// ln 2 in two parts, the first of 41 bits, so that products with exponents are exact.
const LN2: (f64, f64) = (0.693147180559663, 2.8235290563031577e-13);

/// `x^y`.
pub fn pow(b: &mut Builder, x: Ref, y: Ref) -> Ref {
    let dtype = b.dtype(x);
    if !dtype.is_float() {
        return pow_int(b, x, y);
    }
    let (x, y) = (b.cast(DType::F64, x), b.cast(DType::F64, y));
    let a = b.unary(Unary::Abs, x);
    let magnitude = if dtype == DType::F32 { magnitude_of_f32(b, a, y) } else { magnitude_of_f64(b, a, y) };

    let (zero, one, half) = (b.num(x, 0.0), b.num(x, 1.0), b.num(x, 0.5));
    let infinity = b.num(x, f64::INFINITY);
    let whole = b.unary(Unary::Trunc, y);
    let is_whole = b.eq(whole, y);
    let halved = b.mul(y, half);
    let whole_half = b.unary(Unary::Trunc, halved);
    let is_even = b.eq(whole_half, halved);
    let is_odd = b.unary(Unary::Not, is_even);
    let is_odd = b.binary(Binary::And, is_odd, is_whole);

    let sign = sign_bit(b, x);
    let no_sign = int(b, sign, 0);
    let sign = b.select(is_odd, sign, no_sign);
    let power = flip_sign(b, magnitude, sign);

    // A negative finite number to a power that is no integer.
    let (is_negative, is_finite) = (b.lt(x, zero), b.lt(a, infinity));
    let is_invalid = b.binary(Binary::And, is_negative, is_finite);
    let is_fraction = b.unary(Unary::Not, is_whole);
    let is_invalid = b.binary(Binary::And, is_invalid, is_fraction);
    let nan = b.num(x, f64::NAN);
    let power = b.select(is_invalid, nan, power);

    // 1 to any power, even NaN; anything to the power 0; -1 to an infinite power.
    let (is_one, no_power) = (b.eq(x, one), b.eq(y, zero));
    let is_unit = b.eq(a, one);
    let y_magnitude = b.unary(Unary::Abs, y);
    let is_infinite = b.eq(y_magnitude, infinity);
    let unit_to_infinite = b.binary(Binary::And, is_unit, is_infinite);
    let gives_one = b.binary(Binary::Or, is_one, no_power);
    let gives_one = b.binary(Binary::Or, gives_one, unit_to_infinite);
    let power = b.select(gives_one, one, power);
    b.cast(dtype, power)
}

/// `a^y` for `f32` values: `y ln a` is at most 104 where it matters, so its error is below 2^-45.
fn magnitude_of_f32(b: &mut Builder, a: Ref, y: Ref) -> Ref {
    let ln = log(b, a);
    let exponent = b.mul(y, ln);
    exp(b, exponent)
}

/// `a^y` with the product of `y` and the logarithm in two parts.
fn magnitude_of_f64(b: &mut Builder, a: Ref, y: Ref) -> Ref {
    let (zero, one, infinity) = (b.num(a, 0.0), b.num(a, 1.0), b.num(a, f64::INFINITY));
    let (ln, ln_tail) = log_in_two(b, a);
    // Beyond 2^64 the power of any number but 1 is zero or infinite.
    let (least, most) = (b.num(a, -f64::powi(2.0, 64)), b.num(a, f64::powi(2.0, 64)));
    let bounded = b.max(least, y);
    let bounded = b.min(most, bounded);
    let exponent = b.mul(bounded, ln);
    let minus = b.unary(Unary::Neg, exponent);
    let error = b.fma(bounded, ln, minus);
    let tail = b.fma(bounded, ln_tail, error);
    let limit = b.num(a, 750.0);
    let size = b.unary(Unary::Abs, exponent);
    let is_moderate = b.lt(size, limit);
    let tail = b.select(is_moderate, tail, zero);
    let power = exp_sum(b, exponent, Some(tail));

    // Of zeros, infinities and NaN the logarithm in two parts means nothing.
    let is_below = b.lt(a, one);
    let y_negative = b.lt(y, zero);
    let shrinks = b.binary(Binary::Xor, is_below, y_negative);
    let extreme = b.select(shrinks, zero, infinity);
    let (is_zero, is_infinite) = (b.eq(a, zero), b.eq(a, infinity));
    let is_extreme = b.binary(Binary::Or, is_zero, is_infinite);
    let power = b.select(is_extreme, extreme, power);
    let (a_nan, y_nan) = (is_nan(b, a), is_nan(b, y));
    let any_nan = b.binary(Binary::Or, a_nan, y_nan);
    let nan = b.num(a, f64::NAN);
    b.select(any_nan, nan, power)
}

/// `ln a` of a positive finite number as `high + low`.
fn log_in_two(b: &mut Builder, a: Ref) -> (Ref, Ref) {
    let Split { k, m } = split(b, a);
    let (one, two) = (b.num(a, 1.0), b.num(a, 2.0));
    // s + s_low = (m - 1) / (m + 1)
    let f = b.sub(m, one);
    let (t, t_low) = fast_sum(b, one, m);
    let s = b.div(f, t);
    let minus_s = b.unary(Unary::Neg, s);
    let rest = b.fma(minus_s, t, f);
    let rest = b.fma(minus_s, t_low, rest);
    let s_low = b.div(rest, t);
    // z + z_low = s^2
    let z = b.mul(s, s);
    let minus_z = b.unary(Unary::Neg, z);
    let z_low = b.fma(s, s, minus_z);
    let twice = b.add(s, s);
    let z_low = b.fma(twice, s_low, z_low);
    // c + c_low = 2/3 + z p(z)
    let p = polynomial(b, z, &TAIL);
    let q = b.mul(z, p);
    let (third, third_low) = (b.num(a, TWO_THIRDS.0), b.num(a, TWO_THIRDS.1));
    let (c, c_low) = fast_sum(b, third, q);
    let c_low = b.add(c_low, third_low);
    // v + v_low = 2 + z c
    let (w, w_low) = product(b, z, c);
    let w_low = b.fma(z, c_low, w_low);
    let w_low = b.fma(z_low, c, w_low);
    let (v, v_low) = fast_sum(b, two, w);
    let v_low = b.add(v_low, w_low);
    // l + l_low = s v
    let (l, l_low) = product(b, s, v);
    let l_low = b.fma(s, v_low, l_low);
    let l_low = b.fma(s_low, v, l_low);
    // + k ln 2
    let (ln2, ln2_low) = (b.num(a, LN2.0), b.num(a, LN2.1));
    let base = b.mul(k, ln2);
    let (high, low) = fast_sum(b, base, l);
    let low = b.add(low, l_low);
    let low = b.fma(k, ln2_low, low);
    fast_sum(b, high, low)
}

/// `x + y` and its error, for an exponent of `x` not below that of `y`, or x = 0 (Dekker 1971).
fn fast_sum(b: &mut Builder, x: Ref, y: Ref) -> (Ref, Ref) {
    let sum = b.add(x, y);
    let part = b.sub(x, sum);
    (sum, b.add(part, y))
}

/// `x * y` and its error.
fn product(b: &mut Builder, x: Ref, y: Ref) -> (Ref, Ref) {
    let product = b.mul(x, y);
    let minus = b.unary(Unary::Neg, product);
    (product, b.fma(x, y, minus))
}

/// `x^y` of integers, wrapping; for negative `y` the quotient of 1 and the power, 0 for `x = 0`.
fn pow_int(b: &mut Builder, x: Ref, y: Ref) -> Ref {
    let dtype = b.dtype(x);
    let (zero, one) = (int(b, x, 0), int(b, x, 1));
    let value_bits = 8 * dtype.bytes() - usize::from(dtype.is_signed_int());
    let (mut power, mut square) = (one, x);
    for bit in 0..value_bits {
        let mask = int(b, x, 1i64.wrapping_shl(u32::try_from(bit).unwrap_or(0)));
        let picked = b.binary(Binary::And, y, mask);
        let is_set = b.binary(Binary::Ne, picked, zero);
        let with = b.mul(power, square);
        power = b.select(is_set, with, power);
        if bit + 1 < value_bits {
            square = b.mul(square, square);
        }
    }
    if dtype.is_unsigned_int() {
        return power;
    }
    // 1 and -1 are their own inverses, and -1 to an odd power is -1: the low bit of `y` decides.
    let minus_one = int(b, x, -1);
    let low = b.binary(Binary::And, y, one);
    let is_odd = b.eq(low, one);
    let (is_one, is_minus_one) = (b.eq(x, one), b.eq(x, minus_one));
    let sign = b.select(is_odd, minus_one, one);
    let other = b.select(is_one, one, zero);
    let inverse = b.select(is_minus_one, sign, other);
    let is_negative = b.lt(y, zero);
    b.select(is_negative, inverse, power)
}
