//! recognize - brings patterns spelt in primitives to the one spelling that the importer makes of ONNX's own operator.
//!
//! ```nnir
//! nnir 1
//! phase imported
//! module (%0 "x" : f32[2,3]) {
//!   %1 = constant {value=f32[]=[1.4142135:f32]} : f32[] loc("root")
//!   %2 = broadcast %1 {shape=[2,3]} : f32[2,3] loc("div")
//!   %3 = div %0, %2 : f32[2,3] loc("div")
//!   %4 = erf %3 : f32[2,3] loc("erf")
//!   %5 = constant {value=f32[]=[1.0:f32]} : f32[] loc("one")
//!   %6 = broadcast %5 {shape=[2,3]} : f32[2,3] loc("add")
//!   %7 = add %4, %6 : f32[2,3] loc("add")
//!   %8 = mul %0, %7 : f32[2,3] loc("mul")
//!   %9 = constant {value=f32[]=[0.5:f32]} : f32[] loc("half")
//!   %10 = broadcast %9 {shape=[2,3]} : f32[2,3] loc("y")
//!   %11 = mul %8, %10 : f32[2,3] loc("y")
//!   return %11 "y"
//! }
//! ```
//! becomes
//! ```nnir
//! nnir 1
//! phase imported
//! module (%0 "x" : f32[2,3]) {
//!   %1 = constant {value=f32[]=[1.4142135:f32]} : f32[] loc("root")
//!   %2 = broadcast %1 {shape=[2,3]} : f32[2,3] loc("div")
//!   %3 = div %0, %2 : f32[2,3] loc("div")
//!   %4 = erf %3 : f32[2,3] loc("erf")
//!   %5 = constant {value=f32[]=[1.0:f32]} : f32[] loc("one")
//!   %6 = broadcast %5 {shape=[2,3]} : f32[2,3] loc("add")
//!   %7 = add %4, %6 : f32[2,3] loc("add")
//!   %8 = mul %0, %7 : f32[2,3] loc("mul")
//!   %9 = constant {value=f32[]=[0.5:f32]} : f32[] loc("half")
//!   %10 = broadcast %9 {shape=[2,3]} : f32[2,3] loc("y")
//!   %11 = gelu %0 : f32[2,3] loc("div","erf","add","mul","y")
//!   return %11 "y"
//! }
//! ```
//!
//! Operations are primitive here and later passes make the kernels; so recognising a pattern means nothing more than to
//! spell it in one way, which those passes, cost, and streaming attention then see. Each rule reads its pattern through
//! views of the arithmetic ([x: products, sums, polynomials, clamps, means), so that commuted operands, splat
//! constants, broadcasts and reshapes make no difference, and gives the canonical spelling as a `term`; it fires where
//! the node is not spelt like that. What almost fits is left alone, with the reason: a constant that is off, a value that
//! something else reads too.
//!
//! The canonical spelling is never less accurate than what it replaces by more than rounding: softmax takes the greatest
//! element out, a variance sums squares of differences, the tanh of GELU becomes a sigmoid, which keeps the digits of its
//! small values. Rounding; rules that only move things are Exact.
//!
//! Reading order: `pattern` (how values are read), `term` (how they are made), `scene` (what a rule sees), then any family.

mod activation;
mod attention;
mod cell;
mod gelu;
mod group;
mod norm;
mod pattern;
mod power;
mod rotary;
mod scene;
mod softmax;
mod steps;
mod term;
mod unrolled;

use nnc_ir::{
    Module,
    graph::{Provenance, ValueId},
};

use crate::{
    pass::{Bug, PassCx, Rule},
    rewrite::{Action, Cursor, rewrite},
};
use scene::{Pattern, Readers, Scene};

/// Patterns may be made of patterns: sweeps until nothing changes, at most so many.
const MAX_SWEEPS: usize = 6;

/// The families; what stands earlier is tried first.
const FAMILIES: &[&[Pattern]] = &[
    power::PATTERNS,
    norm::PATTERNS,
    group::PATTERNS,
    softmax::PATTERNS,
    gelu::PATTERNS,
    activation::PATTERNS,
    attention::PATTERNS,
    rotary::PATTERNS,
    cell::PATTERNS,
    steps::PATTERNS,
];

pub(crate) const RULES: &[&Rule] = &[
    &power::POWER,
    &power::QUOTIENT,
    &norm::MEAN,
    &norm::LAYER_NORM,
    &norm::RMS_NORM,
    &norm::NORM_SCALE,
    &group::GROUP_NORM,
    &softmax::SOFTMAX,
    &softmax::LOG_SOFTMAX,
    &gelu::GELU_ERF,
    &gelu::GELU_TANH,
    &activation::SIGMOID,
    &activation::SILU,
    &activation::SOFTPLUS,
    &activation::MISH,
    &activation::HARD_SIGMOID,
    &activation::HARD_SWISH,
    &attention::ATTENTION,
    &rotary::ROTARY,
    &rotary::ROTATE_HALF,
    &cell::GATES,
    &cell::LSTM_CELL,
    &cell::GRU_CELL,
    &unrolled::UNROLLED,
    &steps::JOINED_STEPS,
];

pub(crate) fn run(module: &mut Module, cx: &mut PassCx<'_>) -> Result<(), Bug> {
    let before = cx.misses.len();
    for _ in 0..MAX_SWEEPS {
        cx.misses.truncate(before);
        let fired = cx.rewrites.len();
        sweep(module, cx)?;
        if cx.rewrites.len() == fired {
            unrolled::roll(module, cx)?;
        }
        if cx.rewrites.len() == fired {
            break;
        }
    }
    Ok(())
}

/// Walks the module once.
fn sweep(module: &mut Module, cx: &mut PassCx<'_>) -> Result<(), Bug> {
    let readers = Readers::of(module);
    rewrite(module, "recognize", &mut |cursor: &mut Cursor<'_>, node| {
        for pattern in FAMILIES.iter().copied().flatten() {
            let scene = Scene { module: cursor.module, readers: &readers };
            let is_read = cursor.module.node(node).results.iter().any(|&v| readers.count(v) > 0);
            if !is_read {
                break;
            }
            match (pattern.find)(&scene, node) {
                Ok(found) => {
                    let result = cursor.module.node(node).results[0];
                    if term::stands(cursor.module, result, &found.term) || !cx.has_fuel() {
                        continue;
                    }
                    let value = term::make(cursor, &found.term, result)?;
                    let loc = cursor.module.node(node).loc.clone();
                    cx.fired(pattern.rule, &loc);
                    return Ok(Action::Replace(vec![value]));
                }
                Err(Some(reason)) => cx.miss(cursor.module, node, reason),
                Err(None) => {}
            }
        }
        Ok(Action::Keep)
    })
}

/// A pattern that stands in a module in its canonical spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recognized {
    /// Name of the rule that would make it.
    pub name: &'static str,
    /// ONNX nodes it comes from.
    pub loc: Provenance,
}

/// Every pattern that stands in the module in its canonical spelling, in program order.
#[must_use]
pub fn recognized(module: &Module) -> Vec<Recognized> {
    let readers = Readers::of(module);
    let scene = Scene { module, readers: &readers };
    let mut all: Vec<(Recognized, ValueId)> = Vec::new();
    for region in module.nested_regions(module.body()) {
        for &node in &module.region(region).nodes {
            for pattern in FAMILIES.iter().copied().flatten() {
                let Ok(found) = (pattern.find)(&scene, node) else { continue };
                let this = module.node(node);
                let name = pattern.rule.name;
                let is_new = !all.iter().any(|(r, key)| r.name == name && *key == found.key);
                if is_new && term::stands(module, this.results[0], &found.term) {
                    all.push((Recognized { name, loc: this.loc.clone() }, found.key));
                }
            }
        }
    }
    all.into_iter().map(|(r, _)| r).collect()
}
