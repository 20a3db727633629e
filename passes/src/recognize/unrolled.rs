//! unrolled - LSTM cells of several steps, written one after another, as one scan.
//!
//! A chain of cells is found by its states. Steps are alike if, walked side by side from what they give, they do the same
//! operations on the states of the step before, on values that all of them share, and on inputs of their own
//! ([`walk`]). What stands for the inputs of all steps is made in one piece ([`stack`]), products by shared weights
//! included. Where the first step differs, since states of zero were folded into it, it stays in front.
//!
//! It is worth it from four steps on: the body is there once instead of once a step, the inputs of all steps are one
//! product with more rows, and weights of the state are packed once. Fewer steps are left alone: a loop costs more there.

mod stack;
mod walk;

pub(super) use self::stack::sliced;

use nnc_ir::{
    Module,
    extent::Extent,
    graph::{NodeId, RegionId, ValueId, merge_locs},
    ops::{Mul, Op, Reshape, Scan, Sigmoid, Slice, Tanh},
};
use rustc_hash::{FxHashMap, FxHashSet};

use self::{
    stack::Stacker,
    walk::{Part, Step, after, live},
};
use super::{
    cell::previous,
    pattern::{both, under},
};
use crate::pass::{Bug, ConstEval, Exactness, PassCx, Rule};

pub(super) static UNROLLED: Rule = Rule {
    name: "unrolled-lstm",
    law: "h[t], c[t] = lstm(x[t] w, h[t-1], c[t-1]), t = 1 .. n = scan(lstm, x w, h[0], c[0]), n >= 4, all of the same weights",
    source: "ONNX LSTM-14; Appleyard, Kocisky & Blunsom, Optimizing Performance of Recurrent Neural Networks on GPUs, 2016: 3.1",
    exactness: Exactness::Rounding,
};

/// Steps that are rolled up at least.
const MIN_STEPS: usize = 4;

/// Cells one after another: what each shows, and its state.
struct Chain {
    h: Vec<ValueId>,
    c: Vec<ValueId>,
}

/// Rolls up every chain of cells that is long and regular enough.
pub(super) fn roll(module: &mut Module, cx: &mut PassCx<'_>) -> Result<(), Bug> {
    for region in module.nested_regions(module.body()) {
        let mut tried: FxHashSet<ValueId> = FxHashSet::default();
        while let Some(chain) = chains(module, region).into_iter().find(|chain| !tried.contains(&chain.c[0]))
        {
            tried.insert(chain.c[0]);
            let Some(first) = module.def_node(chain.c[0]) else { continue };
            match plan(module, cx.consts, region, &chain) {
                Ok((step, from)) if cx.has_fuel() => {
                    let states = chain.h[from..].iter().chain(&chain.c[from..]);
                    let nodes = states.filter_map(|&v| module.def_node(v));
                    let loc = merge_locs(nodes.map(|n| &module.node(n).loc));
                    apply(module, region, &chain.h[from..], &chain.c[from..], &step)?;
                    cx.fired(&UNROLLED, &loc);
                }
                Ok(_) => {}
                Err(reason) => cx.miss(module, first, reason),
            }
        }
    }
    Ok(())
}

/// Chains of two cells or more, in program order.
fn chains(module: &Module, region: RegionId) -> Vec<Chain> {
    let mut shown: FxHashMap<ValueId, ValueId> = FxHashMap::default();
    let mut cells: Vec<(ValueId, ValueId)> = Vec::new();
    for &node in &module.region(region).nodes {
        let &[value] = &module.node(node).results[..] else { continue };
        if let Some(before) = previous(module, value) {
            cells.push((before, value));
        } else if let Some([a, b]) = both::<Mul>(module, value) {
            for (gate, state) in [(a, b), (b, a)] {
                if under::<Sigmoid>(module, gate).is_some()
                    && let Some(c) = under::<Tanh>(module, state)
                {
                    shown.entry(c).or_insert(value);
                }
            }
        }
    }
    cells.retain(|(_, c)| shown.contains_key(c));
    let is_cell: FxHashSet<ValueId> = cells.iter().map(|(_, c)| *c).collect();
    let mut chains = Vec::new();
    for &(_, first) in cells.iter().filter(|(before, _)| !is_cell.contains(before)) {
        let mut c = vec![first];
        while let Some(&(_, next)) = cells.iter().find(|(before, _)| before == &c[c.len() - 1]) {
            c.push(next);
        }
        if c.len() > 1 {
            chains.push(Chain { h: c.iter().map(|c| shown[c]).collect(), c });
        }
    }
    chains
}

/// What one step does, and the step from which on all are alike.
fn plan(
    module: &Module,
    consts: &dyn ConstEval,
    region: RegionId,
    chain: &Chain,
) -> Result<(Step, usize), String> {
    let mut reason = format!("{} steps: fewer than {MIN_STEPS} stay as they are", chain.c.len());
    for from in 0..2 {
        let (h, c) = (&chain.h[from..], &chain.c[from..]);
        if c.len() < MIN_STEPS {
            break;
        }
        match walk::step(module, consts, region, h, c) {
            Ok(step) => return Ok((step, from)),
            Err(why) => reason = why,
        }
    }
    Err(reason)
}

/// Puts the scan in the place of the steps.
fn apply(
    module: &mut Module,
    region: RegionId,
    h: &[ValueId],
    c: &[ValueId],
    step: &Step,
) -> Result<(), Bug> {
    let bug = |message: String| Bug { pass: "recognize".into(), message };
    let later = after(module, region, h, c);
    let is_later = |n: &NodeId| module.node(*n).results.iter().any(|v| later.contains(v));
    let (own, others): (Vec<NodeId>, Vec<NodeId>) =
        module.region(region).nodes.iter().partition(|n| step.covered.contains(n));
    // What reads the inside of a step, nothing comes of.
    let states: FxHashSet<ValueId> = h.iter().chain(c).copied().collect();
    let inside = own.iter().flat_map(|&n| &module.node(n).results).filter(|v| !states.contains(v));
    let mut gone: FxHashSet<ValueId> = inside.copied().collect();
    let live = live(module, region);
    let mut stays = |n: &NodeId| {
        let node = module.node(*n);
        let reads = !live.contains(n) && node.operands.iter().any(|v| gone.contains(v));
        if reads {
            gone.extend(&node.results);
        }
        !reads
    };
    let others: Vec<NodeId> = others.into_iter().filter(|n| stays(n)).collect();
    let (rest, front): (Vec<NodeId>, Vec<NodeId>) = others.into_iter().partition(is_later);
    let loc = merge_locs(own.iter().map(|&n| &module.node(n).loc));
    let read: FxHashSet<ValueId> = (rest.iter().flat_map(|&n| module.node(n).operands.clone()))
        .chain(module.region(region).results.iter().copied())
        .collect();
    module.region_mut(region).nodes = front;

    let steps = Extent::Const(i64::try_from(c.len()).map_err(|_| bug("too many steps".into()))?);
    let mut scanned = Vec::new();
    let mut stacker = Stacker { module, region, loc: &loc };
    for values in &step.scanned {
        scanned.push(stacker.stack(values)?);
    }

    // The body.
    let body = module.add_region();
    let param = |module: &mut Module, value: ValueId, is_slice: bool| {
        let ty = module.ty(value).clone();
        let ty = if is_slice { ty.with_shape(&ty.shape[1..]) } else { ty };
        module.add_param(body, ty)
    };
    let states = step.start.map(|v| param(module, v, false));
    let slices: Vec<ValueId> = scanned.iter().map(|&v| param(module, v, true)).collect();
    let captures: Vec<ValueId> = step.captures.iter().map(|&v| param(module, v, false)).collect();
    let mut made: Vec<ValueId> = Vec::with_capacity(step.made.len());
    for (node, parts) in &step.made {
        let (op, own_loc) = (module.node(*node).op.clone(), module.node(*node).loc.clone());
        let operands: Vec<ValueId> = (parts.iter())
            .map(|part| match *part {
                Part::Hidden => states[0],
                Part::Cell => states[1],
                Part::Scanned(i) => slices[i],
                Part::Capture(i) => captures[i],
                Part::Made(i) => made[i],
            })
            .collect();
        made.extend(module.append(body, op, &operands, &[], &own_loc).map_err(bug)?);
    }
    let new = step.results.map(|i| made[i]);
    // States of single steps that are read outside.
    let inner = |all: &[ValueId]| all[..all.len() - 1].iter().any(|v| read.contains(v));
    let stacked: Vec<usize> =
        [h, c].iter().enumerate().filter(|(_, all)| inner(all)).map(|(i, _)| i).collect();
    let results = new.iter().copied().chain(stacked.iter().map(|&i| new[i])).collect();
    module.set_results(body, results);
    let operands = [&step.start[..], &scanned, &step.captures].concat();
    let op = Scan {
        carried: 2,
        steps,
        reversed_inputs: vec![false; scanned.len()],
        reversed_outputs: vec![false; stacked.len()],
    };
    let given = module.append(region, op, &operands, &[body], &loc).map_err(bug)?;

    // What stands for the states.
    let mut stands: Vec<(ValueId, ValueId)> = Vec::new();
    for (which, all) in [h, c].into_iter().enumerate() {
        match stacked.iter().position(|&s| s == which) {
            None => stands.push((all[all.len() - 1], given[which])),
            // All in the same way, so that what puts them together finds one tensor.
            Some(at) => {
                for (t, &value) in all.iter().enumerate().filter(|(_, v)| read.contains(v)) {
                    stands.push((value, unstack(module, region, given[2 + at], t).map_err(bug)?));
                }
            }
        }
    }
    module.region_mut(region).nodes.extend(rest);
    for (value, by) in stands {
        module.replace_uses(region, value, by);
    }
    Ok(())
}

/// Part `t` of what a scan stacked.
fn unstack(module: &mut Module, region: RegionId, stack: ValueId, t: usize) -> Result<ValueId, String> {
    let mut shape = module.ty(stack).shape.to_vec();
    let loc = module.def_node(stack).map(|n| module.node(n).loc.clone()).unwrap_or_default();
    let mut starts = vec![Extent::ZERO; shape.len()];
    (starts[0], shape[0]) = (Extent::Const(i64::try_from(t).map_err(|e| e.to_string())?), Extent::ONE);
    let steps = vec![1; shape.len()];
    let part = module.append(
        region,
        Op::from(Slice { starts, steps, shape: shape.clone() }),
        &[stack],
        &[],
        &loc,
    )?;
    let shape = shape[1..].to_vec();
    Ok(module.append(region, Reshape { shape }, &part, &[], &loc)?[0])
}
