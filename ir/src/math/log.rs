//! log - logarithms.
//!
//! `x = 2^k m` with `sqrt(1/2) <= m < sqrt 2`, found by integer arithmetic on the bits; `f = m - 1` is exact.
//! `f32`: `ln m = f - f^2 / 2 + f^3 p(f)` (Moshier 1989). `f64`: with `s = f / (2 + f)`,
//! `ln m = f - (f^2 / 2 - s (f^2 / 2 + s^2 p(s^2)))` (Ng 1993). The polynomials are Chebyshev interpolations.

use super::{bits_of, by_pairs, exp::LN2_F32, in_f64, int, polynomial, step, to_bits};
use crate::{
    dtype::DType,
    program::{Binary, Builder, Ref},
};

/// `(ln(1 + f) - f + f^2 / 2) / f^3`, off by 2^-25 at most: 2^-27 of the result.
const F32: [f64; 9] = [
    6.973_071e-2,
    -1.148_147_7e-1,
    1.168_571_9e-1,
    -1.242_548_7e-1,
    1.424_900_9e-1,
    -1.666_780_9e-1,
    2.000_071_7e-1,
    -2.499_999_7e-1,
    3.333_333e-1,
];
/// `(ln((1 + s) / (1 - s)) / s - 2) / z` for `z = s^2`, off by 2^-58 at most.
const F64: [f64; 8] = [
    0.1308723619665962,
    0.13268714792348096,
    0.15386241881938595,
    0.18181795600060793,
    0.22222222392089008,
    0.28571428570801954,
    0.4000000000000088,
    0.6666666666666666,
];

/// `x = 2^k m`.
pub(super) struct Split {
    /// A float.
    pub k: Ref,
    /// From sqrt(1/2) to sqrt 2.
    pub m: Ref,
}

/// Splits a positive finite `x`, which may be denormal; gives anything for other values.
pub(super) fn split(b: &mut Builder, x: Ref) -> Split {
    let single = b.dtype(x) == DType::F32;
    let (least_normal, up, fraction_bits) =
        if single { (f64::from(f32::MIN_POSITIVE), 23, 23) } else { (f64::MIN_POSITIVE, 52, 52) };
    let least_normal = b.num(x, least_normal);
    let is_denormal = b.lt(x, least_normal);
    let scale = b.num(x, f64::powi(2.0, up));
    let scaled = b.mul(x, scale);
    let x = b.select(is_denormal, scaled, x);

    let bits = to_bits(b, x);
    let sqrt_half = bits_of(b, x, std::f64::consts::FRAC_1_SQRT_2);
    let relative = b.sub(bits, sqrt_half);
    let shift = int(b, bits, fraction_bits);
    let k = b.binary(Binary::ShrS, relative, shift);
    let fraction_mask = int(b, bits, (1 << fraction_bits) - 1);
    let fraction = b.binary(Binary::And, relative, fraction_mask);
    let m = b.add(fraction, sqrt_half);
    let dtype = b.dtype(x);
    let m = b.bitcast(dtype, m);

    // The integer k becomes a float by standing in the low bits of 1.5 * 2^(fraction bits).
    let magic = 1.5 * f64::powi(2.0, up);
    let magic_bits = bits_of(b, x, magic);
    let k = b.add(k, magic_bits);
    let k = b.bitcast(dtype, k);
    let magic = b.num(x, magic);
    let k = b.sub(k, magic);
    let up = b.num(x, f64::from(up));
    let k_scaled = b.sub(k, up);
    Split { k: b.select(is_denormal, k_scaled, k), m }
}

/// Natural logarithm: minus infinity at 0, NaN below.
pub fn log(b: &mut Builder, x: Ref) -> Ref {
    let Split { k, m } = split(b, x);
    let (zero, one, half) = (b.num(x, 0.0), b.num(x, 1.0), b.num(x, 0.5));
    let f = b.sub(m, one);
    let f2 = b.mul(f, f);
    let y = if b.dtype(x) == DType::F32 {
        let p = by_pairs(b, f, f2, &F32);
        let f3 = b.mul(f2, f);
        let tail = b.mul(f3, p);
        let ln2_lo = b.num(x, LN2_F32.1);
        let tail = b.mul_add(k, ln2_lo, tail);
        let minus_half = b.num(x, -0.5);
        b.mul_add(f2, minus_half, tail)
    } else {
        let two = b.num(x, 2.0);
        let divisor = b.add(f, two);
        let s = b.div(f, divisor);
        let z = b.mul(s, s);
        let p = polynomial(b, z, &F64);
        let r = b.mul(z, p);
        let half_f2 = b.mul(f2, half);
        let sum = b.add(half_f2, r);
        let ln2_lo = b.num(x, 2.319_046_813_846_299_6e-17);
        let tail = b.mul(k, ln2_lo);
        let tail = b.fma(s, sum, tail);
        b.sub(tail, half_f2)
    };
    let y = b.add(f, y);
    let ln2 = b.num(x, if b.dtype(x) == DType::F32 { LN2_F32.0 } else { std::f64::consts::LN_2 });
    let y = step(b, k, ln2, y);

    let infinity = b.num(x, f64::INFINITY);
    let is_finite = b.lt(x, infinity);
    let y = b.select(is_finite, y, x);
    let (minus_infinity, nan) = (b.num(x, f64::NEG_INFINITY), b.num(x, f64::NAN));
    let is_zero = b.eq(x, zero);
    let not_positive = b.select(is_zero, minus_infinity, nan);
    let is_positive = b.lt(zero, x);
    b.select(is_positive, y, not_positive)
}

/// `ln(1 + x)`, accurate near 0.
///
/// `ln u + (x - (u - 1)) / u` where `u` is `1 + x` rounded.
pub fn log1p(b: &mut Builder, x: Ref) -> Ref {
    in_f64(b, x, |b, x| {
        let one = b.num(x, 1.0);
        let u = b.add(x, one);
        let ln = log(b, u);
        let back = b.sub(u, one);
        let lost = b.sub(x, back);
        let correction = b.div(lost, u);
        let y = b.add(ln, correction);
        let is_one = b.eq(u, one);
        let y = b.select(is_one, x, y);
        // Where `u` is 0, infinite or NaN the correction means nothing.
        let (zero, infinity) = (b.num(x, 0.0), b.num(x, f64::INFINITY));
        let is_positive = b.lt(zero, u);
        let y = b.select(is_positive, y, ln);
        let is_infinite = b.eq(u, infinity);
        b.select(is_infinite, u, y)
    })
}
