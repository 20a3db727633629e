//! fuse-rows - puts reductions, what they reduce and what is made of them into one `fusion`: softmax, normalisations.
//!
//! ```nnir
//! nnir 1
//! phase canonical
//! symbol s0 "n" 1..=1024 input(0,0)
//! module (%0 "x" : f32[s0,8]) {
//!   %1 = reduce %0 {kind=max, axes=[1], keep=true} : f32[s0,1] loc("softmax")
//!   %2 = broadcast %1 {shape=[s0,8]} : f32[s0,8] loc("softmax")
//!   %3 = sub %0, %2 : f32[s0,8] loc("softmax")
//!   %4 = exp %3 : f32[s0,8] loc("softmax")
//!   %5 = reduce %4 {kind=sum, axes=[1], keep=true} : f32[s0,1] loc("softmax")
//!   %6 = broadcast %5 {shape=[s0,8]} : f32[s0,8] loc("softmax")
//!   %7 = div %4, %6 : f32[s0,8] loc("softmax")
//!   return %7 "y"
//! }
//! ```
//! becomes
//! ```nnir
//! nnir 1
//! phase canonical
//! symbol s0 "n" 1..=1024 input(0,0)
//! module (%0 "x" : f32[s0,8]) {
//!   %1 = fusion %0 : f32[s0,8] loc("softmax") {
//!     region (%2 : f32[s0,8]) {
//!       %3 = reduce %2 {kind=max, axes=[1], keep=true} : f32[s0,1] loc("softmax")
//!       %4 = broadcast %3 {shape=[s0,8]} : f32[s0,8] loc("softmax")
//!       %5 = sub %2, %4 : f32[s0,8] loc("softmax")
//!       %6 = exp %5 : f32[s0,8] loc("softmax")
//!       %7 = reduce %6 {kind=sum, axes=[1], keep=true} : f32[s0,1] loc("softmax")
//!       %8 = broadcast %7 {shape=[s0,8]} : f32[s0,8] loc("softmax")
//!       %9 = div %6, %8 : f32[s0,8] loc("softmax")
//!       yield %9
//!     }
//!   }
//!   return %1 "y"
//! }
//! ```
//!
//! From each reduction a cluster grows: what reads it and stays within its rows, then what it reads, over and over (`grow`).
//! The cluster must be a row nest ([`nnc_ir::compose::rows`]), with the row axes of the reduction: then one kernel does some
//! rows from beginning to end while they are in the cache. What others read of it are further results.
//!
//! It does not fire where one nest would do (`fuse` sees to that), for rows too long to be kept, where there are too few rows
//! for all threads, and where a reshape or another operation that is no nest lies between. A contraction is never taken in,
//! nor is what it can take as its epilogue. Exact: no value is computed in another way.

mod emit;
mod grow;

use nnc_ir::{
    Module,
    compose::rows::RowForm,
    extent::Extent,
    form::{Class, Combine, Form},
    graph::NodeId,
    ops::Op,
};
use rustc_hash::FxHashSet;

use crate::{
    cost,
    enclose::regions_outside,
    pass::{Bug, Exactness, PassCx, Rule},
};
use grow::Graph;

/// Bytes of one row that may be kept between stages.
const ROW_BYTES: i64 = 128 << 10;
/// With fewer rows than this, large tensors are left to kernels that share them among threads.
const FEW_ROWS: i64 = 4;
/// Elements from which sharing matters.
const LARGE: i64 = 1 << 16;

pub(crate) const RULES: &[&Rule] = &[&FORM_ROW_FUSION];

static FORM_ROW_FUSION: Rule = Rule {
    name: "form-row-fusion",
    law: "reductions over the same rows with their producers and consumers = a fusion of them",
    source: "inlining the fusion gives the nodes back",
    exactness: Exactness::Exact,
};

pub(crate) fn run(module: &mut Module, cx: &mut PassCx<'_>) -> Result<(), Bug> {
    for region in regions_outside(module, |op| matches!(op, Op::Fusion(_))) {
        let nodes = module.region(region).nodes.clone();
        let seeds: Vec<NodeId> = nodes.into_iter().filter(|&n| reduces(module, n)).collect();
        let mut taken: FxHashSet<NodeId> = FxHashSet::default();
        for seed in seeds {
            if taken.contains(&seed) || !cx.has_fuel() {
                continue;
            }
            let graph = Graph::of(module, region);
            let (cluster, refused) = grow::grow(&graph, seed);
            let formed = cluster.and_then(|cluster| {
                let form = graph.rows_of(&cluster)?;
                worth_it(module, &form, cx).map(|()| cluster)
            });
            let cluster = match formed {
                Ok(cluster) if cluster.stages > 1 => cluster,
                formed => {
                    if let Some(reason) = formed.err().or_else(|| refused.into_iter().next()) {
                        cx.miss(module, seed, reason);
                    }
                    continue;
                }
            };
            taken.extend(graph.nodes_of(&cluster));
            let plan = graph.plan(&cluster);
            let fusion = emit::emit(module, region, &plan)?;
            cx.fired(&FORM_ROW_FUSION, &module.node(fusion).loc);
            for reason in refused {
                cx.miss(module, fusion, reason);
            }
        }
    }
    Ok(())
}

/// Whether a cluster may grow from a node.
fn reduces(module: &Module, node: NodeId) -> bool {
    let Form::Loops(form) = module.form(node) else { return false };
    let joins = matches!(form.combine, Some(Combine::Sum | Combine::Product | Combine::Max | Combine::Min));
    joins && form.class() == Class::Reduce && module.node(node).results.len() == 1
}

/// Whether a row nest is better than its stages as kernels; else why not.
fn worth_it(module: &Module, form: &RowForm, cx: &PassCx<'_>) -> Result<(), String> {
    let points = |extents: &[Extent]| cost::points(module, extents);
    let rows = points(&form.rows);
    let largest =
        form.stages.iter().map(|s| points(&s.form.space).saturating_mul(points(&s.form.reduce))).max();
    if rows < FEW_ROWS && largest.is_some_and(|elements| elements > LARGE) {
        return Err(format!("only {rows} rows: too few to share among threads"));
    }
    let one = |form| cost::of_nest(module, form).cycles(cx.target);
    let apart = form.stages.iter().map(|s| one(&s.form)).fold(0, i64::saturating_add);
    let joined = cost::of_rows(module, form).cycles(cx.target);
    if joined > apart {
        return Err(format!("apart: {apart} cycles, joined: {joined} cycles"));
    }
    Ok(())
}
