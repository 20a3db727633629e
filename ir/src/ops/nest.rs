//! nest - helpers to write forms and inference shortly.

use crate::{
    dtype::DType,
    form::{Bounds, Form, Ix, Load, LoopForm},
    program::{Builder, Program, Ref},
    types::TensorType,
};

/// Checks that all operands have the type of the first (C1), and gives it.
pub(super) fn same_type<'a>(op: &str, operands: &[&'a TensorType]) -> Result<&'a TensorType, String> {
    let (first, rest) = operands.split_first().ok_or_else(|| format!("{op}: needs an operand"))?;
    match rest.iter().find(|ty| *ty != first) {
        Some(odd) => Err(format!("{op} (C1): {odd} differs from {first}")),
        None => Ok(first),
    }
}

/// Checks that `dtype` is one the operation takes.
pub(super) fn require(op: &str, what: &str, holds: bool, dtype: DType) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("{op} (C2): needs {what} elements, has {dtype}")) }
}

/// Reads operand `operand` at `index`, always in range.
pub(super) fn load(operand: usize, ty: &TensorType, index: Vec<Ix>) -> Load {
    Load { operand, dtype: ty.dtype, index, extents: ty.shape.clone(), bounds: Bounds::Inside }
}

/// A nest without reduction: reads every operand at the same place and computes `body`.
pub(super) fn pointwise(
    operands: &[&TensorType],
    result: &TensorType,
    body: impl FnOnce(&mut Builder, &[Ref]) -> Ref,
) -> Form {
    let rank = result.rank();
    let loads: Vec<Load> =
        operands.iter().enumerate().map(|(i, ty)| load(i, ty, LoopForm::identity(rank))).collect();
    let mut b = Builder::new();
    let inputs: Vec<Ref> = loads.iter().enumerate().map(|(k, l)| b.load(k, l.dtype)).collect();
    let value = body(&mut b, &inputs);
    map_form(result, loads, b.finish([value]))
}

/// A nest without reduction that only moves elements: the result is load 0.
pub(super) fn movement(result: &TensorType, loads: Vec<Load>) -> Form {
    let mut b = Builder::new();
    let value = b.load(0, loads[0].dtype);
    map_form(result, loads, b.finish([value]))
}

/// A nest without reduction with any loads and body.
pub(super) fn map_form(result: &TensorType, loads: Vec<Load>, body: Program) -> Form {
    Form::Loops(LoopForm {
        space: result.shape.clone(),
        reduce: Vec::new(),
        loads,
        body,
        combine: None,
        finish: Program::default(),
        results: vec![result.dtype],
    })
}
