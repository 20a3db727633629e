//! fold-constants - computes nodes whose operands are constants.
//!
//! ```nnir
//! nnir 1
//! phase imported
//! module (%0 "x" : f32[2]) {
//!   %1 = constant {value=f32[2]=[1.0:f32,2.0:f32]} : f32[2] loc("w")
//!   %2 = constant {value=f32[2]=[0.5:f32,0.5:f32]} : f32[2] loc("b")
//!   %3 = add %1, %2 : f32[2] loc("sum")
//!   %4 = add %0, %3 : f32[2] loc("y")
//!   return %4 "y"
//! }
//! ```
//! becomes
//! ```nnir
//! nnir 1
//! phase imported
//! module (%0 "x" : f32[2]) {
//!   %1 = constant {value=f32[2]=[1.0:f32,2.0:f32]} : f32[2] loc("w")
//!   %2 = constant {value=f32[2]=[0.5:f32,0.5:f32]} : f32[2] loc("b")
//!   %3 = constant {value=f32[2]=[1.5:f32,2.5:f32]} : f32[2] loc("sum")
//!   %4 = add %0, %3 : f32[2] loc("y")
//!   return %4 "y"
//! }
//! ```
//!
//! Left alone: nodes whose result would be much larger than their operands (a broadcast of a scalar stays a broadcast),
//! results of unknown extent, and nodes with regions. Folding happens in the tensor's own element type. Exact.

use nnc_ir::{Module, constant::Constant, form::Form, graph::NodeId, ops::ConstantOp};

use crate::{
    pass::{Bug, Exactness, PassCx, Rule},
    rewrite::{Action, Cursor, rewrite},
};

/// Results up to so many bytes are folded however small their operands are.
const SMALL_BYTES: i64 = 4 << 10;
/// Larger results are folded if they are at most so many times as large as their operands together.
const MAX_GROWTH: i64 = 2;

pub(crate) const RULES: &[&Rule] = &[&FOLD];

static FOLD: Rule = Rule {
    name: "fold",
    law: "a node whose operands are constants = what it gives for them",
    source: "the evaluator computes it in its own element type",
    exactness: Exactness::Exact,
};

pub(crate) fn run(module: &mut Module, cx: &mut PassCx<'_>) -> Result<(), Bug> {
    rewrite(module, "fold-constants", &mut |cursor: &mut Cursor<'_>, node| {
        if !cx.has_fuel() {
            return Ok(Action::Keep);
        }
        let Some(operands) = constant_operands(cursor.module, node) else { return Ok(Action::Keep) };
        if let Some(reason) = keeps_apart(cursor.module, node, &operands) {
            cx.miss(cursor.module, node, reason);
            return Ok(Action::Keep);
        }
        let this = cursor.module.node(node);
        let Some(values) = cx.consts.fold(&this.op, &operands) else {
            cx.miss(cursor.module, node, "the evaluator declined");
            return Ok(Action::Keep);
        };
        if values.len() != this.results.len() {
            return Ok(Action::Keep);
        }
        let loc = cursor.module.node(node).loc.clone();
        cx.fired(&FOLD, &loc);
        let values = values.into_iter().map(|value| cursor.emit1(ConstantOp { value }, &[], &loc));
        Ok(Action::Replace(values.collect::<Result<_, _>>()?))
    })
}

/// The operands, if all are constants and the node is of a kind that can be computed.
fn constant_operands(module: &Module, node: NodeId) -> Option<Vec<Constant>> {
    match module.form(node) {
        Form::Constant | Form::Region | Form::Composite | Form::ReadExtents(_) => return None,
        Form::Extern(e) if !e.defines.is_empty() => return None,
        Form::Extents(extents) if extents.iter().any(|e| e.as_const().is_none()) => return None,
        _ => {}
    }
    module.node(node).operands.iter().map(|&v| module.as_constant(v).cloned()).collect()
}

fn keeps_apart(module: &Module, node: NodeId, operands: &[Constant]) -> Option<String> {
    let bytes = |c: &Constant| i64::try_from(c.elements().saturating_mul(c.dtype().bytes())).unwrap_or(i64::MAX);
    let have = operands.iter().map(bytes).fold(0i64, i64::saturating_add);
    for &result in &module.node(node).results {
        let Some(need) = module.ty(result).bytes().as_const() else {
            return Some(format!("its result {} has an extent known only at run time", module.ty(result)));
        };
        if need > SMALL_BYTES && need > have.saturating_mul(MAX_GROWTH) {
            return Some(format!("its result of {need} bytes is larger than its operands of {have}"));
        }
    }
    None
}
