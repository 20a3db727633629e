//! split - a chain of large values in parts: some rows of all of it at a time, where one kernel's operands are the peak.
//!
//! Rows of a chain's last value need few rows of those before it: as many for pointwise nodes and products, and those
//! that windows reach for convolutions and pooling. The chain runs for one part of the rows after the other, so that of
//! values between only a part is there; rows that windows of two parts reach are computed twice.

use nnc_ir::{
    Module,
    compose::fuse_region,
    extent::Extent,
    form::{Class, Form, LoopForm},
    graph::{NodeId, Provenance, RegionId, ValueId, merge_locs},
    ops::{Concat, Fusion, Op, Slice},
};
use rustc_hash::FxHashMap;

use super::rows::{Need, Rows, needs};
use crate::pass::{Bug, PassCx};

/// Nodes of a chain before and behind the busiest one, at most.
const REACH: usize = 4;
/// Into how many parts a chain is split.
const PARTS: [i64; 4] = [2, 3, 4, 8];

/// A chain that may be split: each node but the last gives its value to the next one alone.
pub(super) struct Split {
    chain: Vec<NodeId>,
    axis: usize,
    parts: i64,
}

impl Split {
    /// Where the chain is in the model.
    pub(super) fn loc(&self, module: &Module) -> Provenance {
        merge_locs(self.chain.iter().map(|&n| &module.node(n).loc))
    }
}

/// All splits of chains through `node`.
pub(super) fn candidates(module: &Module, node: NodeId) -> Vec<Split> {
    let region = module.region(module.body());
    let mut readers: FxHashMap<ValueId, Vec<NodeId>> = FxHashMap::default();
    for &n in &region.nodes {
        module.node(n).operands.iter().for_each(|&v| readers.entry(v).or_default().push(n));
    }
    let only_reader = |n: NodeId| match module.node(n).results[..] {
        [value] if !region.results.contains(&value) => match readers.get(&value).map(|r| &r[..]) {
            Some(&[reader]) => Some(reader),
            _ => None,
        },
        _ => None,
    };
    let mut chain = vec![node];
    for _ in 0..REACH {
        let operands = &module.node(chain[0]).operands;
        let before = operands.iter().filter_map(|&v| module.def_node(v)).filter(|&n| {
            only_reader(n) == Some(chain[0]) && !matches!(module.form(n), Form::Constant | Form::View)
        });
        let size = |n: &NodeId| crate::cost::value_bytes(module, module.node(*n).results[0]);
        let Some(largest) = before.max_by_key(size) else { break };
        chain.insert(0, largest);
    }
    let middle = chain.len() - 1;
    for _ in 0..REACH {
        let Some(next) = chain.last().and_then(|&n| only_reader(n)) else { break };
        chain.push(next);
    }
    let mut splits = Vec::new();
    for begin in 0..=middle {
        for end in middle.max(begin + 1)..chain.len() {
            let chain = &chain[begin..=end];
            let Some(&[value]) = chain.last().map(|&n| &module.node(n).results[..]) else { continue };
            for (axis, extent) in module.ty(value).shape.iter().enumerate() {
                let fits = |&&n: &&i64| extent.as_const().is_some_and(|e| e >= 2 * n);
                splits.extend(PARTS.iter().filter(fits).map(|&parts| Split {
                    chain: chain.to_vec(),
                    axis,
                    parts,
                }));
            }
        }
    }
    splits
}

impl Split {
    /// Runs the chain part by part, by new nodes; `None` where it cannot be.
    pub(super) fn apply(&self, module: &mut Module, cx: &PassCx<'_>) -> Result<Option<Vec<NodeId>>, Bug> {
        let bug = |message: String| Bug { pass: "recompute".into(), message };
        let last = self.chain[self.chain.len() - 1];
        let value = module.node(last).results[0];
        let Some(extent) = module.ty(value).shape[self.axis].as_const() else { return Ok(None) };
        let (mut made, mut parts) = (Vec::new(), Vec::new());
        for part in 0..self.parts {
            let rows = Rows { from: extent * part / self.parts, to: extent * (part + 1) / self.parts };
            let Some(wanted) = self.wanted(module, rows) else { return Ok(None) };
            let mut before: Option<(ValueId, ValueId, Rows)> = None;
            for (&node, &rows) in self.chain.iter().zip(&wanted) {
                let Some(new) = Part::of(module, node, self.axis, before).make(module, rows) else {
                    return Ok(None);
                };
                let (region, operands) = new;
                let loc = module.node(node).loc.clone();
                let Ok(form) = fuse_region(module, region) else { return Ok(None) };
                if slower(module, node, (&form, &operands), cx) {
                    return Ok(None);
                }
                let fusion = module.make_node(Fusion {}.into(), &operands, &[region], &loc).map_err(bug)?;
                before = Some((module.node(node).results[0], module.node(fusion).results[0], rows));
                made.push(fusion);
            }
            parts.extend(before.map(|(_, part, _)| part));
        }
        let loc = self.loc(module);
        let joined = module.make_node(Concat { axis: self.axis }.into(), &parts, &[], &loc).map_err(bug)?;
        let whole = module.node(joined).results[0];
        if module.ty(whole) != module.ty(value) {
            return Ok(None);
        }
        made.push(joined);
        let region = module.body();
        let mut nodes = module.region(region).nodes.clone();
        let place = nodes.iter().position(|&n| n == last).unwrap_or(nodes.len());
        nodes.splice(place..place, made.iter().copied());
        nodes.retain(|n| !self.chain.contains(n));
        for &node in &nodes {
            for operand in &mut module.node_mut(node).operands {
                if *operand == value {
                    *operand = whole;
                }
            }
        }
        let region = module.region_mut(region);
        region.nodes = nodes;
        for result in &mut region.results {
            if *result == value {
                *result = whole;
            }
        }
        Ok(Some(made))
    }

    /// Nodes that are run part by part.
    pub(super) fn chain(&self) -> &[NodeId] {
        &self.chain
    }

    /// The rows of each node's value that `rows` of the last one need.
    fn wanted(&self, module: &Module, rows: Rows) -> Option<Vec<Rows>> {
        let mut wanted = vec![rows; self.chain.len()];
        for at in (1..self.chain.len()).rev() {
            let value = module.node(self.chain[at - 1]).results[0];
            let mut hull = None;
            Part::of(module, self.chain[at], self.axis, Some((value, value, rows))).demand(
                module,
                (self.axis, wanted[at]),
                &mut hull,
            )?;
            wanted[at - 1] = hull?;
        }
        Some(wanted)
    }
}

/// Whether tiles did the whole, and cannot do the part.
fn slower(module: &Module, node: NodeId, new: (&LoopForm, &[ValueId]), cx: &PassCx<'_>) -> bool {
    let refused = |form: &LoopForm, operands: &[ValueId]| {
        let constant = |number: usize| module.as_constant(*operands.get(number)?).cloned();
        form.class() == Class::Contraction && cx.tiles.refusal(form, &constant).is_some()
    };
    let old = crate::liveness::nest(module, node);
    old.is_some_and(|old| refused(new.0, new.1) && !refused(&old, &module.node(node).operands))
}

/// One node of a chain, for a part of its rows.
struct Part {
    /// The value that the node gives, inside of its region if it has one.
    result: ValueId,
    axis: usize,
    /// Values that come from outside, as they are called inside and outside.
    outside: FxHashMap<ValueId, ValueId>,
    /// Which of these is the value before it in the chain, called inside; what there is of it, and which rows that is.
    before: Option<(ValueId, ValueId, Rows)>,
}

/// A part under construction.
struct Making {
    region: RegionId,
    /// Operands of the fusion to be, and the parameters for them.
    operands: Vec<ValueId>,
    params: FxHashMap<ValueId, ValueId>,
    known: FxHashMap<(ValueId, Option<(usize, Rows)>), ValueId>,
}

impl Part {
    fn of(module: &Module, node: NodeId, axis: usize, before: Option<(ValueId, ValueId, Rows)>) -> Part {
        let this = module.node(node);
        let (result, inside) = match (&this.op, &this.regions[..]) {
            (Op::Fusion(_), &[region]) => {
                let region = module.region(region);
                (region.results[0], region.params.clone())
            }
            _ => (this.results[0], this.operands.clone()),
        };
        let outside: FxHashMap<ValueId, ValueId> =
            inside.iter().copied().zip(this.operands.iter().copied()).collect();
        let before = before.and_then(|(whole, part, rows)| {
            let own = inside.iter().copied().find(|v| outside[v] == whole)?;
            Some((own, part, rows))
        });
        Part { result, axis, outside, before }
    }

    fn is_before(&self, value: ValueId) -> bool {
        self.before.is_some_and(|(own, ..)| own == value)
    }

    /// Which rows of the value before are needed; `None` where that is not known.
    fn demand(&self, module: &Module, wanted: (usize, Rows), hull: &mut Option<Rows>) -> Option<()> {
        self.demand_of(module, self.result, Some(wanted), hull)
    }

    fn demand_of(
        &self,
        module: &Module,
        value: ValueId,
        wanted: Option<(usize, Rows)>,
        hull: &mut Option<Rows>,
    ) -> Option<()> {
        if self.is_before(value) {
            let (_, rows) = wanted.filter(|(axis, _)| *axis == self.axis)?;
            *hull = Some(hull.map_or(rows, |h| h.hull(rows)));
            return Some(());
        }
        if self.outside.contains_key(&value) {
            return Some(());
        }
        let node = module.def_node(value)?;
        let operands = &module.node(node).operands;
        let Some((axis, rows)) = wanted else {
            return operands.iter().try_for_each(|&v| self.demand_of(module, v, None, hull));
        };
        for (&operand, need) in operands.iter().zip(needs(module, node, axis, rows)?.operands) {
            let wanted = match need {
                Need::Whole => None,
                Need::Exactly(axis, rows) | Need::AtLeast(axis, rows) => Some((axis, rows)),
            };
            self.demand_of(module, operand, wanted, hull)?;
        }
        Some(())
    }

    /// The region of a fusion that gives these rows, and what it reads.
    fn make(&self, module: &mut Module, rows: Rows) -> Option<(RegionId, Vec<ValueId>)> {
        let region = module.add_region();
        let mut making = Making {
            region,
            operands: Vec::new(),
            params: FxHashMap::default(),
            known: FxHashMap::default(),
        };
        let result = self.value(module, &mut making, self.result, Some((self.axis, rows)))?;
        module.set_results(region, vec![result]);
        Some((region, making.operands))
    }

    /// A value from outside, with the place of its first row.
    fn param(&self, module: &mut Module, making: &mut Making, value: ValueId) -> (ValueId, i64) {
        let (from, start) = match self.before {
            Some((own, part, rows)) if own == value => (part, rows.from),
            _ => (self.outside[&value], 0),
        };
        let param = match making.params.get(&value) {
            Some(&param) => param,
            None => {
                let ty = module.ty(from).clone();
                let param = module.add_param(making.region, ty);
                making.operands.push(from);
                making.params.insert(value, param);
                param
            }
        };
        (param, start)
    }

    /// Exactly the wanted rows of a value, or all of it.
    fn value(
        &self,
        module: &mut Module,
        making: &mut Making,
        value: ValueId,
        wanted: Option<(usize, Rows)>,
    ) -> Option<ValueId> {
        if let Some(&known) = making.known.get(&(value, wanted)) {
            return Some(known);
        }
        let made = if self.outside.contains_key(&value) {
            let (param, start) = self.param(module, making, value);
            match wanted {
                None if self.is_before(value) => return None,
                None => param,
                Some((axis, rows)) => sliced(module, making.region, param, axis, rows.moved(-start))?,
            }
        } else {
            let node = module.def_node(value)?;
            let this = module.node(node).clone();
            let mut operands = Vec::with_capacity(this.operands.len());
            let op = match wanted {
                None => {
                    for &operand in &this.operands {
                        operands.push(self.value(module, making, operand, None)?);
                    }
                    this.op
                }
                Some((axis, rows)) => {
                    let plan = needs(module, node, axis, rows)?;
                    let mut start = 0;
                    for (&operand, &need) in this.operands.iter().zip(&plan.operands) {
                        operands.push(match need {
                            Need::Whole => self.value(module, making, operand, None)?,
                            Need::AtLeast(..) if self.outside.contains_key(&operand) => {
                                let (param, from) = self.param(module, making, operand);
                                start = from;
                                param
                            }
                            Need::AtLeast(axis, rows) => {
                                start = rows.from;
                                self.value(module, making, operand, Some((axis, rows)))?
                            }
                            Need::Exactly(axis, rows) => {
                                self.value(module, making, operand, Some((axis, rows)))?
                            }
                        });
                    }
                    plan.op(start)
                }
            };
            let results = module.append(making.region, op, &operands, &[], &this.loc).ok()?;
            *results.first()?
        };
        making.known.insert((value, wanted), made);
        Some(made)
    }
}

/// Rows of a value, which is the value where these are all.
fn sliced(module: &mut Module, region: RegionId, value: ValueId, axis: usize, rows: Rows) -> Option<ValueId> {
    let mut shape = module.ty(value).shape.to_vec();
    let extent = shape[axis].as_const()?;
    if rows.from < 0 || rows.to > extent {
        return None;
    }
    if rows == (Rows { from: 0, to: extent }) {
        return Some(value);
    }
    let mut starts = vec![Extent::ZERO; shape.len()];
    starts[axis] = Extent::Const(rows.from);
    shape[axis] = Extent::Const(rows.len());
    let slice = Slice { starts, steps: vec![1; shape.len()], shape };
    module.append(region, slice, &[value], &[], &Provenance::default()).ok()?.first().copied()
}
