//! element - what each primitive does, for every compute type, over rows of elements.
//!
//! A row holds one element a `u64`: its bits, zero above the type's width, as in [`crate::dtype::Scalar`]. The tables at
//! the end answer `None` where a primitive is not defined for a type.

use crate::{
    dtype::DType,
    program::{Binary, Unary},
};

/// `out[i] = f(a[i])`.
pub(super) type UnaryRow = fn(&mut [u64], &[u64]);
/// `out[i] = f(a[i], b[i])`.
pub(super) type BinaryRow = fn(&mut [u64], &[u64], &[u64]);
/// `out[i] = f(a[i], b[i], c[i])`.
pub(super) type TernaryRow = fn(&mut [u64], &[u64], &[u64], &[u64]);

/// A compute type.
trait Element: Copy + PartialOrd {
    const FLOAT: bool;
    fn of(bits: u64) -> Self;
    fn bits(self) -> u64;
    fn to_f32(self) -> f32;
    fn to_f64(self) -> f64;
    /// Integers and `bool` only; wraps.
    fn to_i64(self) -> i64;
    /// `Inst::Cast`.
    fn convert<S: Element>(x: S) -> Self;
}

macro_rules! integer {
    ($($t:ident as $unsigned:ident),*) => {$(
        impl Element for $t {
            const FLOAT: bool = false;
            fn of(bits: u64) -> Self { bits as $t }
            fn bits(self) -> u64 { u64::from(self as $unsigned) }
            fn to_f32(self) -> f32 { self as f32 }
            fn to_f64(self) -> f64 { self as f64 }
            fn to_i64(self) -> i64 { self as i64 }
            fn convert<S: Element>(x: S) -> Self {
                // Every f32 is an f64, so this rounds nothing; `as` truncates and saturates.
                if S::FLOAT { x.to_f64() as $t } else { x.to_i64() as $t }
            }
        }
    )*};
}
integer!(u8 as u8, i8 as u8, u16 as u16, i16 as u16, u32 as u32, i32 as u32, u64 as u64, i64 as u64);

macro_rules! float {
    ($t:ident, $bits:ident, $convert:ident) => {
        impl Element for $t {
            const FLOAT: bool = true;
            fn of(bits: u64) -> Self {
                $t::from_bits(bits as $bits)
            }
            fn bits(self) -> u64 {
                u64::from(self.to_bits())
            }
            fn to_f32(self) -> f32 {
                self as f32
            }
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            fn to_i64(self) -> i64 {
                self as i64
            }
            fn convert<S: Element>(x: S) -> Self {
                x.$convert()
            }
        }
    };
}
float!(f32, u32, to_f32);
float!(f64, u64, to_f64);

impl Element for bool {
    const FLOAT: bool = false;
    fn of(bits: u64) -> Self {
        bits != 0
    }
    fn bits(self) -> u64 {
        u64::from(self)
    }
    fn to_f32(self) -> f32 {
        f32::from(u8::from(self))
    }
    fn to_f64(self) -> f64 {
        f64::from(u8::from(self))
    }
    fn to_i64(self) -> i64 {
        i64::from(self)
    }
    fn convert<S: Element>(x: S) -> Self {
        if S::FLOAT { x.to_f64() != 0.0 } else { x.to_i64() != 0 }
    }
}

/// Applies an expression of one element to a row.
macro_rules! row {
    ($t:ident, |$a:ident| $e:expr) => {
        Some(|out: &mut [u64], a: &[u64]| {
            for (out, &a) in out.iter_mut().zip(a) {
                let $a = <$t as Element>::of(a);
                *out = Element::bits($e);
            }
        })
    };
    ($t:ident, |$a:ident, $b:ident| $e:expr) => {
        Some(|out: &mut [u64], a: &[u64], b: &[u64]| {
            for (out, (&a, &b)) in out.iter_mut().zip(a.iter().zip(b)) {
                let ($a, $b) = (<$t as Element>::of(a), <$t as Element>::of(b));
                *out = Element::bits($e);
            }
        })
    };
}

/// Expands `$m!(type args)` for the Rust type of a compute type; `None` for storage types.
macro_rules! by_type {
    ($dtype:expr, $m:ident ! ($($arg:tt)*)) => {
        match $dtype {
            DType::Bool => $m!(bool $($arg)*),
            DType::U8 => $m!(u8 $($arg)*),
            DType::I8 => $m!(i8 $($arg)*),
            DType::U16 => $m!(u16 $($arg)*),
            DType::I16 => $m!(i16 $($arg)*),
            DType::U32 => $m!(u32 $($arg)*),
            DType::I32 => $m!(i32 $($arg)*),
            DType::U64 => $m!(u64 $($arg)*),
            DType::I64 => $m!(i64 $($arg)*),
            DType::F32 => $m!(f32 $($arg)*),
            DType::F64 => $m!(f64 $($arg)*),
            DType::F16 | DType::BF16 => None,
        }
    };
}

/// What `op` does to elements of `dtype`.
pub(super) fn unary(op: Unary, dtype: DType) -> Option<UnaryRow> {
    macro_rules! signed {
        ($t:ident) => {
            match op {
                Unary::Neg => row!($t, |a| a.wrapping_neg()),
                Unary::Abs => row!($t, |a| a.wrapping_abs()),
                Unary::Not => row!($t, |a| !a),
                Unary::Sqrt | Unary::Floor | Unary::Ceil | Unary::Trunc | Unary::Nearest => None,
            }
        };
    }
    macro_rules! unsigned {
        ($t:ident) => {
            match op {
                Unary::Neg => row!($t, |a| a.wrapping_neg()),
                Unary::Abs => row!($t, |a| a),
                Unary::Not => row!($t, |a| !a),
                Unary::Sqrt | Unary::Floor | Unary::Ceil | Unary::Trunc | Unary::Nearest => None,
            }
        };
    }
    macro_rules! float {
        ($t:ident) => {
            match op {
                // By bits, so that the sign of NaN follows too.
                Unary::Neg => row!($t, |a| $t::from_bits((-0.0 as $t).to_bits() ^ a.to_bits())),
                Unary::Abs => row!($t, |a| $t::from_bits(!(-0.0 as $t).to_bits() & a.to_bits())),
                Unary::Sqrt => row!($t, |a| a.sqrt()),
                Unary::Floor => row!($t, |a| a.floor()),
                Unary::Ceil => row!($t, |a| a.ceil()),
                Unary::Trunc => row!($t, |a| a.trunc()),
                Unary::Nearest => row!($t, |a| a.round_ties_even()),
                Unary::Not => None,
            }
        };
    }
    match dtype {
        DType::Bool if op == Unary::Not => row!(bool, |a| !a),
        DType::Bool | DType::F16 | DType::BF16 => None,
        DType::U8 => unsigned!(u8),
        DType::U16 => unsigned!(u16),
        DType::U32 => unsigned!(u32),
        DType::U64 => unsigned!(u64),
        DType::I8 => signed!(i8),
        DType::I16 => signed!(i16),
        DType::I32 => signed!(i32),
        DType::I64 => signed!(i64),
        DType::F32 => float!(f32),
        DType::F64 => float!(f64),
    }
}

/// What `op` does to elements of `dtype`.
pub(super) fn binary(op: Binary, dtype: DType) -> Option<BinaryRow> {
    macro_rules! order {
        ($t:ident) => {
            match op {
                Binary::Max => row!($t, |a, b| if a > b { a } else { b }),
                Binary::Min => row!($t, |a, b| if a < b { a } else { b }),
                Binary::Eq => row!($t, |a, b| a == b),
                Binary::Ne => row!($t, |a, b| a != b),
                Binary::Lt => row!($t, |a, b| a < b),
                Binary::Le => row!($t, |a, b| a <= b),
                _ => None,
            }
        };
    }
    macro_rules! bits {
        ($t:ident) => {
            match op {
                Binary::And => row!($t, |a, b| a & b),
                Binary::Or => row!($t, |a, b| a | b),
                Binary::Xor => row!($t, |a, b| a ^ b),
                _ => order!($t),
            }
        };
    }
    macro_rules! integer {
        ($t:ident $signed:ident $unsigned:ident) => {
            match op {
                Binary::Add => row!($t, |a, b| a.wrapping_add(b)),
                Binary::Sub => row!($t, |a, b| a.wrapping_sub(b)),
                Binary::Mul => row!($t, |a, b| a.wrapping_mul(b)),
                Binary::Div => row!($t, |a, b| if b == 0 { 0 } else { a.wrapping_div(b) }),
                Binary::Rem => row!($t, |a, b| if b == 0 { 0 } else { a.wrapping_rem(b) }),
                Binary::Shl => row!($t, |a, b| match count(b.to_i64(), $t::BITS) {
                    Some(n) => a << n,
                    None => 0,
                }),
                Binary::ShrU => row!($t, |a, b| match count(b.to_i64(), $t::BITS) {
                    Some(n) => ((a as $unsigned) >> n) as $t,
                    None => 0,
                }),
                Binary::ShrS => row!($t, |a, b| {
                    let n = count(b.to_i64(), $t::BITS).unwrap_or($t::BITS - 1);
                    ((a as $signed) >> n) as $t
                }),
                _ => bits!($t),
            }
        };
    }
    macro_rules! float {
        ($t:ident) => {
            match op {
                Binary::Add => row!($t, |a, b| a + b),
                Binary::Sub => row!($t, |a, b| a - b),
                Binary::Mul => row!($t, |a, b| a * b),
                Binary::Div => row!($t, |a, b| a / b),
                _ => order!($t),
            }
        };
    }
    match dtype {
        DType::Bool => bits!(bool),
        DType::U8 => integer!(u8 i8 u8),
        DType::I8 => integer!(i8 i8 u8),
        DType::U16 => integer!(u16 i16 u16),
        DType::I16 => integer!(i16 i16 u16),
        DType::U32 => integer!(u32 i32 u32),
        DType::I32 => integer!(i32 i32 u32),
        DType::U64 => integer!(u64 i64 u64),
        DType::I64 => integer!(i64 i64 u64),
        DType::F32 => float!(f32),
        DType::F64 => float!(f64),
        DType::F16 | DType::BF16 => None,
    }
}

/// A shift count that is in range; a `u64` above `i64` comes as a negative number and is not.
fn count(n: i64, width: u32) -> Option<u32> {
    u32::try_from(n).ok().filter(|&n| n < width)
}

/// `a * b + c`, rounded once.
pub(super) fn fma(dtype: DType) -> Option<TernaryRow> {
    fn rows<T: Element>(out: &mut [u64], [a, b, c]: [&[u64]; 3], f: impl Fn(T, T, T) -> T) {
        for (out, ((&a, &b), &c)) in out.iter_mut().zip(a.iter().zip(b).zip(c)) {
            *out = f(T::of(a), T::of(b), T::of(c)).bits();
        }
    }
    match dtype {
        DType::F32 => Some(|out, a, b, c| rows(out, [a, b, c], f32::mul_add)),
        DType::F64 => Some(|out, a, b, c| rows(out, [a, b, c], f64::mul_add)),
        _ => None,
    }
}

/// `c ? a : b`, for any type.
pub(super) fn select(out: &mut [u64], c: &[u64], a: &[u64], b: &[u64]) {
    for (out, ((&c, &a), &b)) in out.iter_mut().zip(c.iter().zip(a).zip(b)) {
        *out = if c != 0 { a } else { b };
    }
}

/// `Inst::Cast`.
pub(super) fn cast(from: DType, to: DType) -> Option<UnaryRow> {
    fn row<S: Element, T: Element>(out: &mut [u64], a: &[u64]) {
        for (out, &a) in out.iter_mut().zip(a) {
            *out = T::convert(S::of(a)).bits();
        }
    }
    fn of<S: Element>(to: DType) -> Option<UnaryRow> {
        macro_rules! to {
            ($t:ident) => {
                Some(row::<S, $t>)
            };
        }
        by_type!(to, to!())
    }
    macro_rules! from {
        ($t:ident) => {
            of::<$t>(to)
        };
    }
    by_type!(from, from!())
}
