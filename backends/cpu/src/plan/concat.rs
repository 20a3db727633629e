//! concat - joined tensors: operands are written into their places.

use nnc_ir::{
    entity::EntityId,
    graph::{Node, ValueId},
    types::TensorType,
};

use super::{Block, BufferId, BufferKind, NestStep, Step, build::Planner, data_free};
use crate::{
    kernel::Placement,
    lower::concat::{copy_form, placements},
};

impl Planner<'_> {
    /// One nest an operand that copies it, but for those that are made in place.
    pub(super) fn concat(&mut self, node: &Node, axis: usize, block: &mut Block) {
        let module = self.module;
        let result = module.ty(node.results[0]);
        let to = self.results(node, block)[0];
        let types: Vec<&TensorType> = node.operands.iter().map(|&v| module.ty(v)).collect();
        let nodes = self.node_numbers(node);
        for (&operand, place) in node.operands.iter().zip(placements(axis, &types, result)) {
            let ty = module.ty(operand);
            if ty.shape[axis].is(0) || self.produce_in(operand, to, &place, block) {
                continue;
            }
            block.steps.push(Step::Nest(Box::new(NestStep {
                kernel: self.next_kernel(),
                what: node.op.mnemonic().to_owned(),
                form: copy_form(ty),
                operands: vec![self.buffer(operand)],
                results: vec![to],
                placement: vec![Some(place)],
                nodes: nodes.clone(),
                at: self.clock,
                in_place: false,
            })));
        }
    }

    /// Has the nest that makes `value`, which nothing else reads, write it into its place in `to`, if it is one of this
    /// block and can be.
    fn produce_in(&mut self, value: ValueId, to: BufferId, place: &Placement, block: &mut Block) -> bool {
        let module = self.module;
        let from = self.buffer(value);
        let bytes = self.buffers[to.0].sizes[0].clone();
        let alone = self.uses[value.index()] == 1
            && self.buffers[from.0].kind == BufferKind::Own
            && self.of_value.iter().filter(|b| **b == Some(from)).count() == 1;
        // A scatter writes twice: its copy, then the updates.
        let scattered =
            block.steps.iter().any(|step| matches!(step, Step::Scatter(scatter) if scatter.result == from));
        // The place must be there before what data decide later is known.
        if !alone || scattered || !data_free(&module.symbols, &bytes) {
            return false;
        }
        let made = |step: &Step| matches!(step, Step::Nest(nest) if nest.results == [from]);
        let Some(at) = block.steps.iter().rposition(made) else { return false };
        let Step::Nest(nest) = &mut block.steps[at] else { return false };
        if nest.placement != [None] || nest.form.space != module.ty(value).shape {
            return false;
        }
        nest.results = vec![to];
        nest.placement = vec![Some(place.clone())];
        block.steps.insert(at, Step::Ensure { buffer: to, bytes });
        // The place is in use from when the nest runs; the buffer it wrote before is not used at all.
        let life = self.buffers[from.0].live.take();
        if let (Some((first, _)), Some(live)) = (life, &mut self.buffers[to.0].live) {
            live.0 = live.0.min(first);
        }
        true
    }
}
