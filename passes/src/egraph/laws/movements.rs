//! movements - laws by which transposes and reshapes move through other operations and cancel.

use egg::Id;
use nnc_ir::{
    extent::Extent,
    ops::{Broadcast, Contract, MatMul, Op, OpKind, Reshape, Transpose},
};

use super::super::site::{At, Law, Seen, Site};
use crate::pass::{Exactness, Rule};

pub(super) const LAWS: &[Law] = &[
    Law { rule: &CANCEL_TRANSPOSES, at: At::Kinds(&[OpKind::Transpose]), apply: cancel_transposes },
    Law { rule: &LIFT_TRANSPOSE, at: At::Pointwise, apply: lift_transpose },
    Law { rule: &SINK_TRANSPOSE, at: At::Kinds(&[OpKind::Transpose]), apply: sink_transpose },
    Law { rule: &CANCEL_RESHAPES, at: At::Kinds(&[OpKind::Reshape]), apply: cancel_reshapes },
    Law { rule: &LIFT_RESHAPE, at: At::Pointwise, apply: lift_reshape },
    Law { rule: &SINK_RESHAPE, at: At::Kinds(&[OpKind::Reshape]), apply: sink_reshape },
    Law { rule: &MULTIPLY_TRANSPOSED, at: At::Kinds(&[OpKind::MatMul]), apply: multiply_transposed },
    Law { rule: &RELABEL_OPERAND, at: At::Kinds(&[OpKind::Contract]), apply: relabel_operand },
    Law { rule: &RELABEL_RESULT, at: At::Kinds(&[OpKind::Transpose]), apply: relabel_result },
];

pub(super) static CANCEL_TRANSPOSES: Rule = Rule {
    name: "cancel-transposes",
    law: "transpose(transpose(x, p), q) = transpose(x, p after q), which is x if that keeps every axis",
    source: "composition of permutations",
    exactness: Exactness::Exact,
};
pub(super) static LIFT_TRANSPOSE: Rule = Rule {
    name: "lift-transpose",
    law: "f(transpose(x, p), transpose(y, p)) = transpose(f(x, y), p), f of elements; constants are transposed back",
    source: "f computes each element from those at the same place, wherever that is",
    exactness: Exactness::Exact,
};
pub(super) static SINK_TRANSPOSE: Rule = Rule {
    name: "sink-transpose",
    law: "transpose(f(x, y), p) = f(transpose(x, p), transpose(y, p)), f of elements",
    source: "f computes each element from those at the same place, wherever that is",
    exactness: Exactness::Exact,
};
pub(super) static CANCEL_RESHAPES: Rule = Rule {
    name: "cancel-reshapes",
    law: "reshape(reshape(x, a), b) = reshape(x, b), which is x if b is the shape of x",
    source: "views of the same elements in order",
    exactness: Exactness::Exact,
};
pub(super) static LIFT_RESHAPE: Rule = Rule {
    name: "lift-reshape",
    law: "f(reshape(x, a), reshape(y, a)) = reshape(f(x, y), a), f of elements, x and y of one shape",
    source: "f computes each element from those at the same place, wherever that is",
    exactness: Exactness::Exact,
};
pub(super) static SINK_RESHAPE: Rule = Rule {
    name: "sink-reshape",
    law: "reshape(f(x, y), a) = f(reshape(x, a), reshape(y, a)), f of elements",
    source: "f computes each element from those at the same place, wherever that is",
    exactness: Exactness::Exact,
};
pub(super) static MULTIPLY_TRANSPOSED: Rule = Rule {
    name: "multiply-transposed",
    law: "A' B' = (B A)', ' exchanging the last two axes",
    source: "Golub, Van Loan, Matrix Computations, 1.1; the backend may sum in another order",
    exactness: Exactness::Rounding,
};
pub(super) static RELABEL_OPERAND: Rule = Rule {
    name: "relabel-operand",
    law: "contract(transpose(A, p), B) = contract(A, B) with the labels of A permuted back, either operand",
    source: "Einstein's summation names axes, not places; the backend may sum in another order",
    exactness: Exactness::Rounding,
};
pub(super) static RELABEL_RESULT: Rule = Rule {
    name: "relabel-result",
    law: "transpose(contract(A, B), p) = contract(A, B) with the labels of the result permuted",
    source: "Einstein's summation names axes, not places; the backend may sum in another order",
    exactness: Exactness::Rounding,
};

/// Item `perm[i]` at `i`.
fn permuted<T: Clone>(items: &[T], perm: &[usize]) -> Vec<T> {
    perm.iter().map(|&p| items[p].clone()).collect()
}

/// The permutation that undoes `perm`.
fn inverse(perm: &[usize]) -> Vec<usize> {
    let mut back = vec![0; perm.len()];
    for (i, &p) in perm.iter().enumerate() {
        back[p] = i;
    }
    back
}

fn cancel_transposes(site: &mut Site<'_>) -> Option<()> {
    let Op::Transpose(outer) = site.op() else { return None };
    for (inner, seen) in site.forms_of::<Transpose>(site.operand(0), OpKind::Transpose) {
        let perm = permuted(&inner.perm, &outer.perm);
        let source = seen.operands[0];
        let to = if perm.is_sorted() { Some(source) } else { site.make(Transpose { perm }, &[source]) };
        site.equals(to?, &[&seen]);
    }
    Some(())
}

/// `id` before a transposition by `perm`: what a form transposes, a constant or a repeated element.
fn untransposed(site: &mut Site<'_>, id: Id, perm: &[usize], seen: &mut Vec<Seen>) -> Option<Id> {
    let forms = site.forms_of::<Transpose>(id, OpKind::Transpose);
    if let Some((_, form)) = forms.into_iter().find(|(op, _)| op.perm == perm) {
        let source = form.operands[0];
        seen.push(form);
        return Some(source);
    }
    let back = inverse(perm);
    if let Some((shape, form)) = one_element(site, id) {
        let source = form.operands[0];
        seen.push(form);
        return site.make(Broadcast { shape: permuted(&shape, &back) }, &[source]);
    }
    if site.is_constant(id) { site.make(Transpose { perm: back }, &[id]) } else { None }
}

/// A broadcast of one element, and its shape.
fn one_element(site: &Site<'_>, id: Id) -> Option<(Vec<Extent>, Seen)> {
    let forms = site.forms_of::<Broadcast>(id, OpKind::Broadcast).into_iter();
    let mut single = forms.filter(|(_, form)| site.ty(form.operands[0]).elements().is(1));
    single.next().map(|(op, form)| (op.shape, form))
}

fn lift_transpose(site: &mut Site<'_>) -> Option<()> {
    let operands = site.here.operands.clone();
    let mut perms: Vec<Vec<usize>> = Vec::new();
    for &operand in &operands {
        let forms = site.forms_of::<Transpose>(operand, OpKind::Transpose);
        perms.extend(forms.into_iter().map(|(op, _)| op.perm));
    }
    perms.dedup();
    for perm in perms {
        let mut seen = Vec::new();
        let sources: Option<Vec<Id>> =
            operands.iter().map(|&id| untransposed(site, id, &perm, &mut seen)).collect();
        let Some(sources) = sources else { continue };
        let op = site.op();
        let inside = site.make(op, &sources)?;
        let outside = site.make(Transpose { perm }, &[inside])?;
        site.equals(outside, &seen.iter().collect::<Vec<_>>());
    }
    Some(())
}

/// Operations of elements among the forms of an operand.
fn pointwise_forms(site: &Site<'_>, id: Id) -> Vec<Seen> {
    let kinds = OpKind::ALL.iter().filter(|&&kind| super::super::site::is_pointwise(kind));
    kinds.flat_map(|&kind| site.forms(id, kind)).collect()
}

fn sink_transpose(site: &mut Site<'_>) -> Option<()> {
    let Op::Transpose(transpose) = site.op() else { return None };
    for form in pointwise_forms(site, site.operand(0)) {
        let op = site.graph.op(form.op).clone();
        let mut moved = Vec::new();
        for &operand in &form.operands {
            moved.push(match one_element(site, operand) {
                Some((shape, seen)) => {
                    let shape = permuted(&shape, &transpose.perm);
                    site.make(Broadcast { shape }, &[seen.operands[0]])?
                }
                None => site.make(transpose.clone(), &[operand])?,
            });
        }
        let outside = site.make(op, &moved)?;
        site.equals(outside, &[&form]);
    }
    Some(())
}

fn cancel_reshapes(site: &mut Site<'_>) -> Option<()> {
    for inner in site.forms(site.operand(0), OpKind::Reshape) {
        let shape = site.result().shape.clone();
        let to = site.view(inner.operands[0], &shape)?;
        site.equals(to, &[&inner]);
    }
    Some(())
}

fn lift_reshape(site: &mut Site<'_>) -> Option<()> {
    let operands = site.here.operands.clone();
    let first = operands.iter().flat_map(|&id| site.forms(id, OpKind::Reshape)).next()?;
    let shape = site.ty(first.operands[0]).shape.clone();
    let (mut seen, mut sources) = (Vec::new(), Vec::new());
    for id in operands {
        let forms = site.forms(id, OpKind::Reshape);
        let form = forms.into_iter().find(|form| site.ty(form.operands[0]).shape == shape);
        sources.push(match (form, one_element(site, id)) {
            (Some(form), _) => {
                let source = form.operands[0];
                seen.push(form);
                source
            }
            (None, Some((_, form))) if site.ty(form.operands[0]).rank() <= shape.len() => {
                let source = form.operands[0];
                seen.push(form);
                site.spread(source, &shape)?
            }
            _ if site.is_constant(id) => site.view(id, &shape)?,
            _ => return None,
        });
    }
    let op = site.op();
    let inside = site.make(op, &sources)?;
    let outer = site.result().shape.clone();
    let outside = site.make(Reshape { shape: outer }, &[inside])?;
    site.equals(outside, &seen.iter().collect::<Vec<_>>())
}

fn sink_reshape(site: &mut Site<'_>) -> Option<()> {
    let shape = site.result().shape.clone();
    for form in pointwise_forms(site, site.operand(0)) {
        let op = site.graph.op(form.op).clone();
        let mut moved = Vec::new();
        for &operand in &form.operands {
            let single = one_element(site, operand).map(|(_, seen)| seen.operands[0]);
            moved.push(match single.filter(|&one| site.ty(one).rank() <= shape.len()) {
                Some(one) => site.spread(one, &shape)?,
                None => site.view(operand, &shape)?,
            });
        }
        let outside = site.make(op, &moved)?;
        site.equals(outside, &[&form]);
    }
    Some(())
}

fn multiply_transposed(site: &mut Site<'_>) -> Option<()> {
    let rank = site.result().rank();
    let mut perm: Vec<usize> = (0..rank).collect();
    perm.swap(rank - 2, rank - 1);
    let mut seen = Vec::new();
    let lhs = untransposed(site, site.operand(0), &perm, &mut seen)?;
    let rhs = untransposed(site, site.operand(1), &perm, &mut seen)?;
    let product = site.make(MatMul {}, &[rhs, lhs])?;
    let outside = site.make(Transpose { perm }, &[product])?;
    site.equals(outside, &seen.iter().collect::<Vec<_>>())
}

fn relabel_operand(site: &mut Site<'_>) -> Option<()> {
    let Op::Contract(contract) = site.op() else { return None };
    for side in [0, 1] {
        for (transpose, form) in site.forms_of::<Transpose>(site.operand(side), OpKind::Transpose) {
            let (mut op, mut operands) = (contract.clone(), site.here.operands.clone());
            let labels = if side == 0 { &mut op.lhs } else { &mut op.rhs };
            *labels = permuted(labels, &inverse(&transpose.perm));
            operands[side] = form.operands[0];
            let direct = site.make(op, &operands)?;
            site.equals(direct, &[&form]);
        }
    }
    Some(())
}

fn relabel_result(site: &mut Site<'_>) -> Option<()> {
    let Op::Transpose(transpose) = site.op() else { return None };
    for (contract, form) in site.forms_of::<Contract>(site.operand(0), OpKind::Contract) {
        let result = permuted(&contract.result, &transpose.perm);
        let direct = site.make(Contract { result, ..contract }, &form.operands)?;
        site.equals(direct, &[&form]);
    }
    Some(())
}
