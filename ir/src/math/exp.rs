//! exp - exponential functions.
//!
//! `x = n ln 2 + r` with |r| <= ln 2 / 2: adding 1.5 * 2^(fraction bits) to `x / ln 2` rounds it to the integer `n`, which then
//! stands in the low bits of the sum (Hecker 1996); no conversion between floats and integers is needed. With the exponent's
//! bias added, too, one shift of these bits makes 2^n. Then
//! `e^x = 2^n (1 + r + r^2 p(r))`, with `p` a Chebyshev interpolation, and 2^n applied in two factors so that results
//! that are denormal are rounded once. Steps of `f32` are joined in pairs where they need not wait for each other.

use super::{by_pairs, in_f64, int, polynomial, step, to_bits};
use crate::{
    dtype::DType,
    program::{Binary, Builder, Ref, Unary},
};

/// ln 2 in two parts of `f32`; the first has 15 digits, so that its product with `n` is exact.
pub(super) const LN2_F32: (f64, f64) = (0.693_145_751_953_125, 1.428_606_820_309_417_3e-6);
/// ln 2 in two parts of `f64`.
const LN2_F64: (f64, f64) = (std::f64::consts::LN_2, 2.319_046_813_846_299_6e-17);

/// `(e^r - 1 - r) / r^2`, off by 2^-23 at most: 2^-26 of the result.
const F32: [f64; 5] = [1.392_620_4e-3, 8.363_195e-3, 4.166_655_6e-2, 1.666_657_6e-1, 0.5];
/// `(e^r - 1 - r) / r^2`, off by 2^-65 at most.
const F64: [f64; 12] = [
    1.6086642574672407e-10,
    2.09181596693241e-09,
    2.505207105477011e-08,
    2.7557263219790347e-07,
    2.755731924725567e-06,
    2.480158733649766e-05,
    0.00019841269841263285,
    0.0013888888888879054,
    0.008333333333333333,
    0.04166666666666668,
    0.16666666666666666,
    0.5,
];

/// `e^x = 2^n (1 + p)`.
struct Parts {
    /// In the low bits, as many as exponent and sign have, of an integer of the float's width.
    n: Ref,
    /// `e^r - 1`, at most 0.42 in magnitude.
    p: Ref,
}

/// The exponent of 1 in a float.
fn bias(dtype: DType) -> f64 {
    if dtype == DType::F32 { 127.0 } else { 1023.0 }
}

/// Splits `e^(x + tail)`; `added` is a whole number that `n` is given for its use as bits.
fn parts(b: &mut Builder, x: Ref, tail: Option<Ref>, added: f64) -> Parts {
    let single = b.dtype(x) == DType::F32;
    let (shifted, n) = nearest(b, x, added);
    let (hi, lo) = if single { LN2_F32 } else { LN2_F64 };
    let (hi, lo) = (b.num(x, -hi), b.num(x, -lo));
    let r = step(b, n, hi, x);
    let r = step(b, n, lo, r);
    let r = tail.map_or(r, |tail| b.add(r, tail));
    let p = expm1_reduced(b, r);
    Parts { n: to_bits(b, shifted), p }
}

/// `x / ln 2` rounded to a whole number: with `added` in the low bits of a float, and as it is.
fn nearest(b: &mut Builder, x: Ref, added: f64) -> (Ref, Ref) {
    let magic = if b.dtype(x) == DType::F32 { 12_582_912.0 } else { 6_755_399_441_055_744.0 };
    let magic = b.num(x, magic + added);
    let log2_e = b.num(x, std::f64::consts::LOG2_E);
    let shifted = step(b, x, log2_e, magic);
    (shifted, b.sub(shifted, magic))
}

/// `e^r - 1` for |r| <= ln 2 / 2.
fn expm1_reduced(b: &mut Builder, r: Ref) -> Ref {
    let r2 = b.mul(r, r);
    let q = if b.dtype(r) == DType::F32 { by_pairs(b, r, r2, &F32) } else { polynomial(b, r, &F64) };
    step(b, q, r2, r)
}

/// From there on downwards `e^x` is zero; for `f32` so far down that both factors of 2^n are zeros, too. Products that only round to
/// zero take tens of times as long, and softmax makes many of them where elements are masked.
fn least(dtype: DType) -> f64 {
    if dtype == DType::F32 { -176.0 } else { -746.0 }
}

/// `x` where `e^x` is neither zero nor infinite, and otherwise the nearest number for which it is. Keeps NaN.
fn clamp(b: &mut Builder, x: Ref) -> Ref {
    let greatest = if b.dtype(x) == DType::F32 { 89.0 } else { 710.0 };
    let (least, greatest) = (b.num(x, least(b.dtype(x))), b.num(x, greatest));
    let x = b.max(least, x);
    b.min(greatest, x)
}

/// 2^n, as a float of type `float`, for an `n` with one bias.
fn power_of_two(b: &mut Builder, n: Ref, float: DType) -> Ref {
    let fraction_bits = int(b, n, if float == DType::F32 { 23 } else { 52 });
    let bits = b.binary(Binary::Shl, n, fraction_bits);
    b.bitcast(float, bits)
}

/// 2^(n/2) rounded down and up, for an `n` with two biases.
fn half_powers(b: &mut Builder, n: Ref, float: DType) -> [Ref; 2] {
    let one = int(b, n, 1);
    let half = b.binary(Binary::ShrS, n, one);
    let rest = b.sub(n, half);
    [half, rest].map(|n| power_of_two(b, n, float))
}

/// `e^x`.
pub fn exp(b: &mut Builder, x: Ref) -> Ref {
    exp_sum(b, x, None)
}

/// `e^(x + tail)`, where the tail is below the precision of `x`.
pub(super) fn exp_sum(b: &mut Builder, x: Ref, tail: Option<Ref>) -> Ref {
    let x = clamp(b, x);
    powers_of(b, x, tail)
}

/// `e^x` for `x` up to 0, or NaN.
pub(super) fn exp_of_negative(b: &mut Builder, x: Ref) -> Ref {
    let float = b.dtype(x);
    // Results that are denormal are rounded once, when the normal number that they are so much less than is lowered. At the least
    // of `f32`, n is -191 and the scale has no bit: zero, and no product that only rounds to it (as in `least`).
    let (least, raised) = if float == DType::F32 { (-132.4, 64.0) } else { (least(float), 512.0) };
    let least = b.num(x, least);
    let x = b.max(least, x);
    let Parts { n, p } = parts(b, x, None, bias(float) + raised);
    let scale = power_of_two(b, n, float);
    let y = step(b, p, scale, scale);
    let lowered = b.num(x, f64::exp2(-raised));
    b.mul(y, lowered)
}

/// `e^(x + tail)` where 2^(n/2) is neither zero nor infinite.
fn powers_of(b: &mut Builder, x: Ref, tail: Option<Ref>) -> Ref {
    let float = b.dtype(x);
    let Parts { n, p } = parts(b, x, tail, 2.0 * bias(float));
    let [down, up] = half_powers(b, n, float);
    let y = step(b, p, down, down);
    b.mul(y, up)
}

/// `e^x` for |x| up to 87 (`f32`) or 708 (`f64`), or NaN: without care for results that are not normal numbers.
pub(super) fn exp_moderate(b: &mut Builder, x: Ref) -> Ref {
    let float = b.dtype(x);
    let Parts { n, p } = parts(b, x, None, bias(float));
    let scale = power_of_two(b, n, float);
    step(b, p, scale, scale)
}

/// `1 - e^x` for `f32` from -18 to 0, or NaN; accurate near 0, where `n` is 0.
///
/// `n ln 2` may be rounded: what that is off by counts as `e^x` times as much.
pub(super) fn minus_expm1_moderate(b: &mut Builder, x: Ref) -> Ref {
    // The bit above the exponent's is the sign.
    let (shifted, n) = nearest(b, x, bias(DType::F32) + 256.0);
    let minus_ln2 = b.f32(-std::f32::consts::LN_2);
    let r = step(b, n, minus_ln2, x);
    let p = expm1_reduced(b, r);
    let n = to_bits(b, shifted);
    let minus = power_of_two(b, n, DType::F32);
    let one = b.f32(1.0);
    let rest = b.add(minus, one);
    b.mul_add(p, minus, rest)
}

/// `e^x - 1`, accurate near 0.
pub fn expm1(b: &mut Builder, x: Ref) -> Ref {
    in_f64(b, x, |b, x| {
        let clamped = clamp(b, x);
        let Parts { n, p } = parts(b, clamped, None, 2.0 * bias(DType::F64));
        let (one, half, two) = (b.num(x, 1.0), b.num(x, 0.5), b.num(x, 2.0));
        // 2^n p + (2^n - 1), all halved on the way so that 2^1024 does not overflow.
        let [down, up] = half_powers(b, n, DType::F64);
        let down = b.mul(down, half);
        let scale = b.mul(down, up);
        let less_half = b.sub(scale, half);
        let sum = b.fma(scale, p, less_half);
        let y = b.mul(sum, two);
        // There e^x - 1 is x; halving would lose the last bit of denormal numbers.
        let (tiny, magnitude) = (b.num(one, f64::powi(2.0, -54)), b.unary(Unary::Abs, x));
        let is_tiny = b.lt(magnitude, tiny);
        b.select(is_tiny, x, y)
    })
}
