//! lanes - scalar programs as vector programs of 32-bit lanes, which tiles compute.
//!
//! | element       | lane                          |
//! |---------------|-------------------------------|
//! | `f32`         | `f32`                         |
//! | `i32`, `u32`  | `i32`                         |
//! | `i8`, `u8`    | `i32`, sign- or zero-extended |
//! | `bool`        | `i32`: all bits set or none   |

use nnc_ir::{
    dtype::{DType, Scalar},
    program::{Binary, Inst, Program, Ref, Unary},
};
use nnc_tile::program::{LaneType, Op, Ref as Lane, VectorProgram};

/// What lanes hold an element of the type.
pub(super) fn lane(dtype: DType) -> Option<LaneType> {
    match dtype {
        DType::F32 => Some(LaneType::F32),
        DType::I32 | DType::U32 | DType::I8 | DType::U8 | DType::Bool => Some(LaneType::I32),
        _ => None,
    }
}

/// The same constant in all lanes.
pub(super) fn constant(program: &mut VectorProgram, c: Scalar) -> Option<Lane> {
    Some(match c.dtype {
        DType::F32 => program.f32(c.to_f32()),
        DType::Bool => program.i32(if c.bits == 0 { 0 } else { -1 }),
        DType::I8 | DType::U8 => program.i32(i32::try_from(c.as_i64()?).ok()?),
        DType::I32 | DType::U32 => {
            program.i32(i32::from_le_bytes(c.bits.to_le_bytes()[..4].try_into().ok()?))
        }
        _ => return None,
    })
}

/// An instruction that is no leaf, with its type; `values` are the lanes of those before it.
pub(super) fn inst(
    program: &mut VectorProgram,
    from: &Program,
    (inst, dtype): (&Inst, DType),
    values: &[Lane],
) -> Option<Lane> {
    let v = |r: Ref| values[r.index()];
    let ty = |r: Ref| from.dtype(r);
    lane(dtype)?;
    for r in inst.refs() {
        lane(ty(r))?;
    }
    let op = match *inst {
        Inst::Unary(op, x) => return unary(program, op, ty(x), v(x)),
        Inst::Binary(op @ (Binary::Shl | Binary::ShrU | Binary::ShrS), x, y) => {
            let Inst::Const(c) = from.inst(y) else { return None };
            let count = c.as_i64().and_then(|n| u8::try_from(n).ok()).filter(|n| *n < 32)?;
            match (op, ty(x)) {
                (Binary::Shl, DType::I32 | DType::U32) => Op::Shl(v(x), count),
                (Binary::ShrU, DType::I32 | DType::U32) => Op::ShrU(v(x), count),
                (Binary::ShrS, DType::I32) => Op::ShrS(v(x), count),
                _ => return None,
            }
        }
        Inst::Binary(op, x, y) => return binary(program, op, ty(x), v(x), v(y)),
        Inst::Fma(x, y, z) if dtype == DType::F32 => Op::Fma(v(x), v(y), v(z)),
        Inst::Select(c, x, y) => Op::Select(v(c), v(x), v(y)),
        Inst::Cast(to, x) => return cast(program, ty(x), to, v(x)),
        Inst::Bitcast(to, x) => {
            if ty(x).bytes() != 4 || to.bytes() != 4 {
                return None;
            }
            if lane(ty(x)) == lane(to) {
                return Some(v(x));
            }
            Op::Bitcast(v(x))
        }
        _ => return None,
    };
    Some(program.push(op))
}

fn unary(p: &mut VectorProgram, op: Unary, ty: DType, x: Lane) -> Option<Lane> {
    let op = match (op, ty) {
        (Unary::Neg, DType::F32) => Op::Neg(x),
        (Unary::Abs, DType::F32) => Op::Abs(x),
        (Unary::Sqrt, DType::F32) => Op::Sqrt(x),
        (Unary::Floor, DType::F32) => Op::Floor(x),
        (Unary::Ceil, DType::F32) => Op::Ceil(x),
        (Unary::Trunc, DType::F32) => Op::Trunc(x),
        (Unary::Nearest, DType::F32) => Op::Nearest(x),
        (Unary::Not, DType::Bool | DType::I32 | DType::U32) => Op::Not(x),
        (Unary::Neg, DType::I32) => Op::ISub(p.i32(0), x),
        _ => return None,
    };
    Some(p.push(op))
}

fn binary(p: &mut VectorProgram, op: Binary, ty: DType, a: Lane, b: Lane) -> Option<Lane> {
    let op = match ty {
        DType::F32 => match op {
            Binary::Add => Op::Add(a, b),
            Binary::Sub => Op::Sub(a, b),
            Binary::Mul => Op::Mul(a, b),
            Binary::Div => Op::Div(a, b),
            Binary::Max => Op::Max(a, b),
            Binary::Min => Op::Min(a, b),
            Binary::Eq => Op::Eq(a, b),
            Binary::Ne => Op::Ne(a, b),
            Binary::Lt => Op::Lt(a, b),
            Binary::Le => Op::Le(a, b),
            _ => return None,
        },
        DType::Bool => match op {
            Binary::And | Binary::Min => Op::And(a, b),
            Binary::Or | Binary::Max => Op::Or(a, b),
            Binary::Xor | Binary::Ne => Op::Xor(a, b),
            Binary::Eq => Op::Eq(a, b),
            _ => return None,
        },
        _ => return whole(p, op, ty, a, b),
    };
    Some(p.push(op))
}

/// Two whole numbers. Narrow ones are compared and chosen, but arithmetic on them would not wrap.
fn whole(p: &mut VectorProgram, op: Binary, ty: DType, a: Lane, b: Lane) -> Option<Lane> {
    let full = ty.bytes() == 4;
    let ordered = ty != DType::U32;
    let op = match op {
        Binary::Add if full => Op::IAdd(a, b),
        Binary::Sub if full => Op::ISub(a, b),
        Binary::Mul if full => Op::IMul(a, b),
        Binary::And => Op::And(a, b),
        Binary::Or => Op::Or(a, b),
        Binary::Xor => Op::Xor(a, b),
        Binary::Eq => Op::Eq(a, b),
        Binary::Ne => Op::Ne(a, b),
        Binary::Lt if ordered => Op::Lt(a, b),
        Binary::Le if ordered => Op::Le(a, b),
        Binary::Max if ordered => Op::Select(p.push(Op::Lt(b, a)), a, b),
        Binary::Min if ordered => Op::Select(p.push(Op::Lt(a, b)), a, b),
        _ => return None,
    };
    Some(p.push(op))
}

fn cast(p: &mut VectorProgram, from: DType, to: DType, x: Lane) -> Option<Lane> {
    if from == to {
        return Some(x);
    }
    let whole = |d: DType| matches!(d, DType::I32 | DType::U32 | DType::I8 | DType::U8);
    let op = match (from, to) {
        (DType::F32, DType::Bool) => Op::Ne(x, p.f32(0.0)),
        (_, DType::Bool) if whole(from) => Op::Ne(x, p.i32(0)),
        (DType::Bool, DType::F32) => Op::Select(x, p.f32(1.0), p.f32(0.0)),
        (DType::Bool, _) if whole(to) => Op::And(x, p.i32(1)),
        (DType::I32 | DType::I8 | DType::U8, DType::F32) => Op::ConvI32ToF32(x),
        (DType::F32, DType::I32) => Op::TruncF32ToI32(x),
        (DType::F32, DType::I8 | DType::U8) => {
            let (least, greatest) = if to == DType::I8 { (-128, 127) } else { (0, 255) };
            let (least, greatest) = (p.i32(least), p.i32(greatest));
            let x = p.push(Op::TruncF32ToI32(x));
            let x = binary(p, Binary::Min, DType::I32, x, greatest)?;
            return binary(p, Binary::Max, DType::I32, x, least);
        }
        // The lower bits, extended again.
        (_, DType::U8) if whole(from) => Op::And(x, p.i32(255)),
        (_, DType::I8) if whole(from) => Op::ShrS(p.push(Op::Shl(x, 24)), 24),
        (_, DType::I32 | DType::U32) if whole(from) => return Some(x),
        _ => return None,
    };
    Some(p.push(op))
}
