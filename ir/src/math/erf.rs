//! erf - error function.
//!
//! `f32`: `1 - e^p(a)` with `p` the logarithm of `1 - erf a` (Juffa's form), a polynomial without a constant; where `e^p` is
//! near 1, `e^p - 1` is what is computed, so that one form serves all arguments. Its coefficients make the greatest error
//! least, weighted by what it is of the result (Lawson's iteration). `f64`: near 0, `erf a = a p(a^2)`; beyond,
//! `1 - t e^(-a^2) p(t)` with `t = 2 / (2 + a)` (Hastings' form), by Chebyshev interpolations.

use super::{
    by_pairs,
    exp::{exp_moderate, minus_expm1_moderate},
    flip_sign, polynomial, sign_bit,
};
use crate::{
    dtype::DType,
    program::{Builder, Ref, Unary},
};

/// `ln(1 - erf(a)) / a`, a <= 4, off by as much as makes 2^-24.7 of `erf(a)`.
const F32: [f64; 8] = [
    -4.070_799_2e-5,
    3.810_010_7e-4,
    -1.251_747_7e-3,
    -2.057_147_9e-4,
    1.932_171_6e-2,
    -1.028_144_1e-1,
    -6.366_165e-1,
    -std::f64::consts::FRAC_2_SQRT_PI,
];
/// `erf(a) / a` in `a^2`, |a| <= 1, off by 2^-62 at most.
const NEAR_F64: [f64; 13] = [
    5.957176147748911e-11,
    -1.1372848856791674e-09,
    1.4659775274047436e-08,
    -1.6350312701054695e-07,
    1.6461000484121368e-06,
    -1.4925595266831182e-05,
    0.0001205533111164271,
    -0.000854832698083379,
    0.0052239776248180145,
    -0.026866170645076792,
    0.11283791670954879,
    -0.3761263890318375,
    std::f64::consts::FRAC_2_SQRT_PI,
];
/// `(1 - erf(a)) e^(a^2) / t` in `(t - 0.455) / 0.215`, 1 <= a <= 6.3, off by 2^-60 at most.
const FAR_F64: [f64; 18] = [
    3.909121209817871e-13,
    2.489528074396942e-13,
    -9.694310943461134e-12,
    2.157332460050646e-11,
    1.1729758638715582e-10,
    -7.98966006002747e-10,
    -2.8322934455295095e-11,
    1.764813789645589e-08,
    -4.40698533698173e-08,
    -3.3854488760796124e-07,
    1.7551665488039032e-06,
    7.639073164379173e-06,
    -5.864996507593486e-05,
    -0.00031186107792507945,
    0.0017339814515301226,
    0.024835530695670602,
    0.13712737569978117,
    0.4809870148758617,
];

/// Error function, `2 / sqrt(pi) * integral from 0 to x of e^(-t^2)`.
pub fn erf(b: &mut Builder, x: Ref) -> Ref {
    let a = b.unary(Unary::Abs, x);
    let y = if b.dtype(x) == DType::F32 { of_magnitude_f32(b, a) } else { of_magnitude_f64(b, a) };
    let sign = sign_bit(b, x);
    flip_sign(b, y, sign)
}

fn of_magnitude_f32(b: &mut Builder, a: Ref) -> Ref {
    // erf 4 rounds to 1.
    let most = b.f32(4.0);
    let bounded = b.min(most, a);
    let square = b.mul(bounded, bounded);
    // The last step by itself: its rounding counts most.
    let (last, others) = F32.split_last().expect("it has coefficients");
    let q = by_pairs(b, bounded, square, others);
    let last = b.f32(*last as f32);
    let q = b.mul_add(q, bounded, last);
    let exponent = b.mul(q, bounded);
    minus_expm1_moderate(b, exponent)
}

fn of_magnitude_f64(b: &mut Builder, a: Ref) -> Ref {
    let z = b.mul(a, a);
    let p = polynomial(b, z, &NEAR_F64);
    let near = b.mul(a, p);
    // erf 6 rounds to 1.
    let (one, two, most) = (b.num(a, 1.0), b.num(a, 2.0), b.num(a, 6.0));
    let bounded = b.min(most, a);
    let below = b.add(bounded, two);
    let t = b.div(two, below);
    let (scale, offset) = (b.num(a, 1.0 / 0.215), b.num(a, -0.455 / 0.215));
    let v = b.fma(t, scale, offset);
    let p = polynomial(b, v, &FAR_F64);
    let minus = b.unary(Unary::Neg, bounded);
    let exponent = b.mul(minus, bounded);
    let e = exp_moderate(b, exponent);
    let tp = b.mul(t, p);
    let complement = b.mul(tp, e);
    let far = b.sub(one, complement);
    let is_far = b.lt(one, a);
    b.select(is_far, far, near)
}
