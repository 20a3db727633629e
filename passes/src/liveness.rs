//! liveness - how many bytes of a region's values are in use at each of its nodes, for an order of these.
//!
//! An estimate of what a backend's plan needs: views share memory, operands of a concat whose outer axes have one
//! position lie in the result, a nest writes over an operand that dies where it may (`nnc_ir::overwrite`). Constants,
//! inputs and outputs of the module are not counted. Unknown extents count as `cost::nominal` says.

use nnc_ir::{
    Module,
    compose::fuse_region,
    entity::EntityId,
    form::{Form, LoopForm},
    graph::{NodeId, RegionId, ValueId},
    ops::Op,
    overwrite::reads_in_place,
};
use rustc_hash::FxHashMap;

use crate::cost;

/// Memory of one value or of several that share it, by number.
pub(crate) type Storage = usize;

/// What a node does to memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Access {
    /// What it reads.
    pub(crate) reads: Vec<Storage>,
    /// What its results are in.
    pub(crate) makes: Vec<Storage>,
    /// Results, and operands that each may be written over if they die.
    pub(crate) over: Vec<(Storage, Storage)>,
    /// Most bytes in use at once inside of its regions.
    pub(crate) inner: i64,
}

/// The memory of a region's values.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    /// Bytes by storage; 0 for what is not counted.
    pub(crate) bytes: Vec<i64>,
    /// Where each value is.
    pub(crate) of_value: FxHashMap<ValueId, Storage>,
    /// By node.
    pub(crate) accesses: FxHashMap<NodeId, Access>,
    /// What must be there at the end.
    pub(crate) kept: Vec<Storage>,
}

/// When each storage is first and last used, as positions of nodes; `None`: never, or before the first node.
pub(crate) struct Lives {
    /// Position that first makes it.
    pub(crate) first: Vec<Option<usize>>,
    /// Position that last reads it; the number of nodes for what is kept.
    pub(crate) last: Vec<usize>,
    /// Bytes in use at each node.
    pub(crate) bytes: Vec<i64>,
}

impl Lives {
    /// The first position with the most bytes, and these.
    pub(crate) fn peak(&self) -> (usize, i64) {
        let most = self.bytes.iter().copied().max().unwrap_or(0);
        (self.bytes.iter().position(|&b| b == most).unwrap_or(0), most)
    }
}

/// Bytes that are in use at once in a region, at most.
pub(crate) fn peak(module: &Module, region: RegionId) -> i64 {
    let nodes = &module.region(region).nodes;
    let memory = Memory::of(module, region);
    let accesses: Vec<&Access> = nodes.iter().map(|n| &memory.accesses[n]).collect();
    memory.lives(&accesses).peak().1
}

/// The nest of a node that is one kernel.
pub(crate) fn nest(module: &Module, node: NodeId) -> Option<LoopForm> {
    let this = module.node(node);
    match module.form(node) {
        Form::Loops(form) => Some(form),
        Form::Region if matches!(this.op, Op::Fusion(_)) => fuse_region(module, this.regions[0]).ok(),
        _ => None,
    }
}

impl Memory {
    /// What the values of a region need.
    pub(crate) fn of(module: &Module, region: RegionId) -> Memory {
        let mut memory = Memory::default();
        for &param in &module.region(region).params {
            memory.add(param, 0);
        }
        for &node in &module.region(region).nodes {
            memory.add_node(module, node);
        }
        memory.join_concats(module, region);
        let kept = module.region(region).results.iter().map(|v| memory.of_value[v]);
        memory.kept = kept.collect();
        if region == module.body() {
            // The caller's memory.
            for &storage in &memory.kept {
                memory.bytes[storage] = 0;
            }
        }
        for &node in &module.region(region).nodes {
            let access = memory.access(module, node);
            memory.accesses.insert(node, access);
        }
        memory
    }

    fn add(&mut self, value: ValueId, bytes: i64) {
        self.of_value.insert(value, self.bytes.len());
        self.bytes.push(bytes);
    }

    fn add_node(&mut self, module: &Module, node: NodeId) {
        let this = module.node(node);
        let form = module.form(node);
        for &result in &this.results {
            match form {
                Form::View => {
                    let storage = self.of_value[&this.operands[0]];
                    self.of_value.insert(result, storage);
                }
                Form::Constant => self.add(result, 0),
                _ => self.add(result, cost::value_bytes(module, result)),
            }
        }
    }

    /// Gives operands of a concat the memory of its result, where they lie together there.
    fn join_concats(&mut self, module: &Module, region: RegionId) {
        let mut made = vec![false; self.bytes.len()];
        for &node in &module.region(region).nodes {
            let form = module.form(node);
            let this = module.node(node);
            for result in this.results.iter().filter(|_| !matches!(form, Form::Constant | Form::View)) {
                made[self.of_value[result]] = true;
            }
            let Form::Concat { axis } = form else { continue };
            let whole = self.of_value[&this.results[0]];
            if !module.ty(this.results[0]).shape[..axis].iter().all(|e| e.is(1)) {
                continue;
            }
            for operand in &this.operands {
                let part = self.of_value[operand];
                // Once moved, a storage is no value's any more.
                if part != whole && made[part] && self.bytes[part] == cost::value_bytes(module, *operand) {
                    self.merge(part, whole);
                }
            }
        }
    }

    fn merge(&mut self, part: Storage, whole: Storage) {
        let bytes = self.bytes.len();
        debug_assert!(part < bytes && whole < bytes);
        let mut values: Vec<(ValueId, Storage)> = self.of_value.iter().map(|(v, s)| (*v, *s)).collect();
        values.sort_unstable_by_key(|(v, _)| v.index());
        for (value, _) in values.into_iter().filter(|(_, s)| *s == part) {
            self.of_value.insert(value, whole);
        }
    }

    fn access(&self, module: &Module, node: NodeId) -> Access {
        let this = module.node(node);
        let places = |values: &[ValueId]| {
            let mut all: Vec<Storage> = values.iter().map(|v| self.of_value[v]).collect();
            all.sort_unstable();
            all.dedup();
            all
        };
        let (reads, makes) = (places(&this.operands), places(&this.results));
        if matches!(module.form(node), Form::View | Form::Constant) {
            return Access { reads, ..Access::default() };
        }
        let mut over = Vec::new();
        if let Some(form) = nest(module, node) {
            for (k, result) in this.results.iter().enumerate() {
                let to = self.of_value[result];
                for &from in reads.iter().filter(|&&from| self.bytes[from] == self.bytes[to]) {
                    let numbers: Vec<usize> = (0..this.operands.len())
                        .filter(|&i| self.of_value[&this.operands[i]] == from)
                        .collect();
                    if reads_in_place(&form, &numbers, k) {
                        over.push((to, from));
                    }
                }
            }
        }
        let inner = match &this.op {
            Op::Fusion(_) => 0,
            Op::If(_) => this.regions.iter().map(|&r| peak(module, r)).max().unwrap_or(0),
            _ => this.regions.iter().map(|&r| peak(module, r)).fold(0, i64::saturating_add),
        };
        Access { reads, makes, over, inner }
    }

    /// What is in use when nodes with these accesses run in this order.
    pub(crate) fn lives(&self, order: &[&Access]) -> Lives {
        let mut first = vec![None; self.bytes.len()];
        let mut last = vec![0; self.bytes.len()];
        for (at, access) in order.iter().enumerate() {
            for &storage in &access.makes {
                first[storage].get_or_insert(at);
                last[storage] = at;
            }
            for &storage in &access.reads {
                last[storage] = at;
            }
        }
        for &storage in &self.kept {
            last[storage] = order.len();
        }
        let mut changes = vec![0i64; order.len() + 2];
        for (storage, &bytes) in self.bytes.iter().enumerate() {
            if let Some(from) = first[storage] {
                changes[from] = changes[from].saturating_add(bytes);
                let end = &mut changes[last[storage] + 1];
                *end = end.saturating_sub(bytes);
            }
        }
        let mut now = 0i64;
        let mut bytes = Vec::with_capacity(order.len());
        for (at, access) in order.iter().enumerate() {
            now = now.saturating_add(changes[at]);
            let mut shared: Vec<Storage> = Vec::new();
            for &(to, from) in &access.over {
                let dies = first[from].is_some_and(|f| f < at) && last[from] == at;
                if dies && first[to] == Some(at) && !shared.contains(&from) && !shared.contains(&to) {
                    shared.extend([to, from]);
                }
            }
            let saved: i64 = shared.iter().map(|&s| self.bytes[s]).sum::<i64>() / 2;
            bytes.push((now - saved).saturating_add(access.inner));
        }
        Lives { first, last, bytes }
    }
}
