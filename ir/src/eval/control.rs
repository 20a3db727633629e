//! control - fusions, ifs, loops, scans, and training forms as they are written.

use crate::{
    eval::{copy::scalar, error::EvalError, module::Evaluator, tensor::Slot},
    graph::NodeId,
    ops::{If, Loop, Op, Scan},
};

/// Results of a node whose meaning is its regions'.
pub(super) fn evaluate(
    e: &mut Evaluator<'_>,
    id: NodeId,
    operands: Vec<Slot>,
) -> Result<Vec<Slot>, EvalError> {
    match &e.module.node(id).op {
        Op::Fusion(_) | Op::Tiled(_) => e.region(e.module.node(id).regions[0], operands),
        Op::If(op) => evaluate_if(e, op, id, operands),
        Op::Loop(op) => evaluate_loop(e, op, id, operands),
        Op::Scan(op) => evaluate_scan(e, op, id, &operands),
        Op::Training(_) => match e.module.node(id).regions[..] {
            [_, written] => e.region(written, operands),
            _ => Err(EvalError::new(415, "a training form that cannot be computed as it is written")),
        },
        op => Err(EvalError::bug(format!("{} has no meaning as a region", op.mnemonic()))),
    }
}

fn evaluate_if(
    e: &mut Evaluator<'_>,
    op: &If,
    id: NodeId,
    mut operands: Vec<Slot>,
) -> Result<Vec<Slot>, EvalError> {
    let condition = scalar(&operands.remove(0))? != 0;
    let region = e.module.node(id).regions[usize::from(!condition)];
    let results = e.region(region, operands)?;
    for (shape, result) in op.shapes.iter().zip(&results) {
        e.symbols.define_shape(e.definitions.of_node(id), shape, &result.dims)?;
    }
    Ok(results)
}

fn evaluate_loop(
    e: &mut Evaluator<'_>,
    op: &Loop,
    id: NodeId,
    operands: Vec<Slot>,
) -> Result<Vec<Slot>, EvalError> {
    let body = e.module.node(id).regions[0];
    let (trips, mut condition) = (scalar(&operands[0])?, scalar(&operands[1])? != 0);
    let (carried, captures) = operands[2..].split_at(op.carried);
    let mut carried = carried.to_vec();
    let mut stacks = Stacks::new(e.module.region(body).results.len() - 1 - op.carried);
    let mut count = 0;
    while count < trips && condition {
        e.budget.take_points(&[])?;
        let mut args = vec![
            Slot::i64s(&[], &[count]),
            Slot::new(crate::dtype::DType::Bool, &[], vec![u8::from(condition)]),
        ];
        args.append(&mut carried);
        args.extend_from_slice(captures);
        let mut results = e.region(body, args)?;
        let stacked = results.split_off(1 + op.carried);
        condition = scalar(&results.remove(0))? != 0;
        carried = results;
        stacks.push(stacked)?;
        count += 1;
    }
    e.symbols.define_shape(e.definitions.of_node(id), std::slice::from_ref(&op.count), &[count])?;
    finish(e, id, carried, stacks)
}

fn evaluate_scan(
    e: &mut Evaluator<'_>,
    op: &Scan,
    id: NodeId,
    operands: &[Slot],
) -> Result<Vec<Slot>, EvalError> {
    let body = e.module.node(id).regions[0];
    let steps = e.symbols.extent(&op.steps)?;
    let (carried, rest) = operands.split_at(op.carried);
    let (scanned, captures) = rest.split_at(op.reversed_inputs.len());
    let mut carried = carried.to_vec();
    let mut stacks = Stacks::new(op.reversed_outputs.len());
    for step in 0..steps {
        e.budget.take_points(&[])?;
        let mut args = std::mem::take(&mut carried);
        for (slot, &reversed) in scanned.iter().zip(&op.reversed_inputs) {
            args.push(slice(slot, if reversed { steps - 1 - step } else { step })?);
        }
        args.extend_from_slice(captures);
        carried = e.region(body, args)?;
        stacks.push(carried.split_off(op.carried))?;
    }
    stacks.reverse(&op.reversed_outputs);
    finish(e, id, carried, stacks)
}

/// Slice `at` of the leading axis.
fn slice(slot: &Slot, at: i64) -> Result<Slot, EvalError> {
    match slot.dims.split_first() {
        Some((&n, dims)) if at < n => {
            let bytes = slot.bytes().len() / n as usize;
            Ok(Slot::new(slot.dtype, dims, slot.bytes()[at as usize * bytes..][..bytes].to_vec()))
        }
        _ => Err(EvalError::new(236, format!("no step {at} in a scanned value of {:?}", slot.dims))),
    }
}

/// Stacked results, slice by slice.
struct Stacks(Vec<Vec<Slot>>);

impl Stacks {
    fn new(n: usize) -> Self {
        Self(vec![Vec::new(); n])
    }
    fn push(&mut self, slices: Vec<Slot>) -> Result<(), EvalError> {
        for (stack, slice) in self.0.iter_mut().zip(slices) {
            if let Some(first) = stack.first().filter(|f| f.dims != slice.dims) {
                let message = format!("an iteration gives {:?}, the first {:?}", slice.dims, first.dims);
                return Err(EvalError::new(236, message));
            }
            stack.push(slice);
        }
        Ok(())
    }
    fn reverse(&mut self, flags: &[bool]) {
        self.0.iter_mut().zip(flags).filter(|(_, flag)| **flag).for_each(|(stack, _)| stack.reverse());
    }
}

/// Carried values, then stacked ones, which have the node's types where no iteration ran.
fn finish(e: &Evaluator<'_>, id: NodeId, carried: Vec<Slot>, stacks: Stacks) -> Result<Vec<Slot>, EvalError> {
    let mut results = carried;
    for stack in stacks.0 {
        let ty = e.module.ty(e.module.node(id).results[results.len()]);
        results.push(match stack.first() {
            Some(first) => {
                let dims = [&[stack.len() as i64], &first.dims[..]].concat();
                e.budget.elements(&dims, first.dtype.bytes())?;
                let bytes = stack.iter().flat_map(Slot::bytes).copied().collect();
                Slot::new(first.dtype, &dims, bytes)
            }
            None => Slot::zeros(ty.dtype, &e.dims(ty)?, &e.budget)?,
        });
    }
    Ok(results)
}
