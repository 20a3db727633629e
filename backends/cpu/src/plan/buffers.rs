//! buffers - what every value of a module lies in, and from when to when.

use nnc_ir::{
    entity::EntityId,
    extent::Extent,
    graph::{Node, ValueId},
    types::TensorType,
};

use super::{Block, Buffer, BufferId, BufferKind, Step, build::Planner, data_free, resolve};

impl Planner<'_> {
    pub(super) fn new_buffer(&mut self, kind: BufferKind, bytes: Extent) -> BufferId {
        self.buffers.push(Buffer::new(kind, bytes));
        BufferId(self.buffers.len() - 1)
    }

    /// A buffer of its own for a value of type `ty`.
    pub(super) fn own(&mut self, ty: &TensorType) -> BufferId {
        self.new_buffer(BufferKind::Own, ty.bytes())
    }

    pub(super) fn resolve(&self, buffer: BufferId) -> BufferId {
        resolve(&self.buffers, buffer)
    }

    /// The buffer of a value that has been defined.
    pub(super) fn buffer(&self, value: ValueId) -> BufferId {
        self.of_value[value.index()]
            .expect("the verifier has checked that values are defined before they are read")
    }

    pub(super) fn bind(&mut self, value: ValueId, buffer: BufferId) {
        self.of_value[value.index()] = Some(buffer);
    }

    /// Notes that a buffer is in use now.
    pub(super) fn touch(&mut self, buffer: BufferId) {
        let at = self.clock;
        let buffer = self.resolve(buffer);
        for buffer in [Some(buffer), self.buffers[buffer.0].partner].into_iter().flatten() {
            let live = &mut self.buffers[buffer.0].live;
            *live = Some(live.map_or((at, at), |(first, last)| (first.min(at), last.max(at))));
        }
    }

    /// Gives buffers that change places the same life, and what has parts theirs.
    pub(super) fn join_lives(&mut self) {
        for i in 0..self.buffers.len() {
            let Some((first, last)) = self.buffers[i].live else { continue };
            let mut at = i;
            while let BufferKind::Part(whole) = self.buffers[at].kind {
                at = self.resolve(whole).0;
                let live = &mut self.buffers[at].live;
                *live = Some(live.map_or((first, last), |(a, b)| (a.min(first), b.max(last))));
            }
        }
        for &(a, b) in &self.pairs {
            let lives = [self.buffers[a.0].live, self.buffers[b.0].live];
            let join = |x: (usize, usize), y: (usize, usize)| (x.0.min(y.0), x.1.max(y.1));
            let both = lives.into_iter().flatten().reduce(join);
            self.buffers[a.0].live = both;
            self.buffers[b.0].live = both;
        }
    }

    /// Makes `from`, which was made for a value of a block, the same memory as `to`, if nothing stands against it.
    ///
    /// `since` is the number of buffers when the block began: older ones belong to others.
    pub(super) fn redirect(&mut self, from: BufferId, to: BufferId, since: usize) -> bool {
        let (from, to) = (self.resolve(from), self.resolve(to));
        let old = &self.buffers[from.0];
        if from == to || from.0 < since || old.kind != BufferKind::Own || old.pinned {
            return false;
        }
        // Addresses of parts are computed before all that data decide.
        let known = |e: &Extent| data_free(&self.module.symbols, e);
        let target = &self.buffers[to.0];
        let moves = target.pinned || target.kind != BufferKind::Own || !target.sizes.iter().all(known);
        if moves && self.has_parts(from) {
            return false;
        }
        let (sizes, live) = (old.sizes.clone(), old.live);
        self.buffers[from.0].kind = BufferKind::Same(to);
        let target = &mut self.buffers[to.0];
        target.sizes.extend(sizes);
        target.sizes.dedup();
        if let Some((first, last)) = live {
            target.live = Some(target.live.map_or((first, last), |(a, b)| (a.min(first), b.max(last))));
        }
        true
    }

    /// Whether there are buffers that are parts of this one.
    pub(super) fn has_parts(&self, buffer: BufferId) -> bool {
        self.buffers.iter().any(|b| matches!(b.kind, BufferKind::Part(of) if self.resolve(of) == buffer))
    }

    /// Whether the buffer was made by the steps of this region.
    pub(super) fn is_of_region(&self, buffer: BufferId) -> bool {
        buffer.0 >= self.since
    }

    /// Has the value of `from` in `to` at the end of a block: produced there, or copied.
    pub(super) fn deliver(
        &mut self,
        block: &mut Block,
        from: BufferId,
        to: BufferId,
        bytes: &Extent,
        since: usize,
    ) {
        self.touch(from);
        self.touch(to);
        if !self.redirect(from, to, since) {
            block.steps.push(Step::Ensure { buffer: to, bytes: bytes.clone() });
            block.steps.push(Step::Copy { from, to, bytes: bytes.clone() });
        }
    }

    /// A buffer for each result, with room for it.
    pub(super) fn results(&mut self, node: &Node, block: &mut Block) -> Vec<BufferId> {
        let module = self.module;
        let one = |&value: &ValueId| {
            let buffer = self.own(module.ty(value));
            self.bind(value, buffer);
            self.touch(buffer);
            block.steps.push(Step::Ensure { buffer, bytes: module.ty(value).bytes() });
            buffer
        };
        node.results.iter().map(one).collect()
    }
}
