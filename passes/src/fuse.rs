//! fuse - puts a loop nest and its neighbours into one `fusion`, which becomes one kernel.
//!
//! ```nnir
//! nnir 1
//! phase canonical
//! symbol s0 "n" 1..=1024 input(0,0)
//! module (%0 "x" : f32[s0,2], %1 "w" : f32[2,2], %2 "b" : f32[2]) {
//!   %3 = matmul %0, %1 : f32[s0,2] loc("gemm")
//!   %4 = broadcast %2 {shape=[s0,2]} : f32[s0,2] loc("gemm")
//!   %5 = add %3, %4 : f32[s0,2] loc("gemm")
//!   %6 = relu %5 : f32[s0,2] loc("act")
//!   return %6 "y"
//! }
//! ```
//! becomes
//! ```nnir
//! nnir 1
//! phase fused
//! symbol s0 "n" 1..=1024 input(0,0)
//! module (%0 "x" : f32[s0,2], %1 "w" : f32[2,2], %2 "b" : f32[2]) {
//!   %3 = fusion %0, %1, %2 : f32[s0,2] loc("gemm","act") {
//!     region (%4 : f32[s0,2], %5 : f32[2,2], %6 : f32[2]) {
//!       %7 = matmul %4, %5 : f32[s0,2] loc("gemm")
//!       %8 = broadcast %6 {shape=[s0,2]} : f32[s0,2] loc("gemm")
//!       %9 = add %7, %8 : f32[s0,2] loc("gemm")
//!       %10 = relu %9 : f32[s0,2] loc("act")
//!       yield %10
//!     }
//!   }
//!   return %3 "y"
//! }
//! ```
//!
//! 1. *grow*: nodes are visited in order; each starts a cluster and takes in the clusters of its operands. What follows a
//!    reduction joins it where only it reads the reduction, be it transposed, if neighbours stay neighbours. Movements are
//!    inlined into whoever reads them, contractions take broadcasts and transposes only. A pointwise producer joins its
//!    one reader; where its elements are read more than once, or it has several readers, the roofline of [`crate::cost`]
//!    decides whether to compute it wherever it is read or to store it. One that a contraction reads is computed where tiles
//!    copy that operand to panels, once for many rows, if they do copy it.
//! 2. *merge*: clusters over one space where one reads what the other gives, or both read one value, become one fusion
//!    with the results of both, if that is cheaper and neither depends on the other by another way.
//!
//! It does not join two reductions, nor what is computed into operands that tiles read where they lie; and nothing joins a
//! contraction that tiles do if they could not do both ([`crate::pass::Tiles`]): they write two results, of f32 or bytes. Whether nodes are one nest is for [`nnc_ir::compose`] to say. Each join is a rewrite, so that
//! fuel stops between two. Inlining every fusion gives the graph back. Exact: values are rounded to `f16` where they were.
//!
//! Fusion for locality as in McKinley, Carr, Tseng, "Improving data locality with loop transformations" (TOPLAS 18(4),
//! 1996); the roofline model decides (CACM 52(4), 2009).

mod cluster;
mod grow;
mod merge;

use nnc_ir::{Module, definitions::Definitions, ops::Op};

use self::{
    cluster::{Readers, Units},
    grow::{Growth, Refusals},
};
use crate::{
    enclose::regions_outside,
    pass::{Bug, Exactness, PassCx, Rule},
};

pub(crate) const RULES: &[&Rule] = &[
    &JOIN_EPILOGUE,
    &JOIN_PROLOGUE,
    &JOIN_PRODUCER,
    &RECOMPUTE_PRODUCER,
    &KEEP_SECOND_RESULT,
    &JOIN_SIBLING,
];

static JOIN_EPILOGUE: Rule = Rule {
    name: "join-epilogue",
    law: "f(reduction(x), z) = a nest that reduces and finishes by f; only f reads the reduction",
    source: "inlining the fusion gives the nodes back",
    exactness: Exactness::Exact,
};
static JOIN_PROLOGUE: Rule = Rule {
    name: "join-prologue",
    law: "reduction(f(x)) = a nest that computes f where it reads; a contraction where tiles copy what they read",
    source: "inlining the fusion gives the nodes back",
    exactness: Exactness::Exact,
};
static JOIN_PRODUCER: Rule = Rule {
    name: "join-producer",
    law: "f(g(x), z) = a nest that computes g where it reads it, if only f reads g or g moves elements",
    source: "inlining the fusion gives the nodes back",
    exactness: Exactness::Exact,
};
static RECOMPUTE_PRODUCER: Rule = Rule {
    name: "recompute-producer",
    law: "f(g(x)), h(g(x)) = nests that compute g each, if that is cheaper than storing g",
    source: "inlining the fusions gives the nodes back; the roofline decides",
    exactness: Exactness::Exact,
};
static KEEP_SECOND_RESULT: Rule = Rule {
    name: "keep-second-result",
    law: "y = g(x), z = f(y) = a nest that gives y and z, over one space; g may be a contraction that tiles do",
    source: "inlining the fusion gives the nodes back; the roofline decides",
    exactness: Exactness::Exact,
};
static JOIN_SIBLING: Rule = Rule {
    name: "join-sibling",
    law: "y = f(x), z = g(x) = a nest that reads x once and gives y and z, over one space",
    source: "inlining the fusion gives the nodes back; the roofline decides",
    exactness: Exactness::Exact,
};

pub(crate) fn run(module: &mut Module, cx: &mut PassCx<'_>) -> Result<(), Bug> {
    for region in regions_outside(module, |op| matches!(op, Op::Fusion(_))) {
        let definitions = Definitions::new(module);
        let readers = Readers::of(module, region, &definitions);
        let Growth { clusters, mut refusals, .. } = Growth::of(module, &readers, region, cx);
        let mut units = Units::needed(module, region, &readers, clusters);
        merge::merge(module, &readers, &mut units, &mut refusals, cx);
        tell(module, &units, &refusals, cx);
        units.emit(module, region)?;
    }
    module.phase = module.phase.max(nnc_ir::graph::Phase::Fused);
    Ok(())
}

/// Records why clusters read what others computed: what the last node of each has to say.
fn tell(module: &Module, units: &Units, refusals: &Refusals, cx: &mut PassCx<'_>) {
    for cluster in units.list.iter().flatten() {
        for &value in &cluster.captures {
            let Some(producer) = module.def_node(value) else { continue };
            let reason = cluster.nodes.iter().rev().find_map(|&n| Some((n, refusals.get(&(n, value))?)));
            if let Some((node, reason)) = reason {
                let op = module.node(producer).op.mnemonic();
                cx.miss(module, node, format!("stays apart from `{op}`: {reason}"));
            }
        }
    }
}
