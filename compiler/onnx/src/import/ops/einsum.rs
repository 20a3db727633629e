//! einsum - Einsum: operands two at a time, as matrix products where labels allow.

use std::collections::BTreeMap;

use nnc_ir::{
    extent::{Extent, product},
    graph::ValueId,
    ops::{self, ReduceKind},
};

use super::matmul::matmul_of;
use crate::import::{
    Outcome, Problem,
    cx::{OpCx, one},
    table::{MANY, Row, row},
};

pub(crate) const ROWS: &[Row] = &[row("Einsum", 12, 1..=MANY, einsum)];

/// A tensor with a label for each axis.
#[derive(Clone)]
struct Term {
    value: ValueId,
    labels: Vec<usize>,
}

/// First label of the axes that an ellipsis stands for; the last of these axes has it.
const ELLIPSIS: usize = 1000;

fn einsum(cx: &mut OpCx<'_>) -> Outcome {
    let equation = cx.text("equation")?;
    let equation: String =
        cx.required("equation", equation)?.chars().filter(|c| !c.is_whitespace()).collect();
    let (left, right) = match equation.split_once("->") {
        Some((left, right)) => (left, Some(right)),
        None => (&equation[..], None),
    };
    let parts: Vec<&str> = left.split(',').collect();
    if parts.len() != cx.n_inputs() {
        return cx.error(
            205,
            format!("equation '{equation}' has {} terms, node has {} inputs", parts.len(), cx.n_inputs()),
        );
    }
    let mut terms = Vec::with_capacity(parts.len());
    let mut hidden = 0;
    for (i, part) in parts.iter().enumerate() {
        let value = cx.value(i)?;
        let rank = cx.rank(value);
        let named = part.chars().filter(|c| *c != '.').count();
        let extra = if part.contains("...") { rank.saturating_sub(named) } else { 0 };
        hidden = hidden.max(extra);
        let labels = labels(cx, part, extra)?;
        if labels.len() != rank {
            return cx.error(212, format!("term '{part}' of '{equation}' for input {i} of rank {rank}"));
        }
        terms.push(Term { value, labels });
    }
    let values: Vec<ValueId> = terms.iter().map(|t| t.value).collect();
    cx.same_dtype(&values)?;
    let result = match right {
        Some(right) => labels(cx, right, if right.contains("...") { hidden } else { 0 })?,
        None => implied(&terms, hidden),
    };
    let known = |l: &usize| terms.iter().any(|t| t.labels.contains(l));
    if !result.iter().all(known) || (1..result.len()).any(|i| result[..i].contains(&result[i])) {
        return cx.error(205, format!("equation '{equation}' has no such result"));
    }
    let mut rest = terms.into_iter();
    let Some(mut joint) = rest.next() else { return cx.error(205, "Einsum of nothing") };
    let rest: Vec<Term> = rest.collect();
    for (i, term) in rest.iter().enumerate() {
        let later = &rest[i + 1..];
        let needed = |l: &usize| result.contains(l) || later.iter().any(|t| t.labels.contains(l));
        let keep = if later.is_empty() { result.clone() } else { both(&joint, term, needed) };
        joint = Term { value: contract(cx, &joint, term, &keep)?, labels: keep };
    }
    one(finish(cx, joint, &result)?)
}

/// Labels of one term; letters are their character codes.
fn labels(cx: &OpCx<'_>, part: &str, extra: usize) -> Result<Vec<usize>, Problem> {
    let mut out = Vec::new();
    let mut rest = part;
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("...") {
            out.extend((0..extra).rev().map(|i| ELLIPSIS + i));
            rest = after;
        } else if c.is_ascii_alphabetic() {
            out.push(c as usize);
            rest = &rest[1..];
        } else {
            return cx.error(205, format!("term '{part}' of an Einsum equation"));
        }
    }
    Ok(out)
}

/// Without an arrow: axes of the ellipsis, then letters that occur once, in their order.
fn implied(terms: &[Term], hidden: usize) -> Vec<usize> {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    terms.iter().flat_map(|t| &t.labels).for_each(|&l| *counts.entry(l).or_default() += 1);
    let once = counts.into_iter().filter(|&(l, n)| l < ELLIPSIS && n == 1).map(|(l, _)| l);
    (0..hidden).rev().map(|i| ELLIPSIS + i).chain(once).collect()
}

/// Labels of both terms that are needed later.
fn both(a: &Term, b: &Term, needed: impl Fn(&usize) -> bool) -> Vec<usize> {
    let mut labels: Vec<usize> = Vec::new();
    for &l in a.labels.iter().chain(&b.labels) {
        if needed(&l) && !labels.contains(&l) {
            labels.push(l);
        }
    }
    labels
}

fn repeats(labels: &[usize]) -> bool {
    (1..labels.len()).any(|i| labels[..i].contains(&labels[i]))
}

/// One term brought to the labels of the result: diagonals, sums, order.
fn finish(cx: &mut OpCx<'_>, term: Term, result: &[usize]) -> Result<ValueId, Problem> {
    if repeats(&term.labels) {
        let unit = cx.number_like(term.value, 1.0)?;
        let op = ops::Contract { lhs: term.labels, rhs: vec![], result: result.to_vec() };
        return cx.emit(op, &[term.value, unit]);
    }
    let term = summed(cx, term, |l| result.contains(l))?;
    ordered(cx, &term, result)
}

/// Axes summed over whose labels nobody needs.
fn summed(cx: &mut OpCx<'_>, term: Term, needed: impl Fn(&usize) -> bool) -> Result<Term, Problem> {
    let axes: Vec<usize> = (0..term.labels.len()).filter(|&i| !needed(&term.labels[i])).collect();
    if axes.is_empty() {
        return Ok(term);
    }
    let value = cx.reduce(ReduceKind::Sum, term.value, &axes, false)?;
    Ok(Term { value, labels: term.labels.into_iter().filter(needed).collect() })
}

/// The axes in the order of `labels`, which are those of the term.
fn ordered(cx: &mut OpCx<'_>, term: &Term, labels: &[usize]) -> Result<ValueId, Problem> {
    let perm: Vec<usize> =
        labels.iter().filter_map(|l| term.labels.iter().position(|have| have == l)).collect();
    cx.transpose(term.value, &perm)
}

/// The product of two terms, summed over what `result` does not have.
fn contract(cx: &mut OpCx<'_>, a: &Term, b: &Term, result: &[usize]) -> Result<ValueId, Problem> {
    if repeats(&a.labels) || repeats(&b.labels) || !extents_agree(cx, a, b)? {
        let op = ops::Contract { lhs: a.labels.clone(), rhs: b.labels.clone(), result: result.to_vec() };
        return cx.emit(op, &[a.value, b.value]);
    }
    let a = summed(cx, a.clone(), |l| result.contains(l) || b.labels.contains(l))?;
    let b = summed(cx, b.clone(), |l| result.contains(l) || a.labels.contains(l))?;
    let shared = |l: &&usize| a.labels.contains(l) && b.labels.contains(l);
    let batch: Vec<usize> = result.iter().filter(shared).copied().collect();
    let inner: Vec<usize> = a.labels.iter().filter(|l| shared(l) && !result.contains(l)).copied().collect();
    let rows: Vec<usize> = result.iter().filter(|l| !b.labels.contains(l)).copied().collect();
    let columns: Vec<usize> = result.iter().filter(|l| !a.labels.contains(l)).copied().collect();
    let extents = |cx: &OpCx<'_>, labels: &[usize]| -> Vec<Extent> {
        let of = |t: &Term, l: &usize| Some(cx.shape(t.value)[t.labels.iter().position(|h| h == l)?].clone());
        labels.iter().filter_map(|l| of(&a, l).or_else(|| of(&b, l))).collect()
    };
    let (batch_shape, rows_shape, columns_shape) =
        (extents(cx, &batch), extents(cx, &rows), extents(cx, &columns));
    let inner_shape = extents(cx, &inner);
    let ones = |labels: &[usize]| vec![Extent::ONE; labels.len()];
    let lhs = ordered(cx, &a, &[&batch[..], &rows, &inner].concat())?;
    let rhs = ordered(cx, &b, &[&batch[..], &inner, &columns].concat())?;
    let joint = if inner.is_empty() {
        let lhs = cx.reshape(lhs, [batch_shape.clone(), rows_shape, ones(&columns)].concat())?;
        let rhs = cx.reshape(rhs, [batch_shape, ones(&rows), columns_shape].concat())?;
        cx.mul(lhs, rhs)?
    } else {
        let (m, n, k) = (product(&rows_shape), product(&columns_shape), product(&inner_shape));
        let lhs = cx.reshape(lhs, [batch_shape.clone(), vec![m, k.clone()]].concat())?;
        let rhs = cx.reshape(rhs, [batch_shape.clone(), vec![k, n]].concat())?;
        let y = matmul_of(cx, lhs, rhs)?;
        cx.reshape(y, [batch_shape, rows_shape, columns_shape].concat())?
    };
    ordered(cx, &Term { value: joint, labels: [batch, rows, columns].concat() }, result)
}

/// Whether axes of one label have the same extent; what only the run can tell becomes a constraint.
fn extents_agree(cx: &mut OpCx<'_>, a: &Term, b: &Term) -> Result<bool, Problem> {
    let (sa, sb) = (cx.shape(a.value), cx.shape(b.value));
    let mut agree = true;
    for (label, x) in a.labels.iter().zip(&sa) {
        let Some(y) = b.labels.iter().position(|l| l == label).map(|i| &sb[i]) else { continue };
        if x != y && (x.is(1) || y.is(1) || *label >= ELLIPSIS) {
            agree = false;
        } else {
            cx.need_equal(229, x, y, || format!("axes of one label are {x} and {y}"))?;
        }
    }
    Ok(agree)
}
