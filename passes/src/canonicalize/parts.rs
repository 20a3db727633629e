//! parts - rules about slices and concats: what is taken apart and put together.

use nnc_ir::{
    extent::Extent,
    graph::{NodeId, ValueId},
    ops::{Concat, Op, Slice},
};

use crate::{
    pass::{Bug, Exactness, Rule},
    rewrite::Cursor,
};

pub(super) static MERGE_SLICES: Rule = Rule {
    name: "merge-slices",
    law: "slice(slice(x, s, d), t, e) = slice(x, s + t d, d e)",
    source: "composition of index maps",
    exactness: Exactness::Exact,
};
pub(super) static SLICE_OF_CONCAT: Rule = Rule {
    name: "slice-of-concat",
    law: "slice(concat(.., x, ..)) = slice(x), where it reads nothing but x",
    source: "definition of concat",
    exactness: Exactness::Exact,
};
pub(super) static CONCAT_OF_SLICES: Rule = Rule {
    name: "concat-of-slices",
    law: "concat(slice(x, a to b), slice(x, b to c)) = slice(x, a to c)",
    source: "definition of concat",
    exactness: Exactness::Exact,
};

/// Greatest magnitude of a step.
const MAX_STEP: i64 = 1 << 31;

pub(super) fn merge_slices(cursor: &mut Cursor<'_>, node: NodeId) -> Result<Option<ValueId>, Bug> {
    let this = cursor.module.node(node).clone();
    let Op::Slice(outer) = &this.op else { return Ok(None) };
    let Some((inner, producer)) = cursor.module.defined_by::<Slice>(this.operands[0]) else {
        return Ok(None);
    };
    let steps: Vec<i64> = inner.steps.iter().zip(&outer.steps).map(|(d, e)| d.saturating_mul(*e)).collect();
    if steps.iter().any(|s| s.unsigned_abs() > MAX_STEP.unsigned_abs()) {
        return Ok(None);
    }
    let start = |i: usize| &inner.starts[i] + &outer.starts[i].scale(inner.steps[i]);
    let starts = (0..steps.len()).map(start).collect();
    let (source, shape) = (producer.operands[0], outer.shape.clone());
    Ok(Some(cursor.emit1(Slice { starts, steps, shape }, &[source], &this.loc)?))
}

pub(super) fn slice_of_concat(cursor: &mut Cursor<'_>, node: NodeId) -> Result<Option<ValueId>, Bug> {
    let this = cursor.module.node(node).clone();
    let Op::Slice(slice) = &this.op else { return Ok(None) };
    let Some((&Concat { axis }, joined)) = cursor.module.defined_by::<Concat>(this.operands[0]) else {
        return Ok(None);
    };
    let (Some(start), Some(count)) = (slice.starts[axis].as_const(), slice.shape[axis].as_const()) else {
        return Ok(None);
    };
    if count < 1 {
        return Ok(None);
    }
    let last = start.saturating_add((count - 1).saturating_mul(slice.steps[axis]));
    let mut begin = 0i64;
    for operand in joined.operands.clone() {
        let Some(extent) = cursor.module.ty(operand).shape[axis].as_const() else { return Ok(None) };
        let inside = |at: i64| (begin..begin + extent).contains(&at);
        if inside(start) && inside(last) {
            let mut op = slice.clone();
            op.starts[axis] = Extent::Const(start - begin);
            return Ok(Some(cursor.emit1(op, &[operand], &this.loc)?));
        }
        begin = begin.saturating_add(extent);
    }
    Ok(None)
}

/// Two slices that meet along `axis`, as one.
fn meet(a: &Slice, b: &Slice, axis: usize) -> Option<Slice> {
    let same = |i: usize| a.starts[i] == b.starts[i] && a.shape[i] == b.shape[i] && a.steps[i] == b.steps[i];
    let apart = (0..a.shape.len()).any(|i| i != axis && !same(i));
    let step = a.steps[axis];
    let next = &a.starts[axis] + &a.shape[axis].scale(step);
    if apart || b.steps[axis] != step || b.starts[axis] != next {
        return None;
    }
    let mut joined = a.clone();
    joined.shape[axis] = &a.shape[axis] + &b.shape[axis];
    Some(joined)
}

pub(super) fn concat_of_slices(cursor: &mut Cursor<'_>, node: NodeId) -> Result<Option<ValueId>, Bug> {
    let this = cursor.module.node(node).clone();
    let Op::Concat(Concat { axis }) = this.op else { return Ok(None) };
    let of = |v: ValueId| cursor.module.defined_by::<Slice>(v).map(|(s, node)| (s.clone(), node.operands[0]));
    for at in 1..this.operands.len() {
        let (Some((a, x)), Some((b, y))) = (of(this.operands[at - 1]), of(this.operands[at])) else {
            continue;
        };
        let Some(joined) = meet(&a, &b, axis).filter(|_| x == y) else { continue };
        let joined = cursor.emit1(joined, &[x], &this.loc)?;
        let mut operands = this.operands;
        operands.splice(at - 1..=at, [joined]);
        return Ok(Some(cursor.emit1(Concat { axis }, &operands, &this.loc)?));
    }
    Ok(None)
}
