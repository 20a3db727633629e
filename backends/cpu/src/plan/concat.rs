//! concat - joined tensors: operands are written into their places.
//!
//! What lies before the axis decides. If those axes have one position, operands lie one after another in the result, and
//! an operand's buffer becomes a *part* of the result's: whoever makes or reads it does so there, and a part may have
//! parts. So a chain of joins (DenseNet) is one buffer in which everything is written once. Else the nest that makes an
//! operand, if nothing else reads it, writes it into its place by the result's strides. What is left is copied.

use nnc_ir::{
    entity::EntityId,
    extent::Extent,
    graph::{Node, ValueId},
    types::TensorType,
};

use super::{Block, BufferId, BufferKind, NestStep, Step, build::Planner, data_free};
use crate::{
    kernel::Placement,
    lower::concat::{copy_form, placements},
};

/// A joined tensor.
pub(super) struct Joined {
    axis: usize,
    operands: Vec<ValueId>,
    result: ValueId,
}

impl Planner<'_> {
    /// One nest an operand that copies it, but for those that are made in place.
    pub(super) fn concat(&mut self, node: &Node, axis: usize, block: &mut Block) {
        let module = self.module;
        let result = module.ty(node.results[0]);
        let to = self.results(node, block)[0];
        let operands = self.as_joined_before(axis, &node.operands);
        let types: Vec<&TensorType> = operands.iter().map(|&v| module.ty(v)).collect();
        let nodes = self.node_numbers(node);
        let in_order = result.shape[..axis].iter().all(|e| e.is(1));
        for (&operand, place) in operands.iter().zip(placements(axis, &types, result)) {
            let ty = module.ty(operand);
            if ty.shape[axis].is(0)
                || (in_order && self.become_part(operand, to, &place.offset))
                || self.produce_in(operand, to, &place, block)
            {
                continue;
            }
            block.steps.push(Step::Nest(Box::new(NestStep {
                kernel: self.next_kernel(),
                what: node.op.mnemonic().to_owned(),
                form: copy_form(ty),
                operands: vec![self.buffer(operand)],
                ranges: vec![],
                results: vec![to],
                placement: vec![Some(place)],
                nodes: nodes.clone(),
                at: self.clock,
                in_place: false,
                channels_last: false,
            })));
        }
        self.joined.push(Joined { axis, operands: node.operands.clone(), result: node.results[0] });
    }

    /// The operands, but for runs of them that have been joined already: these are one.
    fn as_joined_before(&mut self, axis: usize, operands: &[ValueId]) -> Vec<ValueId> {
        let mut out = Vec::new();
        let mut rest = operands;
        while let Some(&first) = rest.first() {
            let fits = |j: &&Joined| j.axis == axis && j.operands.len() > 1 && rest.starts_with(&j.operands);
            match self.joined.iter().filter(fits).max_by_key(|j| j.operands.len()) {
                Some(joined) => {
                    out.push(joined.result);
                    rest = &rest[joined.operands.len()..];
                }
                None => {
                    out.push(first);
                    rest = &rest[1..];
                }
            }
        }
        for &value in &out {
            self.touch(self.buffer(value));
        }
        out
    }

    /// Makes the memory of `value` a part of that of `to`, if nothing else decides where it is.
    fn become_part(&mut self, value: ValueId, to: BufferId, elements: &Extent) -> bool {
        let module = self.module;
        let from = self.resolve(self.buffer(value));
        let ty = module.ty(value);
        let width = i64::try_from(ty.dtype.bytes()).expect("elements are at most 8 bytes");
        let buffer = &self.buffers[from.0];
        let free = buffer.kind == BufferKind::Own && buffer.is_settled() && self.is_of_region(from);
        let sizes = &buffer.sizes;
        // The place must be there before what data decide later is known.
        let known = |e: &Extent| data_free(&module.symbols, e);
        let bytes = &self.buffers[to.0].sizes[0];
        if !free || sizes[0] != ty.bytes() || !known(bytes) || !known(elements) || !known(&sizes[0]) {
            return false;
        }
        self.buffers[from.0].kind = BufferKind::Part(to);
        self.buffers[from.0].offset = elements.scale(width);
        true
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

#[cfg(test)]
mod tests {
    use nnc_ir::text;

    use super::*;
    use crate::{CompileOptions, plan::build};

    /// Copies of a program, and bytes of all buffers that are part of no other.
    fn plan(nodes: &str) -> (usize, i64) {
        let text = format!("nnir 1\nphase canonical\nmodule (%0 \"x\" : f32[1,4,6]) {{\n{nodes}}}\n");
        let module = text::parse(&text, &|_| None).unwrap();
        let plan = build(&module, None, &CompileOptions::default()).unwrap();
        let copies = plan.main.steps.iter().filter(|s| matches!(s, Step::Nest(n) if n.what == "concat"));
        let own = plan.buffers.iter().filter(|b| b.kind == BufferKind::Own && b.live.is_some());
        (copies.count(), own.filter_map(|b| b.sizes[0].as_const()).sum())
    }

    /// Two values to be joined.
    const LAYERS: &str = "%1 = exp %0 : f32[1,4,6]\n%2 = abs %1 : f32[1,4,6]\n";

    #[test]
    fn a_chain_of_joins_is_one_buffer() {
        let chain = "%3 = concat %1, %2 {axis=1} : f32[1,8,6]\n%4 = transpose %3 {perm=[0,2,1]} : f32[1,6,8]\n\
                     %5 = concat %3, %1 {axis=1} : f32[1,12,6]\n%6 = transpose %5 {perm=[0,2,1]} : f32[1,6,12]\n\
                     return %4 \"y\", %6 \"z\"\n";
        // What is a part already is copied to its second place.
        assert_eq!(plan(&format!("{LAYERS}{chain}")), (1, 12 * 6 * 4));
    }

    #[test]
    fn joining_all_again_is_joining_to_what_was_joined() {
        let lists = "%3 = concat %1, %2 {axis=1} : f32[1,8,6]\n%4 = transpose %3 {perm=[0,2,1]} : f32[1,6,8]\n\
                     %5 = neg %2 : f32[1,4,6]\n%6 = concat %1, %2, %5 {axis=1} : f32[1,12,6]\n\
                     %7 = transpose %6 {perm=[0,2,1]} : f32[1,6,12]\nreturn %4 \"y\", %7 \"z\"\n";
        assert_eq!(plan(&format!("{LAYERS}{lists}")), (0, 12 * 6 * 4));
    }

    #[test]
    fn operands_that_do_not_lie_together_are_made_in_place_if_nothing_else_reads_them() {
        let apart = "%3 = concat %1, %2 {axis=2} : f32[1,4,12]\n%4 = transpose %3 {perm=[0,2,1]} : f32[1,12,4]\n\
                     return %4 \"y\"\n";
        assert_eq!(plan(&format!("{LAYERS}{apart}")).0, 1, "%1 is read twice, %2 once");
    }
}
