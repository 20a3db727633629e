//! channel - constants that are numbers along one axis: biases, scales, limits.

use nnc_ir::{
    Module,
    constant::{Constant, Payload},
    graph::ValueId,
    ops::Broadcast,
};

/// The numbers of a value that is the same along every axis but one: a constant vector.
pub(crate) fn along(module: &Module, value: ValueId, axis: usize) -> Option<Constant> {
    let ty = module.ty(value);
    let count = ty.shape[axis].as_const()?;
    let mut source = value;
    while let Some((_, broadcast)) = module.defined_by::<Broadcast>(source) {
        source = broadcast.operands[0];
    }
    let constant = module.as_constant(source)?;
    if let Some(splat) = constant.as_splat() {
        return Constant::new(constant.dtype(), &[count], Payload::Splat(splat));
    }
    let before = ty.rank().checked_sub(constant.dims().len())?;
    let only = constant.dims().iter().enumerate().all(|(i, &d)| d == 1 || before + i == axis);
    if !only {
        return None;
    }
    Constant::new(constant.dtype(), &[count], constant.payload().clone())
}
