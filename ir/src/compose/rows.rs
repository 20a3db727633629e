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

mod composer;

use crate::{
    extent::Extent,
    form::LoopForm,
    graph::{Module, NodeId, RegionId, ValueId},
    program::MulAdds,
};
use composer::Composer;

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
    let mut composer = Composer::new(module, nodes, results);
    for &node in nodes {
        composer.visit(node)?;
    }
    for &result in results {
        composer.store(result);
    }
    composer.drop_unread();
    composer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dtype::DType,
        form::{Class, Ix},
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
