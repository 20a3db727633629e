//! tanh - hyperbolic tangent, logistic function.

use super::{
    exp::{exp_moderate, exp_of_negative},
    flip_sign, hyperbolic, polynomial, sign_bit,
};
use crate::{
    dtype::DType,
    program::{Builder, Ref, Unary},
};

/// `(tanh(a) / a - 1) / z` for `z = a^2`, |a| <= 0.625, off by 2^-24 at most: 2^-25 of the result.
const F32: [f64; 5] = [-6.096_714e-3, 2.099_718e-2, -5.385_090_8e-2, 1.333_277e-1, -3.333_332_8e-1];

/// Hyperbolic tangent: `a + a^3 p(a^2)` up to 0.625, `1 - 2 / (e^(2a) + 1)` beyond (Moshier 1989).
pub fn tanh(b: &mut Builder, x: Ref) -> Ref {
    if b.dtype(x) != DType::F32 {
        return hyperbolic::tanh_f64(b, x);
    }
    let a = b.unary(Unary::Abs, x);
    let z = b.mul(a, a);
    let p = polynomial(b, z, &F32);
    let pz = b.mul(p, z);
    let small = b.mul_add(pz, a, a);
    let (one, two, limit, most) = (b.num(x, 1.0), b.num(x, 2.0), b.num(x, 0.625), b.num(x, 10.0));
    // tanh 10 rounds to 1.
    let bounded = b.min(most, a);
    let twice = b.add(bounded, bounded);
    let e = exp_moderate(b, twice);
    let e1 = b.add(e, one);
    let quotient = b.div(two, e1);
    let large = b.sub(one, quotient);
    let is_large = b.lt(limit, a);
    let y = b.select(is_large, large, small);
    let sign = sign_bit(b, x);
    flip_sign(b, y, sign)
}

/// `1 / (1 + e^-x)`, as `e^-|x| / (1 + e^-|x|)` for negative `x` so that small results keep their digits.
pub fn sigmoid(b: &mut Builder, x: Ref) -> Ref {
    let a = b.unary(Unary::Abs, x);
    let minus_a = b.unary(Unary::Neg, a);
    let e = exp_of_negative(b, minus_a);
    let (zero, one) = (b.num(x, 0.0), b.num(x, 1.0));
    let is_negative = b.lt(x, zero);
    let numerator = b.select(is_negative, e, one);
    let denominator = b.add(e, one);
    b.div(numerator, denominator)
}
