//! forms - V13: the form of a node fits its types.

use super::{Forms, Report, Rule, for_each_node};
use crate::{
    dtype::DType,
    eval::program::Machine,
    form::{Bounds, Form, Ix, Load, LoopForm, ScatterForm},
    graph::{Module, NodeId},
    program::{Inst, Program},
    types::TensorType,
};

pub(super) fn check(module: &Module, forms: &Forms, report: &mut Report) {
    for_each_node(module, &mut |_, id| {
        if let Err(message) = check_node(module, forms.get(id), id) {
            let node = module.node(id);
            report.add(Rule::Forms, &node.loc, format!("{}: {message}", node.op.mnemonic()));
        }
    });
}

fn check_node(module: &Module, form: &Form, id: NodeId) -> Result<(), String> {
    let node = module.node(id);
    let operands: Vec<&TensorType> = node.operands.iter().map(|&v| module.ty(v)).collect();
    let results: Vec<&TensorType> = node.results.iter().map(|&v| module.ty(v)).collect();
    check_form(form, &operands, &results)
}

/// Whether `form` is one of an operation with these operands and results.
///
/// # Errors
/// What does not fit.
pub fn check_form(form: &Form, operands: &[&TensorType], results: &[&TensorType]) -> Result<(), String> {
    match form {
        Form::Loops(form) => loops(form, operands, results),
        Form::Scatter(form) => scatter(form, operands, results),
        Form::View => match (operands, results) {
            ([x], [y]) if x.dtype == y.dtype => Ok(()),
            _ => Err(format!("a view of {operands:?} as {results:?}")),
        },
        Form::Concat { axis } => match (operands.first(), results) {
            (Some(_), [y]) if *axis < y.rank() => Ok(()),
            _ => Err(format!("operands joined along axis {axis} to {results:?}")),
        },
        Form::Extents(extents) => match results {
            [y] if y.dtype == DType::I64 && y.elements().is(extents.len() as i64) => Ok(()),
            _ => Err(format!("{} extents as {results:?}", extents.len())),
        },
        Form::Extern(form) => {
            let axis = |r: usize, a: usize| results.get(r).is_some_and(|ty| a < ty.rank());
            match form.defines.iter().find(|d| !axis(d.0, d.1)) {
                Some(d) => Err(format!("{} defines axis {} of result {}", form.name, d.1, d.0)),
                None => Ok(()),
            }
        }
        Form::Constant | Form::ReadExtents(_) | Form::Region | Form::Composite => Ok(()),
    }
}

fn loops(form: &LoopForm, operands: &[&TensorType], results: &[&TensorType]) -> Result<(), String> {
    let axes = form.axes();
    for (k, load) in form.loads.iter().enumerate() {
        check_load(k, load, &form.loads, operands, axes)?;
    }
    check_program("body", &form.body, &form.loads, axes, None)?;
    let computes = match form.combine {
        None if !form.reduce.is_empty() => return Err("reduction axes without a combiner".into()),
        Some(_) if form.reduce.is_empty() => return Err("a combiner without reduction axes".into()),
        None => &form.body,
        Some(combine) => {
            let Ok([element]) = <[DType; 1]>::try_from(form.body.result_dtypes().collect::<Vec<_>>()) else {
                return Err(format!("a reduction of {} values", form.body.results.len()));
            };
            let acc = Some(combine.acc_dtype(element));
            check_program("finish", &form.finish, &form.loads, form.space.len(), acc)?;
            &form.finish
        }
    };
    let types: Vec<DType> = computes.result_dtypes().collect();
    if types.len() != results.len() || form.results.len() != results.len() {
        return Err(format!("the form gives {} results, the node {}", types.len(), results.len()));
    }
    for ((computed, stored), ty) in types.into_iter().zip(&form.results).zip(results) {
        if *stored != ty.dtype || stored.compute() != computed {
            return Err(format!("the form computes {computed} and stores {stored}, the result is {ty}"));
        }
        if form.space != ty.shape {
            return Err(format!("the form ranges over {:?}, the result is {ty}", form.space));
        }
    }
    Ok(())
}

fn scatter(form: &ScatterForm, operands: &[&TensorType], results: &[&TensorType]) -> Result<(), String> {
    for (k, load) in form.loads.iter().enumerate() {
        check_load(k, load, &form.loads, operands, form.space.len())?;
    }
    let ([base, ..], [result], Some(update)) = (operands, results, form.loads.first()) else {
        return Err("a scatter has an operand, a result and an update".into());
    };
    if base != result || update.dtype != result.dtype || form.index.len() != result.rank() {
        return Err(format!(
            "{} updates of {base} at {} indices give {result}",
            update.dtype,
            form.index.len()
        ));
    }
    form.index.iter().try_for_each(|ix| check_index(ix, &form.loads, form.space.len()))
}

fn check_load(
    k: usize,
    load: &Load,
    loads: &[Load],
    operands: &[&TensorType],
    axes: usize,
) -> Result<(), String> {
    let operand =
        operands.get(load.operand).ok_or_else(|| format!("load {k} of operand {}", load.operand))?;
    if load.dtype != operand.dtype || load.extents != operand.shape || load.index.len() != operand.rank() {
        let (dtype, extents, index) = (load.dtype, &load.extents, load.index.len());
        return Err(format!("load {k} takes {operand} for {dtype}{extents:?} with {index} indices"));
    }
    if let Bounds::Guard(value) = load.bounds
        && value.dtype != load.dtype.compute()
    {
        return Err(format!("load {k} is guarded by {value}, reads {}", load.dtype));
    }
    load.index.iter().try_for_each(|ix| check_index(ix, loads, axes))?;
    if leads_to(loads, k, k, loads.len()) { Err(format!("load {k} is indexed by itself")) } else { Ok(()) }
}

/// Whether the index of load `from` needs load `to`.
fn leads_to(loads: &[Load], from: usize, to: usize, depth: usize) -> bool {
    let Some(load) = loads.get(from) else { return false };
    let mut found = false;
    for ix in &load.index {
        ix.visit(&mut |part| {
            if let Ix::Load(k) = *part {
                found |= k == to || (depth > 0 && leads_to(loads, k, to, depth - 1));
            }
        });
    }
    found
}

fn check_index(ix: &Ix, loads: &[Load], axes: usize) -> Result<(), String> {
    let mut wrong = None;
    ix.visit(&mut |part| match part {
        Ix::Axis(a) if *a >= axes => wrong = Some(format!("an index on axis {a} of {axes}")),
        Ix::Load(k) => match loads.get(*k) {
            Some(load) if load.dtype.is_int() || load.dtype == DType::Bool => {}
            Some(load) => wrong = Some(format!("an index read from {}", load.dtype)),
            None => wrong = Some(format!("an index read by load {k} of {}", loads.len())),
        },
        _ => {}
    });
    wrong.map_or(Ok(()), Err)
}

fn check_program(
    what: &str,
    program: &Program,
    loads: &[Load],
    axes: usize,
    acc: Option<DType>,
) -> Result<(), String> {
    Machine::new(program, 0).map_err(|e| format!("{what}: {e}"))?;
    for (inst, dtype) in program.insts() {
        match inst {
            Inst::Load(k) => {
                let load = loads.get(*k).ok_or_else(|| format!("{what}: load {k} of {}", loads.len()))?;
                if load.dtype.compute() != *dtype {
                    return Err(format!("{what}: load {k} reads {}, taken for {dtype}", load.dtype));
                }
                for ix in &load.index {
                    check_index(ix, loads, axes).map_err(|e| format!("{what}: {e}"))?;
                }
            }
            Inst::Acc(k) if acc != Some(*dtype) || *k != 0 => {
                return Err(format!("{what}: accumulator {k} of type {dtype}"));
            }
            Inst::Index(ix) => check_index(ix, loads, axes).map_err(|e| format!("{what}: {e}"))?,
            _ => {}
        }
    }
    Ok(())
}
