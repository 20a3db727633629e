//! erf - error function.
//!
//! Near 0, `erf a = a p(a^2)`. Beyond, `f32`: `1 - e^p(a)` with `p` the logarithm of `1 - erf a` (Juffa's form); `f64`:
//! `1 - t e^(-a^2) p(t)` with `t = 2 / (2 + a)` (Hastings' form). Polynomials are Chebyshev interpolations.

use super::{exp::exp_moderate, flip_sign, polynomial, sign_bit};
use crate::{
    dtype::DType,
    program::{Builder, Ref, Unary},
};

/// `erf(a) / a - 1` in `a^2`, |a| <= 0.9375, off by 2^-25 at most.
const NEAR_F32: [f64; 6] =
    [-5.933_306e-4, 4.982_215e-3, -2.675_944e-2, 1.128_163e-1, -3.761_247_7e-1, 1.283_791_5e-1];
/// `ln(1 - erf(a))`, 0.92 <= a <= 4, off by 2^-25 at most.
const FAR_F32: [f64; 9] = [
    1.643_569_7e-6,
    -4.617_791_3e-5,
    5.977_435e-4,
    -4.763_575_3e-3,
    2.643_101_8e-2,
    -1.100_944_8e-1,
    -6.318_145_4e-1,
    -1.130_237_6,
    3.204_415_3e-4,
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
    let z = b.mul(a, a);
    let one = b.num(x, 1.0);
    let (near, far, limit) = if b.dtype(x) == DType::F32 {
        let p = polynomial(b, z, &NEAR_F32);
        let near = b.fma(p, a, a);
        // erf 4 rounds to 1.
        let most = b.num(x, 4.0);
        let bounded = b.min(most, a);
        let p = polynomial(b, bounded, &FAR_F32);
        let complement = exp_moderate(b, p);
        (near, b.sub(one, complement), 0.93)
    } else {
        let p = polynomial(b, z, &NEAR_F64);
        let near = b.mul(a, p);
        // erf 6 rounds to 1.
        let (most, two) = (b.num(x, 6.0), b.num(x, 2.0));
        let bounded = b.min(most, a);
        let below = b.add(bounded, two);
        let t = b.div(two, below);
        let (scale, offset) = (b.num(x, 1.0 / 0.215), b.num(x, -0.455 / 0.215));
        let v = b.fma(t, scale, offset);
        let p = polynomial(b, v, &FAR_F64);
        let minus = b.unary(Unary::Neg, bounded);
        let exponent = b.mul(minus, bounded);
        let e = exp_moderate(b, exponent);
        let tp = b.mul(t, p);
        let complement = b.mul(tp, e);
        (near, b.sub(one, complement), 1.0)
    };
    let limit = b.num(x, limit);
    let is_far = b.lt(limit, a);
    let y = b.select(is_far, far, near);
    let sign = sign_bit(b, x);
    flip_sign(b, y, sign)
}
