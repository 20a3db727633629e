//! composer - a row nest under way: node after node becomes an epilogue, a stage, or part of its readers.

use rustc_hash::FxHashMap;

use super::{RowForm, Stage};
use crate::{
    compose::{Outside, epilogue, inline, nest_of},
    form::{Class, Ix, Load, LoopForm},
    graph::{Module, NodeId, ValueId},
    program::{Binary, Inst, Program, Unary},
};

/// Scalar operations that storing a value and reading it back cost.
const STORE_COST: usize = 2;
/// Scalar operations that a division or a root counts as.
const SLOW_COST: usize = 4;

/// A composition under way.
pub(super) struct Composer<'m> {
    module: &'m Module,
    /// Nodes that read each value.
    readers: FxHashMap<ValueId, Vec<NodeId>>,
    results: &'m [ValueId],
    outside: Outside,
    /// Values that are inlined into their readers; their nests read stages and what is outside.
    lazy: FxHashMap<ValueId, LoopForm>,
    /// Nests of the stages with their values.
    stages: Vec<(ValueId, LoopForm)>,
}

impl<'m> Composer<'m> {
    pub(super) fn new(module: &'m Module, nodes: &[NodeId], results: &'m [ValueId]) -> Self {
        let mut readers: FxHashMap<ValueId, Vec<NodeId>> = FxHashMap::default();
        for &node in nodes {
            for &value in &module.node(node).operands {
                let of_value = readers.entry(value).or_default();
                if !of_value.contains(&node) {
                    of_value.push(node);
                }
            }
        }
        let (lazy, stages) = (FxHashMap::default(), Vec::new());
        Composer { module, readers, results, outside: Outside::default(), lazy, stages }
    }

    pub(super) fn visit(&mut self, node: NodeId) -> Result<(), String> {
        let [value] = self.module.node(node).results[..] else {
            return Err("a node has several results".into());
        };
        let own = nest_of(self.module, node, &mut self.outside)?;
        if own.class() == Class::Contraction {
            return Err("a contraction has a kernel of its own".into());
        }
        let form = self.inlined(own)?;
        if form.combine.is_some() {
            self.stages.push((value, form));
        } else if let Some((stage, joined)) = self.as_epilogue(node, &form) {
            self.stages[stage] = (value, joined);
        } else {
            let read_back = self.results.contains(&value) && self.readers.contains_key(&value);
            let stores = self.stores(value, &form) || (read_back && form.class() != Class::Movement);
            self.lazy.insert(value, form);
            if stores {
                self.store(value);
            }
        }
        Ok(())
    }

    /// The nest with every value inlined that is not a stage.
    fn inlined(&mut self, mut form: LoopForm) -> Result<LoopForm, String> {
        loop {
            let value = |load: &Load| self.outside.values[load.operand];
            let Some(k) = form.loads.iter().position(|l| self.lazy.contains_key(&value(l))) else {
                return Ok(form);
            };
            let read = value(&form.loads[k]);
            match inline(&form, k, &self.lazy[&read]) {
                Ok(joined) => form = joined,
                Err(_) => self.store(read),
            }
        }
    }

    /// The reduction whose epilogue the node is, and both as one nest.
    fn as_epilogue(&self, node: NodeId, form: &LoopForm) -> Option<(usize, LoopForm)> {
        let reads = |load: &Load| self.stage_of(self.outside.values[load.operand]);
        let stage = form.loads.iter().filter_map(reads).max()?;
        let (value, producer) = &self.stages[stage];
        let alone = self.readers.get(value).is_some_and(|r| *r == [node]) && !self.results.contains(value);
        if !alone || producer.combine.is_none() {
            return None;
        }
        let operand = self.outside.values.iter().position(|v| v == value)?;
        Some((stage, epilogue(producer, form, operand).ok()?))
    }

    fn stage_of(&self, value: ValueId) -> Option<usize> {
        self.stages.iter().position(|(v, _)| *v == value)
    }

    /// Makes a value that is inlined so far a stage.
    pub(super) fn store(&mut self, value: ValueId) {
        if let Some(form) = self.lazy.remove(&value) {
            self.stages.push((value, form));
        }
    }

    /// Whether a value without reduction is better stored than computed by each of its readers.
    fn stores(&self, value: ValueId, form: &LoopForm) -> bool {
        if form.class() == Class::Movement {
            return false;
        }
        let (readers, often) = self.read_by(value);
        // What is read again and again along an axis is a scalar of the row.
        let whole = |load: &&Load| {
            let mentioned = |axis: &usize| load.index.iter().any(|ix| ix.mentions(*axis));
            (0..form.axes()).filter(|&a| !form.axis_extent(a).is(1)).all(|a| mentioned(&a))
        };
        let again = program_cost(&form.body) + form.loads.iter().filter(whole).count().saturating_sub(1);
        often || (readers > 1 && (readers - 1) * again > STORE_COST)
    }

    /// How many nodes that do more than move read a value, and whether one of them reads an element more than once.
    fn read_by(&self, value: ValueId) -> (usize, bool) {
        let (mut count, mut often) = (0, false);
        for &reader in self.readers.get(&value).into_iter().flatten() {
            let crate::form::Form::Loops(form) = self.module.form(reader) else { continue };
            let operands = &self.module.node(reader).operands;
            for load in form.loads.iter().filter(|l| operands[l.operand] == value) {
                let free = |&a: &usize| !form.axis_extent(a).is(1) && !varies(&form, load, a);
                often |= (0..form.axes()).any(|a| free(&a));
            }
            if form.class() == Class::Movement {
                let (more, also) = self.read_by(self.module.node(reader).results[0]);
                count += more;
                often |= also;
            } else {
                count += 1;
            }
        }
        (count, often)
    }

    /// Drops stages that nobody reads.
    pub(super) fn drop_unread(&mut self) {
        let mut live = vec![false; self.stages.len()];
        for s in (0..self.stages.len()).rev() {
            live[s] |= self.results.contains(&self.stages[s].0);
            if live[s] {
                for load in &self.stages[s].1.loads {
                    if let Some(t) = self.stage_of(self.outside.values[load.operand]) {
                        live[t] = true;
                    }
                }
            }
        }
        let mut at = live.into_iter();
        self.stages.retain(|_| at.next().unwrap_or(true));
    }

    /// The stages with the row axes in front, and the operands.
    pub(super) fn finish(self) -> Result<(RowForm, Vec<ValueId>), String> {
        for (i, result) in self.results.iter().enumerate() {
            if self.stage_of(*result).is_none() || self.results[..i].contains(result) {
                return Err("a result is not computed inside, or is given twice".into());
            }
        }
        let rows = self.row_axes();
        let count = rows.first().map_or(0, Vec::len);
        let mut operands: Vec<ValueId> = Vec::new();
        for (_, form) in &self.stages {
            for load in &form.loads {
                let value = self.outside.values[load.operand];
                if self.stage_of(value).is_none() && !operands.contains(&value) {
                    operands.push(value);
                }
            }
        }
        // For each stage its own axes in their new order.
        let orders: Vec<Vec<usize>> = (self.stages.iter().zip(&rows))
            .map(|((_, form), rows)| {
                let own = (0..form.space.len()).filter(|a| !rows.contains(a));
                rows.iter().copied().chain(own).collect()
            })
            .collect();
        let result = |value: ValueId| self.results.iter().position(|r| *r == value);
        let mut stages = Vec::with_capacity(self.stages.len());
        for ((value, form), order) in self.stages.iter().zip(&orders) {
            let mut form = form.in_order(order);
            for load in &mut form.loads {
                let read = self.outside.values[load.operand];
                load.operand = match self.stage_of(read) {
                    Some(stage) => {
                        if result(read).is_none() {
                            load.index = orders[stage].iter().map(|&a| load.index[a].clone()).collect();
                            load.extents = orders[stage].iter().map(|&a| load.extents[a].clone()).collect();
                        }
                        operands.len() + stage
                    }
                    None => operands.iter().position(|v| *v == read).ok_or("an operand is missing")?,
                };
            }
            stages.push(Stage { form, result: result(*value), axes: order.clone() });
        }
        let rows = stages.last().map(|s| s.form.space[..count].to_vec()).ok_or("it computes nothing")?;
        Ok((RowForm { rows, operands: operands.len(), stages }, operands))
    }

    /// For each stage its row axes, outermost first. Axes of stages are of one class where one stage reads another at the
    /// same position; a class with one axis of every stage is a row axis.
    fn row_axes(&self) -> Vec<Vec<usize>> {
        let mut first = Vec::with_capacity(self.stages.len());
        let mut axes: Vec<(usize, usize)> = Vec::new();
        for (s, (_, form)) in self.stages.iter().enumerate() {
            first.push(axes.len());
            axes.extend((0..form.space.len()).map(|a| (s, a)));
        }
        let mut class: Vec<usize> = (0..axes.len()).collect();
        let mut own: Vec<bool> = axes.iter().map(|&(s, a)| self.stages[s].1.space[a].is(1)).collect();
        for (s, (_, form)) in self.stages.iter().enumerate() {
            for load in &form.loads {
                let Some(t) = self.stage_of(self.outside.values[load.operand]) else { continue };
                let read = &self.stages[t].1.space;
                for (a, ix) in load.index.iter().enumerate().filter(|(a, _)| !read[*a].is(1)) {
                    match ix {
                        Ix::Axis(x) if form.space.get(*x) == Some(&read[a]) => {
                            let (from, to) = (class[first[t] + a], class[first[s] + x]);
                            class.iter_mut().filter(|c| **c == from).for_each(|c| *c = to);
                        }
                        _ => own[first[t] + a] = true,
                    }
                }
            }
        }
        let is_row = |c: usize| {
            let members: Vec<usize> = (0..axes.len()).filter(|&i| class[i] == c).collect();
            let stages: Vec<usize> = members.iter().map(|&i| axes[i].0).collect();
            members.iter().all(|&i| !own[i]) && stages.iter().copied().eq(0..self.stages.len())
        };
        let Some(&last) = first.last() else { return Vec::new() };
        let rows: Vec<usize> = (last..axes.len()).map(|i| class[i]).filter(|&c| is_row(c)).collect();
        let axis = |s: usize, c: usize| axes.iter().zip(&class).find(|((t, _), d)| *t == s && **d == c);
        let of_stage = |s: usize| rows.iter().filter_map(|&c| axis(s, c)).map(|((_, a), _)| *a).collect();
        (0..self.stages.len()).map(of_stage).collect()
    }
}

/// Whether what a load reads changes along an axis, perhaps by an index that is loaded.
fn varies(form: &LoopForm, load: &Load, axis: usize) -> bool {
    load.index
        .iter()
        .any(|ix| ix.mentions(axis) || ix.loads().iter().any(|&k| varies(form, &form.loads[k], axis)))
}

/// Scalar operations of a program.
fn program_cost(program: &Program) -> usize {
    let one = |inst: &Inst| match inst {
        Inst::Load(_) | Inst::Acc(_) | Inst::Index(_) | Inst::Const(_) | Inst::Bitcast(..) => 0,
        Inst::Binary(Binary::Div | Binary::Rem, ..) | Inst::Unary(Unary::Sqrt, _) => SLOW_COST,
        _ => 1,
    };
    program.insts().iter().map(|(inst, _)| one(inst)).sum()
}
