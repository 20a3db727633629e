//! rewrite - nests over tensors whose channels are last.

use nnc_ir::{
    extent::{Extent, product},
    form::{Bounds, Class, Combine, Ix, Load, LoopForm},
    program::{Builder, Program},
};

use super::{Tensor, place_in};
use crate::{
    kernel::Placement,
    lower::dense_strides,
    plan::{Block, Buffer, BufferId, BufferKind, NestStep, Plan, Step},
};

/// Tensors, and which of them have their channels last.
pub(super) struct Tensors<'a> {
    pub(super) tensors: &'a [Tensor],
    pub(super) last: &'a [bool],
}

/// The axes in the order of memory: channels, axis 1, come last.
fn order(rank: usize) -> Vec<usize> {
    [0].into_iter().chain(2..rank).chain([1]).collect()
}

fn permuted<T: Clone>(items: &[T]) -> Vec<T> {
    order(items.len()).into_iter().map(|axis| items[axis].clone()).collect()
}

/// A nest that takes the greatest or least element walks along its first operand in the order of memory: the order is the
/// backend's (docs/numerics.md).
fn in_order_of_memory(form: LoopForm) -> LoopForm {
    let space = form.space.len();
    let read = match (form.combine, form.loads.first()) {
        (Some(Combine::Max | Combine::Min), Some(load)) => load,
        _ => return form,
    };
    let place = |axis: usize| read.index.iter().position(|ix| ix.mentions(space + axis));
    let mut order: Vec<usize> = (0..form.reduce.len()).collect();
    order.sort_by_key(|&axis| place(axis));
    let new = |axis: usize| match axis.checked_sub(space) {
        Some(reduced) => Ix::Axis(space + order.iter().position(|&a| a == reduced).unwrap_or(reduced)),
        None => Ix::Axis(axis),
    };
    LoopForm {
        reduce: order.iter().map(|&axis| form.reduce[axis].clone()).collect(),
        ..form.map_indices(&|ix| ix.substitute(&new, &|load| load))
    }
}

impl Plan {
    /// A nest as it is to be for these orders. With `result_last` its results have channels last in any case; a result
    /// that is not to be so by `view` is then dense.
    pub(super) fn in_order(&self, nest: &NestStep, view: &Tensors<'_>, result_last: bool) -> NestStep {
        let form = &nest.form;
        let space = form.space.len();
        let mut operands = nest.operands.clone();
        let place = |axis: usize| match axis {
            a if a >= space || !result_last || a == 0 => Ix::Axis(a),
            1 => Ix::Axis(space - 1),
            a => Ix::Axis(a - 1),
        };
        let map = |ix: &Ix| ix.substitute(&place, &|load| load);
        let load = |load: &Load| {
            let index: Vec<Ix> = load.index.iter().map(map).collect();
            let at = self.resolve(nest.operands[load.operand]).0;
            if !view.last[at] {
                return Load { index, ..load.clone() };
            }
            let tensor = &view.tensors[at];
            operands[load.operand] = BufferId(tensor.whole);
            let whole = view.tensors[tensor.whole].shape.as_ref().unwrap_or(&load.extents);
            let index: Vec<Ix> = index
                .into_iter()
                .zip(&tensor.starts)
                .map(|(ix, start)| ix.plus(Ix::Extent(start.clone())))
                .collect();
            Load { index: permuted(&index), extents: permuted(whole), ..load.clone() }
        };
        let loads = form.loads.iter().map(load).collect();
        let new = in_order_of_memory(LoopForm {
            space: if result_last { permuted(&form.space) } else { form.space.clone() },
            loads,
            body: form.body.map_indices(&map),
            finish: form.finish.map_indices(&map),
            ..form.clone()
        });
        let (mut results, mut placement) = (nest.results.clone(), nest.placement.clone());
        for (result, place) in results.iter_mut().zip(&mut placement) {
            let at = self.resolve(*result).0;
            if !result_last {
                continue;
            }
            if !view.last[at] {
                *place = None;
                continue;
            }
            let tensor = &view.tensors[at];
            let whole = view.tensors[tensor.whole].shape.as_ref().unwrap_or(&form.space);
            let within = match (&*place, &tensor.shape) {
                (Some(p), Some(shape)) => place_in(shape, &form.space, &p.strides, &p.offset),
                _ => None,
            };
            if within.is_none() && tensor.whole == at {
                continue;
            }
            *result = BufferId(tensor.whole);
            let strides = dense_strides(&permuted(whole));
            let sum = |starts: &[Extent]| {
                let at = permuted(starts).into_iter().zip(&strides).map(|(start, stride)| &start * stride);
                at.fold(Extent::ZERO, |sum, x| &sum + &x)
            };
            let offset = &sum(&tensor.starts) + &within.as_deref().map_or(Extent::ZERO, sum);
            *place = Some(Placement { offset, strides });
        }
        NestStep {
            kernel: nest.kernel,
            what: nest.what.clone(),
            form: new,
            operands,
            ranges: nest.ranges.clone(),
            results,
            placement,
            nodes: nest.nodes.clone(),
            at: nest.at,
            in_place: nest.in_place,
            channels_last: result_last,
        }
    }

    /// Rewrites all nests of a block and of the blocks in it.
    pub(super) fn rewrite(&mut self, block: &mut Block, tensors: &mut Vec<Tensor>, last: &mut Vec<bool>) {
        for mut step in std::mem::take(&mut block.steps) {
            match &mut step {
                Step::Nest(nest) => {
                    let mut copy = None;
                    if self.turns(nest, &Tensors { tensors, last }) {
                        copy = Some(self.by_way_of_a_copy(nest, tensors, last));
                    }
                    let view = Tensors { tensors, last };
                    let result_last = nest.results.iter().any(|&r| last[self.resolve(r).0]);
                    **nest = self.in_order(nest, &view, result_last);
                    if let Some(copy) = copy {
                        let (buffer, bytes) =
                            (nest.results[0], self.buffer(nest.results[0]).sizes[0].clone());
                        block.steps.push(Step::Ensure { buffer, bytes });
                        block.steps.push(step);
                        block.steps.push(copy);
                        continue;
                    }
                }
                Step::If(step) => {
                    self.rewrite(&mut step.then, tensors, last);
                    self.rewrite(&mut step.otherwise, tensors, last);
                }
                Step::Loop(step) => self.rewrite(&mut step.body, tensors, last),
                Step::Scan(step) => self.rewrite(&mut step.body, tensors, last),
                _ => {}
            }
            block.steps.push(step);
        }
    }

    /// Whether a nest is a convolution that reads channels last and must not write them so.
    pub(super) fn turns(&self, nest: &NestStep, view: &Tensors<'_>) -> bool {
        let form = &nest.form;
        let [result] = nest.results[..] else { return false };
        form.class() == Class::Contraction
            && self.convolved(nest).is_some_and(|l| view.last[self.of_load(nest, l)])
            && !view.last[self.resolve(result).0]
            && super::worth_an_order(&form.space)
    }

    /// Has a nest write to a buffer of its own with channels last; gives the step that copies from there.
    fn by_way_of_a_copy(
        &mut self,
        nest: &mut NestStep,
        tensors: &mut Vec<Tensor>,
        last: &mut Vec<bool>,
    ) -> Step {
        let form = &nest.form;
        let dtype = form.results[0];
        let bytes = product(&form.space).scale(i64::try_from(dtype.bytes()).unwrap_or(8));
        let buffer = BufferId(self.buffers.len());
        self.buffers.push(Buffer { live: Some((nest.at, nest.at)), ..Buffer::new(BufferKind::Own, bytes) });
        let starts = vec![Extent::ZERO; form.space.len()];
        let shape = Some(form.space.clone());
        tensors.push(Tensor { shape, fixed: false, whole: buffer.0, starts, bytes: dtype.bytes() });
        last.push(true);
        let mut b = Builder::new();
        let value = b.load(0, dtype);
        let load = Load {
            operand: 0,
            dtype,
            index: permuted(&LoopForm::identity(form.space.len())),
            extents: permuted(&form.space),
            bounds: Bounds::Inside,
        };
        let copy = NestStep {
            kernel: self.kernels,
            what: "channels_first".to_owned(),
            form: LoopForm {
                space: form.space.clone(),
                reduce: Vec::new(),
                loads: vec![load],
                body: b.finish([value]),
                combine: None,
                finish: Program::default(),
                results: vec![dtype],
            },
            operands: vec![buffer],
            ranges: vec![],
            results: std::mem::replace(&mut nest.results, vec![buffer]),
            placement: std::mem::replace(&mut nest.placement, vec![None]),
            nodes: nest.nodes.clone(),
            at: nest.at,
            in_place: false,
            channels_last: false,
        };
        self.kernels += 1;
        Step::Nest(Box::new(copy))
    }
}
