//! emit - nodes for wide values, and slices of them.

use nnc_ir::{
    constant::{Constant, Payload},
    extent::Extent,
    graph::{Provenance, ValueId, merge_locs},
    ops::{Broadcast, Concat, ConstantOp, Op, Reshape, Slice},
};

use super::{
    column::{Column, Made, Operand, Plan},
    siblings::weight_axis,
};
use crate::{
    pass::{Bug, PassCx},
    rewrite::Cursor,
};

/// Makes the wide values of a plan at the cursor, which stands at its first contraction. Gives a slice for each value that
/// is read otherwise, or `None` if constants could not be joined.
pub(super) fn emit(
    cursor: &mut Cursor<'_>,
    plan: &Plan,
    cx: &PassCx<'_>,
) -> Result<Option<Vec<(ValueId, ValueId)>>, Bug> {
    let Some(joined) = Joined::of(plan, cx) else { return Ok(None) };
    let first = cursor.module.node(plan.members[0].node).clone();
    let loc = plan.loc(cursor.module);
    let weight = cursor.emit1(ConstantOp { value: joined.weight }, &[], &loc)?;
    let product = cursor.emit1(first.op, &[first.operands[0], weight], &loc)?;
    // Values as they were made: rows may be numbered otherwise than the column says.
    let mut made = vec![product];
    let mut vectors = joined.vectors.into_iter();
    for column in &plan.columns[1..] {
        let value = match &column.made {
            Made::Contraction => product,
            Made::Rows(from) => made[*from],
            Made::Reshape(from, nodes) => {
                let loc = merge_locs(nodes.iter().map(|&n| &cursor.module.node(n).loc));
                cursor.emit1(Reshape { shape: column.ty.shape.clone() }, &[made[*from]], &loc)?
            }
            Made::Pointwise { op, operands, nodes } => {
                let loc = merge_locs(nodes.iter().map(|&n| &cursor.module.node(n).loc));
                pointwise(cursor, column, op, operands, &made, &mut vectors, &loc)?
            }
        };
        made.push(value);
    }
    let mut slices = Vec::new();
    for &(c, sibling) in &plan.left {
        let column = &plan.columns[c];
        let old = column.values[sibling];
        let loc = match cursor.module.def_node(old) {
            Some(node) => cursor.module.node(node).loc.clone(),
            None => loc.clone(),
        };
        let whole = typed(cursor, &mut made, c, column, &loc)?;
        let shape = cursor.module.ty(old).shape.clone();
        let mut starts = vec![Extent::ZERO; shape.len()];
        starts[column.axis] = column.widths[..sibling].iter().sum::<i64>().into();
        let steps = vec![1; shape.len()];
        slices.push((old, cursor.emit1(Slice { starts, steps, shape }, &[whole], &loc)?));
    }
    Ok(Some(slices))
}

/// The wide value in the type that its column has.
fn typed(
    cursor: &mut Cursor<'_>,
    made: &mut [ValueId],
    at: usize,
    column: &Column,
    loc: &Provenance,
) -> Result<ValueId, Bug> {
    if *cursor.module.ty(made[at]) != column.ty {
        made[at] = cursor.emit1(Reshape { shape: column.ty.shape.clone() }, &[made[at]], loc)?;
    }
    Ok(made[at])
}

/// A pointwise operation on wide values, in rows as those were made.
fn pointwise(
    cursor: &mut Cursor<'_>,
    column: &Column,
    op: &Op,
    operands: &[Operand],
    made: &[ValueId],
    vectors: &mut dyn Iterator<Item = Constant>,
    loc: &Provenance,
) -> Result<ValueId, Bug> {
    let column_of = |o: &Operand| if let Operand::Column(c) = o { Some(made[*c]) } else { None };
    let shape = operands.iter().find_map(column_of).map(|v| cursor.module.ty(v).shape.clone());
    let shape = shape.unwrap_or_else(|| column.ty.shape.clone());
    let behind = column.ty.rank() - 1 - column.axis;
    let mut values = Vec::with_capacity(operands.len());
    for operand in operands {
        values.push(match operand {
            Operand::Column(c) if cursor.module.ty(made[*c]).shape == shape => made[*c],
            Operand::Column(c) => cursor.emit1(Reshape { shape: shape.clone() }, &[made[*c]], loc)?,
            Operand::Vectors(_) => {
                let vector = vectors.next().ok_or_else(|| Bug {
                    pass: super::NAME.into(),
                    message: "a vector of the plan was not joined".into(),
                })?;
                let dims = [vector.dims(), &vec![1; behind]].concat();
                let value =
                    Constant::new(vector.dtype(), &dims, vector.payload().clone()).ok_or_else(|| Bug {
                        pass: super::NAME.into(),
                        message: "a vector has another number of elements".into(),
                    })?;
                let value = cursor.emit1(ConstantOp { value }, &[], loc)?;
                cursor.emit1(Broadcast { shape: shape.clone() }, &[value], loc)?
            }
        });
    }
    cursor.emit1(op.clone(), &values, loc)
}

/// Constants of all siblings side by side, in the order in which they are used.
struct Joined {
    weight: Constant,
    vectors: Vec<Constant>,
}

impl Joined {
    fn of(plan: &Plan, cx: &PassCx<'_>) -> Option<Joined> {
        let weights: Vec<Constant> = plan.members.iter().map(|m| m.weight.clone()).collect();
        let weight = concat(&weights, weight_axis(&plan.op, weights[0].dims().len()), cx)?;
        let operands = plan.columns.iter().flat_map(|c| match &c.made {
            Made::Pointwise { operands, .. } => &operands[..],
            _ => &[],
        });
        let vectors = operands.filter_map(|o| match o {
            Operand::Vectors(vectors) => Some(concat(vectors, 0, cx)),
            Operand::Column(_) => None,
        });
        Some(Joined { weight, vectors: vectors.collect::<Option<_>>()? })
    }
}

fn concat(parts: &[Constant], axis: usize, cx: &PassCx<'_>) -> Option<Constant> {
    let splat = parts[0].as_splat();
    if splat.is_some() && parts.iter().all(|p| p.as_splat() == splat) {
        let mut dims = parts[0].dims().to_vec();
        dims[axis] = parts.iter().map(|p| p.dims()[axis]).sum();
        return Constant::new(parts[0].dtype(), &dims, Payload::Splat(splat?));
    }
    cx.consts.fold(&Concat { axis }.into(), parts)?.pop()
}
