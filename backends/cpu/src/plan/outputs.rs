//! outputs - how values get to the caller.

use nnc_ir::extent::Extent;

use super::{Block, Bounds, BufferId, BufferKind, Output, Step, build::Planner, data_free};

impl Planner<'_> {
    /// Outputs are produced where the caller wants them, where that can be; the others are copied at the end.
    pub(super) fn outputs(&mut self, block: &mut Block) -> Vec<Output> {
        let module = self.module;
        let bounds = Bounds::new(&module.symbols);
        let results = &module.region(module.body()).results;
        let mut outputs = Vec::with_capacity(results.len());
        let mut given: Vec<BufferId> = Vec::new();
        self.clock += 1;
        for (i, &value) in results.iter().enumerate() {
            let ty = module.ty(value);
            let unbounded = ty.shape.iter().any(|e| bounds.at_most(e).is_none());
            let from = self.resolve(self.buffer(value));
            self.touch(from);
            let own = self.buffers[from.0].kind == BufferKind::Own
                && !self.buffers[from.0].pinned
                && !(unbounded && self.has_parts(from));
            let buffer = if own && !given.contains(&from) {
                if unbounded {
                    self.buffers[from.0].unbounded = true;
                } else {
                    self.buffers[from.0].kind = BufferKind::Output(i);
                }
                from
            } else {
                let kind = if unbounded { BufferKind::Own } else { BufferKind::Output(i) };
                let to = self.new_buffer(kind, ty.bytes());
                self.buffers[to.0].unbounded = unbounded;
                self.touch(to);
                block.steps.push(Step::Ensure { buffer: to, bytes: ty.bytes() });
                block.steps.push(Step::Copy { from, to, bytes: ty.bytes() });
                to
            };
            given.push(buffer);
            let data = |e: &Extent| !data_free(&module.symbols, e);
            let extents = ty.shape.iter().cloned().enumerate().filter(|(_, e)| data(e)).collect();
            outputs.push(Output { buffer, unbounded, extents });
        }
        outputs
    }
}
