//! sink-reshapes - computes on the fewer axes that a value had before a reshape, and reshapes afterwards.
//!
//! ```nnir
//! nnir 1
//! phase imported
//! symbol s0 "n" 1..=1024 input(0,0)
//! module (%0 "x" : f32[s0,5,3], %1 "w" : f32[3,2], %2 "b" : f32[2]) {
//!   %3 = reshape %0 {shape=[5*s0,3]} : f32[5*s0,3] loc("product")
//!   %4 = matmul %3, %1 : f32[5*s0,2] loc("product")
//!   %5 = reshape %4 {shape=[s0,5,2]} : f32[s0,5,2] loc("product")
//!   %6 = broadcast %2 {shape=[s0,5,2]} : f32[s0,5,2] loc("bias")
//!   %7 = add %5, %6 : f32[s0,5,2] loc("bias")
//!   return %7 "y"
//! }
//! ```
//! becomes
//! ```nnir
//! nnir 1
//! phase imported
//! symbol s0 "n" 1..=1024 input(0,0)
//! module (%0 "x" : f32[s0,5,3], %1 "w" : f32[3,2], %2 "b" : f32[2]) {
//!   %3 = reshape %0 {shape=[5*s0,3]} : f32[5*s0,3] loc("product")
//!   %4 = matmul %3, %1 : f32[5*s0,2] loc("product")
//!   %5 = reshape %4 {shape=[s0,5,2]} : f32[s0,5,2] loc("product")
//!   %6 = broadcast %2 {shape=[s0,5,2]} : f32[s0,5,2] loc("bias")
//!   %7 = broadcast %2 {shape=[5*s0,2]} : f32[5*s0,2] loc("bias")
//!   %8 = add %4, %7 : f32[5*s0,2] loc("bias")
//!   %9 = reshape %8 {shape=[s0,5,2]} : f32[s0,5,2] loc("bias")
//!   return %9 "y"
//! }
//! ```
//!
//! A product of a tensor of many axes by a matrix is imported as a product of two matrices between reshapes, which no
//! nest can be fused through. What follows elementwise, reductions of whole axes and broadcasts among it, runs on the
//! joined axes as well; reshapes meet further down and cancel. It does not fire where an operand varies along a part of
//! the joined axes only (it would have to be repeated), nor where nothing is computed before the reshape. The number of
//! axes falls each time. Only what follows a normalization along rows goes to more axes, those on which it was normalized:
//! scale, bias and activation of a group norm are in its kernel then. Exact: the same operations on the same elements.

mod rows;

use nnc_ir::{
    Module,
    extent::{Extent, product},
    form::{Bounds, Class, Form, Ix, LoopForm},
    graph::{NodeId, Provenance, ValueId},
    ops::{Broadcast, Op, Reduce, Reshape},
    program::Inst,
};

use crate::{
    pass::{Bug, Exactness, PassCx, Rule},
    rewrite::{Action, Cursor, rewrite},
};

pub(crate) const RULES: &[&Rule] =
    &[&SINK_BELOW_POINTWISE, &SINK_BELOW_ROWS, &SINK_BELOW_REDUCE, &SINK_BELOW_BROADCAST];

static SINK_BELOW_POINTWISE: Rule = Rule {
    name: "sink-below-pointwise",
    law: "f(reshape(x), b) = reshape(f(x, b')), where x has adjacent axes joined, and b' is b with these joined",
    source: "a reshape keeps row-major order, in which f works element by element",
    exactness: Exactness::Exact,
};
static SINK_BELOW_ROWS: Rule = Rule {
    name: "sink-below-pointwise-of-rows",
    law: "f(reshape(x), b) = reshape(f(x, b')), where the reshape joins axes, x is normalized along some, and b' is b with these split",
    source: "as above; Wu & He, Group Normalization, 2018: groups, then a scale for each channel",
    exactness: Exactness::Exact,
};
static SINK_BELOW_REDUCE: Rule = Rule {
    name: "sink-below-reduce",
    law: "reduce(reshape(x), axes) = reshape(reduce(x, joined axes)), where x has adjacent axes joined, all or none of them reduced",
    source: "the elements that are joined, and their order, stay",
    exactness: Exactness::Exact,
};
static SINK_BELOW_BROADCAST: Rule = Rule {
    name: "sink-below-broadcast",
    law: "broadcast(reshape(x)) = reshape(broadcast(x)), where x has adjacent axes joined that repeat together or not at all",
    source: "a joined axis repeats as its parts do",
    exactness: Exactness::Exact,
};

pub(crate) fn run(module: &mut Module, cx: &mut PassCx<'_>) -> Result<(), Bug> {
    rewrite(module, "sink-reshapes", &mut |cursor: &mut Cursor<'_>, node| {
        if !cx.has_fuel() {
            return Ok(Action::Keep);
        }
        let sunk = match &cursor.module.node(node).op {
            Op::Reshape(_) => None,
            Op::Broadcast(_) => below_broadcast(cursor, node)?.map(|v| (&SINK_BELOW_BROADCAST, v)),
            Op::Reduce(op) => below_reduce(cursor, node, &op.clone())?.map(|v| (&SINK_BELOW_REDUCE, v)),
            _ if is_elementwise(cursor.module, node) => match below_pointwise(cursor, node)? {
                Ok(value) => Some((&SINK_BELOW_POINTWISE, value)),
                Err(reason) => {
                    let sunk = rows::below_pointwise(cursor, node)?;
                    if let Some(reason) = reason.filter(|_| sunk.is_none()) {
                        cx.miss(cursor.module, node, reason);
                    }
                    sunk.map(|value| (&SINK_BELOW_ROWS, value))
                }
            },
            _ => None,
        };
        let Some((rule, value)) = sunk else { return Ok(Action::Keep) };
        cx.fired(rule, &cursor.module.node(node).loc);
        Ok(Action::Replace(vec![value]))
    })
}

/// How the axes of a tensor join to fewer: for each joined axis, which of them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Joining {
    parts: Vec<std::ops::Range<usize>>,
    joined: Vec<Extent>,
}

impl Joining {
    /// The joining by which `axes` become `joined`, which are fewer.
    fn of(axes: &[Extent], joined: &[Extent]) -> Option<Joining> {
        if joined.len() >= axes.len() || joined.is_empty() {
            return None;
        }
        let mut parts = Vec::with_capacity(joined.len());
        let mut at = 0;
        for whole in joined {
            let start = at;
            let mut extent = Extent::ONE;
            while extent != *whole {
                extent = &extent * axes.get(at)?;
                at += 1;
            }
            parts.push(start..at);
        }
        // Axes of extent 1 may be left over.
        if axes[at..].iter().any(|e| !e.is(1)) {
            return None;
        }
        if let Some(last) = parts.last_mut() {
            last.end = axes.len();
        }
        Some(Joining { parts, joined: joined.to_vec() })
    }

    /// Shape with its axes joined of a tensor that is broadcast to `full`: along the parts of each joined axis it has
    /// extent 1, or those of `full`.
    fn of_operand(&self, shape: &[Extent], full: &[Extent]) -> Option<Vec<Extent>> {
        let missing = full.len().checked_sub(shape.len())?;
        let own = |axis: usize| axis.checked_sub(missing).map_or(Extent::ONE, |a| shape[a].clone());
        let join = |part: &std::ops::Range<usize>| {
            let single = part.clone().all(|a| own(a).is(1));
            let whole = part.clone().all(|a| own(a) == full[a]);
            match (single, whole) {
                (true, _) => Some(Extent::ONE),
                (_, true) => Some(product(&full[part.clone()])),
                _ => None,
            }
        };
        self.parts.iter().map(join).collect()
    }
}

/// Source of a reshape that had axes joined, with how.
fn joined_source(module: &Module, value: ValueId) -> Option<(ValueId, Joining)> {
    let (_, reshape) = module.defined_by::<Reshape>(value)?;
    let source = reshape.operands[0];
    Some((source, Joining::of(&module.ty(value).shape, &module.ty(source).shape)?))
}

/// Whether each element of the one result is computed from the elements of the operands at the same place.
fn is_elementwise(module: &Module, node: NodeId) -> bool {
    let this = module.node(node);
    let shape = |v: ValueId| &module.ty(v).shape;
    let [result] = this.results[..] else { return false };
    let same = !this.operands.is_empty() && this.operands.iter().all(|&v| shape(v) == shape(result));
    let in_place = |form: &LoopForm| {
        let places = LoopForm::identity(form.space.len());
        let plain = |ix: &Ix, axis: usize| *ix == Ix::Axis(axis) || form.space[axis].is(1);
        let identity = |index: &[Ix]| {
            index.len() == places.len() && index.iter().enumerate().all(|(axis, ix)| plain(ix, axis))
        };
        let free = !form.body.insts().iter().any(|(inst, _)| matches!(inst, Inst::Index(_)));
        free && form.loads.iter().all(|l| l.bounds == Bounds::Inside && identity(&l.index))
    };
    same && match module.form(node) {
        // A movement that moves nothing may still name axes.
        Form::Loops(form) => {
            (form.class() == Class::Pointwise || matches!(this.op, Op::Cast(_))) && in_place(&form)
        }
        _ => false,
    }
}

/// Whether something is computed where the value comes from, that what follows could be fused to.
fn is_computed(module: &Module, value: ValueId) -> bool {
    let Some(node) = module.def_node(value) else { return false };
    match module.form(node) {
        Form::Loops(form) => form.class() != Class::Movement,
        Form::Region => true,
        _ => false,
    }
}

/// The pointwise node on joined axes; else why not, if there was a reshape.
fn below_pointwise(cursor: &mut Cursor<'_>, node: NodeId) -> Result<Result<ValueId, Option<String>>, Bug> {
    let this = cursor.module.node(node).clone();
    let module = &*cursor.module;
    let Some((source, joining)) = this.operands.iter().find_map(|&v| joined_source(module, v)) else {
        return Ok(Err(None));
    };
    let mut plans = Vec::with_capacity(this.operands.len());
    let mut foreign = false;
    for &operand in &this.operands {
        let plan = plan_operand(module, operand, &joining);
        let Some(plan) = plan else {
            let op = module.def_node(operand).map_or("input", |n| module.node(n).op.mnemonic());
            return Ok(Err(Some(format!(
                "keeps its axes: `{op}` varies along some of those that were joined"
            ))));
        };
        foreign |= matches!(plan, Plan::Reshape(_));
        plans.push(plan);
    }
    if foreign && !is_computed(module, source) {
        return Ok(Err(Some("keeps its axes: nothing is computed before the reshape".into())));
    }
    let mut operands = Vec::with_capacity(plans.len());
    for plan in plans {
        operands.push(plan.emit(cursor, &joining, &this.loc)?);
    }
    let value = cursor.emit1(this.op.clone(), &operands, &this.loc)?;
    let shape = cursor.module.ty(this.results[0]).shape.clone();
    Ok(Ok(cursor.emit1(Reshape { shape }, &[value], &this.loc)?))
}

/// How an operand comes to have joined axes.
enum Plan {
    /// It had them before its reshape.
    Source(ValueId),
    /// A broadcast of this, first given this shape.
    Broadcast(ValueId, Vec<Extent>),
    /// By a reshape.
    Reshape(ValueId),
}

impl Plan {
    fn emit(self, cursor: &mut Cursor<'_>, joining: &Joining, loc: &Provenance) -> Result<ValueId, Bug> {
        let shape = joining.joined.clone();
        match self {
            Plan::Source(value) => Ok(value),
            Plan::Reshape(value) => cursor.emit1(Reshape { shape }, &[value], loc),
            Plan::Broadcast(value, own) => {
                // Axes in front that repeat need not be there.
                let own: Vec<Extent> = own.into_iter().skip_while(|e| e.is(1)).collect();
                let value = if cursor.module.ty(value).shape == own {
                    value
                } else {
                    cursor.emit1(Reshape { shape: own }, &[value], loc)?
                };
                cursor.emit1(Broadcast { shape }, &[value], loc)
            }
        }
    }
}

fn plan_operand(module: &Module, operand: ValueId, joining: &Joining) -> Option<Plan> {
    if let Some((source, how)) = joined_source(module, operand)
        && how == *joining
    {
        return Some(Plan::Source(source));
    }
    if let Some((_, broadcast)) = module.defined_by::<Broadcast>(operand) {
        let source = broadcast.operands[0];
        let full = &module.ty(operand).shape;
        return Some(Plan::Broadcast(source, joining.of_operand(&module.ty(source).shape, full)?));
    }
    Some(Plan::Reshape(operand))
}

/// The reduction on joined axes, if each of these is reduced as a whole or not at all.
fn below_reduce(cursor: &mut Cursor<'_>, node: NodeId, op: &Reduce) -> Result<Option<ValueId>, Bug> {
    let this = cursor.module.node(node).clone();
    let Some((source, joining)) = joined_source(cursor.module, this.operands[0]) else { return Ok(None) };
    let extents = &cursor.module.ty(this.operands[0]).shape;
    let reduced = |axis: usize| op.axes.contains(&axis);
    let mut axes = Vec::new();
    for (number, part) in joining.parts.iter().enumerate() {
        // Axes of extent 1 go either way.
        let mut own = part.clone().filter(|&a| !extents[a].is(1)).map(reduced);
        match own.next() {
            Some(first) if own.any(|other| other != first) => return Ok(None),
            Some(true) => axes.push(number),
            Some(false) => {}
            None => {
                if part.clone().any(reduced) {
                    axes.push(number);
                }
            }
        }
    }
    if axes.is_empty() {
        return Ok(None);
    }
    let value = cursor.emit1(Reduce { axes, keep: true, ..op.clone() }, &[source], &this.loc)?;
    let shape = cursor.module.ty(this.results[0]).shape.clone();
    Ok(Some(cursor.emit1(Reshape { shape }, &[value], &this.loc)?))
}

/// The broadcast on joined axes, if each of these repeats as a whole or not at all.
fn below_broadcast(cursor: &mut Cursor<'_>, node: NodeId) -> Result<Option<ValueId>, Bug> {
    let this = cursor.module.node(node).clone();
    let Some((source, joining)) = joined_source(cursor.module, this.operands[0]) else { return Ok(None) };
    let (from, to) = (&cursor.module.ty(this.operands[0]).shape, &cursor.module.ty(this.results[0]).shape);
    if from.len() != to.len() || !is_computed(cursor.module, source) {
        return Ok(None);
    }
    let mut shape = Vec::with_capacity(joining.parts.len());
    for part in &joining.parts {
        let (from, to) = (&from[part.clone()], &to[part.clone()]);
        if from != to && from.iter().any(|e| !e.is(1)) {
            return Ok(None);
        }
        shape.push(product(to));
    }
    let to = to.clone();
    let value = cursor.emit1(Broadcast { shape }, &[source], &this.loc)?;
    Ok(Some(cursor.emit1(Reshape { shape: to }, &[value], &this.loc)?))
}
