//! recompute - computes values again near late readers instead of keeping them, while the arena is over the limit.
//!
//! With a limit of 600 bytes:
//!
//! ```nnir
//! nnir 1
//! phase canonical
//! module (%0 "x" : f32[4]) {
//!   %1 = broadcast %0 {shape=[16,4]} : f32[16,4] loc("wide")
//!   %2 = exp %1 : f32[16,4] loc("a")
//!   %3 = transpose %2 {perm=[1,0]} : f32[4,16] loc("b")
//!   %4 = reduce %3 {kind=max, axes=[1], keep=true} : f32[4,1] loc("c")
//!   %5 = add %1, %1 : f32[16,4] loc("d")
//!   return %4 "y", %5 "z"
//! }
//! ```
//! becomes
//! ```nnir
//! nnir 1
//! phase canonical
//! module (%0 "x" : f32[4]) {
//!   %1 = broadcast %0 {shape=[16,4]} : f32[16,4] loc("wide")
//!   %2 = exp %1 : f32[16,4] loc("a")
//!   %3 = transpose %2 {perm=[1,0]} : f32[4,16] loc("b")
//!   %4 = reduce %3 {kind=max, axes=[1], keep=true} : f32[4,1] loc("c")
//!   %5 = broadcast %0 {shape=[16,4]} : f32[16,4] loc("wide")
//!   %6 = add %5, %5 : f32[16,4] loc("d")
//!   return %4 "y", %6 "z"
//! }
//! ```
//!
//! Where most bytes are in use, every value that waits there for a later reader is a candidate: it is computed again
//! just before that reader, by copies of the nodes that made it, back to what is in memory anyway or is small. The one
//! that frees most bytes over the limit for a cycle of computing goes first; then all is estimated anew (`liveness`).
//! Where the peak is one node's operands and results, as in most networks, a chain of nodes through it is run for some
//! rows after the other, so that only a part of the values between is there at a time (`split`).
//!
//! It does not fire without a limit (`nnc compile --max-memory`), below it, or where no candidate lowers what is over
//! it; values of other regions than the module's own, of control flow, scatters and runtime functions stay; a chain is
//! one of pointwise nodes, products, convolutions and pooling with known rows, which tiles do in parts as well. Exact.
//! Source: Chen, Xu, Zhang, Guestrin, Training deep nets with sublinear memory cost, 2016; Kusumoto, Inoue, Watanabe,
//! Akiba, Koyama, A graph theoretic framework of recomputation algorithms, NeurIPS 2019; Lin, Chen, Cai, Gan, Han,
//! MCUNetV2: memory-efficient patch-based inference for tiny deep learning, NeurIPS 2021.

mod rows;
mod split;

use nnc_ir::{
    Module,
    form::Form,
    graph::{NodeId, Provenance, ValueId},
    ops::Op,
};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::{
    cost,
    liveness::{Access, Lives, Memory, Storage},
    pass::{Bug, Exactness, PassCx, Rule},
    target::TargetDesc,
};

pub(crate) const RULES: &[&Rule] = &[&COMPUTE_AGAIN, &SPLIT_CHAIN];

static COMPUTE_AGAIN: Rule = Rule {
    name: "compute-again",
    law: "a late reader of a value = a reader of the same value computed again",
    source: "nodes are pure; Chen et al., Training deep nets with sublinear memory cost, 2016",
    exactness: Exactness::Exact,
};

static SPLIT_CHAIN: Rule = Rule {
    name: "split-chain",
    law: "f(g(x)) = concat(f(g(x)) for some rows, for the next rows, ..), where rows of f need few rows of g",
    source: "each element is computed as before; Lin et al., MCUNetV2: memory-efficient patch-based inference, NeurIPS 2021",
    exactness: Exactness::Exact,
};

/// Nodes that are computed again for one value, at most.
const CHAIN: usize = 24;

/// Nodes up to which chains are split: code grows with every part.
const NODES: usize = 512;

/// Values that are looked at for one recomputation, the largest first.
const CANDIDATES: usize = 64;

pub(crate) fn run(module: &mut Module, cx: &mut PassCx<'_>) -> Result<(), Bug> {
    let Some(limit) = cx.max_memory else { return Ok(()) };
    loop {
        let state = State::of(module, limit);
        let (at, most) = state.lives.peak();
        let Some(&busiest) = state.nodes.get(at) else { return Ok(()) };
        if most <= limit || !cx.has_fuel() {
            return Ok(());
        }
        let Some(plan) = state.best(at, cx.target) else {
            if let Some((split, loc)) = best_split(&state, busiest, cx)? {
                *module = split;
                cx.fired(&SPLIT_CHAIN, &loc);
                continue;
            }
            let reason = format!(
                "{most} bytes in use at once, {limit} allowed; computing something again does not help here, nor does \
                 a chain in parts"
            );
            cx.miss(module, busiest, reason);
            return Ok(());
        };
        let Some(&made) = plan.copies.last() else { return Ok(()) };
        let loc = module.node(made).loc.clone();
        plan.apply(module)?;
        cx.fired(&COMPUTE_AGAIN, &loc);
    }
}

/// The module with a chain through the busiest node in parts: of those that bring the peak below the limit the cheapest,
/// else the one with the lowest peak.
fn best_split(
    state: &State<'_>,
    busiest: NodeId,
    cx: &PassCx<'_>,
) -> Result<Option<(Module, Provenance)>, Bug> {
    if state.nodes.len() > NODES {
        return Ok(None);
    }
    let now = height(&state.lives);
    let mut best: Option<((i64, i64, i64), Module, Provenance)> = None;
    for split in split::candidates(state.module, busiest) {
        let mut module = state.module.clone();
        let Some(made) = split.apply(&mut module, cx)? else { continue };
        let then = height(&State::of(&module, state.limit).lives);
        if then >= now {
            continue;
        }
        let cycles = |module: &Module, nodes: &[NodeId]| {
            nodes.iter().map(|&n| cost::of_node(module, n).cycles(cx.target)).fold(0, i64::saturating_add)
        };
        let more = cycles(&module, &made).saturating_sub(cycles(state.module, split.chain()));
        let key = (then.0.max(state.limit), more, then.1);
        if best.as_ref().is_none_or(|(least, ..)| key < *least) {
            best = Some((key, module, split.loc(state.module)));
        }
    }
    Ok(best.map(|(_, module, loc)| (module, loc)))
}

/// The most bytes in use at once, and at how many nodes they are.
fn height(lives: &Lives) -> (i64, i64) {
    let most = lives.peak().1;
    (most, lives.bytes.iter().map(|&b| i64::from(b == most)).sum())
}

/// The main region with an estimate of its memory.
struct State<'m> {
    module: &'m Module,
    limit: i64,
    nodes: &'m [NodeId],
    memory: Memory,
    lives: Lives,
    over: i128,
}

/// What to compute again.
struct Recompute {
    /// Nodes to be copied, in order.
    copies: Vec<NodeId>,
    /// Position of the first reader: copies go before it.
    before: usize,
    /// Readers from there on read the copies of these values.
    values: Vec<ValueId>,
}

impl<'m> State<'m> {
    fn of(module: &'m Module, limit: i64) -> Self {
        let region = module.body();
        let nodes = &module.region(region).nodes[..];
        let memory = Memory::of(module, region);
        let accesses: Vec<&Access> = nodes.iter().map(|n| &memory.accesses[n]).collect();
        let lives = memory.lives(&accesses);
        let over = over(&lives, limit);
        State { module, limit, nodes, memory, lives, over }
    }

    /// The recomputation that brings most of what is over the limit at `at` below it for a cycle.
    fn best(&self, at: usize, target: &TargetDesc) -> Option<Recompute> {
        let most = self.lives.peak().1;
        let mut best: Option<(i128, i128, Recompute)> = None;
        let mut storages: Vec<Storage> = (0..self.memory.bytes.len()).collect();
        storages.sort_by_key(|&s| (std::cmp::Reverse(self.memory.bytes[s]), s));
        let mut tried = 0;
        for storage in storages {
            let waits = self.memory.bytes[storage] > 0
                && self.lives.first[storage].is_some_and(|first| first < at)
                && self.lives.last[storage] > at
                && self.lives.last[storage] < self.nodes.len();
            let used = &self.memory.accesses[&self.nodes[at]];
            if !waits || used.reads.contains(&storage) || used.makes.contains(&storage) {
                continue;
            }
            if tried == CANDIDATES {
                break;
            }
            tried += 1;
            let Some(plan) = self.candidate(storage, at) else { continue };
            let lives = self.with(&plan);
            let gain = self.over - over(&lives, self.limit);
            if gain <= 0 || lives.peak().1 > most {
                continue;
            }
            let cycles = plan.copies.iter().map(|&n| cost::of_node(self.module, n).cycles(target));
            let cycles = i128::from(cycles.fold(1, i64::saturating_add));
            let better =
                best.as_ref().is_none_or(|(g, c, _)| gain.saturating_mul(*c) > g.saturating_mul(cycles));
            if better {
                best = Some((gain, cycles, plan));
            }
        }
        best.map(|(_, _, plan)| plan)
    }

    /// What computes all values of a storage again that are read after position `at`.
    fn candidate(&self, storage: Storage, at: usize) -> Option<Recompute> {
        let reads = |n: &&NodeId| self.memory.accesses[n].reads.contains(&storage);
        let before = at + 1 + self.nodes[at + 1..].iter().position(|n| reads(&n))?;
        // Copies may not stand among what makes the value.
        if self.nodes[before..].iter().any(|n| self.memory.accesses[n].makes.contains(&storage)) {
            return None;
        }
        let mut values: Vec<ValueId> = Vec::new();
        for &node in &self.nodes[before..] {
            for &operand in &self.module.node(node).operands {
                if self.memory.of_value[&operand] == storage && !values.contains(&operand) {
                    values.push(operand);
                }
            }
        }
        // Values that are made there, as views, of others.
        let later: FxHashSet<ValueId> =
            self.nodes[before..].iter().flat_map(|&n| self.module.node(n).results.iter().copied()).collect();
        values.retain(|v| !later.contains(v));
        let mut copies: FxHashSet<NodeId> = FxHashSet::default();
        let mut wanted = values.clone();
        while let Some(value) = wanted.pop() {
            let own = self.memory.of_value[&value];
            if own != storage && self.is_there(own, storage, before) {
                continue;
            }
            let node = self.module.def_node(value)?;
            if !self.is_copied(node) || copies.len() >= CHAIN {
                return None;
            }
            if copies.insert(node) {
                wanted.extend(&self.module.node(node).operands);
            }
        }
        let copies: Vec<NodeId> =
            self.nodes[..before].iter().copied().filter(|n| copies.contains(n)).collect();
        (!copies.is_empty()).then_some(Recompute { copies, before, values })
    }

    /// Whether a storage is in memory before a position anyway, or so much smaller than what it serves to compute that
    /// it is kept.
    fn is_there(&self, storage: Storage, instead_of: Storage, before: usize) -> bool {
        let bytes = &self.memory.bytes;
        // What is not counted is there, but for views of it that are made later.
        bytes[storage] == 0
            || self.lives.last[storage] >= before
            || bytes[storage].saturating_mul(2) <= bytes[instead_of]
    }

    fn is_copied(&self, node: NodeId) -> bool {
        match self.module.form(node) {
            Form::Loops(_) | Form::View | Form::Concat { .. } | Form::Constant => true,
            Form::Region => matches!(self.module.node(node).op, Op::Fusion(_)),
            _ => false,
        }
    }

    /// What is in use with it.
    fn with(&self, plan: &Recompute) -> Lives {
        let mut memory =
            Memory { bytes: self.memory.bytes.clone(), kept: self.memory.kept.clone(), ..Memory::default() };
        let mut copy_of: FxHashMap<Storage, Storage> = FxHashMap::default();
        let mut copies = Vec::with_capacity(plan.copies.len());
        for node in &plan.copies {
            let mut access = self.memory.accesses[node].clone();
            for &made in &access.makes {
                copy_of.entry(made).or_insert_with(|| {
                    memory.bytes.push(self.memory.bytes[made]);
                    memory.bytes.len() - 1
                });
            }
            rename(&mut access, &copy_of);
            copies.push(access);
        }
        let late: FxHashSet<Storage> = plan.values.iter().map(|v| self.memory.of_value[v]).collect();
        let renamed: FxHashMap<Storage, Storage> =
            copy_of.into_iter().filter(|(old, _)| late.contains(old)).collect();
        let mut order: Vec<Access> = Vec::with_capacity(self.nodes.len() + copies.len());
        order.extend(self.nodes[..plan.before].iter().map(|n| self.memory.accesses[n].clone()));
        order.extend(copies);
        for node in &self.nodes[plan.before..] {
            let mut access = self.memory.accesses[node].clone();
            rename(&mut access, &renamed);
            order.push(access);
        }
        memory.lives(&order.iter().collect::<Vec<_>>())
    }
}

fn rename(access: &mut Access, to: &FxHashMap<Storage, Storage>) {
    let new = |s: &mut Storage| *s = to.get(s).copied().unwrap_or(*s);
    access.reads.iter_mut().chain(&mut access.makes).for_each(new);
    for (a, b) in &mut access.over {
        new(a);
        new(b);
    }
}

/// Bytes over the limit, summed over all nodes.
fn over(lives: &Lives, limit: i64) -> i128 {
    lives.bytes.iter().map(|&b| i128::from(b.saturating_sub(limit).max(0))).sum()
}

impl Recompute {
    fn apply(&self, module: &mut Module) -> Result<(), Bug> {
        let region = module.body();
        let mut nodes = module.region(region).nodes.clone();
        let mut copy: FxHashMap<ValueId, ValueId> = FxHashMap::default();
        let mut copies = Vec::with_capacity(self.copies.len());
        for &node in &self.copies {
            let made = copy_node(module, node, &copy)?;
            let results = module.node(node).results.clone();
            copy.extend(results.into_iter().zip(module.node(made).results.clone()));
            copies.push(made);
        }
        for &reader in &nodes[self.before..] {
            for operand in &mut module.node_mut(reader).operands {
                if self.values.contains(operand) {
                    *operand = copy[operand];
                }
            }
        }
        nodes.splice(self.before..self.before, copies);
        module.region_mut(region).nodes = nodes;
        drop_unread(module, &self.copies);
        Ok(())
    }
}

/// A copy of a node that reads the copies of its operands where there are such.
fn copy_node(module: &mut Module, node: NodeId, copy: &FxHashMap<ValueId, ValueId>) -> Result<NodeId, Bug> {
    let bug = |message: String| Bug { pass: "recompute".into(), message };
    let this = module.node(node).clone();
    let operands: Vec<ValueId> = this.operands.iter().map(|v| copy.get(v).copied().unwrap_or(*v)).collect();
    let mut regions = Vec::with_capacity(this.regions.len());
    for region in this.regions {
        let old = module.region(region).clone();
        let new = module.add_region();
        let mut inner: FxHashMap<ValueId, ValueId> = FxHashMap::default();
        for param in old.params {
            let ty = module.ty(param).clone();
            inner.insert(param, module.add_param(new, ty));
        }
        for node in old.nodes {
            let node = module.node(node).clone();
            let operands: Vec<ValueId> = node.operands.iter().map(|v| inner[v]).collect();
            let results = module.append(new, node.op, &operands, &[], &node.loc).map_err(bug)?;
            inner.extend(node.results.into_iter().zip(results));
        }
        module.set_results(new, old.results.iter().map(|v| inner[v]).collect());
        regions.push(new);
    }
    module.make_node(this.op, &operands, &regions, &this.loc).map_err(bug)
}

/// Removes those of the nodes, and then of those that they read, that nobody reads any more.
fn drop_unread(module: &mut Module, nodes: &[NodeId]) {
    let region = module.body();
    for &node in nodes.iter().rev() {
        let results = &module.node(node).results;
        let body = module.region(region);
        let read = body.nodes.iter().flat_map(|&n| &module.node(n).operands).chain(&body.results);
        if !read.into_iter().any(|v| results.contains(v)) {
            module.region_mut(region).nodes.retain(|&n| n != node);
        }
    }
}
