//! trig - sine, cosine, tangent, in `f64`.
//!
//! `a = |x| = n pi / 2 + r` with |r| <= pi / 4. Up to 2^28, by subtracting `n` times pi / 2 in three parts (Cody & Waite
//! 1980); beyond, for `f32`, by multiplying the fraction of `a` with those bits of 2 / pi that matter modulo 4 (Payne &
//! Hanek 1983). `f64` values beyond 2^28 lose accuracy, and from 2^52 on have none. Then Chebyshev interpolations.

use super::{flip_sign, int, polynomial, sign_bit};
use crate::{
    dtype::{DType, Scalar},
    program::{Binary, Builder, Ref, Unary},
};

/// pi / 2 in three parts.
const HALF_PI: [f64; 3] =
    [std::f64::consts::FRAC_PI_2, 6.123_233_995_736_766e-17, -1.497_384_904_859_169_8e-33];
/// The bits of 2 / pi after the point.
const TWO_OVER_PI: [u64; 4] =
    [0xa2f9_836e_4e44_1529, 0xfc27_57d1_f534_ddc0, 0xdb62_9599_3c43_9041, 0xfe51_63ab_debb_c561];
/// `(sin(r) / r - 1) / z` for `z = r^2`, off by 2^-55 at most.
const SIN: [f64; 6] = [
    1.5918095236696272e-10,
    -2.5051131372218632e-08,
    2.7557316100283695e-06,
    -0.000198412698367542,
    0.008333333333330946,
    -0.16666666666666666,
];
/// `(cos(r) - 1 + z / 2) / z^2` for `z = r^2`, off by 2^-59 at most.
const COS: [f64; 6] = [
    -1.1382611119025631e-11,
    2.087614597263508e-09,
    -2.755731727031051e-07,
    2.480158729876295e-05,
    -0.0013888888888887395,
    0.041666666666666664,
];

/// `|x| = n pi / 2 + r + tail`.
struct Reduced {
    /// Modulo 4 it is the quadrant; `i64`.
    n: Ref,
    /// At most pi / 4 in magnitude.
    r: Ref,
    /// What `r` lacks.
    tail: Ref,
}

fn reduce(b: &mut Builder, x: Ref) -> Reduced {
    let wide = b.cast(DType::F64, x);
    let a = b.unary(Unary::Abs, wide);
    let two_over_pi = b.num(a, std::f64::consts::FRAC_2_PI);
    let turns = b.mul(a, two_over_pi);
    let whole = b.unary(Unary::Nearest, turns);
    let n = b.cast(DType::I64, whole);
    let minus = b.unary(Unary::Neg, whole);
    let [p0, p1, p2] = HALF_PI.map(|p| b.num(a, p));
    // r0 + minus * p1 without error: r + e.
    let r0 = b.fma(minus, p0, a);
    let product = b.mul(minus, p1);
    let minus_product = b.unary(Unary::Neg, product);
    let product_error = b.fma(minus, p1, minus_product);
    let r = b.add(r0, product);
    let lost = b.sub(r0, r);
    let lost = b.add(lost, product);
    let tail = b.add(lost, product_error);
    let tail = b.fma(minus, p2, tail);
    if b.dtype(x) != DType::F32 {
        return Reduced { n, r, tail };
    }
    let (limit, infinity) = (b.num(a, 268_435_456.0), b.num(a, f64::INFINITY));
    let is_above = b.le(limit, a);
    let is_finite = b.lt(a, infinity);
    let is_large = b.binary(Binary::And, is_above, is_finite);
    let (large_n, large_r) = reduce_large(b, x);
    let n = b.select(is_large, large_n, n);
    let r = b.select(is_large, large_r, r);
    let zero = b.num(a, 0.0);
    Reduced { n, r, tail: b.select(is_large, zero, tail) }
}

/// Quadrant and rest of a finite `f32` above 2^28.
fn reduce_large(b: &mut Builder, x: Ref) -> (Ref, Ref) {
    let bits = b.bitcast(DType::U32, x);
    let bits = b.cast(DType::U64, bits);
    let of = |b: &mut Builder, c: u64| b.constant(Scalar { dtype: DType::U64, bits: c });
    let (mask, hidden, fraction_bits) = (of(b, 0x7f_ffff), of(b, 0x80_0000), of(b, 23));
    let fraction = b.binary(Binary::And, bits, mask);
    let m = b.binary(Binary::Or, fraction, hidden);
    let exponent_mask = of(b, 0xff);
    let exponent = b.binary(Binary::ShrU, bits, fraction_bits);
    let exponent = b.binary(Binary::And, exponent, exponent_mask);

    // a = m 2^(exponent - 150), and of 2 / pi the bits from 2^(152 - exponent) down decide a * 2 / pi modulo 4.
    let skip = of(b, 152);
    let offset = b.sub(exponent, skip);
    let word = of(b, 64);
    let in_first = b.lt(offset, word);
    let words = TWO_OVER_PI.map(|w| of(b, w));
    let [w0, w1, w2] = [0, 1, 2].map(|i| b.select(in_first, words[i], words[i + 1]));
    let low_bits = of(b, 63);
    let up = b.binary(Binary::And, offset, low_bits);
    let down = b.sub(word, up);
    // A shift by 64 gives 0.
    let mut window = |high: Ref, low: Ref| {
        let high = b.binary(Binary::Shl, high, up);
        let low = b.binary(Binary::ShrU, low, down);
        b.binary(Binary::Or, high, low)
    };
    let (high, low) = (window(w0, w1), window(w1, w2));
    let half_word = of(b, 32);
    let low = b.binary(Binary::ShrU, low, half_word);
    let carry = b.mul(m, low);
    let carry = b.binary(Binary::ShrU, carry, half_word);
    let product = b.mul(m, high);
    // a * 2 / pi modulo 4 in units of 2^-62.
    let turns = b.add(product, carry);
    let (half, unit_bits) = (of(b, 1 << 61), of(b, 62));
    let rounded = b.add(turns, half);
    let n = b.binary(Binary::ShrU, rounded, unit_bits);
    let whole = b.binary(Binary::Shl, n, unit_bits);
    let rest = b.sub(turns, whole);
    let rest = b.cast(DType::I64, rest);
    let rest = b.cast(DType::F64, rest);
    let unit = b.num(rest, std::f64::consts::FRAC_PI_2 / f64::powi(2.0, 62));
    (b.cast(DType::I64, n), b.mul(rest, unit))
}

/// Sine and cosine of `r + tail`.
fn sin_cos(b: &mut Builder, Reduced { r, tail, .. }: &Reduced) -> (Ref, Ref) {
    let (r, tail) = (*r, *tail);
    let z = b.mul(r, r);
    let p = polynomial(b, z, &SIN);
    let rz = b.mul(r, z);
    let small = b.fma(rz, p, tail);
    let sin = b.add(r, small);
    let p = polynomial(b, z, &COS);
    let (one, half) = (b.num(r, 1.0), b.num(r, 0.5));
    let half_z = b.mul(z, half);
    let above = b.sub(one, half_z);
    let lost = b.sub(one, above);
    let lost = b.sub(lost, half_z);
    let z2 = b.mul(z, z);
    let minus_r = b.unary(Unary::Neg, r);
    let lost = b.fma(minus_r, tail, lost);
    let small = b.fma(z2, p, lost);
    (sin, b.add(above, small))
}

/// Whether `n` is odd, and bit 1 of it as a sign bit.
fn quadrant(b: &mut Builder, n: Ref) -> (Ref, Ref) {
    let (zero, one, two, up) = (int(b, n, 0), int(b, n, 1), int(b, n, 2), int(b, n, 62));
    let low = b.binary(Binary::And, n, one);
    let is_odd = b.binary(Binary::Ne, low, zero);
    let high = b.binary(Binary::And, n, two);
    (is_odd, b.binary(Binary::Shl, high, up))
}

/// Sine, of radians.
pub fn sin(b: &mut Builder, x: Ref) -> Ref {
    let reduced = reduce(b, x);
    let (sin, cos) = sin_cos(b, &reduced);
    let (is_odd, flip) = quadrant(b, reduced.n);
    let y = b.select(is_odd, cos, sin);
    let y = flip_sign(b, y, flip);
    with_sign_of(b, y, x)
}

/// Cosine, of radians.
pub fn cos(b: &mut Builder, x: Ref) -> Ref {
    let reduced = reduce(b, x);
    let (sin, cos) = sin_cos(b, &reduced);
    let one = int(b, reduced.n, 1);
    let next = b.add(reduced.n, one);
    let (is_even, flip) = quadrant(b, next);
    let y = b.select(is_even, cos, sin);
    let y = flip_sign(b, y, flip);
    b.cast(b.dtype(x), y)
}

/// Tangent, of radians.
pub fn tan(b: &mut Builder, x: Ref) -> Ref {
    let reduced = reduce(b, x);
    let (sin, cos) = sin_cos(b, &reduced);
    let (is_odd, _) = quadrant(b, reduced.n);
    let minus_cos = b.unary(Unary::Neg, cos);
    let above = b.select(is_odd, minus_cos, sin);
    let below = b.select(is_odd, sin, cos);
    let y = b.div(above, below);
    with_sign_of(b, y, x)
}

/// The `f64` `y`, negated where `x` is negative, in the type of `x`.
fn with_sign_of(b: &mut Builder, y: Ref, x: Ref) -> Ref {
    let wide = b.cast(DType::F64, x);
    let sign = sign_bit(b, wide);
    let y = flip_sign(b, y, sign);
    b.cast(b.dtype(x), y)
}
