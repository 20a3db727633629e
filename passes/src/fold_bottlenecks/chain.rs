//! chain - finds contractions by constants that read one another.

use nnc_ir::{
    Module,
    entity::EntityId,
    graph::{NodeId, RegionId, ValueId},
    ops::{Add, Op, Reshape},
};
use rustc_hash::FxHashSet;

use super::{
    link::{Bias, Link},
    product::Numbers,
};
use crate::{channel, pass::PassCx};

/// Most links of a chain: planning is quadratic in it.
const MAX_LINKS: usize = 32;

/// A link and where it is.
pub(super) struct Placed {
    /// Its types.
    pub(super) link: Link,
    /// Its constants.
    pub(super) numbers: Numbers,
    /// The contraction.
    pub(super) first: NodeId,
    /// The contraction, or what adds the bias to it.
    pub(super) exit: NodeId,
}

/// Every chain of two or more links, each as long as can be.
pub(super) fn find(module: &Module, cx: &mut PassCx<'_>) -> Vec<Vec<Placed>> {
    let uses = module.use_counts();
    let mut chains = Vec::new();
    for region in module.nested_regions(module.body()) {
        chains.extend(find_in(module, region, &uses, cx));
    }
    chains
}

fn find_in(module: &Module, region: RegionId, uses: &[usize], cx: &mut PassCx<'_>) -> Vec<Vec<Placed>> {
    let mut taken: FxHashSet<NodeId> = FxHashSet::default();
    let mut chains = Vec::new();
    for &node in module.region(region).nodes.iter().rev() {
        let Some(last) = link_at(module, node, uses).filter(|p| !taken.contains(&p.first)) else { continue };
        taken.insert(last.first);
        let mut chain = vec![last];
        while chain.len() < MAX_LINKS {
            let reader = &chain[chain.len() - 1];
            let read = past_reshapes(module, module.node(reader.first).operands[0], &reader.link, uses);
            let Some(previous) = module.def_node(read).and_then(|n| link_at(module, n, uses)) else { break };
            if taken.contains(&previous.first) {
                break;
            }
            if uses[read.index()] != 1 {
                cx.miss(
                    module,
                    reader.first,
                    "apart from the contraction before it: its value has another reader",
                );
                break;
            }
            taken.insert(previous.first);
            chain.push(previous);
        }
        if chain.len() > 1 {
            chain.reverse();
            chains.push(chain);
        }
    }
    chains
}

/// The link that ends in `node`.
fn link_at(module: &Module, node: NodeId, uses: &[usize]) -> Option<Placed> {
    if let Some(placed) = contraction(module, node) {
        return Some(placed);
    }
    let this = module.node(node);
    let Op::Add(Add {}) = &this.op else { return None };
    for (sum, bias) in [(0, 1), (1, 0)] {
        let (sum, bias) = (this.operands[sum], this.operands[bias]);
        let Some(first) = behind_reshapes(module, sum, uses) else { continue };
        let Some(mut placed) = contraction(module, first).filter(|p| reshapes_rows(module, p, sum)) else {
            continue;
        };
        let axis = if placed.link.groups().is_some() { 1 } else { module.ty(sum).rank() - 1 };
        let Some(bias) = channel::along(module, bias, axis) else { continue };
        // Without the addition of zeros only signs of zeros change.
        if bias.as_splat().is_none_or(|s| s.as_f64() != Some(0.0)) {
            placed.link.bias = Bias::Channel;
            placed.numbers.bias = Some(bias);
        }
        placed.exit = node;
        return Some(placed);
    }
    None
}

/// The contraction that `node` is, if its right side is a constant.
fn contraction(module: &Module, node: NodeId) -> Option<Placed> {
    let this = module.node(node);
    if !matches!(this.op, Op::Conv(_) | Op::MatMul(_)) {
        return None;
    }
    let weight = module.as_constant(this.operands[1])?.clone();
    let link = Link {
        op: this.op.clone(),
        weight: weight.ty(),
        input: module.ty(this.operands[0]).clone(),
        output: module.ty(this.results[0]).clone(),
        bias: Bias::None,
    };
    let fits = weight.dtype().is_float() && weight.elements() > 0;
    fits.then(|| Placed { link, numbers: Numbers { weight, bias: None }, first: node, exit: node })
}

/// The node behind reshapes that nobody else reads.
fn behind_reshapes(module: &Module, mut value: ValueId, uses: &[usize]) -> Option<NodeId> {
    while uses[value.index()] == 1 {
        match module.defined_by::<Reshape>(value) {
            Some((_, reshape)) => value = reshape.operands[0],
            None => return module.def_node(value),
        }
    }
    None
}

/// Whether `value`, a view of what `placed` makes, has the same channels: those of a matrix product are its last axis.
fn reshapes_rows(module: &Module, placed: &Placed, value: ValueId) -> bool {
    let (made, ty) = (&placed.link.output, module.ty(value));
    made == ty || (placed.link.groups().is_none() && ty.rank() > 0 && ty.shape.last() == made.shape.last())
}

/// What a matrix product reads, seen through reshapes of rows.
fn past_reshapes(module: &Module, mut value: ValueId, reader: &Link, uses: &[usize]) -> ValueId {
    if reader.groups().is_some() {
        return value;
    }
    while let Some((_, reshape)) = module.defined_by::<Reshape>(value) {
        let source = reshape.operands[0];
        if uses[value.index()] != 1 || module.ty(source).shape.last() != module.ty(value).shape.last() {
            break;
        }
        value = source;
    }
    value
}
