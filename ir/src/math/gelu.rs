//! gelu - the Gaussian error linear unit, by the error function.
//!
//! `f32`: `h + h e(x)` with `h = x / 2` and `e(x) = erf(x / sqrt 2)` as `x p(x^2) / q(x^2)`: numerator and denominator do not wait
//! for each other. Beyond 5.4 in magnitude `e` is 1; coefficients and that bound are such that it is exactly 1 there. They make
//! the greatest error of `e` least (Lawson's iteration), scaled together so that rounding them costs little. `f64`:
//! `h (1 + erf(x / sqrt 2))`.

use super::{erf, polynomial, step};
use crate::{
    dtype::DType,
    program::{Builder, Ref},
};

/// There erf(x / sqrt 2) rounds to 1, but for 2^-24.
const MOST: f64 = 5.4;
const P: [f64; 6] = [7.991_271e-8, 2.173_231_8e-5, 5.614_927e-4, 1.589_205_3e-2, 1.140_337_2e-1, 1.363_192_3];
const Q: [f64; 6] =
    [2.078_554_4e-6, 1.236_967_7e-4, 3.176_093_3e-3, 4.848_529_8e-2, 4.276_704_8e-1, 1.708_508_4];

/// `x (1 + erf(x / sqrt 2)) / 2`.
pub fn gelu(b: &mut Builder, x: Ref) -> Ref {
    let half = b.num(x, 0.5);
    let h = b.mul(x, half);
    if b.dtype(x) != DType::F32 {
        let (root, one) = (b.num(x, std::f64::consts::FRAC_1_SQRT_2), b.num(x, 1.0));
        let inner = b.mul(x, root);
        let e = erf(b, inner);
        let gate = b.add(e, one);
        return b.mul(h, gate);
    }
    let (least, most) = (b.num(x, -MOST), b.num(x, MOST));
    let t = b.max(least, x);
    let t = b.min(most, t);
    let square = b.mul(t, t);
    let (p, q) = (polynomial(b, square, &P), polynomial(b, square, &Q));
    let above = b.mul(t, p);
    let e = b.div(above, q);
    step(b, h, e, h)
}
