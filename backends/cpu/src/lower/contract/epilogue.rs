//! epilogue - the `finish` program of a contraction as an epilogue of tiles.

use nnc_ir::{
    constant::Constant,
    dtype::{DType, Scalar},
    extent::Extent,
    program::{Binary, Inst, Program, Ref, Unary},
};
use nnc_tile::{
    epilogue::{Epilogue, EpilogueInput},
    program::{LaneType, Op, Ref as Lane, VectorProgram},
};

use super::Refusal;

/// Most operands of an epilogue.
const MOST: usize = 6;
const MANY: Refusal = "what follows reads more operands than there are registers for";

/// A memory operand of the epilogue as tiles see it.
#[derive(Clone, Debug)]
pub(super) struct Operand {
    /// Load number.
    pub(super) load: usize,
    /// How a tile reads it.
    pub(super) kind: EpilogueInput,
    /// Elements from one row of the tile to the next, for [`EpilogueInput::Tile`].
    pub(super) row_stride: Extent,
}

/// The program as tiles apply it, `None` for one that changes nothing; or why tiles cannot.
///
/// `operand` says how a load is read; a load that is one constant everywhere becomes part of the program.
pub(super) fn translate(
    finish: &Program,
    splat: &dyn Fn(usize) -> Option<Scalar>,
    operand: &dyn Fn(usize) -> Result<Operand, Refusal>,
) -> Result<(Option<Epilogue>, Vec<Operand>), Refusal> {
    let wide = "what follows computes something that lanes of 32 bits do not";
    let [result] = finish.results[..] else { return Err("tiles store one f32 result") };
    if matches!(finish.inst(result), Inst::Acc(0)) {
        return Ok((None, Vec::new()));
    }
    let mut program = VectorProgram::new();
    let mut operands: Vec<Operand> = Vec::new();
    let mut values: Vec<Lane> = Vec::new();
    for (inst, dtype) in finish.insts() {
        let value = match inst {
            Inst::Acc(0) => program.input(0),
            Inst::Load(k) => match splat(*k) {
                Some(c) => constant(&mut program, c).ok_or(wide)?,
                None => {
                    operands.push(operand(*k)?);
                    program.input(u16::try_from(operands.len()).map_err(|_| MANY)?)
                }
            },
            Inst::Const(c) => constant(&mut program, *c).ok_or(wide)?,
            other => translate_inst(&mut program, finish, other, *dtype, &values).ok_or(wide)?,
        };
        values.push(value);
    }
    let value = values[result.index()];
    if program.lane_type(value) != LaneType::F32 {
        return Err("tiles store one f32 result");
    }
    if operands.len() > MOST {
        return Err(MANY);
    }
    program.result(value);
    let inputs = operands.iter().map(|o| o.kind).collect();
    Ok((Some(Epilogue { program, inputs }), operands))
}

/// A program of loads as lanes compute it; `input` numbers the loads that are read.
pub(super) fn lanes(
    source: &Program,
    splat: &dyn Fn(usize) -> Option<Scalar>,
    input: &dyn Fn(usize) -> Option<usize>,
) -> Option<VectorProgram> {
    let [result] = source.results[..] else { return None };
    let mut program = VectorProgram::new();
    let mut values: Vec<Lane> = Vec::new();
    for (inst, dtype) in source.insts() {
        let value = match inst {
            Inst::Load(k) => match splat(*k) {
                Some(c) => constant(&mut program, c)?,
                None => program.input(u16::try_from(input(*k)?).ok()?),
            },
            Inst::Const(c) => constant(&mut program, *c)?,
            other => translate_inst(&mut program, source, other, *dtype, &values)?,
        };
        values.push(value);
    }
    program.result(values[result.index()]);
    Some(program)
}

/// The element of a constant that is the same everywhere.
pub(super) fn splat_of(constant: Option<&Constant>) -> Option<Scalar> {
    constant.and_then(Constant::as_splat)
}

fn constant(program: &mut VectorProgram, c: Scalar) -> Option<Lane> {
    Some(match c.dtype {
        DType::F32 => program.f32(c.to_f32()),
        DType::Bool => program.i32(if c.bits == 0 { 0 } else { -1 }),
        DType::I32 | DType::U32 => {
            program.i32(i32::from_le_bytes(c.bits.to_le_bytes()[..4].try_into().ok()?))
        }
        _ => return None,
    })
}

/// What lanes hold an element of the type; `bool` is a mask.
fn lane(dtype: DType) -> Option<LaneType> {
    match dtype {
        DType::F32 => Some(LaneType::F32),
        DType::I32 | DType::U32 | DType::Bool => Some(LaneType::I32),
        _ => None,
    }
}

fn translate_inst(
    program: &mut VectorProgram,
    finish: &Program,
    inst: &Inst,
    dtype: DType,
    values: &[Lane],
) -> Option<Lane> {
    let v = |r: Ref| values[r.index()];
    let ty = |r: Ref| finish.dtype(r);
    lane(dtype)?;
    let op = match *inst {
        Inst::Unary(op, x) => {
            let x_ty = ty(x);
            match (op, x_ty) {
                (Unary::Neg, DType::F32) => Op::Neg(v(x)),
                (Unary::Abs, DType::F32) => Op::Abs(v(x)),
                (Unary::Sqrt, DType::F32) => Op::Sqrt(v(x)),
                (Unary::Floor, DType::F32) => Op::Floor(v(x)),
                (Unary::Ceil, DType::F32) => Op::Ceil(v(x)),
                (Unary::Trunc, DType::F32) => Op::Trunc(v(x)),
                (Unary::Nearest, DType::F32) => Op::Nearest(v(x)),
                (Unary::Not, DType::Bool | DType::I32 | DType::U32) => Op::Not(v(x)),
                _ => return None,
            }
        }
        Inst::Binary(op, x, y) => binary(finish, op, ty(x), (x, y), values)?,
        Inst::Fma(x, y, z) if dtype == DType::F32 => Op::Fma(v(x), v(y), v(z)),
        Inst::Select(c, x, y) => Op::Select(v(c), v(x), v(y)),
        Inst::Cast(to, x) => match (ty(x), to) {
            (DType::I32, DType::F32) => Op::ConvI32ToF32(v(x)),
            (DType::F32, DType::I32) => Op::TruncF32ToI32(v(x)),
            (DType::Bool, DType::F32) => {
                let (one, zero) = (program.f32(1.0), program.f32(0.0));
                Op::Select(v(x), one, zero)
            }
            _ => return None,
        },
        Inst::Bitcast(to, x) => match (lane(ty(x))?, lane(to)?) {
            (a, b) if a == b => return Some(v(x)),
            _ => Op::Bitcast(v(x)),
        },
        _ => return None,
    };
    Some(program.push(op))
}

fn binary(finish: &Program, op: Binary, ty: DType, (x, y): (Ref, Ref), values: &[Lane]) -> Option<Op> {
    let (a, b) = (values[x.index()], values[y.index()]);
    let float = ty == DType::F32;
    let int = matches!(ty, DType::I32 | DType::U32);
    let count = || match finish.inst(y) {
        Inst::Const(c) => c.as_i64().and_then(|n| u8::try_from(n).ok()).filter(|n| *n < 32),
        _ => None,
    };
    Some(match op {
        Binary::Add if float => Op::Add(a, b),
        Binary::Sub if float => Op::Sub(a, b),
        Binary::Mul if float => Op::Mul(a, b),
        Binary::Div if float => Op::Div(a, b),
        Binary::Max if float => Op::Max(a, b),
        Binary::Min if float => Op::Min(a, b),
        Binary::Add if int => Op::IAdd(a, b),
        Binary::Sub if int => Op::ISub(a, b),
        Binary::Mul if int => Op::IMul(a, b),
        Binary::And if !float => Op::And(a, b),
        Binary::Or if !float => Op::Or(a, b),
        Binary::Xor if !float => Op::Xor(a, b),
        Binary::Shl if int => Op::Shl(a, count()?),
        Binary::ShrU if int => Op::ShrU(a, count()?),
        Binary::ShrS if ty == DType::I32 => Op::ShrS(a, count()?),
        Binary::Eq if float || int => Op::Eq(a, b),
        Binary::Ne if float || int => Op::Ne(a, b),
        Binary::Lt if float || ty == DType::I32 => Op::Lt(a, b),
        Binary::Le if float || ty == DType::I32 => Op::Le(a, b),
        _ => return None,
    })
}
