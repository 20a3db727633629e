//! concat - joining tensors along an axis: one copy for each operand, placed in the result.

use nnc_ir::{
    extent::Extent,
    form::{Bounds, Class, Load, LoopForm},
    program::{Builder, Program},
    types::TensorType,
};

use super::access::dense_strides;
use crate::{
    frame::PointerSlot,
    kernel::{NestRequest, OperandRef, Placement},
};

/// The copies that make up `result` of `operands`, one after another along `axis`. Where an operand has been computed
/// in place already (see [`placements`]), its copy is left out by the caller.
#[must_use]
pub fn concat_requests(
    name: &str,
    axis: usize,
    operands: &[(OperandRef, TensorType)],
    result: PointerSlot,
    result_type: &TensorType,
    fault_node: i64,
) -> Vec<NestRequest> {
    let types: Vec<&TensorType> = operands.iter().map(|(_, ty)| ty).collect();
    let places = placements(axis, &types, result_type);
    let copy = |(i, ((operand, ty), place)): (usize, (&(OperandRef, TensorType), Placement))| NestRequest {
        name: format!("{name}.{i}"),
        form: copy_form(ty),
        operands: vec![operand.clone()],
        results: vec![result],
        placement: vec![Some(place)],
        fault_node,
    };
    operands.iter().zip(places).enumerate().map(copy).collect()
}

/// Where each operand lies inside of the result.
#[must_use]
pub fn placements(axis: usize, operands: &[&TensorType], result: &TensorType) -> Vec<Placement> {
    let strides = dense_strides(&result.shape);
    let mut start = Extent::ZERO;
    let place = |ty: &&TensorType| {
        let offset = &start * &strides[axis];
        start = &start + &ty.shape[axis];
        Placement { offset, strides: strides.clone() }
    };
    operands.iter().map(place).collect()
}

/// The nest that copies a tensor.
pub(crate) fn copy_form(ty: &TensorType) -> LoopForm {
    let mut b = Builder::new();
    let value = b.load(0, ty.dtype);
    LoopForm {
        space: ty.shape.clone(),
        reduce: Vec::new(),
        loads: vec![Load {
            operand: 0,
            dtype: ty.dtype,
            index: LoopForm::identity(ty.rank()),
            extents: ty.shape.clone(),
            bounds: Bounds::Inside,
        }],
        body: b.finish([value]),
        combine: None,
        finish: Program::default(),
        results: vec![ty.dtype],
    }
}

/// Whether a nest does nothing but copy a tensor as it is.
pub(crate) fn is_copy(form: &LoopForm) -> bool {
    let [load] = &form.loads[..] else { return false };
    form.class() == Class::Movement
        && load.extents == form.space
        && load.index == LoopForm::identity(form.space.len())
}
