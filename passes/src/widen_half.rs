//! widen-half - computes in `f32` what is stored in `f16` or `bf16`, and rounds only what leaves.
//!
//! ```nnir
//! nnir 1
//! phase imported
//! module (%0 "x" : f16[4]) {
//!   %1 = exp %0 : f16[4] loc("a")
//!   %2 = tanh %1 : f16[4] loc("b")
//!   return %2 "y"
//! }
//! ```
//! becomes
//! ```nnir
//! nnir 1
//! phase imported
//! module (%0 "x" : f16[4]) {
//!   %1 = cast %0 {to=f32} : f32[4] loc("a")
//!   %2 = exp %1 : f32[4] loc("a")
//!   %3 = cast %2 {to=f16} : f16[4] loc("a")
//!   %4 = tanh %2 : f32[4] loc("b")
//!   %5 = cast %4 {to=f16} : f16[4] loc("b")
//!   return %5 "y"
//! }
//! ```
//!
//! Programs compute in `f32` anyway; what goes away is the rounding of every intermediate value, and with it the reason not
//! to fuse. Movements follow only if what they move is wide already: a table of embeddings stays as it is. Values that
//! regions carry keep their type. Rounding: results are nearer to those in exact arithmetic.

use nnc_ir::{
    Module,
    dtype::DType,
    form::{Class, Form},
    graph::{NodeId, Provenance, ValueId},
    ops::{Cast, Op},
};

use crate::{
    pass::{Bug, Exactness, PassCx, Rule},
    rewrite::{Action, Cursor, rewrite},
};

pub(crate) const RULES: &[&Rule] = &[&WIDEN];

static WIDEN: Rule = Rule {
    name: "widen",
    law: "op(x: f16) = cast(op(cast(x: f32)): f16), and casts there and back between two of these = nothing",
    source: "rounds once less where values stay in f32",
    exactness: Exactness::Rounding,
};

pub(crate) fn run(module: &mut Module, cx: &mut PassCx<'_>) -> Result<(), Bug> {
    rewrite(module, "widen-half", &mut |cursor: &mut Cursor<'_>, node| {
        let this = cursor.module.node(node);
        if !cx.has_fuel() || !this.operands.iter().any(|&v| is_half(cursor.module, v)) {
            return Ok(Action::Keep);
        }
        let values = match &this.op {
            Op::Cast(cast) => widen_cast(cursor, node, cast.clone())?,
            _ if widens(cursor.module, node) => Some(widen(cursor, node)?),
            _ => None,
        };
        let Some(values) = values else { return Ok(Action::Keep) };
        cx.fired(&WIDEN, &cursor.module.node(node).loc);
        Ok(Action::Replace(values))
    })
}

fn is_half(module: &Module, value: ValueId) -> bool {
    matches!(module.ty(value).dtype, DType::F16 | DType::BF16)
}

/// The `f32` value that a half one was rounded from, if it was.
fn wide_source(module: &Module, value: ValueId) -> Option<ValueId> {
    let (_, node) = module.defined_by::<Cast>(value)?;
    let source = node.operands[0];
    (is_half(module, value) && module.ty(source).dtype == DType::F32).then_some(source)
}

/// Whether the node should compute, or move, `f32` elements instead.
fn widens(module: &Module, node: NodeId) -> bool {
    let moves = match module.form(node) {
        Form::Loops(form) => form.class() == Class::Movement,
        Form::View | Form::Concat { .. } => true,
        _ => return false,
    };
    let wide = |v: &ValueId| !is_half(module, *v) || wide_source(module, *v).is_some();
    !moves || module.node(node).operands.iter().all(wide)
}

/// A conversion of a value that was rounded converts the value before it.
fn widen_cast(cursor: &mut Cursor<'_>, node: NodeId, cast: Cast) -> Result<Option<Vec<ValueId>>, Bug> {
    let this = cursor.module.node(node).clone();
    let Some(source) = wide_source(cursor.module, this.operands[0]) else { return Ok(None) };
    if cast.to == DType::F32 {
        return Ok(Some(vec![source]));
    }
    Ok(Some(cursor.emit(cast, &[source], &this.loc)?))
}

/// The node on `f32` operands, its half results rounded.
fn widen(cursor: &mut Cursor<'_>, node: NodeId) -> Result<Vec<ValueId>, Bug> {
    let this = cursor.module.node(node).clone();
    let operands =
        this.operands.iter().map(|&v| wide(cursor, v, &this.loc)).collect::<Result<Vec<_>, _>>()?;
    let results = cursor.emit(this.op, &operands, &this.loc)?;
    let narrow = |(new, old): (ValueId, &ValueId)| {
        let to = cursor.module.ty(*old).dtype;
        if cursor.module.ty(new).dtype == to { Ok(new) } else { cursor.emit1(Cast { to }, &[new], &this.loc) }
    };
    results.into_iter().zip(&this.results).map(narrow).collect()
}

fn wide(cursor: &mut Cursor<'_>, value: ValueId, loc: &Provenance) -> Result<ValueId, Bug> {
    if !is_half(cursor.module, value) {
        return Ok(value);
    }
    match wide_source(cursor.module, value) {
        Some(source) => Ok(source),
        None => cursor.emit1(Cast { to: DType::F32 }, &[value], loc),
    }
}
