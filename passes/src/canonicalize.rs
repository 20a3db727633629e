//! canonicalize - brings local spellings to one form.
//!
//! ```nnir
//! nnir 1
//! phase imported
//! module (%0 "x" : f32[2,3]) {
//!   %1 = transpose %0 {perm=[1,0]} : f32[3,2] loc("t1")
//!   %2 = transpose %1 {perm=[1,0]} : f32[2,3] loc("t2")
//!   %3 = constant {value=f32[2,3]=splat(1.0:f32)} : f32[2,3] loc("one")
//!   %4 = mul %2, %3 : f32[2,3] loc("scale")
//!   %5 = reshape %4 {shape=[3,2]} : f32[3,2] loc("r1")
//!   %6 = reshape %5 {shape=[6]} : f32[6] loc("r2")
//!   return %6 "y"
//! }
//! ```
//! becomes
//! ```nnir
//! nnir 1
//! phase imported
//! module (%0 "x" : f32[2,3]) {
//!   %1 = transpose %0 {perm=[1,0]} : f32[3,2] loc("t1")
//!   %2 = transpose %0 {perm=[0,1]} : f32[2,3] loc("t2")
//!   %3 = constant {value=f32[2,3]=splat(1.0:f32)} : f32[2,3] loc("one")
//!   %4 = reshape %2 {shape=[3,2]} : f32[3,2] loc("r1")
//!   %5 = reshape %2 {shape=[6]} : f32[6] loc("r2")
//!   return %5 "y"
//! }
//! ```
//!
//! Rules, each a function below: movements that move nothing go away; reshape of reshape, transpose of transpose and
//! broadcast of broadcast become one; a transpose that only shifts axes of extent 1 becomes a reshape; a concat of one
//! operand goes away; multiplying or dividing by 1 and subtracting 0 go away. Exact.

use nnc_ir::{
    Module,
    dtype::Scalar,
    form::{Bounds, Class, Form, Ix, LoopForm},
    graph::{NodeId, ValueId},
    ops::{Broadcast, Concat, Div, Mul, Op, Reshape, Sub, Transpose},
};

use crate::{
    pass::{Bug, Exactness, PassCx, Rule},
    rewrite::{Apply, Cursor, apply_rules},
};

pub(crate) const RULES: &[&Rule] = &[
    &DROP_IDENTITY_MOVEMENT,
    &DROP_IDENTITY_RESHAPE,
    &DROP_SINGLE_CONCAT,
    &DROP_NEUTRAL_OPERAND,
    &MERGE_RESHAPES,
    &MERGE_TRANSPOSES,
    &MERGE_BROADCASTS,
    &RESHAPE_FOR_UNIT_TRANSPOSE,
];

const APPLY: &[Apply] = &[
    (&DROP_IDENTITY_MOVEMENT, drop_identity_movement),
    (&DROP_IDENTITY_RESHAPE, drop_identity_reshape),
    (&DROP_SINGLE_CONCAT, drop_single_concat),
    (&DROP_NEUTRAL_OPERAND, drop_neutral_operand),
    (&MERGE_RESHAPES, merge_reshapes),
    (&MERGE_TRANSPOSES, merge_transposes),
    (&MERGE_BROADCASTS, merge_broadcasts),
    (&RESHAPE_FOR_UNIT_TRANSPOSE, reshape_for_unit_transpose),
];

static DROP_IDENTITY_MOVEMENT: Rule = Rule {
    name: "drop-identity-movement",
    law: "a movement that reads each element where it writes it = its operand",
    source: "the nest's only load has the identity index",
    exactness: Exactness::Exact,
};
static DROP_IDENTITY_RESHAPE: Rule = Rule {
    name: "drop-identity-reshape",
    law: "reshape(x, shape of x) = x",
    source: "a view of the same type",
    exactness: Exactness::Exact,
};
static DROP_SINGLE_CONCAT: Rule = Rule {
    name: "drop-single-concat",
    law: "concat(x) = x",
    source: "ONNX Concat-13 of one input",
    exactness: Exactness::Exact,
};
static DROP_NEUTRAL_OPERAND: Rule = Rule {
    name: "drop-neutral-operand",
    law: "x * 1 = x / 1 = x - 0 = x",
    source: "IEEE 754-2019, 6.3: holds for NaN, infinities and signed zeros too",
    exactness: Exactness::Exact,
};
static MERGE_RESHAPES: Rule = Rule {
    name: "merge-reshapes",
    law: "reshape(reshape(x, a), b) = reshape(x, b)",
    source: "both are views of the same elements in order",
    exactness: Exactness::Exact,
};
static MERGE_TRANSPOSES: Rule = Rule {
    name: "merge-transposes",
    law: "transpose(transpose(x, p), q) = transpose(x, p after q)",
    source: "composition of permutations",
    exactness: Exactness::Exact,
};
static MERGE_BROADCASTS: Rule = Rule {
    name: "merge-broadcasts",
    law: "broadcast(broadcast(x, a), b) = broadcast(x, b)",
    source: "the inner one repeats what the outer one would",
    exactness: Exactness::Exact,
};
static RESHAPE_FOR_UNIT_TRANSPOSE: Rule = Rule {
    name: "reshape-for-unit-transpose",
    law: "transpose(x, p) = reshape(x) where p keeps the order of all axes of extent other than 1",
    source: "row-major order of the elements stays",
    exactness: Exactness::Exact,
};

pub(crate) fn run(module: &mut Module, cx: &mut PassCx<'_>) -> Result<(), Bug> {
    apply_rules(module, "canonicalize", APPLY, cx)
}

/// A movement whose every element stays where it is.
fn drop_identity_movement(cursor: &mut Cursor<'_>, node: NodeId) -> Result<Option<ValueId>, Bug> {
    let this = cursor.module.node(node);
    let &[operand] = &this.operands[..] else { return Ok(None) };
    let same_type = this.results.len() == 1 && cursor.module.ty(operand) == cursor.module.ty(this.results[0]);
    let moves_nothing = || match cursor.module.form(node) {
        Form::Loops(l) => l.class() == Class::Movement && reads_identity(&l),
        _ => false,
    };
    Ok((same_type && moves_nothing()).then_some(operand))
}

/// Whether the only load reads operand 0 at the place of the result.
fn reads_identity(l: &LoopForm) -> bool {
    let [load] = &l.loads[..] else { return false };
    let in_place = |(axis, ix): (usize, &Ix)| {
        *ix == Ix::Axis(axis) || (l.space[axis].is(1) && *ix == Ix::int(0))
    };
    load.bounds != Bounds::Check && load.extents == l.space && load.index.iter().enumerate().all(in_place)
}

fn drop_identity_reshape(cursor: &mut Cursor<'_>, node: NodeId) -> Result<Option<ValueId>, Bug> {
    let this = cursor.module.node(node);
    let Op::Reshape(_) = &this.op else { return Ok(None) };
    let same = cursor.module.ty(this.operands[0]) == cursor.module.ty(this.results[0]);
    Ok(same.then(|| this.operands[0]))
}

fn drop_single_concat(cursor: &mut Cursor<'_>, node: NodeId) -> Result<Option<ValueId>, Bug> {
    let this = cursor.module.node(node);
    let single = matches!(&this.op, Op::Concat(Concat { .. })) && this.operands.len() == 1;
    Ok(single.then(|| this.operands[0]))
}

/// `x * 1`, `1 * x`, `x / 1`, `x - 0`: exact for every float, NaN and signed zero included (`x + 0` is not: -0 + 0 = 0).
fn drop_neutral_operand(cursor: &mut Cursor<'_>, node: NodeId) -> Result<Option<ValueId>, Bug> {
    let this = cursor.module.node(node);
    let &[lhs, rhs] = &this.operands[..] else { return Ok(None) };
    let dtype = cursor.module.ty(lhs).dtype;
    let (one, zero) = (Scalar::int(dtype, 1), Scalar::zero(dtype));
    let is = |value: ValueId, c: Scalar| splat(cursor.module, value) == Some(c);
    Ok(match &this.op {
        Op::Mul(Mul {}) if is(rhs, one) => Some(lhs),
        Op::Mul(Mul {}) if is(lhs, one) => Some(rhs),
        Op::Div(Div {}) if is(rhs, one) => Some(lhs),
        Op::Sub(Sub {}) if is(rhs, zero) => Some(lhs),
        _ => None,
    })
}

/// The one value all elements have: of a constant, seen through broadcasts and reshapes.
fn splat(module: &Module, value: ValueId) -> Option<Scalar> {
    let node = module.node(module.def_node(value)?);
    match &node.op {
        Op::ConstantOp(c) => c.value.as_splat(),
        Op::Broadcast(_) | Op::Reshape(_) => splat(module, node.operands[0]),
        _ => None,
    }
}

fn merge_reshapes(cursor: &mut Cursor<'_>, node: NodeId) -> Result<Option<ValueId>, Bug> {
    let this = cursor.module.node(node).clone();
    let Op::Reshape(outer) = &this.op else { return Ok(None) };
    let Some((_, inner)) = cursor.module.defined_by::<Reshape>(this.operands[0]) else { return Ok(None) };
    let source = inner.operands[0];
    if cursor.module.ty(source) == cursor.module.ty(this.results[0]) {
        return Ok(Some(source));
    }
    Ok(Some(cursor.emit1(outer.clone(), &[source], &this.loc)?))
}

fn merge_transposes(cursor: &mut Cursor<'_>, node: NodeId) -> Result<Option<ValueId>, Bug> {
    let this = cursor.module.node(node).clone();
    let Op::Transpose(outer) = &this.op else { return Ok(None) };
    let Some((inner, source)) = cursor.module.defined_by::<Transpose>(this.operands[0]) else { return Ok(None) };
    let perm = outer.perm.iter().map(|&p| inner.perm[p]).collect();
    let source = source.operands[0];
    Ok(Some(cursor.emit1(Transpose { perm }, &[source], &this.loc)?))
}

fn merge_broadcasts(cursor: &mut Cursor<'_>, node: NodeId) -> Result<Option<ValueId>, Bug> {
    let this = cursor.module.node(node).clone();
    let Op::Broadcast(outer) = &this.op else { return Ok(None) };
    let Some((_, inner)) = cursor.module.defined_by::<Broadcast>(this.operands[0]) else { return Ok(None) };
    let source = inner.operands[0];
    Ok(Some(cursor.emit1(outer.clone(), &[source], &this.loc)?))
}

/// A transpose that keeps the order of all axes with an extent other than 1 moves nothing.
fn reshape_for_unit_transpose(cursor: &mut Cursor<'_>, node: NodeId) -> Result<Option<ValueId>, Bug> {
    let this = cursor.module.node(node).clone();
    let Op::Transpose(op) = &this.op else { return Ok(None) };
    let input = cursor.module.ty(this.operands[0]);
    if !op.perm.iter().filter(|&&p| !input.shape[p].is(1)).is_sorted() {
        return Ok(None);
    }
    let shape = cursor.module.ty(this.results[0]).shape.clone();
    Ok(Some(cursor.emit1(Reshape { shape }, &[this.operands[0]], &this.loc)?))
}
