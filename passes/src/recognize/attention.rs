//! attention - the scale of scores goes to the queries, where there are fewer numbers to multiply.

use nnc_ir::{
    Module,
    graph::{NodeId, ValueId},
    ops::{MatMul, Op, Reshape},
};

use super::{
    pattern::{both, def, scaled, unviewed},
    scene::{Found, Pattern, Scene},
    softmax::{softmax, softmax_of},
    term::{Term, apply, mul},
};
use crate::pass::{Exactness, Rule};

pub(super) const PATTERNS: &[Pattern] = &[Pattern { rule: &ATTENTION, find: find_attention }];

pub(super) static ATTENTION: Rule = Rule {
    name: "attention",
    law: "softmax(c (a q) (b k)^T + mask) v = softmax((c a b q) k^T + mask) v",
    source: "ONNX Attention-23; Vaswani et al., Attention Is All You Need, 2017: 3.2.1",
    exactness: Exactness::Rounding,
};

/// Masks and movements between a product and its softmax at most.
const MAX_STEPS: usize = 8;

/// A value without the numbers it is multiplied by, under movements.
fn unscaled(module: &Module, value: ValueId) -> (f64, Term) {
    let (c, inner) = scaled(module, value);
    if inner != value {
        let (more, term) = unscaled(module, inner);
        return (c * more, term);
    }
    let node = module.def_node(value).map(|n| module.node(n));
    match node {
        Some(node) if matches!(node.op, Op::Transpose(_) | Op::Reshape(_)) => {
            let (c, inner) = unscaled(module, node.operands[0]);
            let same = matches!(inner, Term::Value(v) if v == node.operands[0]);
            if same { (c, value.into()) } else { (c, apply(node.op.clone(), vec![inner])) }
        }
        _ => (1.0, value.into()),
    }
}

/// The product of queries and keys that masked scores come from.
fn scores(module: &Module, value: ValueId, depth: usize) -> Option<ValueId> {
    let deeper = depth.checked_sub(1)?;
    let node = module.node(module.def_node(value)?);
    match (&node.op, scaled(module, value)) {
        (Op::MatMul(_), _) => Some(value),
        (_, (_, inner)) if inner != value => scores(module, inner, deeper),
        (Op::Add(_), _) => node.operands.iter().find_map(|&v| scores(module, v, deeper)),
        (Op::Select(_), _) => node.operands[1..].iter().find_map(|&v| scores(module, v, deeper)),
        (Op::Reshape(_), _) => scores(module, node.operands[0], deeper),
        _ => None,
    }
}

/// Masked scores with `inner` replaced, without the numbers that it is multiplied by on the way, which are given too.
/// `None` if a mask is multiplied by one too, or what is replaced is read twice.
fn rebuilt(module: &Module, value: ValueId, inner: ValueId, new: &Term) -> Option<(Term, f64)> {
    if value == inner {
        return Some((new.clone(), 1.0));
    }
    let (c, under) = scaled(module, value);
    if under != value {
        let is_masked = matches!(def(module, unviewed(module, under)), Some((Op::Add(_) | Op::Select(_), _)));
        let (term, more) = rebuilt(module, under, inner, new).filter(|_| !is_masked)?;
        return Some((term, c * more));
    }
    let node = module.node(module.def_node(value)?);
    if !matches!(node.op, Op::Add(_) | Op::Select(_) | Op::Reshape(_)) {
        return None;
    }
    let mut factors = Vec::new();
    let operands = node.operands.iter().map(|&v| match rebuilt(module, v, inner, new) {
        Some((term, c)) => {
            factors.push(c);
            term
        }
        None => v.into(),
    });
    let operands = operands.collect();
    let &[c] = &factors[..] else { return None };
    Some((apply(node.op.clone(), operands), c))
}

fn find_attention(scene: &Scene<'_>, node: NodeId) -> Result<Found, Option<String>> {
    let module = scene.module;
    let (Op::MatMul(_), &[weights, values], result) = scene.node(node).ok_or(None)? else { return Err(None) };
    let (found, is_shifted, e) = softmax(module, unviewed(module, weights)).ok_or(None)?;
    let shape = module.ty(found.x).shape.to_vec();
    if !is_shifted
        || Some(&found.axes[..]) != shape.len().checked_sub(1).map(|last| [last]).as_ref().map(|a| &a[..])
    {
        return Err(None);
    }
    let inner = scores(module, found.x, MAX_STEPS).ok_or(None)?;
    let [q, k] = both::<MatMul>(module, inner).ok_or(None)?;
    let Some((_, c)) = rebuilt(module, found.x, inner, &Term::Value(inner)) else {
        return Err(Some("looks like attention, but its mask is scaled with the scores".into()));
    };
    let (kc, k) = unscaled(module, k);
    if kc * c == 1.0 {
        return Ok(Found { term: result.into(), key: result });
    }
    if scene.readers.count(inner) > 1 || scene.readers.count(e) > 2 {
        return Err(Some("looks like attention, but its scores are read elsewhere too".into()));
    }
    let (qc, q) = unscaled(module, q);
    let scores = apply(MatMul {}, vec![mul(q, qc * kc * c), k]);
    let (masked, _) = rebuilt(module, found.x, inner, &scores).ok_or(None)?;
    let mut spelt = softmax_of(masked, &found.axes, &shape);
    if unviewed(module, weights) != weights {
        spelt = apply(Reshape { shape: module.ty(weights).shape.to_vec() }, vec![spelt]);
    }
    Ok(Found { term: apply(MatMul {}, vec![spelt, values.into()]), key: result })
}
