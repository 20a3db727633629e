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
//! A broadcast of a constant counts as one where something is computed from it: it is repeated while folding only.
//!
//! Left alone: nodes whose result would be much larger than their operands (a broadcast of a scalar stays a broadcast),
//! results of unknown extent, and nodes with regions. Weights of contractions may grow more: a contraction would compute
//! them from an 8-bit form in every run, where other readers may do that on the way. Folding happens in the tensor's own
//! element type. Exact.

use nnc_ir::{
    Module,
    constant::Constant,
    entity::EntityId,
    form::{Class, Form, Ix},
    graph::{NodeId, ValueId},
    ops::{Broadcast, ConstantOp, Op},
};
use rustc_hash::FxHashSet;

use crate::{
    pass::{Bug, Exactness, PassCx, Rule},
    rewrite::{Action, Cursor, rewrite},
};

/// Results up to so many bytes are folded however small their operands are.
const SMALL_BYTES: i64 = 4 << 10;
/// Larger results are folded if they are at most so many times as large as their operands together.
const MAX_GROWTH: i64 = 2;
/// Likewise weights of contractions: from 8 to 32 bits.
const MAX_WEIGHT_GROWTH: i64 = 4;

pub(crate) const RULES: &[&Rule] = &[&FOLD];

static FOLD: Rule = Rule {
    name: "fold",
    law: "a node whose operands are constants = what it gives for them",
    source: "the evaluator computes it in its own element type",
    exactness: Exactness::Exact,
};

pub(crate) fn run(module: &mut Module, cx: &mut PassCx<'_>) -> Result<(), Bug> {
    let weights = weights(module);
    rewrite(module, "fold-constants", &mut |cursor: &mut Cursor<'_>, node| {
        if !cx.has_fuel() {
            return Ok(Action::Keep);
        }
        let Some(operands) = constant_operands(cursor.module, node) else { return Ok(Action::Keep) };
        let this = cursor.module.node(node);
        let growth = match this.results.iter().any(|v| weights.contains(&v.index())) {
            true => MAX_WEIGHT_GROWTH,
            false => MAX_GROWTH,
        };
        if let Some(reason) = keeps_apart(cursor.module, node, &operands, growth) {
            // Nobody misses a broadcast: its readers read what is repeated.
            if !matches!(this.op, Op::Broadcast(_)) {
                cx.miss(cursor.module, node, reason);
            }
            return Ok(Action::Keep);
        }
        let all: Option<Vec<Constant>> = operands.iter().map(|o| o.value(cx)).collect();
        let Some(values) = all.and_then(|operands| cx.consts.fold(&this.op, &operands)) else {
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

/// An operand that is known: a constant, perhaps repeated.
struct Known {
    constant: Constant,
    repeated: Option<Broadcast>,
}

impl Known {
    fn of(module: &Module, value: ValueId) -> Option<Known> {
        if let Some(constant) = module.as_constant(value) {
            return Some(Known { constant: constant.clone(), repeated: None });
        }
        let (op, node) = module.defined_by::<Broadcast>(value)?;
        let constant = module.as_constant(node.operands[0])?.clone();
        Some(Known { constant, repeated: Some(op.clone()) })
    }

    /// With its elements repeated.
    fn value(&self, cx: &PassCx<'_>) -> Option<Constant> {
        match &self.repeated {
            None => Some(self.constant.clone()),
            Some(op) => cx.consts.fold(&op.clone().into(), std::slice::from_ref(&self.constant))?.pop(),
        }
    }
}

/// The operands, if all are known and the node is of a kind that can be computed.
fn constant_operands(module: &Module, node: NodeId) -> Option<Vec<Known>> {
    match module.form(node) {
        Form::Constant | Form::Region | Form::Composite | Form::ReadExtents(_) => return None,
        Form::Extern(e) if !e.defines.is_empty() => return None,
        Form::Extents(extents) if extents.iter().any(|e| e.as_const().is_none()) => return None,
        _ => {}
    }
    module.node(node).operands.iter().map(|&v| Known::of(module, v)).collect()
}

fn keeps_apart(module: &Module, node: NodeId, operands: &[Known], growth: i64) -> Option<String> {
    let bytes = |o: &Known| {
        let c = &o.constant;
        i64::try_from(c.elements().saturating_mul(c.dtype().bytes())).unwrap_or(i64::MAX)
    };
    let have = operands.iter().map(bytes).fold(0i64, i64::saturating_add);
    for &result in &module.node(node).results {
        let Some(need) = module.ty(result).bytes().as_const() else {
            return Some(format!("its result {} has an extent known only at run time", module.ty(result)));
        };
        if need > SMALL_BYTES && need > have.saturating_mul(growth) {
            return Some(format!("its result of {need} bytes is larger than its operands of {have}"));
        }
    }
    None
}

/// Values that a contraction reads, or that what it reads is computed from element by element; inside of loops too.
fn weights(module: &Module) -> FxHashSet<usize> {
    let mut weights = FxHashSet::default();
    // Inner regions come behind those that own them.
    for region in module.nested_regions(module.body()).into_iter().rev() {
        for &node in module.region(region).nodes.iter().rev() {
            let this = module.node(node);
            let read = this.results.iter().any(|v| weights.contains(&v.index()));
            let passes = match module.form(node) {
                Form::Loops(form) => {
                    let looks_up =
                        form.loads.iter().flat_map(|l| &l.index).any(|ix: &Ix| !ix.loads().is_empty());
                    form.class() == Class::Contraction || (read && form.combine.is_none() && !looks_up)
                }
                Form::View => read,
                Form::Region => {
                    weights.extend(bound_to(module, node, &weights));
                    false
                }
                _ => false,
            };
            if passes {
                weights.extend(this.operands.iter().map(|v| v.index()));
            }
        }
    }
    weights
}

/// Operands of a node that are bound to parameters among `inner`.
fn bound_to(module: &Module, node: NodeId, inner: &FxHashSet<usize>) -> Vec<usize> {
    let this = module.node(node);
    // Nobody binds the condition of an `if`.
    let first = usize::from(matches!(this.op, Op::If(_)));
    let params = this.regions.iter().flat_map(|&r| module.region(r).params.iter().enumerate());
    let inside = params.filter(|(_, param)| inner.contains(&param.index()));
    inside.filter_map(|(i, _)| Some(this.operands.get(first + i)?.index())).collect()
}
