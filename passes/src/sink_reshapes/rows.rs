//! rows - computes on the more axes on which rows were normalized, and joins them afterwards.
//!
//! Group normalization goes over `[n, groups, channels / groups, ..]`; scale, bias and activation follow on
//! `[n, channels, ..]`. Fusions do not see through the reshape between. On the split axes all of it is one row nest:
//! a number for each channel is one for each group and channel of it.

use nnc_ir::{
    Module,
    extent::Extent,
    form::{Class, Form},
    graph::{NodeId, ValueId},
    ops::{Broadcast, Reduce, Reshape},
};
use rustc_hash::FxHashSet;

use super::{Joining, is_elementwise};
use crate::{pass::Bug, rewrite::Cursor};

/// Nodes between a value and the reductions that it is normalized by at most.
const MAX_NODES: usize = 64;

/// The pointwise node on the axes that an operand had before a reshape joined them, if the operand is normalized along rows.
pub(super) fn below_pointwise(cursor: &mut Cursor<'_>, node: NodeId) -> Result<Option<ValueId>, Bug> {
    let this = cursor.module.node(node).clone();
    let module = &*cursor.module;
    let normed = this.operands.iter().filter_map(|&v| split_source(module, v));
    let Some((source, joining)) = normed.into_iter().find(|(source, _)| is_normed(module, *source)) else {
        return Ok(None);
    };
    let apart = module.ty(source).shape.to_vec();
    let mut operands = Vec::with_capacity(this.operands.len());
    for &operand in &this.operands {
        operands.push(split(cursor, node, operand, &joining, &apart)?);
    }
    let value = cursor.emit1(this.op.clone(), &operands, &this.loc)?;
    let shape = cursor.module.ty(this.results[0]).shape.clone();
    Ok(Some(cursor.emit1(Reshape { shape }, &[value], &this.loc)?))
}

/// Source of a reshape that joins axes, with how.
fn split_source(module: &Module, value: ValueId) -> Option<(ValueId, Joining)> {
    let (_, reshape) = module.defined_by::<Reshape>(value)?;
    let source = reshape.operands[0];
    Some((source, Joining::of(&module.ty(source).shape, &module.ty(value).shape)?))
}

/// An operand on the split axes.
fn split(
    cursor: &mut Cursor<'_>,
    node: NodeId,
    operand: ValueId,
    joining: &Joining,
    apart: &[Extent],
) -> Result<ValueId, Bug> {
    let module = &*cursor.module;
    let loc = module.node(node).loc.clone();
    if let Some((source, how)) = split_source(module, operand)
        && how == *joining
        && module.ty(source).shape[..] == *apart
    {
        return Ok(source);
    }
    let shape = apart.to_vec();
    if let Some((_, broadcast)) = module.defined_by::<Broadcast>(operand) {
        let value = broadcast.operands[0];
        let own = &module.ty(value).shape;
        let missing = joining.parts.len().saturating_sub(own.len());
        let mut parts: Vec<Extent> = Vec::with_capacity(apart.len());
        for (extent, part) in own.iter().zip(&joining.parts[missing..]) {
            let single = extent.is(1);
            parts.extend(apart[part.clone()].iter().map(|e| if single { Extent::ONE } else { e.clone() }));
        }
        let value =
            if *own == parts { value } else { cursor.emit1(Reshape { shape: parts }, &[value], &loc)? };
        return cursor.emit1(Broadcast { shape }, &[value], &loc);
    }
    cursor.emit1(Reshape { shape }, &[operand], &loc)
}

/// Whether a value is computed elementwise, of numbers among others that are each joined from a row.
fn is_normed(module: &Module, value: ValueId) -> bool {
    let mut work = vec![value];
    let mut seen = FxHashSet::default();
    while let Some(value) = work.pop() {
        let Some(node) = module.def_node(value).filter(|n| seen.insert(*n) && seen.len() <= MAX_NODES) else {
            continue;
        };
        let operands = &module.node(node).operands;
        if is_elementwise(module, node) {
            work.extend(operands);
        } else if module.defined_by::<Broadcast>(value).is_some_and(|_| is_of_row(module, operands[0])) {
            return true;
        }
    }
    false
}

/// Whether a value is computed elementwise of what a reduction joined.
fn is_of_row(module: &Module, value: ValueId) -> bool {
    let mut work = vec![value];
    let mut seen = FxHashSet::default();
    while let Some(value) = work.pop() {
        if module.defined_by::<Reduce>(value).is_some() {
            return true;
        }
        let Some(node) = module.def_node(value).filter(|n| seen.insert(*n) && seen.len() <= MAX_NODES) else {
            continue;
        };
        if let Form::Loops(form) = module.form(node)
            && form.class() == Class::Pointwise
        {
            work.extend(&module.node(node).operands);
        }
    }
    false
}
