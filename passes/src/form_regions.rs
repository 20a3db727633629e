//! form-regions - puts attention, MLP blocks and inverted residuals into regions that may run tile by tile.
//!
//! ```nnir
//! nnir 1
//! phase canonical
//! module (%0 "x" : f32[1024,8], %1 "up" : f32[8,256], %2 "down" : f32[256,8]) {
//!   %3 = matmul %0, %1 : f32[1024,256] loc("up")
//!   %4 = relu %3 : f32[1024,256] loc("act")
//!   %5 = matmul %4, %2 : f32[1024,8] loc("down")
//!   return %5 "y"
//! }
//! ```
//! becomes
//! ```nnir
//! nnir 1
//! phase canonical
//! module (%0 "x" : f32[1024,8], %1 "up" : f32[8,256], %2 "down" : f32[256,8]) {
//!   %3 = tiled %0, %1, %2 {kind=mlp, axis=0, rows=64, bytes=131072} : f32[1024,8] loc("up","act","down") {
//!     region (%4 : f32[1024,8], %5 : f32[8,256], %6 : f32[256,8]) {
//!       %7 = matmul %4, %5 : f32[1024,256] loc("up")
//!       %8 = relu %7 : f32[1024,256] loc("act")
//!       %9 = matmul %8, %6 : f32[1024,8] loc("down")
//!       yield %9
//!     }
//!   }
//!   return %3 "y"
//! }
//! ```
//!
//! From each contraction the pass goes back through what only the region reads, up to the contraction before; one that
//! keeps channels apart is passed through. All of it must depend, position by position, on one axis of the result
//! (`locality`). A region is formed where an estimate of arithmetic and traffic says that tiles are not slower than whole
//! tensors (`plan`), which may be so where the values between the kernels are larger than the second-level cache. Exact: the
//! same operations; inlining the region gives the nodes back.
//! Streaming of attention by tiles: Dao et al., FlashAttention, NeurIPS 2022; of inverted residuals: Sandler et al.,
//! MobileNetV2, CVPR 2018, section 5.

mod locality;
mod plan;

use nnc_ir::{
    Module,
    form::{Class, Combine, Form},
    graph::{NodeId, RegionId, ValueId},
    ops::{Op, Tiled, TiledKind},
};
use rustc_hash::FxHashMap;

use crate::{
    enclose::{enclose, regions_outside},
    pass::{Bug, Exactness, PassCx, Rule},
};
use plan::Plan;

pub(crate) const RULES: &[&Rule] = &[&FORM_ATTENTION, &FORM_MLP, &FORM_INVERTED_RESIDUAL];

static FORM_ATTENTION: Rule = Rule {
    name: "form-attention",
    law: "product, reduction of its rows, product = a region of them, some rows at a time",
    source: "Dao et al., FlashAttention, NeurIPS 2022",
    exactness: Exactness::Exact,
};
static FORM_MLP: Rule = Rule {
    name: "form-mlp",
    law: "product, pointwise, product = a region of them, some rows at a time",
    source: "rows of a product depend on the same rows of its left side",
    exactness: Exactness::Exact,
};
static FORM_INVERTED_RESIDUAL: Rule = Rule {
    name: "form-inverted-residual",
    law: "contraction, contraction that keeps channels apart, contraction = a region of them, some rows at a time",
    source: "Sandler et al., MobileNetV2, CVPR 2018, section 5",
    exactness: Exactness::Exact,
};

pub(crate) fn run(module: &mut Module, cx: &mut PassCx<'_>) -> Result<(), Bug> {
    for region in regions_outside(module, |op| matches!(op, Op::Fusion(_) | Op::Tiled(_))) {
        for node in module.region(region).nodes.clone().into_iter().rev() {
            if cx.has_fuel() && module.region(region).nodes.contains(&node) {
                form(module, region, node, cx)?;
            }
        }
    }
    Ok(())
}

/// Forms the region that ends in `last`, if there is one and it pays.
fn form(module: &mut Module, region: RegionId, last: NodeId, cx: &mut PassCx<'_>) -> Result<(), Bug> {
    // A tiled node gives one value.
    if contraction(module, last) != Some(Mixing::Mixes) || module.node(last).results.len() != 1 {
        return Ok(());
    }
    let Some((nodes, kind)) = members(module, region, last) else { return Ok(()) };
    let plan = match Plan::of(module, &nodes, cx.target) {
        Ok(plan) => plan,
        Err(reason) => {
            cx.miss(module, last, format!("no region for {}: {reason}", name(kind)));
            return Ok(());
        }
    };
    let tiled = emit(module, region, &nodes, plan.op(kind))?;
    cx.fired_for(rule(kind), &module.node(tiled).loc, plan.figures());
    Ok(())
}

fn rule(kind: TiledKind) -> &'static Rule {
    match kind {
        TiledKind::Attention => &FORM_ATTENTION,
        TiledKind::Mlp => &FORM_MLP,
        TiledKind::InvertedResidual => &FORM_INVERTED_RESIDUAL,
    }
}

fn name(kind: TiledKind) -> &'static str {
    match kind {
        TiledKind::Attention => "attention",
        TiledKind::Mlp => "an MLP block",
        TiledKind::InvertedResidual => "an inverted residual",
    }
}

/// Whether a contraction sums over channels.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mixing {
    Mixes,
    KeepsApart,
}

/// What kind of contraction there is in a node, if there is one.
fn contraction(module: &Module, node: NodeId) -> Option<Mixing> {
    inner_nodes(module, node).into_iter().find_map(|n| {
        let form = module.form(n);
        if form.loops()?.class() != Class::Contraction {
            return None;
        }
        Some(match &module.node(n).op {
            Op::Conv(op) if op.groups > 1 && module.ty(module.node(n).operands[1]).shape[1].is(1) => {
                Mixing::KeepsApart
            }
            _ => Mixing::Mixes,
        })
    })
}

/// Whether rows are reduced in a node.
fn reduces(module: &Module, node: NodeId) -> bool {
    let sum_or_extreme = |form: &Form| {
        form.loops().is_some_and(|l| {
            l.class() == Class::Reduce
                && !matches!(l.combine, Some(Combine::ArgMax { .. } | Combine::ArgMin { .. }))
        })
    };
    inner_nodes(module, node).into_iter().any(|n| sum_or_extreme(&module.form(n)))
}

/// The nodes of a fusion, or the node itself.
fn inner_nodes(module: &Module, node: NodeId) -> Vec<NodeId> {
    match &module.node(node).op {
        Op::Fusion(_) => module.region(module.node(node).regions[0]).nodes.clone(),
        _ => vec![node],
    }
}

/// Nodes from the contraction before `last` up to it, in order, with nobody else reading what is between.
fn members(module: &Module, region: RegionId, last: NodeId) -> Option<(Vec<NodeId>, TiledKind)> {
    let order = &module.region(region).nodes;
    let position: FxHashMap<NodeId, usize> = order.iter().enumerate().map(|(i, &n)| (n, i)).collect();
    let mut members = vec![last];
    let (mut first, mut apart, mut rows) = (None, false, false);
    let mut at = 0;
    while let Some(&member) = members.get(at) {
        at += 1;
        if first == Some(member) {
            continue;
        }
        for &operand in &module.node(member).operands {
            let Some(producer) = module.def_node(operand).filter(|n| position.contains_key(n)) else {
                continue;
            };
            let kind = contraction(module, producer);
            // What is not on the way to a contraction is left outside.
            let leads = kind.is_some() || leads_to_contraction(module, producer, &position);
            let alone =
                module.node(producer).results.len() == 1 && read_inside(module, region, operand, &members);
            if members.contains(&producer) || !is_kernel(module, producer) || !leads || !alone {
                continue;
            }
            match kind {
                // Of two contractions that are read, the region has one: the other is computed before.
                Some(Mixing::Mixes) if first.is_some() => continue,
                Some(Mixing::Mixes) => first = Some(producer),
                Some(Mixing::KeepsApart) => apart = true,
                None => rows |= reduces(module, producer),
            }
            members.push(producer);
        }
    }
    first?;
    members.sort_by_key(|n| position[n]);
    // Between a product with weights and the next a norm may stand; attention has no weights.
    let weights = module.node(last).operands.iter().any(|&v| module.as_constant(v).is_some());
    let kind = match (apart, rows && !weights) {
        (true, _) => TiledKind::InvertedResidual,
        (_, true) => TiledKind::Attention,
        _ => TiledKind::Mlp,
    };
    Some((members, kind))
}

fn is_kernel(module: &Module, node: NodeId) -> bool {
    matches!(module.form(node), Form::Loops(_)) || matches!(module.node(node).op, Op::Fusion(_))
}

/// Whether a node that is no contraction reads one, perhaps through others that are none.
fn leads_to_contraction(module: &Module, node: NodeId, position: &FxHashMap<NodeId, usize>) -> bool {
    let mut work = vec![(node, 0)];
    while let Some((node, depth)) = work.pop() {
        for &operand in &module.node(node).operands {
            let Some(producer) = module.def_node(operand).filter(|n| position.contains_key(n)) else {
                continue;
            };
            if contraction(module, producer).is_some() {
                return true;
            }
            if is_kernel(module, producer) && depth < 4 {
                work.push((producer, depth + 1));
            }
        }
    }
    false
}

/// Whether only nodes of `members` read a value.
fn read_inside(module: &Module, region: RegionId, value: ValueId, members: &[NodeId]) -> bool {
    let region = module.region(region);
    let outside = |n: &&NodeId| !members.contains(n) && module.node(**n).operands.contains(&value);
    !region.results.contains(&value) && !region.nodes.iter().any(|n| outside(&n))
}

/// Puts a tiled node with the nodes inside in the place of the last of them.
fn emit(module: &mut Module, region: RegionId, nodes: &[NodeId], op: Tiled) -> Result<NodeId, Bug> {
    let last = nodes[nodes.len() - 1];
    let result = module.node(last).results[0];
    let tiled = enclose(module, "form-regions", op, nodes, &[result])?;
    let new = module.node(tiled).results[0];
    let list = &mut module.region_mut(region).nodes;
    let at = list.iter().position(|&n| n == last).expect("it was found there");
    list[at] = tiled;
    list.retain(|n| !nodes.contains(n));
    module.replace_uses(region, result, new);
    Ok(tiled)
}
