//! broadcasts - laws by which work is done before elements are repeated, not after.

use egg::Id;
use nnc_ir::{
    extent::Extent,
    ops::{Broadcast, MatMul, Op, OpKind, Transpose},
};

use super::super::site::{At, Law, Seen, Site};
use crate::pass::{Exactness, Rule};

pub(super) const LAWS: &[Law] = &[
    Law { rule: &LIFT_BROADCAST, at: At::Pointwise, apply: lift_broadcast },
    Law { rule: &TRANSPOSE_BROADCAST, at: At::Kinds(&[OpKind::Transpose]), apply: transpose_broadcast },
    Law { rule: &MULTIPLY_BROADCAST, at: At::Kinds(&[OpKind::MatMul]), apply: multiply_broadcast },
];

pub(super) static LIFT_BROADCAST: Rule = Rule {
    name: "lift-broadcast",
    law: "f(broadcast(x, s), broadcast(y, s)) = broadcast(f(x, y), s), f of elements, y of the shape of x or repeated to it",
    source: "equal operands give equal results",
    exactness: Exactness::Exact,
};
pub(super) static TRANSPOSE_BROADCAST: Rule = Rule {
    name: "transpose-broadcast",
    law: "transpose(broadcast(x, s), p) = broadcast(transpose(x, p), s permuted), x with leading axes of extent 1",
    source: "both read element by element the same of x",
    exactness: Exactness::Exact,
};
pub(super) static MULTIPLY_BROADCAST: Rule = Rule {
    name: "multiply-broadcast",
    law: "broadcast(x) B = broadcast(x B), A broadcast(y) = broadcast(A y), repeated along other axes than the sum's",
    source: "equal rows give equal rows; the backend may sum in another order",
    exactness: Exactness::Rounding,
};

/// Whether `have` repeats to `want` at no axis but leading ones, or by being one element.
fn reaches(have: &[Extent], want: &[Extent]) -> bool {
    let Some(lead) = want.len().checked_sub(have.len()) else { return false };
    have.iter().zip(&want[lead..]).all(|(a, b)| a == b || a.is(1))
}

fn lift_broadcast(site: &mut Site<'_>) -> Option<()> {
    let operands = site.here.operands.clone();
    let forms: Vec<Seen> = operands
        .iter()
        .map(|&id| site.forms(id, OpKind::Broadcast).into_iter().next())
        .collect::<Option<_>>()?;
    let shapes: Vec<Vec<Extent>> = forms.iter().map(|f| site.ty(f.operands[0]).shape.clone()).collect();
    let common = shapes.iter().find(|want| shapes.iter().all(|have| reaches(have, want)))?.clone();
    if common == site.result().shape {
        return None;
    }
    let sources: Vec<Id> =
        forms.iter().map(|f| site.spread(f.operands[0], &common)).collect::<Option<_>>()?;
    let op = site.op();
    let inside = site.make(op, &sources)?;
    let shape = site.result().shape.clone();
    let outside = site.spread(inside, &shape)?;
    site.equals(outside, &forms.iter().collect::<Vec<_>>())
}

fn transpose_broadcast(site: &mut Site<'_>) -> Option<()> {
    let Op::Transpose(transpose) = site.op() else { return None };
    let shape = site.result().shape.clone();
    for form in site.forms(site.operand(0), OpKind::Broadcast) {
        let aligned = site.aligned(form.operands[0], shape.len())?;
        let source = site.view(form.operands[0], &aligned)?;
        // Axes of extent 1 move for nothing.
        let longer = transpose.perm.iter().filter(|&&p| !aligned[p].is(1));
        let moved = if longer.is_sorted() {
            let permuted: Vec<Extent> = transpose.perm.iter().map(|&p| aligned[p].clone()).collect();
            site.view(source, &permuted)?
        } else {
            site.make(Transpose { perm: transpose.perm.clone() }, &[source])?
        };
        let outside = site.make(Broadcast { shape: shape.clone() }, &[moved])?;
        site.equals(outside, &[&form]);
    }
    Some(())
}

fn multiply_broadcast(site: &mut Site<'_>) -> Option<()> {
    let result = site.result();
    let rank = result.rank();
    for side in [0, 1] {
        for form in site.forms(site.operand(side), OpKind::Broadcast) {
            let Some(aligned) = site.aligned(form.operands[0], rank) else { continue };
            let summed = rank - 1 - side;
            if aligned[summed] != site.ty(site.operand(side)).shape[summed] {
                continue;
            }
            let mut operands = site.here.operands.clone();
            operands[side] = site.view(form.operands[0], &aligned)?;
            let inside = site.make(MatMul {}, &operands)?;
            let outside = site.spread(inside, &result.shape)?;
            site.equals(outside, &[&form]);
        }
    }
    Some(())
}
