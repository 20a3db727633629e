//! movement - rules about nodes that move elements: identities, and two in a row.

use nnc_ir::{
    extent::Extent,
    form::{Bounds, Class, Form, Ix, LoopForm},
    graph::{NodeId, ValueId},
    ops::{Broadcast, Concat, Op, Reshape, Transpose},
};

use crate::{
    pass::{Bug, Exactness, Rule},
    rewrite::Cursor,
};

pub(super) static DROP_IDENTITY_MOVEMENT: Rule = Rule {
    name: "drop-identity-movement",
    law: "a movement that reads each element where it writes it = its operand",
    source: "the nest's only load has the identity index",
    exactness: Exactness::Exact,
};
pub(super) static DROP_IDENTITY_RESHAPE: Rule = Rule {
    name: "drop-identity-reshape",
    law: "reshape(x, shape of x) = x",
    source: "a view of the same type",
    exactness: Exactness::Exact,
};
pub(super) static DROP_SINGLE_CONCAT: Rule = Rule {
    name: "drop-single-concat",
    law: "concat(x) = x",
    source: "ONNX Concat-13 of one input",
    exactness: Exactness::Exact,
};
pub(super) static MERGE_RESHAPES: Rule = Rule {
    name: "merge-reshapes",
    law: "reshape(reshape(x, a), b) = reshape(x, b)",
    source: "both are views of the same elements in order",
    exactness: Exactness::Exact,
};
pub(super) static MERGE_TRANSPOSES: Rule = Rule {
    name: "merge-transposes",
    law: "transpose(transpose(x, p), q) = transpose(x, p after q)",
    source: "composition of permutations",
    exactness: Exactness::Exact,
};
pub(super) static MERGE_BROADCASTS: Rule = Rule {
    name: "merge-broadcasts",
    law: "broadcast(broadcast(x, a), b) = broadcast(x, b)",
    source: "the inner one repeats what the outer one would",
    exactness: Exactness::Exact,
};
pub(super) static RESHAPE_FOR_UNIT_TRANSPOSE: Rule = Rule {
    name: "reshape-for-unit-transpose",
    law: "transpose(x, p) = reshape(x) where p keeps the order of all axes of extent other than 1",
    source: "row-major order of the elements stays",
    exactness: Exactness::Exact,
};
pub(super) static TRANSPOSE_OF_BROADCAST: Rule = Rule {
    name: "transpose-of-broadcast",
    law: "transpose(broadcast(x), p) = broadcast(transpose(x, p))",
    source: "each repeated element lands where its original's repetition does",
    exactness: Exactness::Exact,
};
pub(super) static RESHAPE_OF_BROADCAST: Rule = Rule {
    name: "reshape-of-broadcast",
    law: "reshape(broadcast(x)) = broadcast(reshape(x)) where the reshape only adds and drops axes of extent 1",
    source: "all other axes repeat or not as they did",
    exactness: Exactness::Exact,
};

/// A movement whose every element stays where it is.
pub(super) fn drop_identity_movement(cursor: &mut Cursor<'_>, node: NodeId) -> Result<Option<ValueId>, Bug> {
    let this = cursor.module.node(node);
    let &[operand] = &this.operands[..] else { return Ok(None) };
    let same_type = this.results.len() == 1 && cursor.module.ty(operand) == cursor.module.ty(this.results[0]);
    let moves_nothing = || match cursor.module.form(node) {
        Form::Loops(l) => l.class() == Class::Movement && reads_identity(&l),
        _ => false,
    };
    Ok((same_type && moves_nothing()).then_some(operand))
}

/// Whether the only load reads operand 0 at the place of the result.
fn reads_identity(l: &LoopForm) -> bool {
    let [load] = &l.loads[..] else { return false };
    let in_place =
        |(axis, ix): (usize, &Ix)| *ix == Ix::Axis(axis) || (l.space[axis].is(1) && *ix == Ix::int(0));
    load.bounds != Bounds::Check && load.extents == l.space && load.index.iter().enumerate().all(in_place)
}

pub(super) fn drop_identity_reshape(cursor: &mut Cursor<'_>, node: NodeId) -> Result<Option<ValueId>, Bug> {
    let this = cursor.module.node(node);
    let Op::Reshape(_) = &this.op else { return Ok(None) };
    let same = cursor.module.ty(this.operands[0]) == cursor.module.ty(this.results[0]);
    Ok(same.then(|| this.operands[0]))
}

pub(super) fn drop_single_concat(cursor: &mut Cursor<'_>, node: NodeId) -> Result<Option<ValueId>, Bug> {
    let this = cursor.module.node(node);
    let single = matches!(&this.op, Op::Concat(Concat { .. })) && this.operands.len() == 1;
    Ok(single.then(|| this.operands[0]))
}

pub(super) fn merge_reshapes(cursor: &mut Cursor<'_>, node: NodeId) -> Result<Option<ValueId>, Bug> {
    let this = cursor.module.node(node).clone();
    let Op::Reshape(outer) = &this.op else { return Ok(None) };
    let Some((_, inner)) = cursor.module.defined_by::<Reshape>(this.operands[0]) else { return Ok(None) };
    let source = inner.operands[0];
    if cursor.module.ty(source) == cursor.module.ty(this.results[0]) {
        return Ok(Some(source));
    }
    Ok(Some(cursor.emit1(outer.clone(), &[source], &this.loc)?))
}

pub(super) fn merge_transposes(cursor: &mut Cursor<'_>, node: NodeId) -> Result<Option<ValueId>, Bug> {
    let this = cursor.module.node(node).clone();
    let Op::Transpose(outer) = &this.op else { return Ok(None) };
    let Some((inner, source)) = cursor.module.defined_by::<Transpose>(this.operands[0]) else {
        return Ok(None);
    };
    let perm = outer.perm.iter().map(|&p| inner.perm[p]).collect();
    let source = source.operands[0];
    Ok(Some(cursor.emit1(Transpose { perm }, &[source], &this.loc)?))
}

pub(super) fn merge_broadcasts(cursor: &mut Cursor<'_>, node: NodeId) -> Result<Option<ValueId>, Bug> {
    let this = cursor.module.node(node).clone();
    let Op::Broadcast(outer) = &this.op else { return Ok(None) };
    let Some((_, inner)) = cursor.module.defined_by::<Broadcast>(this.operands[0]) else { return Ok(None) };
    let source = inner.operands[0];
    Ok(Some(cursor.emit1(outer.clone(), &[source], &this.loc)?))
}

/// A transpose that keeps the order of all axes with an extent other than 1 moves nothing.
pub(super) fn reshape_for_unit_transpose(
    cursor: &mut Cursor<'_>,
    node: NodeId,
) -> Result<Option<ValueId>, Bug> {
    let this = cursor.module.node(node).clone();
    let Op::Transpose(op) = &this.op else { return Ok(None) };
    let input = cursor.module.ty(this.operands[0]);
    if !op.perm.iter().filter(|&&p| !input.shape[p].is(1)).is_sorted() {
        return Ok(None);
    }
    let shape = cursor.module.ty(this.results[0]).shape.clone();
    Ok(Some(cursor.emit1(Reshape { shape }, &[this.operands[0]], &this.loc)?))
}

/// Fewer elements move before they are repeated.
pub(super) fn transpose_of_broadcast(cursor: &mut Cursor<'_>, node: NodeId) -> Result<Option<ValueId>, Bug> {
    let this = cursor.module.node(node).clone();
    let Op::Transpose(op) = &this.op else { return Ok(None) };
    let Some((_, inner)) = cursor.module.defined_by::<Broadcast>(this.operands[0]) else { return Ok(None) };
    let source = inner.operands[0];
    let own = cursor.module.ty(source).shape.to_vec();
    let target = cursor.module.ty(this.results[0]).shape.to_vec();
    let padded = [vec![Extent::ONE; target.len() - own.len()], own].concat();
    let padded = cursor.emit1(Reshape { shape: padded }, &[source], &this.loc)?;
    let moved = cursor.emit1(op.clone(), &[padded], &this.loc)?;
    Ok(Some(cursor.emit1(Broadcast { shape: target }, &[moved], &this.loc)?))
}

/// A bias that is repeated on fewer axes than those it is added on stays one.
pub(super) fn reshape_of_broadcast(cursor: &mut Cursor<'_>, node: NodeId) -> Result<Option<ValueId>, Bug> {
    let this = cursor.module.node(node).clone();
    let Op::Reshape(_) = &this.op else { return Ok(None) };
    let repeated = this.operands[0];
    let Some((_, inner)) = cursor.module.defined_by::<Broadcast>(repeated) else { return Ok(None) };
    let source = inner.operands[0];
    let own = &cursor.module.ty(source).shape;
    let [full, target] = [repeated, this.results[0]].map(|v| cursor.module.ty(v).shape.to_vec());
    let padded = [vec![Extent::ONE; full.len() - own.len()], own.to_vec()].concat();
    // Extents of the source on the axes that stay.
    let mut kept = full.iter().zip(&padded).filter(|(extent, _)| !extent.is(1));
    let mut shape = Vec::with_capacity(target.len());
    for extent in &target {
        if extent.is(1) {
            shape.push(Extent::ONE);
            continue;
        }
        match kept.next() {
            Some((whole, own)) if whole == extent => shape.push(own.clone()),
            _ => return Ok(None),
        }
    }
    if kept.next().is_some() {
        return Ok(None);
    }
    let moved = cursor.emit1(Reshape { shape }, &[source], &this.loc)?;
    Ok(Some(cursor.emit1(Broadcast { shape: target }, &[moved], &this.loc)?))
}
