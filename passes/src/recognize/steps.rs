//! steps - steps cut out of a tensor one by one and put together again: one movement.

use nnc_ir::{
    extent::{Extent, product},
    graph::{NodeId, ValueId},
    ops::{Concat, Op, Reshape, Transpose},
};

use super::{
    scene::{Found, Pattern, Scene, found},
    term::{Term, apply},
    unrolled::sliced,
};
use crate::pass::{Exactness, Rule};

pub(super) const PATTERNS: &[Pattern] = &[Pattern { rule: &JOINED_STEPS, find: find_joined }];

pub(super) static JOINED_STEPS: Rule = Rule {
    name: "joined-steps",
    law: "concat(y?, reshape(slice(x, t)), reshape(slice(x, t + d)), ..) = concat(y?, reshape(transpose(slice(x, t, t + d, ..)))), slices of extent 1, three or more",
    source: "reshapes keep row-major order; the axis that is sliced becomes the one that is joined",
    exactness: Exactness::Exact,
};

/// Slices that are put together at least.
const MIN_STEPS: usize = 3;

fn find_joined(scene: &Scene<'_>, node: NodeId) -> Result<Found, Option<String>> {
    let (Op::Concat(join), operands, result) = scene.node(node).ok_or(None)? else { return Err(None) };
    if let Some(all) = movement(scene, operands, join.axis) {
        return found(result, all);
    }
    // The first step may have been made by itself.
    let [first, rest @ ..] = operands else { return Err(None) };
    let rest = movement(scene, rest, join.axis).ok_or(None)?;
    found(result, apply(Concat { axis: join.axis }, vec![(*first).into(), rest]))
}

/// Values of extent 1 on an axis, joined along it, as one movement.
fn movement(scene: &Scene<'_>, values: &[ValueId], at: usize) -> Option<Term> {
    let module = scene.module;
    if values.len() < MIN_STEPS || values.iter().any(|&v| !module.ty(v).shape[at].is(1)) {
        return None;
    }
    let (slice, x, axis) = sliced(module, values)?;
    let mut shape = module.ty(values[0]).shape.to_vec();
    if values.iter().any(|&v| module.ty(v).shape[..] != shape[..]) {
        return None;
    }
    let (before, count) = (product(&shape[..at]), slice.shape[axis].clone());
    shape[at] = count;
    let others: Vec<usize> = (0..slice.shape.len()).filter(|&a| a != axis).collect();
    let size = |axes: &[usize]| axes.iter().map(|&a| &slice.shape[a]).fold(Extent::ONE, |p, e| &p * e);
    let cut = (0..=others.len()).find(|&p| size(&others[..p]) == before)?;
    let perm = [&others[..cut], &[axis], &others[cut..]].concat();
    let mut term = apply(slice, vec![x.into()]);
    if !perm.is_sorted() {
        term = apply(Transpose { perm }, vec![term]);
    }
    Some(apply(Reshape { shape }, vec![term]))
}
