//! repeat - Loop and Scan; a Loop that carries sequences or changing shapes is unrolled if its trips are known.

use nnc_ir::{
    constant::Constant,
    dtype::{DType, Scalar},
    entity::EntityId,
    extent::Extent,
    graph::ValueId,
    ops,
    types::TensorType,
};

use super::branch::tensors;
use crate::import::{
    Outcome, Problem,
    cx::OpCx,
    known,
    region::upper_bound,
    scope::Scope,
    table::{MANY, Row, row},
    value::{Binding, Imported},
};
use crate::model::Graph;

pub(crate) const ROWS: &[Row] = &[row("Loop", 1, 2..=MANY, loop_op), row("Scan", 9, 1..=MANY, scan)];

/// Most iterations, and nodes, that unrolling may give.
const MAX_UNROLLED: (i64, usize) = (256, 100_000);

/// Number of iterations of a Loop, and whether they all run.
struct Trips {
    /// Operand of the node.
    value: ValueId,
    extent: Option<Extent>,
}

fn loop_op(cx: &mut OpCx<'_>) -> Outcome {
    let body = cx.graph("body")?;
    let carried = cx.n_inputs() - 2;
    let (inputs, outputs) = (body.inputs.len(), body.outputs.len());
    if inputs != carried + 2 || outputs < carried + 1 || outputs - 1 != cx.n_outputs() {
        let message = format!(
            "body takes {inputs} and gives {outputs} values, the node carries {carried} and has {} outputs",
            cx.n_outputs()
        );
        return cx.error(114, message);
    }
    let trips = trips(cx)?;
    let condition = match cx.optional(1)? {
        Some(c) => Some(cx.reshape(c.id, vec![])?),
        None => None,
    };
    let runs =
        condition.is_none_or(|c| cx.constant(c).and_then(Constant::as_splat) == Some(Scalar::bool(true)));
    let initial: Option<Vec<Imported>> = (2..cx.n_inputs())
        .map(|i| match cx.binding(i) {
            Some(Binding::Tensor(value)) => Some(value.clone()),
            _ => None,
        })
        .collect();
    let unrollable = match trips.extent.as_ref().and_then(Extent::as_const) {
        Some(n) if runs && n <= MAX_UNROLLED.0 => {
            usize::try_from(n.max(0)).ok().filter(|n| n * body.nodes.len() <= MAX_UNROLLED.1)
        }
        _ => None,
    };
    let Some(initial) = initial else {
        return match unrollable {
            Some(n) => unroll(cx, body, n),
            None => cx.unsupported("a Loop over sequences whose number of iterations is not known"),
        };
    };
    match as_node(cx, body, &trips, condition, &initial)? {
        Made::Results(results) => Ok(results),
        Made::Grows(what) => match unrollable {
            Some(n) => unroll(cx, body, n),
            None => cx.unsupported(what),
        },
    }
}

fn trips(cx: &mut OpCx<'_>) -> Result<Trips, Problem> {
    let Some(trips) = cx.optional(0)? else {
        let value = cx.int_scalar(DType::I64, i64::MAX);
        return Ok(Trips { value, extent: None });
    };
    let value = cx.reshape(trips.id, vec![])?;
    let value = cx.cast(value, DType::I64)?;
    let extent = trips
        .known
        .and_then(|k| k.into_iter().next())
        .map(|e| if known::is_natural(cx.module(), &e) { e } else { e.max_with(&Extent::ZERO) });
    // A trip count of 2^63 means none.
    Ok(Trips { value, extent: extent.filter(|e| e.as_const().is_none_or(|n| n <= i64::from(i32::MAX))) })
}

/// What trying to make a `loop` node gave.
enum Made {
    Results(Vec<Binding>),
    /// The body changes the type of something carried.
    Grows(String),
}

fn as_node(
    cx: &mut OpCx<'_>,
    body: &Graph,
    trips: &Trips,
    condition: Option<ValueId>,
    initial: &[Imported],
) -> Result<Made, Problem> {
    let condition = match condition {
        Some(c) => c,
        None => cx.constant_value(Constant::scalar(DType::Bool, Scalar::bool(true))),
    };
    let always = cx.constant(condition).and_then(Constant::as_splat) == Some(Scalar::bool(true));
    let captures = cx.captures(&[body]);
    let before = cx.module().symbols.len();
    let region = cx.importer.module.add_region();
    let scope = Scope::new(region);
    let types: Vec<TensorType> = initial.iter().map(|v| cx.ty(v.id).clone()).collect();
    let scalars = [TensorType::of(DType::I64, &[]), TensorType::of(DType::Bool, &[])];
    let mut params = Vec::new();
    for (info, ty) in body.inputs.iter().zip(scalars.iter().chain(&types)) {
        let param = cx.importer.module.add_param(region, ty.clone());
        scope.bind(&info.name, param);
        params.push(param);
    }
    cx.enter_captures(&captures, &scope)?;
    let poison = Made::Results(vec![Binding::Poison; cx.n_outputs()]);
    let Some(outputs) = cx.nested("body", body, &scope)? else { return Ok(poison) };
    if outputs.iter().any(|o| !matches!(o, Binding::Tensor(_))) {
        return Ok(Made::Grows("a Loop whose body gives sequences".into()));
    }
    let mut results = tensors(cx, outputs)?;
    let goes_on = cx.within(region, |cx| cx.reshape(results[0].id, vec![]))?;
    results[0] = goes_on.into();
    for (i, ty) in types.iter().enumerate() {
        let value = results[1 + i].id;
        match cx.within(region, |cx| as_carried(cx, value, ty))? {
            Some(value) => results[1 + i] = value.into(),
            None => {
                let message = format!("a Loop that carries {ty} and makes it {}", cx.ty(value));
                return Ok(Made::Grows(message));
            }
        }
    }
    if let Some(what) = undetermined(cx, &results[1 + types.len()..], before) {
        return Ok(Made::Grows(what));
    }
    let true_again = cx.constant(goes_on).and_then(Constant::as_splat) == Some(Scalar::bool(true));
    let all_run = always && (true_again || goes_on == params[1]);
    let count = match &trips.extent {
        Some(trips) if all_run => trips.clone(),
        trips => {
            let bound = trips.as_ref().and_then(|t| upper_bound(cx.module(), t));
            cx.data_symbol("count", bound)
        }
    };
    cx.importer.module.set_results(region, results.iter().map(|v| v.id).collect());
    let mut operands = vec![trips.value, condition];
    operands.extend(initial.iter().map(|v| v.id));
    operands.extend(cx.capture_operands(&captures));
    let op = ops::Loop { carried: types.len(), count };
    let values = cx.emit_with_regions(op, &operands, &[region])?;
    Ok(Made::Results(values.into_iter().map(Binding::from).collect()))
}

/// A result of a body at the type it is carried with; `None` if that is another.
///
/// Extents that may be equal are taken to be, which the run checks.
fn as_carried(cx: &mut OpCx<'_>, value: ValueId, ty: &TensorType) -> Result<Option<ValueId>, Problem> {
    let have = cx.ty(value).clone();
    let may_be = |(a, b): (&Extent, &Extent)| a.same(b) != Some(false);
    if have.dtype != ty.dtype || have.rank() != ty.rank() || !have.shape.iter().zip(&ty.shape).all(may_be) {
        return Ok(None);
    }
    for (a, b) in have.shape.iter().zip(&ty.shape) {
        cx.need_equal(114, a, b, String::new)?;
    }
    cx.reshape(value, ty.shape.clone()).map(Some)
}

/// Says what is wrong if a stacked result has an extent that only its iteration knows: a symbol made after `before` others.
fn undetermined(cx: &OpCx<'_>, stacked: &[Imported], before: usize) -> Option<String> {
    let module = cx.module();
    let inner = |e: &Extent| {
        let mut inner = false;
        e.for_each_symbol(&mut |s| inner |= s.index() >= before);
        inner
    };
    let value = stacked.iter().find(|v| module.ty(v.id).shape.iter().any(inner))?;
    Some(format!("{} stacks {}, whose shape data decide", cx.op(), cx.ty(value.id)))
}

/// Imports the body once an iteration.
fn unroll(cx: &mut OpCx<'_>, body: &Graph, trips: usize) -> Outcome {
    let carried = cx.n_inputs() - 2;
    let mut state: Vec<Binding> =
        (2..cx.n_inputs()).map(|i| cx.binding(i).cloned().unwrap_or(Binding::Nothing)).collect();
    let mut stacks: Vec<Vec<ValueId>> = vec![Vec::new(); body.outputs.len() - 1 - carried];
    for i in 0..trips {
        let scope = Scope::inside(cx.scope);
        let i = i64::try_from(i).unwrap_or(i64::MAX);
        let (at, goes_on) =
            (cx.extents(vec![i.into()], DType::I64, 0)?, cx.extents(vec![1.into()], DType::Bool, 0)?);
        scope.bind(&body.inputs[0].name, at);
        scope.bind(&body.inputs[1].name, goes_on);
        for (info, binding) in body.inputs[2..].iter().zip(&state) {
            scope.bind(&info.name, binding.clone());
        }
        let Some(mut outputs) = cx.nested("body", body, &scope)? else {
            return Ok(vec![Binding::Poison; cx.n_outputs()]);
        };
        let stacked = outputs.split_off(1 + carried);
        let Binding::Tensor(goes_on) = outputs.remove(0) else {
            return cx.error(238, "the condition of Loop is no tensor");
        };
        if cx.ints_of(&goes_on).as_deref() != Some(&[1]) {
            return cx.unsupported("a Loop with changing shapes whose condition data decide");
        }
        for (stack, value) in stacks.iter_mut().zip(tensors(cx, stacked)?) {
            stack.push(cx.unsqueeze(value.id, 0)?);
        }
        state = outputs;
    }
    for stack in stacks {
        if stack.is_empty() {
            return cx.unsupported("a Loop that stacks results and never runs");
        }
        state.push(cx.concat(&stack, 0)?.into());
    }
    Ok(state)
}

/// Numbers of one attribute, one a scanned value.
fn per_value(cx: &OpCx<'_>, name: &str, n: usize) -> Result<Vec<i64>, Problem> {
    let numbers = cx.ints(name)?.unwrap_or_else(|| vec![0; n]);
    if numbers.len() != n {
        return cx.error(239, format!("{name} has {} numbers for {n} values", numbers.len()));
    }
    Ok(numbers)
}

fn scan(cx: &mut OpCx<'_>) -> Outcome {
    let body = cx.graph("body")?;
    let n = cx.int("num_scan_inputs")?;
    let n = cx.required("num_scan_inputs", n)?;
    let n = usize::try_from(n).ok().filter(|&n| (1..=cx.n_inputs()).contains(&n));
    let Some(scanned) = n else { return cx.error(239, "num_scan_inputs is out of range") };
    let carried = cx.n_inputs() - scanned;
    if body.inputs.len() != cx.n_inputs() || body.outputs.len() != cx.n_outputs() || cx.n_outputs() < carried
    {
        return cx.error(239, "body and node differ in the number of inputs or outputs");
    }
    let stacked = cx.n_outputs() - carried;
    let axes = per_value(cx, "scan_input_axes", scanned)?;
    let directions = per_value(cx, "scan_input_directions", scanned)?;
    let output_axes = per_value(cx, "scan_output_axes", stacked)?;
    let output_directions = per_value(cx, "scan_output_directions", stacked)?;
    let mut operands = Vec::new();
    for i in 0..carried {
        operands.push(cx.value(i)?);
    }
    let mut steps: Option<Extent> = None;
    for (i, &axis) in axes.iter().enumerate() {
        let x = cx.value(carried + i)?;
        let rank = cx.rank(x);
        let axis = cx.axis(axis, rank)?;
        let perm: Vec<usize> = std::iter::once(axis).chain((0..rank).filter(|&a| a != axis)).collect();
        let mut x = cx.transpose(x, &perm)?;
        let extent = cx.shape(x)[0].clone();
        match &steps {
            None => steps = Some(extent),
            Some(steps) => {
                cx.need_equal(239, steps, &extent, || {
                    format!("scanned values have {steps} and {extent} steps")
                })?;
                let mut shape = cx.shape(x);
                shape[0] = steps.clone();
                x = cx.reshape(x, shape)?;
            }
        }
        operands.push(x);
    }
    let steps = steps.unwrap_or(Extent::ZERO);
    let captures = cx.captures(&[body]);
    let before = cx.module().symbols.len();
    let region = cx.importer.module.add_region();
    let scope = Scope::new(region);
    for (i, (info, &operand)) in body.inputs.iter().zip(&operands).enumerate() {
        let ty = cx.ty(operand).clone();
        let ty = if i < carried { ty } else { ty.with_shape(&ty.shape[1..]) };
        let param = cx.importer.module.add_param(region, ty);
        scope.bind(&info.name, param);
    }
    cx.enter_captures(&captures, &scope)?;
    let Some(outputs) = cx.nested("body", body, &scope)? else {
        return Ok(vec![Binding::Poison; cx.n_outputs()]);
    };
    let mut results: Vec<ValueId> = tensors(cx, outputs)?.into_iter().map(|v| v.id).collect();
    for i in 0..carried {
        let (value, ty) = (results[i], cx.ty(operands[i]).clone());
        match cx.within(region, |cx| as_carried(cx, value, &ty))? {
            Some(value) => results[i] = value,
            None => return cx.unsupported(format!("a Scan that carries {ty} and makes it {}", cx.ty(value))),
        }
    }
    let slices: Vec<Imported> = results[carried..].iter().map(|&v| v.into()).collect();
    if let Some(what) = undetermined(cx, &slices, before) {
        return cx.unsupported(what);
    }
    cx.importer.module.set_results(region, results);
    operands.extend(cx.capture_operands(&captures));
    let reversed = |v: Vec<i64>| v.into_iter().map(|d| d != 0).collect();
    let op = ops::Scan {
        carried,
        steps,
        reversed_inputs: reversed(directions),
        reversed_outputs: reversed(output_directions),
    };
    let mut values = cx.emit_with_regions(op, &operands, &[region])?;
    for (value, &axis) in values[carried..].iter_mut().zip(&output_axes) {
        let rank = cx.rank(*value);
        let axis = cx.axis(axis, rank)?;
        let perm: Vec<usize> = (1..=axis).chain([0]).chain(axis + 1..rank).collect();
        *value = cx.transpose(*value, &perm)?;
    }
    Ok(values.into_iter().map(Binding::from).collect())
}
