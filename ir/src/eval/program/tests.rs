//! tests - the corner cases that `crate::program` documents.

use super::*;
use crate::program::{Binary, Builder, Unary};

fn apply(args: &[Scalar], build: impl FnOnce(&mut Builder, &[Ref]) -> Ref) -> Scalar {
    let mut b = Builder::new();
    let loads: Vec<Ref> = args.iter().enumerate().map(|(k, x)| b.load(k, x.dtype)).collect();
    let result = build(&mut b, &loads);
    eval_program(&b.finish([result]), &|k| args[k], &[], &|_| 0)[0]
}
fn unary(op: Unary, a: Scalar) -> Scalar {
    apply(&[a], |b, x| b.unary(op, x[0]))
}
fn binary(op: Binary, a: Scalar, b: Scalar) -> Scalar {
    apply(&[a, b], |builder, x| builder.binary(op, x[0], x[1]))
}
fn cast(to: DType, a: Scalar) -> Scalar {
    apply(&[a], |b, x| b.cast(to, x[0]))
}
fn int(dtype: DType, x: i64) -> Scalar {
    Scalar::int(dtype, x)
}

const SIGNED: [DType; 4] = [DType::I8, DType::I16, DType::I32, DType::I64];
const UNSIGNED: [DType; 4] = [DType::U8, DType::U16, DType::U32, DType::U64];

#[test]
fn float_signs_are_bits() {
    let nan = Scalar { dtype: DType::F32, bits: 0x7fc0_0000 };
    assert_eq!(unary(Unary::Neg, nan).bits, 0xffc0_0000);
    assert_eq!(unary(Unary::Abs, Scalar { dtype: DType::F32, bits: 0xffc0_0001 }).bits, 0x7fc0_0001);
    assert_eq!(unary(Unary::Neg, Scalar::f64(0.0)), Scalar::f64(-0.0));
    assert_eq!(unary(Unary::Abs, Scalar::f64(-0.0)), Scalar::f64(0.0));
}

#[test]
fn rounding_goes_where_it_says() {
    for (op, want) in [
        (Unary::Floor, [-3.0, 2.0]),
        (Unary::Ceil, [-2.0, 3.0]),
        (Unary::Trunc, [-2.0, 2.0]),
        (Unary::Nearest, [-2.0, 2.0]),
    ] {
        let got = [-2.5f32, 2.5].map(|x| unary(op, Scalar::f32(x)));
        assert_eq!(got, want.map(Scalar::f32), "{op:?}");
    }
    assert_eq!(unary(Unary::Nearest, Scalar::f32(-0.4)), Scalar::f32(-0.0));
    assert_eq!(unary(Unary::Sqrt, Scalar::f32(2.0)), Scalar::f32(2f32.sqrt()));
}

#[test]
fn integers_wrap() {
    for dtype in SIGNED {
        let least = Scalar::lowest(dtype);
        assert_eq!(unary(Unary::Neg, least), least);
        assert_eq!(unary(Unary::Abs, least), least);
        assert_eq!(binary(Binary::Add, Scalar::highest(dtype), int(dtype, 1)), least);
        assert_eq!(binary(Binary::Div, least, int(dtype, -1)), least);
        assert_eq!(binary(Binary::Rem, least, int(dtype, -1)), int(dtype, 0));
        assert_eq!(binary(Binary::Div, int(dtype, -7), int(dtype, 2)), int(dtype, -3));
        assert_eq!(binary(Binary::Rem, int(dtype, -7), int(dtype, 2)), int(dtype, -1));
    }
    for dtype in UNSIGNED {
        assert_eq!(unary(Unary::Neg, int(dtype, 1)), Scalar::highest(dtype));
        assert_eq!(binary(Binary::Sub, int(dtype, 0), int(dtype, 1)), Scalar::highest(dtype));
        assert_eq!(binary(Binary::Mul, Scalar::highest(dtype), Scalar::highest(dtype)), int(dtype, 1));
    }
    for dtype in SIGNED.into_iter().chain(UNSIGNED) {
        assert_eq!(binary(Binary::Div, int(dtype, 5), int(dtype, 0)), int(dtype, 0));
        assert_eq!(binary(Binary::Rem, int(dtype, 5), int(dtype, 0)), int(dtype, 0));
    }
}

#[test]
fn max_and_min_give_the_second_where_either_is_nan() {
    let (nan, one) = (Scalar::f32(f32::NAN), Scalar::f32(1.0));
    for op in [Binary::Max, Binary::Min] {
        assert_eq!(binary(op, nan, one), one);
        assert_eq!(binary(op, one, nan), nan);
        assert_eq!(binary(op, Scalar::f32(0.0), Scalar::f32(-0.0)), Scalar::f32(-0.0));
    }
    assert_eq!(binary(Binary::Max, Scalar::bool(false), Scalar::bool(true)), Scalar::bool(true));
    assert_eq!(binary(Binary::Min, int(DType::U64, -1), int(DType::U64, 3)), int(DType::U64, 3));
}

#[test]
fn comparisons_with_nan_are_false_but_ne() {
    let (nan, one) = (Scalar::f64(f64::NAN), Scalar::f64(1.0));
    for (op, want) in [(Binary::Eq, false), (Binary::Ne, true), (Binary::Lt, false), (Binary::Le, false)] {
        assert_eq!(binary(op, nan, one), Scalar::bool(want));
        assert_eq!(binary(op, nan, nan), Scalar::bool(want));
    }
    assert_eq!(binary(Binary::Lt, int(DType::I8, -1), int(DType::I8, 0)), Scalar::bool(true));
    assert_eq!(binary(Binary::Lt, int(DType::U8, -1), int(DType::U8, 0)), Scalar::bool(false));
}

#[test]
fn shifts_take_any_count() {
    for dtype in SIGNED.into_iter().chain(UNSIGNED) {
        let width = 8 * dtype.bytes() as i64;
        let top = binary(Binary::Shl, int(dtype, 1), int(dtype, width - 1));
        assert_eq!(top.bits, 1 << (width - 1));
        for out in [width, -1] {
            assert_eq!(binary(Binary::Shl, int(dtype, 1), int(dtype, out)), int(dtype, 0));
            assert_eq!(binary(Binary::ShrU, top, int(dtype, out)), int(dtype, 0));
            assert_eq!(binary(Binary::ShrS, top, int(dtype, out)), int(dtype, -1));
        }
        assert_eq!(binary(Binary::ShrU, top, int(dtype, width - 1)), int(dtype, 1));
        assert_eq!(binary(Binary::ShrS, top, int(dtype, 1)).bits >> (width - 2), 3);
    }
}

#[test]
fn bits_are_flipped_and_bool_is_negated() {
    assert_eq!(unary(Unary::Not, int(DType::U8, 5)), int(DType::U8, 0xfa));
    assert_eq!(unary(Unary::Not, int(DType::I32, 0)), int(DType::I32, -1));
    assert_eq!(unary(Unary::Not, Scalar::bool(true)), Scalar::bool(false));
    assert_eq!(binary(Binary::Xor, Scalar::bool(true), Scalar::bool(true)), Scalar::bool(false));
    assert_eq!(binary(Binary::And, int(DType::I16, -1), int(DType::I16, 6)), int(DType::I16, 6));
}

#[test]
fn fma_rounds_once() {
    let (a, c) = (1.0f32 + f32::EPSILON, -(1.0 + 2.0 * f32::EPSILON));
    let got = apply(&[Scalar::f32(a), Scalar::f32(a), Scalar::f32(c)], |b, x| b.fma(x[0], x[1], x[2]));
    assert_eq!(got, Scalar::f32(f32::EPSILON * f32::EPSILON));
    assert_eq!(a * a + c, 0.0);
}

#[test]
fn casts_saturate_wrap_and_round_once() {
    assert_eq!(cast(DType::I8, Scalar::f32(-129.9)), int(DType::I8, -128));
    assert_eq!(cast(DType::U8, Scalar::f32(-1.0)), int(DType::U8, 0));
    assert_eq!(cast(DType::I64, Scalar::f64(1e300)), Scalar::i64(i64::MAX));
    assert_eq!(cast(DType::I32, Scalar::f32(f32::NAN)), Scalar::i32(0));
    assert_eq!(cast(DType::I32, Scalar::f32(-2.9)), Scalar::i32(-2));
    assert_eq!(cast(DType::U8, Scalar::i64(-1)), int(DType::U8, 255));
    assert_eq!(cast(DType::I64, int(DType::U32, -1)), Scalar::i64(0xffff_ffff));
    assert_eq!(cast(DType::U64, int(DType::I8, -1)).bits, u64::MAX);
    assert_eq!(cast(DType::F32, int(DType::U64, -1)), Scalar::f32(1.844_674_4e19));
    // 2^24 + 1 is half way between two floats: what lies above it goes up, the tie goes to even.
    assert_eq!(cast(DType::F32, Scalar::f64(16_777_217.000_001)), Scalar::f32(16_777_218.0));
    assert_eq!(cast(DType::F32, Scalar::f64(16_777_217.0)), Scalar::f32(16_777_216.0));
    assert_eq!(
        cast(DType::F32, Scalar::i64(0x0200_0002_0000_0001)),
        Scalar::f32(0x0200_0004_0000_0000u64 as f32)
    );
    assert_eq!(cast(DType::Bool, Scalar::f32(f32::NAN)), Scalar::bool(true));
    assert_eq!(cast(DType::Bool, Scalar::f64(-0.0)), Scalar::bool(false));
    assert_eq!(cast(DType::Bool, Scalar::f64(5e-324)), Scalar::bool(true));
    assert_eq!(cast(DType::F64, Scalar::bool(true)), Scalar::f64(1.0));
    assert_eq!(cast(DType::U16, Scalar::bool(true)), int(DType::U16, 1));
}

#[test]
fn selection_bits_and_leaves() {
    let got =
        apply(&[Scalar::bool(false), Scalar::f32(1.0), Scalar::f32(2.0)], |b, x| b.select(x[0], x[1], x[2]));
    assert_eq!(got, Scalar::f32(2.0));
    assert_eq!(apply(&[Scalar::f32(1.0)], |b, x| b.bitcast(DType::I32, x[0])), Scalar::i32(0x3f80_0000));

    let mut b = Builder::new();
    let (acc, at) = (b.acc(1, DType::I64), b.index(Ix::Axis(2)));
    let sum = b.add(acc, at);
    let got =
        eval_program(&b.finish([sum, at]), &|_| Scalar::i64(0), &[Scalar::i64(0), Scalar::i64(40)], &|ix| {
            i64::from(*ix == Ix::Axis(2)) * 2
        });
    assert_eq!(got, [Scalar::i64(42), Scalar::i64(2)]);
}

#[test]
fn ill_typed_programs_are_refused() {
    let mut b = Builder::new();
    let x = b.load(0, DType::F32);
    let r = b.unary(Unary::Not, x);
    let program = b.finish([r]);
    assert!(Machine::new(&program, 1).is_err_and(|e| e.contains("Not")));
}
