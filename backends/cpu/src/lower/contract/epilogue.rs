//! epilogue - the `finish` program of a contraction as an epilogue of tiles.

use nnc_ir::{
    constant::Constant,
    dtype::{DType, Scalar},
    extent::Extent,
    program::{Inst, Program},
};
use nnc_tile::{
    epilogue::{Epilogue, EpilogueInput},
    program::{Op, Ref as Lane, VectorProgram},
    stream::Element,
};

use super::{super::lanes, Refusal};

/// Most operands of an epilogue.
const MOST: usize = 6;
const MANY: Refusal = "what follows reads more operands than there are registers for";

const WIDE: Refusal = "what follows computes something that lanes of 32 bits do not";

/// Most results.
const RESULTS: usize = 2;
/// What tiles store.
pub(super) const STORED: Refusal = "tiles store f32 and bytes, and sums of integers";

/// Whether an epilogue reads such elements, after a sum of integers if `whole`.
pub(super) fn reads(dtype: DType, whole: bool) -> bool {
    dtype == DType::F32 || (whole && dtype == DType::I32)
}

/// What a sum becomes before the rest of the epilogue.
pub(super) type Correction<'a> = &'a dyn Fn(&mut VectorProgram) -> Lane;

/// How an element of a result is stored, if tiles can; after a sum of integers if `whole`.
pub(super) fn element(dtype: DType, whole: bool) -> Option<Element> {
    match dtype {
        DType::I32 if whole => Some(Element::I32),
        DType::F32 => Some(Element::F32),
        DType::U8 => Some(Element::U8),
        DType::I8 => Some(Element::I8),
        _ => None,
    }
}

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
/// `operand` says how a load is read; a load that is one constant everywhere becomes part of the program. With a correction
/// the program takes that for the sum, which is its input 0.
pub(super) fn translate(
    finish: &Program,
    splat: &dyn Fn(usize) -> Option<Scalar>,
    operand: &dyn Fn(usize) -> Result<Operand, Refusal>,
    correction: Option<Correction<'_>>,
) -> Result<(Option<Epilogue>, Vec<Operand>), Refusal> {
    if let [result] = finish.results[..]
        && correction.is_none()
        && matches!(finish.inst(result), Inst::Acc(0))
    {
        return Ok((None, Vec::new()));
    }
    if finish.results.len() > RESULTS {
        return Err("tiles store no more than two results");
    }
    let is_whole = |(inst, dtype): &(Inst, DType)| matches!(inst, Inst::Acc(_)) && *dtype == DType::I32;
    let whole = finish.insts().iter().any(is_whole);
    let mut program = VectorProgram::new();
    let mut operands: Vec<Operand> = Vec::new();
    let lane = |inst: &Inst| {
        let typed = finish.insts().iter().find(|(other, _)| other == inst);
        typed.and_then(|(_, dtype)| lanes::lane(*dtype)).ok_or(WIDE)
    };
    let results = splice(&mut program, finish, &mut |program, inst| match inst {
        Inst::Acc(0) => match correction {
            Some(corrected) => Ok(corrected(program)),
            None => Ok(program.push(Op::Input(0, lane(inst)?))),
        },
        Inst::Load(k) => match splat(*k) {
            Some(c) => constant(program, c),
            None => {
                operands.push(operand(*k)?);
                let number = u16::try_from(operands.len()).map_err(|_| MANY)?;
                Ok(program.push(Op::Input(number, lane(inst)?)))
            }
        },
        _ => Err(WIDE),
    })?;
    if operands.len() > MOST {
        return Err(MANY);
    }
    let mut stores = Vec::new();
    for (result, value) in finish.results.iter().zip(results) {
        program.result(value);
        stores.push(element(finish.dtype(*result), whole).ok_or(STORED)?);
    }
    let inputs = operands.iter().map(|o| o.kind).collect();
    Ok((Some(Epilogue { program, sums: 1, inputs, stores }), operands))
}

/// Adds a program to that of lanes, and gives its results; `leaf` says what loads, accumulators and places are.
pub(super) fn splice(
    program: &mut VectorProgram,
    from: &Program,
    leaf: &mut dyn FnMut(&mut VectorProgram, &Inst) -> Result<Lane, Refusal>,
) -> Result<Vec<Lane>, Refusal> {
    let mut values: Vec<Lane> = Vec::new();
    for (inst, dtype) in from.insts() {
        let value = match inst {
            Inst::Load(_) | Inst::Acc(_) | Inst::Index(_) => leaf(program, inst)?,
            Inst::Const(c) => constant(program, *c)?,
            other => lanes::inst(program, from, (other, *dtype), &values).ok_or(WIDE)?,
        };
        values.push(value);
    }
    Ok(from.results.iter().map(|r| values[r.index()]).collect())
}

/// The same element in all lanes.
pub(super) fn constant(program: &mut VectorProgram, c: Scalar) -> Result<Lane, Refusal> {
    lanes::constant(program, c).ok_or(WIDE)
}

/// How a tile reads an operand with such distances of rows and columns.
pub(super) fn kind(row: &Extent, col: &Extent) -> Result<EpilogueInput, Refusal> {
    Ok(match (row, col) {
        (Extent::Const(0), Extent::Const(0)) => EpilogueInput::Scalar,
        (Extent::Const(1), Extent::Const(0)) => EpilogueInput::Row,
        (Extent::Const(0), Extent::Const(1)) => EpilogueInput::Col,
        (_, Extent::Const(1)) => EpilogueInput::Tile,
        _ => return Err("what follows reads elements apart along rows or columns"),
    })
}

/// A program of loads as lanes compute it; `input` numbers the loads that are read.
pub(super) fn lanes(
    source: &Program,
    splat: &dyn Fn(usize) -> Option<Scalar>,
    input: &dyn Fn(usize) -> Option<usize>,
) -> Option<VectorProgram> {
    let [_] = source.results[..] else { return None };
    let mut program = VectorProgram::new();
    let results = splice(&mut program, source, &mut |program, inst| match inst {
        Inst::Load(k) => match splat(*k) {
            Some(c) => constant(program, c),
            None => {
                let number = input(*k).and_then(|n| u16::try_from(n).ok());
                Ok(program.input(number.ok_or(MANY)?))
            }
        },
        _ => Err(WIDE),
    });
    program.result(results.ok()?[0]);
    Some(program)
}

/// The element of a constant that is the same everywhere.
pub(super) fn splat_of(constant: Option<&Constant>) -> Option<Scalar> {
    constant.and_then(Constant::as_splat)
}
