//! reduce - rules about reductions: axes of one element, and two in a row.

use nnc_ir::{
    graph::{NodeId, ValueId},
    ops::{Op, Reduce, ReduceKind, Reshape},
};

use crate::{
    pass::{Bug, Exactness, Rule},
    rewrite::Cursor,
};

pub(super) static DROP_UNIT_REDUCTION: Rule = Rule {
    name: "drop-unit-reduction",
    law: "reduce(x, axes) = reduce(x, those of an extent other than 1); a float sum of single elements stays (0 + (-0) = 0)",
    source: "1 * x = max(-inf, x) = min(inf, x) = x; the order of what is left stays",
    exactness: Exactness::Exact,
};
pub(super) static MERGE_REDUCTIONS: Rule = Rule {
    name: "merge-reductions",
    law: "reduce(reduce(x, inner axes), outer axes) = reduce(x, all), both of one kind, for integers",
    source: "sums and products wrap, which is associative and commutes, as are bounds; floats tell the order by NaN and zeros",
    exactness: Exactness::Exact,
};

pub(super) fn drop_unit_reduction(cursor: &mut Cursor<'_>, node: NodeId) -> Result<Option<ValueId>, Bug> {
    let this = cursor.module.node(node).clone();
    let Op::Reduce(op) = &this.op else { return Ok(None) };
    let x = this.operands[0];
    let ty = cursor.module.ty(x).clone();
    let axes: Vec<usize> = op.axes.iter().copied().filter(|&a| !ty.shape[a].is(1)).collect();
    let adds_zero = op.kind == ReduceKind::Sum && ty.dtype.is_float();
    if axes.len() == op.axes.len() || (axes.is_empty() && adds_zero) {
        return Ok(None);
    }
    let shape = cursor.module.ty(this.results[0]).shape.to_vec();
    let reduced = match axes.is_empty() {
        true => x,
        false => cursor.emit1(Reduce { kind: op.kind, axes, keep: op.keep }, &[x], &this.loc)?,
    };
    if cursor.module.ty(reduced) == cursor.module.ty(this.results[0]) {
        return Ok(Some(reduced));
    }
    Ok(Some(cursor.emit1(Reshape { shape }, &[reduced], &this.loc)?))
}

pub(super) fn merge_reductions(cursor: &mut Cursor<'_>, node: NodeId) -> Result<Option<ValueId>, Bug> {
    let this = cursor.module.node(node).clone();
    let Op::Reduce(outer) = &this.op else { return Ok(None) };
    let Some((inner, producer)) = cursor.module.defined_by::<Reduce>(this.operands[0]) else {
        return Ok(None);
    };
    if inner.kind != outer.kind || inner.keep != outer.keep || inner.axes.is_empty() || outer.axes.is_empty()
    {
        return Ok(None);
    }
    let x = producer.operands[0];
    let ty = cursor.module.ty(x);
    let left: Vec<usize> = (0..ty.rank()).filter(|a| inner.keep || !inner.axes.contains(a)).collect();
    let outer_axes: Vec<usize> = outer.axes.iter().map(|&a| left[a]).collect();
    if !ty.dtype.is_int() {
        return Ok(None);
    }
    let mut axes = [&outer_axes[..], &inner.axes].concat();
    axes.sort_unstable();
    axes.dedup();
    Ok(Some(cursor.emit1(Reduce { kind: outer.kind, axes, keep: outer.keep }, &[x], &this.loc)?))
}
