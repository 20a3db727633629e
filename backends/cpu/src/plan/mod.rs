//! plan - a module as steps over buffers: what runs when, and where every value is.
//!
//! [`build`] walks the regions in execution order and gives each value a buffer (views share one) and a time from
//! first to last use. [`memory`] then packs the buffers that need memory of their own into the arena. Everything is
//! decided here; the entry code (`crate::entry`) only carries it out.

mod bound;
mod build;
mod concat;
mod control;
mod memory;
mod outputs;
mod step;

pub(crate) use bound::{Bounds, data_free};
pub(crate) use build::build;
pub use build::elem_type;
pub(crate) use memory::{Packing, Request, pack};
pub(crate) use step::{
    Block, Carried, Define, ExternStep, IfStep, LoopStep, NestStep, ScanStep, ScatterStep, Slice, Step,
};

use nnc_ir::extent::Extent;

use crate::weights::{ConstantId, Constants};

/// A piece of memory that steps read or write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct BufferId(pub(crate) usize);

/// What a buffer is.
#[derive(Clone, Debug)]
pub(crate) struct Buffer {
    /// Where its memory comes from.
    pub(crate) kind: BufferKind,
    /// Bytes of each value that it holds at some time. The largest decides.
    pub(crate) sizes: Vec<Extent>,
    /// When it is first and last used.
    pub(crate) live: Option<(usize, usize)>,
    /// Whether its address changes while running, so that it cannot be an output's memory.
    pub(crate) pinned: bool,
    /// The buffer that changes places with it while running: whoever reads one may read the memory of the other.
    pub(crate) partner: Option<BufferId>,
    /// Whether it is an output whose size the caller cannot know, so that its memory must come from `alloc`.
    pub(crate) unbounded: bool,
}

/// Where the memory of a buffer comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BufferKind {
    /// The caller: input.
    Input(usize),
    /// The caller: output.
    Output(usize),
    /// Constant data.
    Constant(ConstantId),
    /// The arena or, where data decide the size without a bound, the context's `alloc`.
    Own,
    /// The steps of a region set the address: a slice of another buffer.
    Slice,
    /// Another buffer's.
    Same(BufferId),
}

/// How an output gets to the caller.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    /// The buffer with the value.
    pub(crate) buffer: BufferId,
    /// Whether the caller learns the address from us, because it did not know the size.
    pub(crate) unbounded: bool,
    /// Extents that data decide: axis and value.
    pub(crate) extents: Vec<(usize, Extent)>,
}

/// A planned module.
pub(crate) struct Plan {
    /// By number.
    pub(crate) buffers: Vec<Buffer>,
    /// What the main region does.
    pub(crate) main: Block,
    /// One an output of the module.
    pub(crate) outputs: Vec<Output>,
    /// Constants by number.
    pub(crate) constants: Constants,
    /// Names of ONNX nodes, by the number that faults and kernels use.
    pub(crate) node_names: Vec<String>,
    /// Number of kernels.
    pub(crate) kernels: usize,
    /// Number of counters of loops.
    pub(crate) counters: usize,
}

impl Plan {
    /// The buffer whose memory `buffer` is.
    pub(crate) fn resolve(&self, buffer: BufferId) -> BufferId {
        resolve(&self.buffers, buffer)
    }

    /// What it is, aliases resolved.
    pub(crate) fn buffer(&self, buffer: BufferId) -> &Buffer {
        &self.buffers[self.resolve(buffer).0]
    }
}

fn resolve(buffers: &[Buffer], mut buffer: BufferId) -> BufferId {
    while let BufferKind::Same(other) = buffers[buffer.0].kind {
        buffer = other;
    }
    buffer
}

/// What the plan decided, for reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanReport {
    /// Bytes of the arena that do not depend on a symbol.
    pub arena_bytes: i64,
    /// Parts of the arena that do, as text.
    pub symbolic_arena: Vec<String>,
    /// Sum of the sizes of all intermediates of known size: what the arena would be without reuse.
    pub intermediate_bytes: i64,
    /// Number of buffers in the arena.
    pub buffers: usize,
    /// Number of buffers that are allocated while running, because data decide their size without a bound.
    pub dynamic_buffers: usize,
    /// Number of kernels.
    pub kernels: usize,
    /// Bytes of machine code.
    pub code_bytes: usize,
    /// Bytes of constant data.
    pub weight_bytes: u64,
}
