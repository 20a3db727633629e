//! epilogue - the `finish` program of a contraction as an epilogue of tiles.

use nnc_ir::{
    constant::Constant,
    dtype::{DType, Scalar},
    extent::Extent,
    program::{Inst, Program},
};
use nnc_tile::{
    epilogue::{Epilogue, EpilogueInput},
    program::{Ref as Lane, VectorProgram},
    stream::Element,
};

use super::{super::lanes, Refusal};

/// Most operands of an epilogue.
const MOST: usize = 6;
const MANY: Refusal = "what follows reads more operands than there are registers for";

/// Most results.
const RESULTS: usize = 2;
/// What tiles store.
pub(super) const STORED: Refusal = "tiles store f32 and bytes";

/// How an element of a result is stored, if tiles can.
pub(super) fn element(dtype: DType) -> Option<Element> {
    match dtype {
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
/// `operand` says how a load is read; a load that is one constant everywhere becomes part of the program.
pub(super) fn translate(
    finish: &Program,
    splat: &dyn Fn(usize) -> Option<Scalar>,
    operand: &dyn Fn(usize) -> Result<Operand, Refusal>,
) -> Result<(Option<Epilogue>, Vec<Operand>), Refusal> {
    let wide = "what follows computes something that lanes of 32 bits do not";
    if let [result] = finish.results[..]
        && matches!(finish.inst(result), Inst::Acc(0))
    {
        return Ok((None, Vec::new()));
    }
    if finish.results.len() > RESULTS {
        return Err("tiles store no more than two results");
    }
    let mut program = VectorProgram::new();
    let mut operands: Vec<Operand> = Vec::new();
    let mut values: Vec<Lane> = Vec::new();
    for (inst, dtype) in finish.insts() {
        let value = match inst {
            Inst::Acc(0) => program.input(0),
            Inst::Load(k) => match splat(*k) {
                Some(c) => lanes::constant(&mut program, c).ok_or(wide)?,
                None => {
                    operands.push(operand(*k)?);
                    program.input(u16::try_from(operands.len()).map_err(|_| MANY)?)
                }
            },
            Inst::Const(c) => lanes::constant(&mut program, *c).ok_or(wide)?,
            other => lanes::inst(&mut program, finish, (other, *dtype), &values).ok_or(wide)?,
        };
        values.push(value);
    }
    if operands.len() > MOST {
        return Err(MANY);
    }
    let mut stores = Vec::new();
    for result in &finish.results {
        program.result(values[result.index()]);
        stores.push(element(finish.dtype(*result)).ok_or(STORED)?);
    }
    let inputs = operands.iter().map(|o| o.kind).collect();
    Ok((Some(Epilogue { program, inputs, stores }), operands))
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
                Some(c) => lanes::constant(&mut program, c)?,
                None => program.input(u16::try_from(input(*k)?).ok()?),
            },
            Inst::Const(c) => lanes::constant(&mut program, *c)?,
            other => lanes::inst(&mut program, source, (other, *dtype), &values)?,
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
