//! inverse - inverse trigonometric functions, in `f64`.
//!
//! `atan`: 1 / a beyond 1, then `atan t = pi / 4 + atan((t - 1) / (t + 1))` beyond tan(pi / 8), then a Chebyshev interpolation.

use super::{flip_sign, in_f64, polynomial, sign_bit};
use crate::program::{Builder, Ref, Unary};

/// `(atan(u) / u - 1) / z` for `z = u^2`, |u| <= tan(pi / 8), off by 2^-59 at most.
const ATAN: [f64; 12] = [
    0.016285183029865667,
    -0.034570044186095536,
    0.04551573086664191,
    -0.052304498567092406,
    0.05878928398517232,
    -0.06666424833613552,
    0.07692296372129964,
    -0.09090908753400499,
    0.11111111105153429,
    -0.14285714285659806,
    0.19999999999999804,
    -0.3333333333333333,
];
/// pi / 2 less its nearest `f64`.
const HALF_PI_TAIL: f64 = 6.123_233_995_736_766e-17;

/// Arc tangent, in radians.
pub fn atan(b: &mut Builder, x: Ref) -> Ref {
    in_f64(b, x, |b, x| {
        let a = b.unary(Unary::Abs, x);
        let (zero, one) = (b.num(x, 0.0), b.num(x, 1.0));
        let is_large = b.lt(one, a);
        let reciprocal = b.div(one, a);
        let t = b.select(is_large, reciprocal, a);

        let limit = b.num(x, std::f64::consts::SQRT_2 - 1.0);
        let is_upper = b.lt(limit, t);
        let (less, more) = (b.sub(t, one), b.add(t, one));
        let turned = b.div(less, more);
        let u = b.select(is_upper, turned, t);
        let (eighth, eighth_tail) = (b.num(x, std::f64::consts::FRAC_PI_4), b.num(x, HALF_PI_TAIL / 2.0));
        let base = b.select(is_upper, eighth, zero);
        let base_tail = b.select(is_upper, eighth_tail, zero);

        let z = b.mul(u, u);
        let p = polynomial(b, z, &ATAN);
        let pz = b.mul(p, z);
        let tail = b.fma(pz, u, base_tail);
        let sum = b.add(u, tail);
        let y = b.add(base, sum);

        let (quarter, quarter_tail) = (b.num(x, std::f64::consts::FRAC_PI_2), b.num(x, HALF_PI_TAIL));
        let rest = b.sub(y, quarter_tail);
        let complement = b.sub(quarter, rest);
        let y = b.select(is_large, complement, y);
        let sign = sign_bit(b, x);
        flip_sign(b, y, sign)
    })
}

/// Arc sine, in radians: `atan(x / sqrt((1 - x) (1 + x)))`; NaN outside of [-1, 1].
pub fn asin(b: &mut Builder, x: Ref) -> Ref {
    in_f64(b, x, |b, x| {
        let one = b.num(x, 1.0);
        let (less, more) = (b.sub(one, x), b.add(one, x));
        let square = b.mul(less, more);
        let root = b.unary(Unary::Sqrt, square);
        let tangent = b.div(x, root);
        atan(b, tangent)
    })
}

/// Arc cosine, in radians: `2 atan(sqrt((1 - x) / (1 + x)))`; NaN outside of [-1, 1].
pub fn acos(b: &mut Builder, x: Ref) -> Ref {
    in_f64(b, x, |b, x| {
        let one = b.num(x, 1.0);
        let (less, more) = (b.sub(one, x), b.add(one, x));
        let square = b.div(less, more);
        let root = b.unary(Unary::Sqrt, square);
        let half = atan(b, root);
        b.add(half, half)
    })
}
