//! group - group normalization by reshapes: on joined axes in the middle of tensors whose channels are split.

use nnc_ir::{
    Module,
    extent::{Extent, product},
    graph::{NodeId, ValueId},
    ops::{Add, Op, Reshape},
};

use super::{
    norm::canonical,
    pattern::{both, number, unviewed},
    scene::{Found, Pattern, Scene},
    term::apply,
};
use crate::pass::{Exactness, Rule};

pub(super) const PATTERNS: &[Pattern] = &[Pattern { rule: &GROUP_NORM, find: find_group_norm }];

pub(super) static GROUP_NORM: Rule = Rule {
    name: "group-norm",
    law: "reshape(norm(reshape(x, [n, g, k])) + 0, [n, c, ..]) = reshape(norm(reshape(x, [n, g, c / g, ..])), [n, c, ..]), norm over all axes from the third",
    source: "ONNX GroupNormalization-21; Wu & He, Group Normalization, 2018; a reshape keeps row-major order",
    exactness: Exactness::Rounding,
};

/// The value without zero added.
fn plus_nothing(module: &Module, value: ValueId) -> ValueId {
    let zero = |v: ValueId| number(module, v) == Some(0.0);
    match both::<Add>(module, value) {
        Some([a, b]) if zero(b) => a,
        Some([a, b]) if zero(a) => b,
        _ => value,
    }
}

/// `[n, c, ..]` with the channels split into as many groups as there are rows for each `n`.
fn split(shape: &[Extent], rows: &Extent) -> Option<Vec<Extent>> {
    let [n, channels, rest @ ..] = shape else { return None };
    let groups = rows.floor_div(n);
    let each = channels.floor_div(&groups);
    let fits = &groups * n == *rows && &groups * &each == *channels && !each.is(1) && !rest.is_empty();
    fits.then(|| [&[n.clone(), groups, each], rest].concat())
}

fn find_group_norm(scene: &Scene<'_>, node: NodeId) -> Result<Found, Option<String>> {
    let module = scene.module;
    let (Op::Reshape(back), &[inner], _) = scene.node(node).ok_or(None)? else { return Err(None) };
    let norm = canonical(module, plus_nothing(module, inner)).ok_or(None)?;
    let from = &module.ty(norm.of.x).shape;
    let first = norm.of.axes[0];
    // Rows in front, and all the rest is joined.
    if !norm.of.axes.iter().copied().eq(first..from.len()) {
        return Err(None);
    }
    let apart = split(&back.shape, &product(&from[..first])).ok_or(None)?;
    let axes: Vec<usize> = (2..apart.len()).collect();
    let x = apply(Reshape { shape: apart.clone() }, vec![unviewed(module, norm.of.x).into()]);
    Ok(Found { term: apply(back.clone(), vec![norm.spelt(x, &axes, &apart)]), key: norm.of.x })
}
