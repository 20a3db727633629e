//! bounds - what a run may give when sums are added in another order: for each element a number or an interval.
//!
//! A backend may add the terms of a sum in any order, with or without fused multiply-adds; everything else it must compute
//! as the evaluator does. So an element is one of
//!
//! * a *point*: no sum that rounds stands behind it, and every run gives these bits (any NaN for a NaN);
//! * a *range* of floats that holds whatever a run may give;
//! * *any*: behind it a decision (a comparison, a cast to an integer, an index) that the range of its operand leaves open.
//!
//! **Sums.** Let `t_i` be the `n` terms and `u` the unit roundoff. In every order of additions each term passes at most `n`
//! of them (the first addition to zero included), and a product loses one more rounding or, fused, none. So every
//! computed sum lies within `gamma_{n+2} * sum |t_i|` of the exact one, `gamma_k = k u / (1 - k u)` (Higham, Accuracy and
//! Stability of Numerical Algorithms, 2nd ed., 4.2), plus the least denormal for each product that underflows. Sums of
//! whole numbers whose magnitudes sum to at most `1/u` are exact in every order, and therefore points; so are sums with
//! a NaN, or with infinities that no finite part can change.
//!
//! **Extremes** of floats are the same in every order, but for a NaN among them (then nothing is said) and for the sign of
//! a zero.
//!
//! **Everything else** is computed on the ends of ranges: rounding is monotone, so the rounded hull of the exact results
//! is the hull of the rounded results, and no widening is needed. `exp`, `log`, `tanh`, `erf`, `sigmoid` and their like
//! are monotone functions computed within a few units in the last place (docs/numerics.md): their ranges are those of the
//! ends, widened by 16 of them. `sin` and `cos` change no faster than their operand.
//!
//! Reading order: [`element`] (points and ranges), [`nest`] (loop nests), [`run`] (modules), [`check`].

mod check;
mod element;
mod nest;
mod run;

pub use check::{Agreement, check};
pub use element::Bound;
pub use run::{BoundTensor, bounds, bounds_of_rewrites};
