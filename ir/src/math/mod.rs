//! math - mathematical functions spelt in primitives, so that evaluator and machine code agree bit for bit.
//!
//! Each function takes a builder and values of one compute type and gives the value of the function. `f32` versions of
//! the functions that networks spend their time in ([`exp`], [`log`], [`tanh`], [`erf`], [`gelu`], [`sigmoid`]) are free of
//! branches and use `f32`, `i32` and `bool` alone, so that every instruction has a form for several lanes. The others
//! compute `f32` by way of `f64`. Accuracy: docs/numerics.md.

mod basic;
mod erf;
mod exp;
mod gelu;
mod hyperbolic;
mod inverse;
mod log;
mod pow;
mod rem;
mod tanh;
mod trig;

pub use basic::{abs, is_inf, is_nan, max, min, shift_right, sign};
pub use erf::erf;
pub use exp::{exp, expm1};
pub use gelu::gelu;
pub use hyperbolic::{acosh, asinh, atanh, cosh, sinh};
pub use inverse::{acos, asin, atan};
pub use log::{log, log1p};
pub use pow::pow;
pub use rem::{floor_mod, rem};
pub use tanh::{sigmoid, tanh};
pub use trig::{cos, sin, tan};

use crate::{
    dtype::{DType, Scalar},
    program::{Binary, Builder, Ref},
};

/// `x * y + z`. Of `f32`, where it is a matter of speed, as the target does it: the functions keep their limits either
/// way. Of `f64` rounded once.
fn step(b: &mut Builder, x: Ref, y: Ref, z: Ref) -> Ref {
    if b.dtype(x) == DType::F32 { b.mul_add(x, y, z) } else { b.fma(x, y, z) }
}

/// The value of the polynomial with `coefficients`, of the highest power first (Horner).
fn polynomial(b: &mut Builder, x: Ref, coefficients: &[f64]) -> Ref {
    let (first, rest) = coefficients.split_first().expect("a polynomial has a coefficient");
    let first = b.num(x, *first);
    rest.iter().fold(first, |sum, &c| {
        let c = b.num(x, c);
        step(b, sum, x, c)
    })
}

/// The same in pairs of coefficients, which are joined by powers of `x2`, the square of `x`: as many steps, of which about half wait
/// for each other.
fn by_pairs(b: &mut Builder, x: Ref, x2: Ref, coefficients: &[f64]) -> Ref {
    let mut sum = None;
    let (odd, pairs) = coefficients.split_at(coefficients.len() % 2);
    if let &[c] = odd {
        sum = Some(b.num(x, c));
    }
    for pair in pairs.chunks_exact(2) {
        let pair = polynomial(b, x, pair);
        sum = Some(sum.map_or(pair, |sum| step(b, sum, x2, pair)));
    }
    sum.expect("a polynomial has a coefficient")
}

/// `f` computed in `f64`, whatever float `x` is.
fn in_f64(b: &mut Builder, x: Ref, f: impl FnOnce(&mut Builder, Ref) -> Ref) -> Ref {
    let dtype = b.dtype(x);
    let wide = b.cast(DType::F64, x);
    let y = f(b, wide);
    b.cast(dtype, y)
}

/// The integer type as wide as a float type.
fn bits_dtype(float: DType) -> DType {
    if float == DType::F32 { DType::I32 } else { DType::I64 }
}

/// `x` as an integer with the same bits.
fn to_bits(b: &mut Builder, x: Ref) -> Ref {
    let dtype = bits_dtype(b.dtype(x));
    b.bitcast(dtype, x)
}

/// The bits of the number `value` of the type of `like`, as an integer constant.
fn bits_of(b: &mut Builder, like: Ref, value: f64) -> Ref {
    let float = b.dtype(like);
    b.constant(Scalar { dtype: bits_dtype(float), bits: Scalar::float(float, value).bits })
}

/// The bit of the sign, all others zero, as an integer.
fn sign_bit(b: &mut Builder, x: Ref) -> Ref {
    let bits = to_bits(b, x);
    let least = Scalar::lowest(b.dtype(bits));
    let mask = b.constant(least);
    b.binary(Binary::And, bits, mask)
}

/// `x` with its sign bit flipped where `sign` (of [`sign_bit`]) has it.
fn flip_sign(b: &mut Builder, x: Ref, sign: Ref) -> Ref {
    let dtype = b.dtype(x);
    let bits = to_bits(b, x);
    let bits = b.binary(Binary::Xor, bits, sign);
    b.bitcast(dtype, bits)
}

/// An integer constant of the type of `like`.
fn int(b: &mut Builder, like: Ref, x: i64) -> Ref {
    let dtype = b.dtype(like);
    b.constant(Scalar::int(dtype, x))
}
