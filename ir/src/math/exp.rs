//! exp - exponential functions.
//!
//! `x = n ln 2 + r` with |r| <= ln 2 / 2: adding 1.5 * 2^(fraction bits) to `x / ln 2` rounds it to the integer `n`, which then
//! stands in the low bits of the sum (Hecker 1996); no conversion between floats and integers is needed. Then
//! `e^x = 2^n (1 + r + r^2 p(r))`, with `p` a Chebyshev interpolation, and 2^n applied in two factors so that results
//! that are denormal are rounded once.

use super::{bits_of, in_f64, int, polynomial, to_bits};
use crate::{
    dtype::DType,
    program::{Binary, Builder, Ref, Unary},
};

/// ln 2 in two parts of `f32`.
const LN2_F32: (f64, f64) = (0.693_147_182_464_599_6, -1.904_654_323_148_236e-9);
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
    /// As the low bits of an integer of the float's width.
    n: Ref,
    /// `e^r - 1`, at most 0.42 in magnitude.
    p: Ref,
}

/// Splits `e^(x + tail)`; `n` is an integer of at most 11 bits for the `x` that [`clamp`] gives.
fn parts(b: &mut Builder, x: Ref, tail: Option<Ref>) -> Parts {
    let single = b.dtype(x) == DType::F32;
    let magic_value = if single { 12_582_912.0 } else { 6_755_399_441_055_744.0 };
    let magic = b.num(x, magic_value);
    let log2_e = b.num(x, std::f64::consts::LOG2_E);
    let shifted = b.fma(x, log2_e, magic);
    let n = b.sub(shifted, magic);
    let (hi, lo) = if single { LN2_F32 } else { LN2_F64 };
    let (hi, lo) = (b.num(x, -hi), b.num(x, -lo));
    let r = b.fma(n, hi, x);
    let r = b.fma(n, lo, r);
    let r = tail.map_or(r, |tail| b.add(r, tail));

    let q = polynomial(b, r, if single { &F32 } else { &F64 });
    let r2 = b.mul(r, r);
    let p = b.fma(q, r2, r);

    let bits = to_bits(b, shifted);
    let magic_bits = bits_of(b, x, magic_value);
    let n = b.sub(bits, magic_bits);
    Parts { n, p }
}

/// `x` where `e^x` is neither zero nor infinite, and otherwise the nearest number for which it is. Keeps NaN.
fn clamp(b: &mut Builder, x: Ref) -> Ref {
    let (least, greatest) = if b.dtype(x) == DType::F32 { (-104.0, 89.0) } else { (-746.0, 710.0) };
    let (least, greatest) = (b.num(x, least), b.num(x, greatest));
    let x = b.max(least, x);
    b.min(greatest, x)
}

/// 2^n, as a float of type `float`, for an exponent of normal numbers.
fn power_of_two(b: &mut Builder, n: Ref, float: DType) -> Ref {
    let (bias, fraction_bits) = if float == DType::F32 { (127, 23) } else { (1023, 52) };
    let (bias, fraction_bits) = (int(b, n, bias), int(b, n, fraction_bits));
    let biased = b.add(n, bias);
    let bits = b.binary(Binary::Shl, biased, fraction_bits);
    b.bitcast(float, bits)
}

/// 2^(n/2) rounded down and up.
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
    let float = b.dtype(x);
    let x = clamp(b, x);
    let Parts { n, p } = parts(b, x, tail);
    let one = b.num(x, 1.0);
    let y = b.add(p, one);
    let [down, up] = half_powers(b, n, float);
    let y = b.mul(y, down);
    b.mul(y, up)
}

/// `e^x` for |x| up to 87 (`f32`) or 708 (`f64`), or NaN: without care for results that are not normal numbers.
pub(super) fn exp_moderate(b: &mut Builder, x: Ref) -> Ref {
    let float = b.dtype(x);
    let Parts { n, p } = parts(b, x, None);
    let scale = power_of_two(b, n, float);
    b.fma(p, scale, scale)
}

/// `e^x - 1`, accurate near 0.
pub fn expm1(b: &mut Builder, x: Ref) -> Ref {
    in_f64(b, x, |b, x| {
        let clamped = clamp(b, x);
        let Parts { n, p } = parts(b, clamped, None);
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
