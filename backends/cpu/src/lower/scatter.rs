//! scatter - writes at computed places: a copy of the data, then the updates one after another.

use cranelift_codegen::ir::{InstBuilder, Value};
use nnc_ir::{
    dtype::DType,
    extent::Extent,
    form::{Ix, LoopForm, ScatterCombine, ScatterForm},
    program::{Binary, Builder, Program},
    types::TensorType,
};

use super::{
    LowerError,
    access::{Access, Condition, Extra, dense_strides},
    collapse::Nest,
    concat::copy_form,
    nest::{self, Emitter},
    place::Cursor,
    scalar,
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
        rows: 0,
        columns: false,
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

impl Emitter<'_, '_> {
    /// Writes an update at its computed place, or nowhere if that is outside of the result.
    pub(super) fn scatter(&mut self, target: &Target, update: Value, result: Cursor, dtype: DType) {
        let mut addr = self.b.ins().iadd_imm_s(result.addr, i64::from(result.disp));
        let mut conditions = Vec::new();
        for ((index, extent), stride) in target.index.iter().zip(&target.extents).zip(&target.strides) {
            let check = Some(extent.clone());
            let extra = Extra { index: index.clone(), stride: stride.clone(), check };
            addr = self.add_extra(addr, &extra, dtype.bytes() as i64);
            conditions.push(Condition { index: index.clone(), extent: extent.clone() });
        }
        let condition = self.all_conditions(&conditions, None);
        let (write, go_on) = (self.b.create_block(), self.b.create_block());
        match condition {
            Some(condition) => self.b.ins().brif(condition, write, &[], go_on, &[]),
            None => self.b.ins().jump(write, &[]),
        };
        self.b.switch_to_block(write);
        let value = match target.combine {
            None => update,
            Some(op) => {
                let present = scalar::load(self.b, dtype, addr, 0);
                scalar::binary(self.b, op, dtype.compute(), present, update)
            }
        };
        scalar::store(self.b, dtype, value, addr, 0);
        self.b.ins().jump(go_on, &[]);
        self.b.switch_to_block(go_on);
    }
}
