//! locality - which axes of what a node reads go with an axis of its result, position by position.

use nnc_ir::{
    Module,
    extent::{Extent, product},
    form::{Form, Ix, LoopForm},
    graph::{NodeId, ValueId},
    ops::Op,
};
use rustc_hash::FxHashMap;

/// For each value that is read, the axis that goes with the result's; `None`: all of it is read for every position.
pub(super) type Axes = FxHashMap<ValueId, Option<usize>>;

/// Axes of the operands of a node that go with `axis` of its first result; `None` if for some there is no such axis, and
/// not all of the operand is read either.
pub(super) fn through(module: &Module, node: NodeId, axis: usize) -> Option<Axes> {
    let this = module.node(node);
    if !matches!(this.op, Op::Fusion(_)) {
        return match module.form(node) {
            Form::Loops(form) => of_nest(&form, &this.operands, axis),
            Form::View => of_view(module, this.operands[0], this.results[0], axis),
            _ => None,
        };
    }
    let body = module.region(this.regions[0]);
    let mut axes: Axes = Axes::default();
    axes.insert(*body.results.first()?, Some(axis));
    for &inner in body.nodes.iter().rev() {
        let results = &module.node(inner).results;
        let [result] = results[..] else { return None };
        match axes.get(&result) {
            // Another result, or something nobody reads.
            None => continue,
            // All of it is needed for every position, so all of what it is computed from.
            Some(None) => {
                for &operand in &module.node(inner).operands {
                    join(&mut axes, operand, None);
                }
            }
            Some(Some(axis)) => {
                let axis = *axis;
                for (operand, own) in through(module, inner, axis)? {
                    join(&mut axes, operand, own);
                }
            }
        }
    }
    let outer = body.params.iter().zip(&this.operands);
    Some(outer.filter_map(|(param, &operand)| Some((operand, *axes.get(param)?))).collect())
}

/// Adds a read; where two reads of one value do not agree, all of it is read.
pub(super) fn join(axes: &mut Axes, value: ValueId, axis: Option<usize>) {
    let both = axes.get(&value).map_or(axis, |known| axis.filter(|_| *known == axis));
    axes.insert(value, both);
}

/// The same elements by another shape: an axis is the same if it has as many positions, with as many elements in each.
fn of_view(module: &Module, from: ValueId, to: ValueId, axis: usize) -> Option<Axes> {
    let (from_shape, to_shape) = (&module.ty(from).shape, &module.ty(to).shape);
    let inner = |shape: &[Extent], axis: usize| product(&shape[axis + 1..]);
    let same = |other: &usize| {
        from_shape[*other] == to_shape[axis] && inner(from_shape, *other) == inner(to_shape, axis)
    };
    let own = (0..from_shape.len()).find(same)?;
    Some(Axes::from_iter([(from, Some(own))]))
}

fn of_nest(form: &LoopForm, operands: &[ValueId], axis: usize) -> Option<Axes> {
    let mut axes = Axes::default();
    for load in &form.loads {
        let mut own = None;
        for (position, ix) in load.index.iter().enumerate() {
            if !ix.mentions(axis) {
                continue;
            }
            // Along a window positions go on by its stride, and reach some further.
            let linear = ix.affine(form.axes()).is_some_and(|a| a.coefficients[axis].as_const() >= Some(1));
            let only = a_window(form, ix, axis);
            if own.is_some() || !(linear && only) {
                return None;
            }
            own = Some(position);
        }
        join(&mut axes, operands[load.operand], own);
    }
    Some(axes)
}

/// Whether an index moves along no other space axis.
fn a_window(form: &LoopForm, ix: &Ix, axis: usize) -> bool {
    (0..form.space.len()).all(|other| other == axis || !ix.mentions(other))
}
