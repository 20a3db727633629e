//! fused - `x * y + z` with one rounding, of scalars, on targets that have no instruction for it.
//!
//! What is lost by a rounding is computed as well, and the last sum but one is rounded to odd: if it is inexact, its last bit
//! is set, so that the last rounding sees on which side of a half the true value lies. Boldo and Melquiond 2008, "Emulation of
//! FMA and correctly rounded sums".

use cranelift_codegen::ir::{
    InstBuilder, MemFlagsData, Value,
    condcodes::{FloatCC, IntCC},
    types::{F32, F64, I64},
};
use cranelift_frontend::FunctionBuilder;

/// Multiplier that splits an `f64` into halves of 26 bits each (Veltkamp).
const SPLIT: f64 = 134_217_729.0;

/// The product of two `f32` is exact in `f64`.
pub(super) fn of_f32(b: &mut FunctionBuilder, x: Value, y: Value, z: Value) -> Value {
    let [x, y, z] = [x, y, z].map(|v| b.ins().fpromote(F64, v));
    let p = b.ins().fmul(x, y);
    let sum = to_odd(b, p, z);
    b.ins().fdemote(F32, sum)
}

/// Exact where the product's error is a number: for factors below 2^970 and products of at least 2^-960 in magnitude, which
/// no function leaves. Beyond, the product and the sum each round.
pub(super) fn of_f64(b: &mut FunctionBuilder, x: Value, y: Value, z: Value) -> Value {
    let p = b.ins().fmul(x, y);
    let error = product_error(b, x, y, p);
    let (low, low_error) = two_sum(b, z, error);
    let (high, high_error) = two_sum(b, p, low);
    let rest = to_odd(b, low_error, high_error);
    let exact = b.ins().fadd(high, rest);
    let plain = b.ins().fadd(p, z);
    // Not so where the error is no number, and not so for zeros, whose sign the parts lose.
    let differs = b.ins().fcmp(FloatCC::OrderedNotEqual, exact, plain);
    b.ins().select(differs, exact, plain)
}

/// What `p`, the rounded product, lacks (Dekker 1971).
fn product_error(b: &mut FunctionBuilder, x: Value, y: Value, p: Value) -> Value {
    let split = b.ins().f64const(SPLIT);
    let [(x_high, x_low), (y_high, y_low)] = [x, y].map(|v| {
        let large = b.ins().fmul(v, split);
        let rest = b.ins().fsub(large, v);
        let high = b.ins().fsub(large, rest);
        (high, b.ins().fsub(v, high))
    });
    let mut error = b.ins().fneg(p);
    for (x, y) in [(x_high, y_high), (x_high, y_low), (x_low, y_high), (x_low, y_low)] {
        let part = b.ins().fmul(x, y);
        error = b.ins().fadd(error, part);
    }
    error
}

/// A sum and what it lacks (Knuth).
fn two_sum(b: &mut FunctionBuilder, x: Value, y: Value) -> (Value, Value) {
    let sum = b.ins().fadd(x, y);
    let y_part = b.ins().fsub(sum, x);
    let x_part = b.ins().fsub(sum, y_part);
    let x_error = b.ins().fsub(x, x_part);
    let y_error = b.ins().fsub(y, y_part);
    (sum, b.ins().fadd(x_error, y_error))
}

/// A sum of two `f64` rounded to odd.
fn to_odd(b: &mut FunctionBuilder, x: Value, y: Value) -> Value {
    let (sum, error) = two_sum(b, x, y);
    let zero = b.ins().f64const(0.0);
    let inexact = b.ins().fcmp(FloatCC::OrderedNotEqual, error, zero);
    let bits = b.ins().bitcast(I64, MemFlagsData::new(), sum);
    let odd = b.ins().band_imm_u(bits, 1);
    let even = b.ins().icmp_imm_s(IntCC::Equal, odd, 0);
    let adjust = b.ins().band(inexact, even);
    let error_positive = b.ins().fcmp(FloatCC::GreaterThan, error, zero);
    let sum_positive = b.ins().fcmp(FloatCC::GreaterThan, sum, zero);
    let away = b.ins().icmp(IntCC::Equal, error_positive, sum_positive);
    let up = b.ins().iadd_imm_s(bits, 1);
    let down = b.ins().iadd_imm_s(bits, -1);
    let neighbour = b.ins().select(away, up, down);
    let bits = b.ins().select(adjust, neighbour, bits);
    b.ins().bitcast(F64, MemFlagsData::new(), bits)
}
