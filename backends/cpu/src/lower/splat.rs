//! splat - operands that have one value everywhere become constants of the nest's programs.
//!
//! ONNX models spell `x * 2` with a tensor of twos as large as x. Nothing need be read for it, and it is no obstacle to lanes
//! whatever the order of axes.

use nnc_ir::{
    form::{Bounds, LoopForm},
    program::{Builder, Inst, Program},
};

use crate::kernel::OperandRef;

/// The form, reading no operand that is known to have one value; `None` if it reads none.
pub(super) fn without_splats(form: &LoopForm, operands: &[OperandRef]) -> Option<LoopForm> {
    let value = |l: usize| {
        let load = &form.loads[l];
        let constant = operands.get(load.operand)?.constant.as_ref()?;
        constant.as_splat().filter(|c| load.bounds == Bounds::Inside && c.dtype == load.dtype)
    };
    let known: Vec<_> = (0..form.loads.len()).map(value).collect();
    if known.iter().all(Option::is_none) {
        return None;
    }
    let rewrite = |program: &Program| {
        let mut b = Builder::new();
        let results = b.splice(program, &mut |b, inst, dtype| match inst {
            Inst::Load(l) => match known[*l] {
                Some(value) if value.dtype == dtype => b.constant(value),
                _ => b.push(inst.clone(), dtype),
            },
            _ => b.push(inst.clone(), dtype),
        });
        b.finish(results)
    };
    Some(LoopForm { body: rewrite(&form.body), finish: rewrite(&form.finish), ..form.clone() })
}
