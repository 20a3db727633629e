//! scalar - instructions of scalar programs as CLIF, one element at a time, for every element type.
//!
//! `bool` is an `i8` that is 0 or 1. Nothing here traps: divisors are made harmless first.

use cranelift_codegen::{
    ir::{
        InstBuilder, MemFlagsData, Type, Value,
        condcodes::{FloatCC, IntCC},
        types::{F32, F64, I8, I16, I32, I64},
    },
    isa::TargetIsa,
};
use cranelift_frontend::FunctionBuilder;
use nnc_ir::{
    dtype::{DType, Scalar},
    program::{Binary, Inst, Program, Ref, Unary},
};

use super::{LowerError, fused, half};
use crate::tile::{Arithmetic, has_feature};

/// What the target's instructions can do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Abilities {
    /// How it multiplies and adds.
    pub(super) arithmetic: Arithmetic,
}

impl Abilities {
    /// What `isa` can do.
    ///
    /// # Errors
    /// The target has no rounding instructions: Cranelift would call library functions, which kernels cannot.
    pub(super) fn of(isa: &dyn TargetIsa) -> Result<Self, LowerError> {
        let arithmetic = Arithmetic::of(isa);
        if isa.name() != "x64" {
            return Ok(Self { arithmetic });
        }
        if !has_feature(isa, "has_sse41") {
            return Err(LowerError::Target("x86-64 without SSE4.1"));
        }
        Ok(Self { arithmetic })
    }
}

/// Flags of every access to tensors: aligned or not, never trapping.
pub(super) fn tensor_flags() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

/// CLIF type of an element of a compute type, or of the bits of a storage type.
pub(super) fn clif_type(dtype: DType) -> Type {
    match dtype {
        DType::Bool | DType::U8 | DType::I8 => I8,
        DType::U16 | DType::I16 | DType::F16 | DType::BF16 => I16,
        DType::U32 | DType::I32 => I32,
        DType::U64 | DType::I64 => I64,
        DType::F32 => F32,
        DType::F64 => F64,
    }
}

/// Reads an element and widens it to its compute type.
pub(super) fn load(b: &mut FunctionBuilder, dtype: DType, addr: Value, disp: i32) -> Value {
    let bits = b.ins().load(clif_type(dtype), tensor_flags(), addr, disp);
    widen(b, dtype, bits)
}

/// The compute type's value of an element's bits.
fn widen(b: &mut FunctionBuilder, dtype: DType, bits: Value) -> Value {
    match dtype {
        DType::F16 | DType::BF16 => {
            let bits = b.ins().uextend(I32, bits);
            half::widen(b, dtype, bits)
        }
        _ => bits,
    }
}

/// Rounds an element to its storage type and writes it.
pub(super) fn store(b: &mut FunctionBuilder, dtype: DType, value: Value, addr: Value, disp: i32) {
    let bits = match dtype {
        DType::F16 | DType::BF16 => {
            let bits = half::narrow(b, dtype, value);
            b.ins().ireduce(I16, bits)
        }
        _ => value,
    };
    b.ins().store(tensor_flags(), bits, addr, disp);
}

/// A constant.
pub(super) fn constant(b: &mut FunctionBuilder, c: Scalar) -> Value {
    match c.dtype {
        DType::F32 => b.ins().f32const(c.to_f32()),
        DType::F64 => b.ins().f64const(c.to_f64()),
        d => {
            // The immediate of a narrow type has its upper bits zero.
            let bits = c.bits.cast_signed();
            b.ins().iconst(clif_type(d), bits)
        }
    }
}

/// One instruction that is no leaf.
///
/// # Errors
/// The target cannot do it.
pub(super) fn emit(
    b: &mut FunctionBuilder,
    can: Abilities,
    program: &Program,
    inst: &Inst,
    values: &[Value],
) -> Result<Value, LowerError> {
    let v = |r: Ref| values[r.index()];
    let ty = |r: Ref| program.dtype(r);
    Ok(match *inst {
        Inst::Load(_) | Inst::Acc(_) | Inst::Index(_) => unreachable!("leaves are the caller's"),
        Inst::Const(c) => constant(b, c),
        Inst::Unary(op, x) => unary(b, op, ty(x), v(x)),
        Inst::Binary(op, x, y) => binary(b, op, ty(x), v(x), v(y)),
        Inst::Fma(x, y, z) => fma(b, can, ty(x), [v(x), v(y), v(z)]),
        Inst::MulAdd(x, y, z) => can.arithmetic.step(b, v(x), v(y), v(z)),
        Inst::Select(c, x, y) => b.ins().select(v(c), v(x), v(y)),
        Inst::Cast(to, x) => cast(b, ty(x), to, v(x)),
        Inst::Bitcast(to, x) => {
            if clif_type(to) == clif_type(ty(x)) {
                v(x)
            } else {
                b.ins().bitcast(clif_type(to), MemFlagsData::new(), v(x))
            }
        }
    })
}

fn unary(b: &mut FunctionBuilder, op: Unary, ty: DType, x: Value) -> Value {
    let float = ty.is_float();
    match op {
        Unary::Neg if float => b.ins().fneg(x),
        Unary::Neg => b.ins().ineg(x),
        Unary::Abs if float => b.ins().fabs(x),
        Unary::Abs if ty.is_signed_int() => {
            let zero = b.ins().iconst(clif_type(ty), 0);
            let negative = b.ins().icmp(IntCC::SignedLessThan, x, zero);
            let negated = b.ins().ineg(x);
            b.ins().select(negative, negated, x)
        }
        Unary::Sqrt => b.ins().sqrt(x),
        Unary::Floor if float => b.ins().floor(x),
        Unary::Ceil if float => b.ins().ceil(x),
        Unary::Trunc if float => b.ins().trunc(x),
        Unary::Nearest if float => b.ins().nearest(x),
        Unary::Abs | Unary::Floor | Unary::Ceil | Unary::Trunc | Unary::Nearest => x,
        Unary::Not if ty == DType::Bool => b.ins().bxor_imm_u(x, 1),
        Unary::Not => b.ins().bnot(x),
    }
}

pub(super) fn binary(b: &mut FunctionBuilder, op: Binary, ty: DType, x: Value, y: Value) -> Value {
    if ty.is_float() {
        return float_binary(b, op, x, y);
    }
    let signed = ty.is_signed_int();
    let compare = |b: &mut FunctionBuilder, on_signed, on_unsigned| {
        b.ins().icmp(if signed { on_signed } else { on_unsigned }, x, y)
    };
    match op {
        Binary::Add => b.ins().iadd(x, y),
        Binary::Sub => b.ins().isub(x, y),
        Binary::Mul => b.ins().imul(x, y),
        Binary::Div | Binary::Rem => divide(b, op, ty, x, y),
        Binary::Max => {
            let c = compare(b, IntCC::SignedGreaterThan, IntCC::UnsignedGreaterThan);
            b.ins().select(c, x, y)
        }
        Binary::Min => {
            let c = compare(b, IntCC::SignedLessThan, IntCC::UnsignedLessThan);
            b.ins().select(c, x, y)
        }
        Binary::And => b.ins().band(x, y),
        Binary::Or => b.ins().bor(x, y),
        Binary::Xor => b.ins().bxor(x, y),
        Binary::Shl | Binary::ShrU | Binary::ShrS => shift(b, op, x, y),
        Binary::Eq => b.ins().icmp(IntCC::Equal, x, y),
        Binary::Ne => b.ins().icmp(IntCC::NotEqual, x, y),
        Binary::Lt => compare(b, IntCC::SignedLessThan, IntCC::UnsignedLessThan),
        Binary::Le => compare(b, IntCC::SignedLessThanOrEqual, IntCC::UnsignedLessThanOrEqual),
    }
}

fn float_binary(b: &mut FunctionBuilder, op: Binary, x: Value, y: Value) -> Value {
    match op {
        Binary::Add => b.ins().fadd(x, y),
        Binary::Sub => b.ins().fsub(x, y),
        Binary::Mul => b.ins().fmul(x, y),
        Binary::Div => b.ins().fdiv(x, y),
        Binary::Max => {
            let c = b.ins().fcmp(FloatCC::GreaterThan, x, y);
            b.ins().select(c, x, y)
        }
        Binary::Min => {
            let c = b.ins().fcmp(FloatCC::LessThan, x, y);
            b.ins().select(c, x, y)
        }
        Binary::Eq => b.ins().fcmp(FloatCC::Equal, x, y),
        Binary::Ne => b.ins().fcmp(FloatCC::NotEqual, x, y),
        Binary::Lt => b.ins().fcmp(FloatCC::LessThan, x, y),
        Binary::Le => b.ins().fcmp(FloatCC::LessThanOrEqual, x, y),
        Binary::Rem | Binary::And | Binary::Or | Binary::Xor => x,
        Binary::Shl | Binary::ShrU | Binary::ShrS => x,
    }
}

/// Division towards zero, `x / 0 = 0`, least / -1 wraps; the remainder of that.
fn divide(b: &mut FunctionBuilder, op: Binary, ty: DType, x: Value, y: Value) -> Value {
    let own = clif_type(ty);
    let wide = if own.bits() < 32 { I32 } else { own };
    let signed = ty.is_signed_int();
    let extend = |b: &mut FunctionBuilder, x: Value| match (own == wide, signed) {
        (true, _) => x,
        (false, true) => b.ins().sextend(wide, x),
        (false, false) => b.ins().uextend(wide, x),
    };
    let (x, y) = (extend(b, x), extend(b, y));
    let one = b.ins().iconst(wide, 1);
    let zero = b.ins().iconst(wide, 0);
    let by_zero = b.ins().icmp_imm_s(IntCC::Equal, y, 0);
    let mut harmful = by_zero;
    if signed && own == wide {
        let least = b.ins().iconst(wide, Scalar::lowest(ty).bits.cast_signed());
        let is_least = b.ins().icmp(IntCC::Equal, x, least);
        let is_minus_one = b.ins().icmp_imm_s(IntCC::Equal, y, -1);
        let overflows = b.ins().band(is_least, is_minus_one);
        harmful = b.ins().bor(harmful, overflows);
    }
    // least / 1 is what least / -1 wraps to, and both leave no remainder.
    let y = b.ins().select(harmful, one, y);
    let out = match (op, signed) {
        (Binary::Rem, true) => b.ins().srem(x, y),
        (Binary::Rem, false) => b.ins().urem(x, y),
        (_, true) => b.ins().sdiv(x, y),
        (_, false) => b.ins().udiv(x, y),
    };
    let out = if op == Binary::Div { b.ins().select(by_zero, zero, out) } else { out };
    if own == wide { out } else { b.ins().ireduce(own, out) }
}

/// Counts outside the width give 0, or the sign for [`Binary::ShrS`].
fn shift(b: &mut FunctionBuilder, op: Binary, x: Value, count: Value) -> Value {
    let ty = b.func.dfg.value_type(x);
    let width = i64::from(ty.bits());
    let within = b.ins().icmp_imm_u(IntCC::UnsignedLessThan, count, width);
    if op == Binary::ShrS {
        let most = b.ins().iconst(ty, width - 1);
        let count = b.ins().select(within, count, most);
        return b.ins().sshr(x, count);
    }
    let shifted = if op == Binary::Shl { b.ins().ishl(x, count) } else { b.ins().ushr(x, count) };
    let zero = b.ins().iconst(ty, 0);
    b.ins().select(within, shifted, zero)
}

fn fma(b: &mut FunctionBuilder, can: Abilities, ty: DType, [x, y, z]: [Value; 3]) -> Value {
    match ty {
        _ if can.arithmetic.fused => b.ins().fma(x, y, z),
        DType::F32 => fused::of_f32(b, x, y, z),
        _ => fused::of_f64(b, x, y, z),
    }
}

fn cast(b: &mut FunctionBuilder, from: DType, to: DType, x: Value) -> Value {
    let (a, z) = (clif_type(from), clif_type(to));
    if from == to {
        return x;
    }
    if to == DType::Bool {
        if from.is_float() {
            let zero = constant(b, Scalar::zero(from));
            return b.ins().fcmp(FloatCC::NotEqual, x, zero);
        }
        return b.ins().icmp_imm_s(IntCC::NotEqual, x, 0);
    }
    match (from.is_float(), to.is_float()) {
        (true, true) if z == F64 => b.ins().fpromote(F64, x),
        (true, true) => b.ins().fdemote(F32, x),
        (true, false) => float_to_int(b, to, x),
        (false, true) => int_to_float(b, from, z, x),
        (false, false) if a.bits() > z.bits() => b.ins().ireduce(z, x),
        (false, false) if a.bits() == z.bits() => x,
        (false, false) if from.is_signed_int() => b.ins().sextend(z, x),
        (false, false) => b.ins().uextend(z, x),
    }
}

/// Truncates and saturates; NaN gives 0.
fn float_to_int(b: &mut FunctionBuilder, to: DType, x: Value) -> Value {
    let z = clif_type(to);
    let signed = to.is_signed_int();
    let wide = if z.bits() < 32 { I32 } else { z };
    let out = if signed { b.ins().fcvt_to_sint_sat(wide, x) } else { b.ins().fcvt_to_uint_sat(wide, x) };
    if wide == z {
        return out;
    }
    let most = b.ins().iconst(I32, Scalar::highest(to).bits.cast_signed());
    let out = if signed {
        let least = Scalar::lowest(to).as_i64().unwrap_or(0);
        let least = b.ins().iconst(I32, least & 0xffff_ffff);
        let out = b.ins().smin(out, most);
        b.ins().smax(out, least)
    } else {
        b.ins().umin(out, most)
    };
    b.ins().ireduce(z, out)
}

/// Rounds once, to nearest even.
fn int_to_float(b: &mut FunctionBuilder, from: DType, to: Type, x: Value) -> Value {
    match from {
        DType::U64 => b.ins().fcvt_from_uint(to, x),
        DType::U32 => {
            let x = b.ins().uextend(I64, x);
            b.ins().fcvt_from_sint(to, x)
        }
        DType::Bool | DType::U8 | DType::U16 => {
            let x = b.ins().uextend(I32, x);
            b.ins().fcvt_from_sint(to, x)
        }
        DType::I8 | DType::I16 => {
            let x = b.ins().sextend(I32, x);
            b.ins().fcvt_from_sint(to, x)
        }
        _ => b.ins().fcvt_from_sint(to, x),
    }
}
