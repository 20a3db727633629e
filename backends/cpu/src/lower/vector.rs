//! vector - instructions of scalar programs as CLIF, four elements at a time.
//!
//! | element                 | four lanes of                                  |
//! |-------------------------|------------------------------------------------|
//! | `f32`, `f16`, `bf16`    | `f32`                                          |
//! | `i32`, `u32`            | `i32`                                          |
//! | `i8`, `u8`, `i16`, `u16`| `i32`, sign- or zero-extended                  |
//! | `bool`                  | `i32`: all bits set or none                    |
//!
//! What has the same value in all lanes stays one scalar of any type until it meets a vector. [`supports`] says which
//! programs can be emitted so.

use cranelift_codegen::ir::{
    Endianness, InstBuilder, MemFlagsData, Type, Value,
    condcodes::{FloatCC, IntCC},
    types::{F32X4, I8X16, I16X8, I32, I32X4, I64X2},
};
use cranelift_frontend::FunctionBuilder;
use nnc_ir::{
    dtype::{DType, Scalar},
    program::{Binary, Inst, Program, Ref, Unary},
};

use super::{
    LowerError, half,
    scalar::{self, Abilities, tensor_flags},
};
use crate::tile::Bound;

/// A value of a program: for all lanes, or one in each.
#[derive(Clone, Copy, Debug)]
pub(super) enum Val {
    /// The same in all lanes: a scalar of the compute type.
    One(Value),
    /// A vector of lanes.
    Lanes(Value),
}

/// Whether lanes can hold elements of a compute type.
pub(super) fn has_lanes(dtype: DType) -> bool {
    dtype.compute().bytes() <= 4
}

/// Whether lanes hold it as it is, so that arithmetic wraps where it should.
fn full_width(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::I32 | DType::U32)
}

/// Whether the program can be emitted in lanes; `varies` says of a leaf whether its lanes differ.
pub(super) fn supports(program: &Program, varies: &dyn Fn(&Inst) -> bool) -> bool {
    let mut lanes = vec![false; program.insts().len()];
    for (i, (inst, dtype)) in program.insts().iter().enumerate() {
        lanes[i] = match inst {
            Inst::Load(_) | Inst::Acc(_) | Inst::Index(_) => varies(inst),
            _ => inst.refs().iter().any(|r| lanes[r.index()]),
        };
        let ty = |r: Ref| program.dtype(r);
        let fine = match *inst {
            _ if !lanes[i] => true,
            _ if !has_lanes(*dtype) || inst.refs().iter().any(|&r| !has_lanes(ty(r))) => false,
            Inst::Load(_) | Inst::Acc(_) => true,
            Inst::Index(_) | Inst::Const(_) => false,
            Inst::Unary(op, x) => match op {
                Unary::Not => full_width(ty(x)) || ty(x) == DType::Bool,
                Unary::Neg | Unary::Abs => ty(x) == DType::F32 || ty(x) == DType::I32,
                _ => ty(x) == DType::F32,
            },
            Inst::Binary(op, x, y) => match op {
                Binary::Add | Binary::Sub | Binary::Mul => full_width(ty(x)),
                Binary::Div => ty(x) == DType::F32,
                Binary::Rem => false,
                Binary::Shl | Binary::ShrU | Binary::ShrS => {
                    full_width(ty(x)) && shift_count(program, y).is_some()
                }
                _ => true,
            },
            Inst::Fma(..) | Inst::MulAdd(..) => *dtype == DType::F32,
            Inst::Select(..) => true,
            Inst::Cast(..) => true,
            Inst::Bitcast(to, x) => full_width(to) && full_width(ty(x)),
        };
        if !fine {
            return false;
        }
    }
    true
}

/// A count that is constant and below 32.
fn shift_count(program: &Program, count: Ref) -> Option<i64> {
    match program.inst(count) {
        Inst::Const(c) => c.as_i64().filter(|c| (0..32).contains(c)),
        _ => None,
    }
}

/// The same constant in all lanes.
pub(super) fn constant(b: &mut FunctionBuilder, c: Scalar) -> Value {
    let bits = match (c.dtype, c.as_i64()) {
        (DType::F32, _) => c.bits as u32,
        (DType::Bool, _) => 0u32.wrapping_sub(u32::from(c.bits != 0)),
        (_, Some(x)) => x as u32,
        (_, None) => 0,
    };
    let handle = b.func.dfg.constants.insert(bits.to_le_bytes().repeat(4).into());
    b.ins().vconst(lanes_type(c.dtype), handle)
}

/// CLIF type of four lanes.
fn lanes_type(dtype: DType) -> Type {
    if dtype.is_float() { F32X4 } else { I32X4 }
}

/// The same bits as another type.
pub(super) fn bitcast(b: &mut FunctionBuilder, ty: Type, x: Value) -> Value {
    b.ins().bitcast(ty, MemFlagsData::new().with_endianness(Endianness::Little), x)
}

/// The lanes of a value of type `dtype`.
pub(super) fn spread(b: &mut FunctionBuilder, dtype: DType, value: Val) -> Value {
    match value {
        Val::Lanes(v) => v,
        Val::One(x) => {
            let lane = to_lane(b, dtype, x);
            b.ins().splat(lanes_type(dtype.compute()), lane)
        }
    }
}

/// A scalar as its lane.
pub(super) fn to_lane(b: &mut FunctionBuilder, dtype: DType, x: Value) -> Value {
    match dtype {
        DType::Bool => b.ins().bmask(I32, x),
        DType::U8 | DType::U16 => b.ins().uextend(I32, x),
        DType::I8 | DType::I16 => b.ins().sextend(I32, x),
        _ => x,
    }
}

/// Lanes from scalars of a compute type.
pub(super) fn assemble(b: &mut FunctionBuilder, dtype: DType, scalars: &[Value]) -> Value {
    let ty = lanes_type(dtype.compute());
    let first = to_lane(b, dtype, scalars[0]);
    let mut out = b.ins().scalar_to_vector(ty, first);
    for (lane, &x) in (1u8..).zip(&scalars[1..]) {
        let x = to_lane(b, dtype, x);
        out = b.ins().insertlane(out, x, lane);
    }
    out
}

/// Lane number `lane` as a scalar of the compute type.
pub(super) fn extract(b: &mut FunctionBuilder, dtype: DType, lanes: Value, lane: u8) -> Value {
    let x = b.ins().extractlane(lanes, lane);
    match dtype.compute() {
        DType::Bool => {
            let bit = b.ins().band_imm_u(x, 1);
            b.ins().ireduce(scalar::clif_type(DType::Bool), bit)
        }
        d if d.bytes() < 4 => b.ins().ireduce(scalar::clif_type(d), x),
        _ => x,
    }
}

/// A condition that holds in all lanes or in none, as lanes.
pub(super) fn mask(b: &mut FunctionBuilder, condition: Value) -> Value {
    spread(b, DType::Bool, Val::One(condition))
}

/// `x` where the mask is set, else `y`.
pub(super) fn blend(b: &mut FunctionBuilder, mask: Value, x: Value, y: Value) -> Value {
    let ty = b.func.dfg.value_type(x);
    let mask = if b.func.dfg.value_type(mask) == ty { mask } else { bitcast(b, ty, mask) };
    b.ins().bitselect(mask, x, y)
}

/// Reads four neighbours and widens them to lanes.
pub(super) fn load(b: &mut FunctionBuilder, dtype: DType, addr: Value, disp: i32) -> Value {
    let flags = tensor_flags();
    match dtype.bytes() {
        4 => b.ins().load(lanes_type(dtype), flags, addr, disp),
        2 => {
            let bits = b.ins().load(scalar::clif_type(DType::I64), flags, addr, disp);
            let bits = b.ins().scalar_to_vector(I64X2, bits);
            let bits = bitcast(b, I16X8, bits);
            if dtype == DType::I16 {
                return b.ins().swiden_low(bits);
            }
            let bits = b.ins().uwiden_low(bits);
            if dtype.is_float() { half::widen(b, dtype, bits) } else { bits }
        }
        _ => {
            let bits = b.ins().load(I32, flags, addr, disp);
            let bits = b.ins().scalar_to_vector(I32X4, bits);
            let bits = bitcast(b, I8X16, bits);
            if dtype == DType::I8 {
                let bits = b.ins().swiden_low(bits);
                return b.ins().swiden_low(bits);
            }
            let bits = b.ins().uwiden_low(bits);
            let bits = b.ins().uwiden_low(bits);
            if dtype != DType::Bool {
                return bits;
            }
            let zero = constant(b, Scalar::i32(0));
            b.ins().icmp(IntCC::NotEqual, bits, zero)
        }
    }
}

/// Four lanes chosen of eight: those of `x`, then those of `y`.
pub(super) fn choose(b: &mut FunctionBuilder, x: Value, y: Value, lanes: [u8; 4]) -> Value {
    let ty = b.func.dfg.value_type(x);
    let (x, y) = (bitcast(b, I8X16, x), bitcast(b, I8X16, y));
    let bytes: Vec<u8> = lanes.iter().flat_map(|lane| (0..4).map(move |i| lane * 4 + i)).collect();
    let handle = b.func.dfg.immediates.push(bytes.into());
    let out = b.ins().shuffle(x, y, handle);
    bitcast(b, ty, out)
}

/// Lanes 0 and 2 of `lower`, then 1 and 3 of `upper`.
pub(super) fn even_lanes(b: &mut FunctionBuilder, lower: Value, upper: Value) -> Value {
    choose(b, lower, upper, [0, 2, 5, 7])
}

/// Lanes of two vectors by turns.
pub(super) fn interleaved(b: &mut FunctionBuilder, [x, y]: [Value; 2]) -> [Value; 2] {
    [choose(b, x, y, [0, 4, 1, 5]), choose(b, x, y, [2, 6, 3, 7])]
}

/// Lane `i` of each, for every `i`.
pub(super) fn transposed(b: &mut FunctionBuilder, [p, q, r, s]: [Value; 4]) -> [Value; 4] {
    let (pq_low, rs_low) = (choose(b, p, q, [0, 4, 1, 5]), choose(b, r, s, [0, 4, 1, 5]));
    let (pq_high, rs_high) = (choose(b, p, q, [2, 6, 3, 7]), choose(b, r, s, [2, 6, 3, 7]));
    [(pq_low, rs_low), (pq_high, rs_high)]
        .map(|(x, y)| [choose(b, x, y, [0, 1, 4, 5]), choose(b, x, y, [2, 3, 6, 7])])
        .concat()
        .try_into()
        .expect("two pairs are four")
}

/// Rounds lanes to their storage type and writes four neighbours.
pub(super) fn store(b: &mut FunctionBuilder, dtype: DType, lanes: Value, addr: Value, disp: i32) {
    let flags = tensor_flags();
    if dtype.bytes() == 4 {
        b.ins().store(flags, lanes, addr, disp);
        return;
    }
    let lanes = match dtype {
        DType::F16 | DType::BF16 => half::narrow(b, dtype, lanes),
        DType::Bool => {
            let one = constant(b, Scalar::i32(1));
            b.ins().band(lanes, one)
        }
        _ => lanes,
    };
    // Nothing saturates: lanes are extended numbers of the narrower type.
    let signed = dtype.is_signed_int();
    let halves = if signed { b.ins().snarrow(lanes, lanes) } else { b.ins().unarrow(lanes, lanes) };
    if dtype.bytes() == 2 {
        let pairs = bitcast(b, I64X2, halves);
        let bits = b.ins().extractlane(pairs, 0);
        b.ins().store(flags, bits, addr, disp);
        return;
    }
    let bytes = if signed { b.ins().snarrow(halves, halves) } else { b.ins().unarrow(halves, halves) };
    let words = bitcast(b, I32X4, bytes);
    let bits = b.ins().extractlane(words, 0);
    b.ins().store(flags, bits, addr, disp);
}

/// One instruction that is no leaf, of a program that [`supports`] accepts.
///
/// # Errors
/// The target cannot do it.
pub(super) fn emit(
    b: &mut FunctionBuilder,
    can: Abilities,
    program: &Program,
    inst: &Inst,
    values: &[Val],
) -> Result<Val, LowerError> {
    let refs = inst.refs();
    let scalars: Option<Vec<Value>> =
        refs.iter().map(|r| if let Val::One(x) = values[r.index()] { Some(x) } else { None }).collect();
    if scalars.is_some() {
        // Scalar emission looks only at the operands, which are scalars.
        let all: Vec<Value> = values
            .iter()
            .map(|v| match *v {
                Val::One(x) | Val::Lanes(x) => x,
            })
            .collect();
        return Ok(Val::One(scalar::emit(b, can, program, inst, &all)?));
    }
    let lanes: Vec<Value> = refs
        .iter()
        .map(|r| match (program.inst(*r), values[r.index()]) {
            (Inst::Const(c), _) => constant(b, *c),
            (_, value) => spread(b, program.dtype(*r), value),
        })
        .collect();
    let ty = |r: Ref| program.dtype(r);
    Ok(Val::Lanes(match *inst {
        Inst::Load(_) | Inst::Acc(_) | Inst::Index(_) | Inst::Const(_) => {
            unreachable!("leaves have no operands")
        }
        Inst::Unary(op, x) => unary(b, op, ty(x), lanes[0]),
        Inst::Binary(Binary::Shl, _, y) => shift(b, lanes[0], shift_count(program, y), Binary::Shl),
        Inst::Binary(Binary::ShrU, _, y) => shift(b, lanes[0], shift_count(program, y), Binary::ShrU),
        Inst::Binary(Binary::ShrS, _, y) => shift(b, lanes[0], shift_count(program, y), Binary::ShrS),
        Inst::Binary(op, x, _) => binary(b, op, ty(x), lanes[0], lanes[1]),
        Inst::Fma(..) => can.arithmetic.fma(b, lanes[0], lanes[1], lanes[2]),
        Inst::MulAdd(..) => can.arithmetic.step(b, lanes[0], lanes[1], lanes[2]),
        Inst::Select(mask, x, y) if let Some(bound) = bound(program, [mask, x, y]) => bound.emit(b, lanes[1]),
        Inst::Select(..) => blend(b, lanes[0], lanes[1], lanes[2]),
        Inst::Cast(to, x) => cast(b, ty(x), to, lanes[0]),
        Inst::Bitcast(to, _) => bitcast(b, lanes_type(to), lanes[0]),
    }))
}

/// A select that keeps what is no number, and otherwise bounds by a constant.
fn bound(program: &Program, [mask, x, other]: [Ref; 3]) -> Option<Bound> {
    let (upper, limit) = match (program.inst(mask), program.inst(other)) {
        (Inst::Binary(Binary::Ne, a, b), Inst::Binary(Binary::Max, c, limit)) if [*a, *b, *c] == [x; 3] => {
            (false, *limit)
        }
        (Inst::Binary(Binary::Ne, a, b), Inst::Binary(Binary::Min, c, limit)) if [*a, *b, *c] == [x; 3] => {
            (true, *limit)
        }
        _ => return None,
    };
    match program.inst(limit) {
        Inst::Const(c) if c.dtype == DType::F32 => Bound::new(c.bits as u32, upper),
        _ => None,
    }
}

fn shift(b: &mut FunctionBuilder, x: Value, count: Option<i64>, op: Binary) -> Value {
    let count = b.ins().iconst(I32, count.unwrap_or(0));
    match op {
        Binary::Shl => b.ins().ishl(x, count),
        Binary::ShrU => b.ins().ushr(x, count),
        _ => b.ins().sshr(x, count),
    }
}

fn unary(b: &mut FunctionBuilder, op: Unary, ty: DType, x: Value) -> Value {
    let float = ty.is_float();
    match op {
        Unary::Neg if float => b.ins().fneg(x),
        Unary::Neg => b.ins().ineg(x),
        Unary::Abs if float => b.ins().fabs(x),
        Unary::Abs => b.ins().iabs(x),
        Unary::Sqrt => b.ins().sqrt(x),
        Unary::Floor => b.ins().floor(x),
        Unary::Ceil => b.ins().ceil(x),
        Unary::Trunc => b.ins().trunc(x),
        Unary::Nearest => b.ins().nearest(x),
        Unary::Not => b.ins().bnot(x),
    }
}

/// Two operands of one type.
pub(super) fn binary(b: &mut FunctionBuilder, op: Binary, ty: DType, x: Value, y: Value) -> Value {
    if ty.is_float() {
        return float_binary(b, op, x, y);
    }
    if ty == DType::Bool {
        return bool_binary(b, op, x, y);
    }
    let unsigned = ty == DType::U32;
    let compare = |b: &mut FunctionBuilder, on_signed, on_unsigned| {
        b.ins().icmp(if unsigned { on_unsigned } else { on_signed }, x, y)
    };
    match op {
        Binary::Add => b.ins().iadd(x, y),
        Binary::Sub => b.ins().isub(x, y),
        Binary::Mul => b.ins().imul(x, y),
        Binary::Max if unsigned => b.ins().umax(x, y),
        Binary::Max => b.ins().smax(x, y),
        Binary::Min if unsigned => b.ins().umin(x, y),
        Binary::Min => b.ins().smin(x, y),
        Binary::And => b.ins().band(x, y),
        Binary::Or => b.ins().bor(x, y),
        Binary::Xor => b.ins().bxor(x, y),
        Binary::Eq => b.ins().icmp(IntCC::Equal, x, y),
        Binary::Ne => b.ins().icmp(IntCC::NotEqual, x, y),
        Binary::Lt => compare(b, IntCC::SignedLessThan, IntCC::UnsignedLessThan),
        Binary::Le => compare(b, IntCC::SignedLessThanOrEqual, IntCC::UnsignedLessThanOrEqual),
        Binary::Div | Binary::Rem | Binary::Shl | Binary::ShrU | Binary::ShrS => {
            unreachable!("not supported in lanes")
        }
    }
}

fn bool_binary(b: &mut FunctionBuilder, op: Binary, x: Value, y: Value) -> Value {
    match op {
        Binary::Max | Binary::Or => b.ins().bor(x, y),
        Binary::Min | Binary::And => b.ins().band(x, y),
        Binary::Xor | Binary::Ne => b.ins().bxor(x, y),
        Binary::Eq => b.ins().icmp(IntCC::Equal, x, y),
        Binary::Lt => {
            let x = b.ins().bnot(x);
            b.ins().band(y, x)
        }
        Binary::Le => {
            let x = b.ins().bnot(x);
            b.ins().bor(y, x)
        }
        _ => unreachable!("not supported in lanes"),
    }
}

fn float_binary(b: &mut FunctionBuilder, op: Binary, x: Value, y: Value) -> Value {
    match op {
        Binary::Add => b.ins().fadd(x, y),
        Binary::Sub => b.ins().fsub(x, y),
        Binary::Mul => b.ins().fmul(x, y),
        Binary::Div => b.ins().fdiv(x, y),
        // These two shapes are recognised as maxps and minps.
        Binary::Max => {
            let mask = b.ins().fcmp(FloatCC::LessThan, y, x);
            blend(b, mask, x, y)
        }
        Binary::Min => {
            let mask = b.ins().fcmp(FloatCC::LessThan, x, y);
            blend(b, mask, x, y)
        }
        Binary::Eq => b.ins().fcmp(FloatCC::Equal, x, y),
        Binary::Ne => b.ins().fcmp(FloatCC::NotEqual, x, y),
        Binary::Lt => b.ins().fcmp(FloatCC::LessThan, x, y),
        Binary::Le => b.ins().fcmp(FloatCC::LessThanOrEqual, x, y),
        _ => unreachable!("not supported in lanes"),
    }
}

fn cast(b: &mut FunctionBuilder, from: DType, to: DType, x: Value) -> Value {
    if from == to {
        return x;
    }
    let signed = |c: i32| Scalar::i32(c);
    match (from, to) {
        (DType::F32, DType::Bool) => {
            let zero = constant(b, Scalar::f32(0.0));
            b.ins().fcmp(FloatCC::NotEqual, x, zero)
        }
        (_, DType::Bool) => {
            let zero = constant(b, signed(0));
            b.ins().icmp(IntCC::NotEqual, x, zero)
        }
        (DType::Bool, DType::F32) => {
            let one = constant(b, Scalar::i32(1f32.to_bits().cast_signed()));
            let bits = b.ins().band(x, one);
            bitcast(b, F32X4, bits)
        }
        (DType::Bool, _) => {
            let one = constant(b, signed(1));
            b.ins().band(x, one)
        }
        (DType::U32, DType::F32) => b.ins().fcvt_from_uint(F32X4, x),
        (_, DType::F32) => b.ins().fcvt_from_sint(F32X4, x),
        (DType::F32, DType::U32) => b.ins().fcvt_to_uint_sat(I32X4, x),
        (DType::F32, DType::I32) => b.ins().fcvt_to_sint_sat(I32X4, x),
        (DType::F32, _) => {
            let whole = b.ins().fcvt_to_sint_sat(I32X4, x);
            let bound = |s: Scalar| signed(i32::try_from(s.as_i64().unwrap_or(0)).unwrap_or(0));
            let (least, most) =
                (constant(b, bound(Scalar::lowest(to))), constant(b, bound(Scalar::highest(to))));
            let whole = b.ins().smin(whole, most);
            b.ins().smax(whole, least)
        }
        _ if to.bytes() == 4 => x,
        _ => {
            // Keeps the lower bits, extended again.
            let count = b.ins().iconst(I32, 32 - 8 * to.bytes() as i64);
            let upper = b.ins().ishl(x, count);
            if to.is_signed_int() { b.ins().sshr(upper, count) } else { b.ins().ushr(upper, count) }
        }
    }
}
