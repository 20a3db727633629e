//! scatter - writes at computed places: a copy of the data, then the updates one after another.

use nnc_ir::{
    extent::Extent,
    form::{Ix, LoopForm, ScatterCombine, ScatterForm},
    program::{Binary, Builder, Program},
    types::TensorType,
};

use super::{
    LowerError,
    access::{Access, dense_strides},
    collapse::Nest,
    concat::copy_form,
    nest,
};
use crate::{
    frame::PointerSlot,
    kernel::{Kernel, LowerCx, NestRequest, OperandRef},
};

/// A scatter to be made into kernels.
#[derive(Clone, Debug)]
pub struct ScatterRequest {
    /// Symbol name, unique in the program.
    pub name: String,
    /// What to write where.
    pub form: ScatterForm,
    /// Operands by number in `form.loads`; operand 0 is the data that is copied.
    pub operands: Vec<OperandRef>,
    /// Where the result is.
    pub result: PointerSlot,
    /// Type of the data and of the result.
    pub ty: TensorType,
    /// Number that the fault record names the node by.
    pub fault_node: i64,
}

impl ScatterRequest {
    /// The copy that comes before the updates; needless where the result shares the memory of the data.
    #[must_use]
    pub fn copy(&self) -> NestRequest {
        NestRequest {
            name: format!("{}.copy", self.name),
            form: copy_form(&self.ty),
            operands: vec![self.operands[0].clone()],
            results: vec![self.result],
            placement: vec![None],
            fault_node: self.fault_node,
        }
    }
}

/// Where the updates of a scatter go.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// One index an axis of the result.
    pub(super) index: Vec<Ix>,
    /// Extents of the result.
    pub(super) extents: Vec<Extent>,
    /// Strides of the result in elements.
    pub(super) strides: Vec<Extent>,
    /// Joins what is there (first) with the update; `None` replaces.
    pub(super) combine: Option<Binary>,
}

/// Makes the kernel of the updates: one item, since their order matters.
///
/// # Errors
/// The target lacks an instruction.
pub fn lower_scatter(request: &ScatterRequest, cx: &mut LowerCx<'_>) -> Result<Kernel, LowerError> {
    let form = &request.form;
    let mut extents = form.space.clone();
    if extents.is_empty() {
        extents.push(Extent::ONE);
    }
    let mut body = Builder::new();
    let update = body.load(0, form.loads[0].dtype);
    let loads: Vec<Access> = form.loads.iter().map(|l| Access::of_load(l, &extents)).collect();
    let axes = extents.len();
    let nest = Nest {
        space: axes,
        extents,
        body: body.finish([update]),
        combine: None,
        finish: Program::default(),
        operands: form.loads.iter().map(|l| l.operand).collect(),
        loads,
        results: vec![Access::of_result(request.ty.dtype, Extent::ZERO, &[], axes)],
        scatter: Some(Target {
            index: form.index.clone(),
            extents: request.ty.shape.clone(),
            strides: dense_strides(&request.ty.shape),
            combine: match form.combine {
                ScatterCombine::Replace => None,
                ScatterCombine::Add => Some(Binary::Add),
                ScatterCombine::Mul => Some(Binary::Mul),
                ScatterCombine::Max => Some(Binary::Max),
                ScatterCombine::Min => Some(Binary::Min),
            },
        }),
    };
    let as_nest = NestRequest {
        name: request.name.clone(),
        // Only for its name and buffers: the nest is already made.
        form: LoopForm { space: Vec::new(), ..copy_form(&request.ty) },
        operands: request.operands.clone(),
        results: vec![request.result],
        placement: vec![None],
        fault_node: request.fault_node,
    };
    nest::lower_made(&nest, &as_nest, cx)
}
