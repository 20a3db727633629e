//! hyperbolic - hyperbolic functions and their inverses, in `f64`.
//!
//! Formulas as in fdlibm (Ng 1993); `a` is |x|.

use super::{exp, expm1, flip_sign, in_f64, log, log1p, sign_bit};
use crate::program::{Builder, Ref, Unary};

/// Beyond, `e^-a` does not count against `e^a`.
const LARGE: f64 = 22.0;
/// 2^28: beyond, 1 does not count against the square.
const HUGE: f64 = 268_435_456.0;

/// An odd function of `x` from its values for |x|.
fn odd(b: &mut Builder, x: Ref, f: impl FnOnce(&mut Builder, Ref) -> Ref) -> Ref {
    in_f64(b, x, |b, x| {
        let a = b.unary(Unary::Abs, x);
        let y = f(b, a);
        let sign = sign_bit(b, x);
        flip_sign(b, y, sign)
    })
}

/// `e^a / 2`, also where `e^a` overflows.
fn half_exp(b: &mut Builder, a: Ref) -> Ref {
    let half = b.num(a, 0.5);
    let halved = b.mul(a, half);
    let root = exp(b, halved);
    let half_root = b.mul(root, half);
    b.mul(half_root, root)
}

/// Hyperbolic sine: `(t + t / (t + 1)) / 2` with `t = e^a - 1`.
pub fn sinh(b: &mut Builder, x: Ref) -> Ref {
    odd(b, x, |b, a| {
        let (one, half, large) = (b.num(a, 1.0), b.num(a, 0.5), b.num(a, LARGE));
        let t = expm1(b, a);
        let t1 = b.add(t, one);
        let quotient = b.div(t, t1);
        let sum = b.add(t, quotient);
        let near = b.mul(sum, half);
        let far = half_exp(b, a);
        let is_near = b.lt(a, large);
        b.select(is_near, near, far)
    })
}

/// Hyperbolic cosine: `(e^a + 1 / e^a) / 2`.
pub fn cosh(b: &mut Builder, x: Ref) -> Ref {
    in_f64(b, x, |b, x| {
        let a = b.unary(Unary::Abs, x);
        let (half, large) = (b.num(a, 0.5), b.num(a, LARGE));
        let e = exp(b, a);
        let reciprocal = b.div(half, e);
        let near = b.fma(e, half, reciprocal);
        let far = half_exp(b, a);
        let is_near = b.lt(a, large);
        b.select(is_near, near, far)
    })
}

/// Hyperbolic tangent: `-t / (t + 2)` with `t = e^(-2a) - 1` up to 1, `1 - 2 / (e^(2a) + 1)` beyond.
pub(super) fn tanh_f64(b: &mut Builder, x: Ref) -> Ref {
    odd(b, x, |b, a| {
        let (one, two) = (b.num(a, 1.0), b.num(a, 2.0));
        let minus_two = b.num(a, -2.0);
        let exponent = b.mul(a, minus_two);
        let t = expm1(b, exponent);
        let t2 = b.add(t, two);
        let minus_t = b.unary(Unary::Neg, t);
        let near = b.div(minus_t, t2);
        let twice = b.add(a, a);
        let e = exp(b, twice);
        let e1 = b.add(e, one);
        let quotient = b.div(two, e1);
        let far = b.sub(one, quotient);
        let is_far = b.lt(one, a);
        b.select(is_far, far, near)
    })
}

/// Inverse of [`sinh`]: `ln(1 + a + a^2 / (1 + sqrt(a^2 + 1)))`.
pub fn asinh(b: &mut Builder, x: Ref) -> Ref {
    odd(b, x, |b, a| {
        let one = b.num(a, 1.0);
        let a2 = b.mul(a, a);
        let below = b.add(a2, one);
        let root = b.unary(Unary::Sqrt, below);
        let root1 = b.add(root, one);
        let quotient = b.div(a2, root1);
        let sum = b.add(a, quotient);
        let near = log1p(b, sum);
        let far = log_twice(b, a);
        let huge = b.num(a, HUGE);
        let is_far = b.lt(huge, a);
        b.select(is_far, far, near)
    })
}

/// Inverse of [`cosh`]: `ln(1 + t + sqrt(t (2 + t)))` with `t = x - 1`; NaN below 1.
pub fn acosh(b: &mut Builder, x: Ref) -> Ref {
    in_f64(b, x, |b, x| {
        let (one, two) = (b.num(x, 1.0), b.num(x, 2.0));
        let t = b.sub(x, one);
        let t2 = b.add(t, two);
        let square = b.mul(t, t2);
        let root = b.unary(Unary::Sqrt, square);
        let sum = b.add(t, root);
        let near = log1p(b, sum);
        let far = log_twice(b, x);
        let huge = b.num(x, HUGE);
        let is_far = b.lt(huge, x);
        let y = b.select(is_far, far, near);
        let nan = b.num(x, f64::NAN);
        let is_below = b.lt(x, one);
        b.select(is_below, nan, y)
    })
}

/// Inverse of tanh: `ln(1 + 2a / (1 - a)) / 2`; NaN beyond 1.
pub fn atanh(b: &mut Builder, x: Ref) -> Ref {
    odd(b, x, |b, a| {
        let (one, half) = (b.num(a, 1.0), b.num(a, 0.5));
        let twice = b.add(a, a);
        let below = b.sub(one, a);
        let quotient = b.div(twice, below);
        let ln = log1p(b, quotient);
        b.mul(ln, half)
    })
}

/// `ln(2 a)`, also where `2 a` overflows.
fn log_twice(b: &mut Builder, a: Ref) -> Ref {
    let ln = log(b, a);
    let ln2 = b.num(a, std::f64::consts::LN_2);
    b.add(ln, ln2)
}
