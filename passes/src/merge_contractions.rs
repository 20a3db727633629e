//! merge-contractions - makes one wider contraction of several that read one value.
//!
//! ```nnir
//! nnir 1
//! phase canonical
//! symbol s0 "n" 1..=64 input(0,0)
//! module (%0 "x" : f32[s0,2]) {
//!   %1 = constant {value=f32[2,2]=splat(1.0:f32)} : f32[2,2] loc("wq")
//!   %2 = matmul %0, %1 : f32[s0,2] loc("q")
//!   %3 = constant {value=f32[2,2]=splat(2.0:f32)} : f32[2,2] loc("wk")
//!   %4 = matmul %0, %3 : f32[s0,2] loc("k")
//!   %5 = transpose %4 {perm=[1,0]} : f32[2,s0] loc("t")
//!   %6 = matmul %2, %5 : f32[s0,s0] loc("qk")
//!   return %6 "y"
//! }
//! ```
//! becomes
//! ```nnir
//! nnir 1
//! phase canonical
//! symbol s0 "n" 1..=64 input(0,0)
//! module (%0 "x" : f32[s0,2]) {
//!   %1 = constant {value=f32[2,2]=splat(1.0:f32)} : f32[2,2] loc("wq")
//!   %2 = constant {value=f32[2,4]=[1.0:f32,1.0:f32,2.0:f32,2.0:f32,1.0:f32,1.0:f32,2.0:f32,2.0:f32]} : f32[2,4] loc("q","k")
//!   %3 = matmul %0, %2 : f32[s0,4] loc("q","k")
//!   %4 = slice %3 {starts=[0,0], steps=[1,1], shape=[s0,2]} : f32[s0,2] loc("q")
//!   %5 = slice %3 {starts=[0,2], steps=[1,1], shape=[s0,2]} : f32[s0,2] loc("k")
//!   %6 = constant {value=f32[2,2]=splat(2.0:f32)} : f32[2,2] loc("wk")
//!   %7 = transpose %5 {perm=[1,0]} : f32[2,s0] loc("t")
//!   %8 = matmul %4, %7 : f32[s0,s0] loc("qk")
//!   return %8 "y"
//! }
//! ```
//!
//! Siblings are matrix products by constants, or convolutions in one group by constant weights of the same extents but
//! for the filters, that read one value. Their weights are put side by side. What is done to each result alike, with
//! constants of a number a channel (biases, activations, reshapes that keep or split the channels), is done once to the
//! wide result; slices of it stand for the rest, and contractions and pointwise nests read through those.
//!
//! Left apart where it does not pay (both sides in cycles): something that only one of them has behind it is no longer
//! its epilogue, and what needs its own memory (a concat, an output, a loop) is a copy. Where all together do not pay,
//! those without copies may. Exact: each element is the same sum, in the same order.

mod column;
mod emit;
mod price;
mod siblings;

use nnc_ir::{
    Module,
    graph::{NodeId, ValueId},
    ops::Op,
};
use rustc_hash::FxHashMap;

use self::column::Plan;
use crate::{
    pass::{Bug, Exactness, PassCx, Rule},
    rewrite::{Action, Cursor, rewrite},
};

const NAME: &str = "merge-contractions";

pub(crate) const RULES: &[&Rule] = &[&MERGE_MATMULS, &MERGE_CONVS];

static MERGE_MATMULS: Rule = Rule {
    name: "merge-matmuls",
    law: "x a and x b = left and right columns of x [a b], for constants",
    source: "columns of a matrix product do not mix",
    exactness: Exactness::Exact,
};
static MERGE_CONVS: Rule = Rule {
    name: "merge-convs",
    law: "conv(x, a) and conv(x, b) = first and last channels of conv(x, a over b), for constants, one group and equal windows",
    source: "filters do not mix; the parallel 1x1 branches of Szegedy et al., Going deeper with convolutions, CVPR 2015",
    exactness: Exactness::Exact,
};

pub(crate) fn run(module: &mut Module, cx: &mut PassCx<'_>) -> Result<(), Bug> {
    let mut plans: FxHashMap<NodeId, Plan> = FxHashMap::default();
    for region in module.nested_regions(module.body()) {
        for plan in price::worthy(module, region, cx) {
            plans.insert(plan.members[0].node, plan);
        }
    }
    let mut slices: FxHashMap<ValueId, ValueId> = FxHashMap::default();
    rewrite(module, NAME, &mut |cursor: &mut Cursor<'_>, node| {
        if let Some(plan) = plans.get(&node).filter(|_| cx.has_fuel()) {
            match emit::emit(cursor, plan, cx)? {
                Some(made) => {
                    let rule = if matches!(plan.op, Op::Conv(_)) { &MERGE_CONVS } else { &MERGE_MATMULS };
                    cx.fired(rule, &plan.loc(cursor.module));
                    slices.extend(made);
                }
                None => {
                    cx.miss(cursor.module, node, "the evaluator declined to put the weights side by side")
                }
            }
        }
        Ok(match cursor.module.node(node).results[..] {
            [result] => slices.get(&result).map_or(Action::Keep, |&slice| Action::Replace(vec![slice])),
            _ => Action::Keep,
        })
    })
}
