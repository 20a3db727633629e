//! rows - nests that go over the same rows, one after another: softmax and normalisations as one description.
//!
//! A [`RowForm`] is several nests, its stages. All of them have the row axes as their first space axes, and what a stage
//! reads of another is of the same row. So a kernel may run all stages for some rows, then for the next rows, and values
//! between stages need room for those rows only.
//!
//! Composition goes through the nodes in order. A reduction begins a stage. What follows it at the same place is its
//! epilogue. A node without reduction is inlined into its readers, or is a stage, whichever is cheaper (`Composer::stores`);
//! where it cannot be inlined, since it is rounded to `f16` say, it is a stage. Then every axis along which all stages read
//! each other at the same position is a row axis.

use rustc_hash::FxHashMap;

use super::{Outside, epilogue, inline, nest_of};
use crate::{
    extent::Extent,
    form::{Class, Ix, Load, LoopForm},
    graph::{Module, NodeId, RegionId, ValueId},
    program::{Binary, Builder, Inst, MulAdds, Program, Unary},
};

/// Scalar operations that storing a value and reading it back cost.
const STORE_COST: usize = 2;
/// Scalar operations that a division or a root counts as.
const SLOW_COST: usize = 4;

/// Nests over the same rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowForm {
    /// Extents of the row axes, outermost first; the first space axes of each stage.
    pub rows: Vec<Extent>,
    /// Number of operands from outside. Operand `operands + s` of a load is the value of stage `s`.
    pub operands: usize,
    /// In the order in which they run for each row.
    pub stages: Vec<Stage>,
}

/// One nest of a [`RowForm`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// The nest, with one result. Reads of a stage that is no result of the fusion have its space axes in the order of its
    /// nest; reads of one that is have the order of the result's axes.
    pub form: LoopForm,
    /// The result of the fusion that it computes; `None`: other stages alone read its value, a row at a time.
    pub result: Option<usize>,
    /// For each space axis of the nest the axis of the stage's value.
    pub axes: Vec<usize>,
}

impl RowForm {
    /// The same nest for a target; see [`LoopForm::settled`].
    #[must_use]
    pub fn settled(&self, mul_adds: MulAdds) -> RowForm {
        let stage = |s: &Stage| Stage { form: s.form.settled(mul_adds), ..s.clone() };
        RowForm { stages: self.stages.iter().map(stage).collect(), ..self.clone() }
    }

    /// Bytes of one row of the values that are no results, one a stage; 0 for results.
    #[must_use]
    pub fn local_bytes(&self) -> Vec<Extent> {
        let bytes = |stage: &Stage| match stage.result {
            Some(_) => Extent::ZERO,
            None => {
                let own = crate::extent::product(&stage.form.space[self.rows.len()..]);
                own.scale(i64::try_from(stage.form.results[0].bytes()).expect("elements are small"))
            }
        };
        self.stages.iter().map(bytes).collect()
    }
}

/// The row nest that the body of a fusion is. Operand numbers are those of the region's parameters.
///
/// # Errors
/// Why the region is none.
pub fn rows_of_region(module: &Module, region: RegionId) -> Result<RowForm, String> {
    let region = module.region(region);
    let (mut form, operands) = rows_of_nodes(module, &region.nodes, &region.results)?;
    let param = |value: &ValueId| region.params.iter().position(|p| p == value);
    let params: Option<Vec<usize>> = operands.iter().map(param).collect();
    let params = params.ok_or("a value from outside is no parameter of the region")?;
    for load in form.stages.iter_mut().flat_map(|s| &mut s.form.loads) {
        load.operand = match load.operand.checked_sub(operands.len()) {
            None => params[load.operand],
            Some(stage) => region.params.len() + stage,
        };
    }
    form.operands = region.params.len();
    Ok(form)
}

/// The row nest that computes `results` by `nodes` (in order), and the values from outside that it reads; loads number
/// these.
///
/// # Errors
/// Why they are none.
pub fn rows_of_nodes(
    module: &Module,
    nodes: &[NodeId],
    results: &[ValueId],
) -> Result<(RowForm, Vec<ValueId>), String> {
    let mut readers: FxHashMap<ValueId, Vec<NodeId>> = FxHashMap::default();
    for &node in nodes {
        for &value in &module.node(node).operands {
            let of_value = readers.entry(value).or_default();
            if !of_value.contains(&node) {
                of_value.push(node);
            }
        }
    }
    let mut composer = Composer {
        module,
        readers,
        results,
        outside: Outside::default(),
        lazy: FxHashMap::default(),
        stages: Vec::new(),
    };
    for &node in nodes {
        composer.visit(node)?;
    }
    for &result in results {
        composer.store(result);
    }
    composer.drop_unread();
    composer.finish()
}

/// A composition under way.
struct Composer<'m> {
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

impl Composer<'_> {
    fn visit(&mut self, node: NodeId) -> Result<(), String> {
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
    fn store(&mut self, value: ValueId) {
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
    fn drop_unread(&mut self) {
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
    fn finish(self) -> Result<(RowForm, Vec<ValueId>), String> {
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
            let mut form = in_order(form, order);
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

/// The nest with its space axes in another order: `order` has old numbers.
#[must_use]
pub fn in_order(form: &LoopForm, order: &[usize]) -> LoopForm {
    let place = |axis: usize| Ix::Axis(order.iter().position(|&old| old == axis).unwrap_or(axis));
    let index = |ix: &Ix| ix.substitute(&place, &|k| k);
    let program = |program: &Program| {
        let mut b = Builder::new();
        let results = b.splice(program, &mut |b, inst, dtype| match inst {
            Inst::Index(ix) => b.index(index(ix)),
            other => b.push(other.clone(), dtype),
        });
        b.finish(results)
    };
    let mut out = form.clone();
    out.space = order.iter().map(|&old| form.space[old].clone()).collect();
    for load in &mut out.loads {
        load.index = load.index.iter().map(index).collect();
    }
    (out.body, out.finish) = (program(&form.body), program(&form.finish));
    out
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dtype::DType,
        graph::loc,
        ops::{Add, Broadcast, Div, Exp, MatMul, Op, Reduce, ReduceKind, Sub, Transpose},
        types::TensorType,
    };

    struct Graph {
        m: Module,
    }

    impl Graph {
        fn new() -> Self {
            Self { m: Module::new() }
        }
        fn input(&mut self, dims: &[i64]) -> ValueId {
            self.m.add_input("x", TensorType::of(DType::F32, dims))
        }
        fn op(&mut self, op: impl Into<Op>, operands: &[ValueId]) -> ValueId {
            let body = self.m.body();
            self.m.append(body, op, operands, &[], &loc("t")).unwrap()[0]
        }
        fn reduce(&mut self, kind: ReduceKind, axis: usize, x: ValueId) -> ValueId {
            self.op(Reduce { kind, axes: vec![axis], keep: true }, &[x])
        }
        fn spread(&mut self, x: ValueId, like: ValueId) -> ValueId {
            let shape = self.m.ty(like).shape.clone();
            self.op(Broadcast { shape }, &[x])
        }
        fn softmax(&mut self, x: ValueId, axis: usize) -> ValueId {
            let max = self.reduce(ReduceKind::Max, axis, x);
            let max = self.spread(max, x);
            let d = self.op(Sub {}, &[x, max]);
            let e = self.op(Exp {}, &[d]);
            let sum = self.reduce(ReduceKind::Sum, axis, e);
            let sum = self.spread(sum, x);
            self.op(Div {}, &[e, sum])
        }
        fn rows(&self, results: &[ValueId]) -> Result<(RowForm, Vec<ValueId>), String> {
            rows_of_nodes(&self.m, &self.m.region(self.m.body()).nodes, results)
        }
    }

    fn extents(dims: &[i64]) -> Vec<Extent> {
        dims.iter().map(|&d| Extent::Const(d)).collect()
    }

    #[test]
    fn softmax_keeps_its_exponentials_and_computes_the_rest_where_it_is_read() {
        let mut g = Graph::new();
        let x = g.input(&[2, 3, 5]);
        let y = g.softmax(x, 2);
        let (form, operands) = g.rows(&[y]).unwrap();
        assert_eq!((form.rows.clone(), operands), (extents(&[2, 3]), vec![x]));
        let classes: Vec<Class> = form.stages.iter().map(|s| s.form.class()).collect();
        assert_eq!(classes, [Class::Reduce, Class::Pointwise, Class::Reduce, Class::Pointwise]);
        assert_eq!(form.local_bytes(), extents(&[4, 20, 4, 0]));
        assert_eq!(form.stages[3].result, Some(0));
        // The quotient reads the exponentials and the sum of its row.
        let reads: Vec<usize> = form.stages[3].form.loads.iter().map(|l| l.operand).collect();
        assert_eq!(reads, [2, 3]);
    }

    #[test]
    fn the_axes_of_rows_come_first_wherever_they_are() {
        let mut g = Graph::new();
        let x = g.input(&[2, 3, 5]);
        let y = g.softmax(x, 1);
        let (form, _) = g.rows(&[y]).unwrap();
        assert_eq!(form.rows, extents(&[2, 5]));
        let last = &form.stages[3];
        assert_eq!((last.form.space.clone(), last.axes.clone()), (extents(&[2, 5, 3]), vec![0, 2, 1]));
        assert_eq!(last.form.loads[1].index, [Ix::Axis(0), Ix::Axis(1), Ix::int(0)]);
    }

    #[test]
    fn a_cheap_producer_is_computed_again_and_one_that_others_read_is_read_back() {
        let mut g = Graph::new();
        let (a, b) = (g.input(&[4, 8]), g.input(&[4, 8]));
        let x = g.op(Add {}, &[a, b]);
        let y = g.softmax(x, 1);
        let (again, _) = g.rows(&[y]).unwrap();
        assert_eq!((again.stages[0].form.class(), again.stages.len()), (Class::Reduce, 4));
        let (given, _) = g.rows(&[y, x]).unwrap();
        assert_eq!((given.stages[0].result, given.stages.len()), (Some(1), 5));
        assert_eq!(given.local_bytes()[0], Extent::ZERO);
    }

    #[test]
    fn what_goes_across_rows_leaves_no_row_axis() {
        let mut g = Graph::new();
        let x = g.input(&[4, 4]);
        let max = g.reduce(ReduceKind::Max, 1, x);
        let turned = g.op(Transpose { perm: vec![1, 0] }, &[max]);
        let (max, turned) = (g.spread(max, x), g.spread(turned, x));
        let d = g.op(Sub {}, &[x, max]);
        let y = g.op(Sub {}, &[d, turned]);
        assert_eq!(g.rows(&[y]).unwrap().0.rows, []);
    }

    #[test]
    fn contractions_are_refused() {
        let mut g = Graph::new();
        let (x, w) = (g.input(&[4, 4]), g.input(&[4, 4]));
        let y = g.op(MatMul {}, &[x, w]);
        assert_eq!(g.rows(&[y]).unwrap_err(), "a contraction has a kernel of its own");
    }
}
