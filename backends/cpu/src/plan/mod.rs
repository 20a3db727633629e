//! plan - a module as steps over buffers: what runs when, and where every value is.
//!
//! [`build`] walks the regions in execution order and gives each value a buffer (views share one) and a time from
//! first to last use. [`memory`] then packs the buffers that need memory of their own into the arena. Everything is
//! decided here; the entry code (`crate::entry`) only carries it out.

mod bound;
mod buffers;
mod build;
mod concat;
mod control;
mod groups;
mod in_place;
mod layout;
mod memory;
mod nests;
mod outputs;
mod positions;
mod ranges;
mod reach;
mod region;
mod repeat;
mod rows;
mod shrink;
mod step;
mod tiled;
mod trim;
mod turns;

pub(crate) use bound::{Bounds, data_free};
pub(crate) use build::build;
pub(crate) use memory::{Packing, Request, pack, peak_live};
pub(crate) use reach::{Span, reads};
pub(crate) use region::Region;
pub(crate) use step::{
    Block, Carried, Define, ExternStep, GroupsStep, IfStep, LoopStep, NestStep, RowsStep, ScanStep,
    ScatterStep, Slice, Step, TiledStep,
};
pub(crate) use turns::Turns;

use nnc_ir::{constant::Constant, extent::Extent};

use crate::{
    kernel::Filtering,
    weights::{ConstantId, Constants},
};

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
    /// Bytes from the start of the buffer that it is a part of.
    pub(crate) offset: Extent,
}

impl Buffer {
    /// One that holds a value of so many bytes and that nothing is known of yet.
    pub(crate) fn new(kind: BufferKind, bytes: Extent) -> Self {
        Buffer {
            kind,
            sizes: vec![bytes],
            live: None,
            pinned: false,
            partner: None,
            unbounded: false,
            offset: Extent::ZERO,
        }
    }

    /// Whether it holds one value at one place as long as it lives.
    pub(crate) fn is_settled(&self) -> bool {
        !self.pinned && self.partner.is_none() && !self.unbounded && self.sizes.len() == 1
    }
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
    /// Within another buffer, from `offset` on: no other part of it has these bytes.
    Part(BufferId),
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
    /// Bytes of all that is neither the caller's nor constant, of known size, as if nothing shared memory.
    pub(crate) intermediate_bytes: i64,
    /// Of convolutions.
    pub(crate) filtering: Filtering,
    /// Regions whose kernels run one after the other and not by turns, and why.
    pub(crate) apart: Vec<(String, &'static str)>,
}

impl Plan {
    /// The buffer whose memory `buffer` is.
    pub(crate) fn resolve(&self, buffer: BufferId) -> BufferId {
        resolve(&self.buffers, buffer)
    }

    /// Calls `f` for every step, inner ones included, in order.
    pub(crate) fn for_each_step<'a>(&'a self, f: &mut dyn FnMut(&'a Step)) {
        fn walk<'a>(block: &'a Block, f: &mut dyn FnMut(&'a Step)) {
            for step in &block.steps {
                f(step);
                match step {
                    Step::If(step) => {
                        walk(&step.then, f);
                        walk(&step.otherwise, f);
                    }
                    Step::Loop(step) => walk(&step.body, f),
                    Step::Scan(step) => walk(&step.body, f),
                    Step::Tiled(step) => walk(&step.members, f),
                    _ => {}
                }
            }
        }
        walk(&self.main, f);
    }

    /// What a buffer holds, if that is known when compiling.
    pub(crate) fn constant(&self, buffer: BufferId) -> Option<&Constant> {
        match self.buffer(buffer).kind {
            BufferKind::Constant(id) => Some(self.constants.get(id)),
            _ => None,
        }
    }

    /// The buffer that `buffer` is part of, if it is one, else itself; and how far from its start it begins.
    pub(crate) fn base(&self, buffer: BufferId) -> (BufferId, Extent) {
        let mut at = self.resolve(buffer);
        let mut offset = Extent::ZERO;
        while let BufferKind::Part(whole) = self.buffers[at.0].kind {
            offset = &offset + &self.buffers[at.0].offset;
            at = self.resolve(whole);
        }
        (at, offset)
    }

    /// What it is, aliases resolved.
    pub(crate) fn buffer(&self, buffer: BufferId) -> &Buffer {
        &self.buffers[self.resolve(buffer).0]
    }
}

/// Bytes of all that is neither the caller's nor constant, of known size.
fn intermediate_bytes(buffers: &[Buffer]) -> i64 {
    let own = buffers.iter().filter(|b| matches!(b.kind, BufferKind::Own | BufferKind::Part(_)));
    own.filter_map(|b| b.sizes.iter().filter_map(Extent::as_const).max()).fold(0, i64::saturating_add)
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
    /// Most bytes, of known size, that are in use at one time: no arena is smaller.
    pub peak_live_bytes: i64,
    /// Kernels that write over an operand, by name.
    pub in_place: Vec<String>,
    /// Kernels that write a result with its channels last, by name.
    pub channels_last: Vec<String>,
    /// Kernels that call others by turns, by name: what passes between those is in no arena.
    pub tiled: Vec<String>,
    /// Regions that might have been such kernels, and why they are not.
    pub apart: Vec<(String, &'static str)>,
    /// Kernels and calls that do nothing but copy a tensor as it is.
    pub copies: usize,
    /// Contractions that plain loops do and not tiles, several times slower: kernels by name, and why.
    pub plain_products: Vec<(String, &'static str)>,
    /// Kernels whose decisions come from a tuning, by name, and these.
    pub tuned: Vec<(String, String)>,
    /// Number of buffers in the arena.
    pub buffers: usize,
    /// Number of buffers that are allocated while running, because data decide their size without a bound.
    pub dynamic_buffers: usize,
    /// Number of kernels.
    pub kernels: usize,
    /// How many of them are part of the functions that run them.
    pub inlined: usize,
    /// Bytes of machine code.
    pub code_bytes: usize,
    /// Bytes of constant data.
    pub weight_bytes: u64,
}

impl PlanReport {
    /// What a program records of its memory, and of what is slower than it might be.
    #[must_use]
    pub fn notes(&self) -> Vec<(String, String)> {
        let mut arena = self.symbolic_arena.clone();
        if self.arena_bytes > 0 || arena.is_empty() {
            arena.insert(0, self.arena_bytes.to_string());
        }
        let plain: Vec<String> =
            self.plain_products.iter().map(|(kernel, why)| format!("{kernel} ({why})")).collect();
        let tuned: Vec<String> =
            self.tuned.iter().map(|(kernel, given)| format!("{kernel} ({given})")).collect();
        let told_apart: Vec<String> =
            self.apart.iter().map(|(what, why)| format!("{what} ({why})")).collect();
        let notes = [
            ("arena_bytes", arena.join(" + ")),
            ("intermediate_bytes", self.intermediate_bytes.to_string()),
            ("peak_live_bytes", self.peak_live_bytes.to_string()),
            ("copies", self.copies.to_string()),
            ("in_place", self.in_place.join(", ")),
            ("channels_last", self.channels_last.join(", ")),
            ("plain_products", plain.join(", ")),
            ("tuned", tuned.join(", ")),
            ("inlined_kernels", if self.inlined > 0 { self.inlined.to_string() } else { String::new() }),
            ("tiled", self.tiled.join(", ")),
            ("apart", told_apart.join(", ")),
        ];
        // That there is none of these goes without saying.
        let silent = ["plain_products", "tuned", "inlined_kernels", "tiled", "apart"];
        let told = |(key, text): &(&str, String)| !silent.contains(key) || !text.is_empty();
        notes.into_iter().filter(told).map(|(key, text)| (key.to_owned(), text)).collect()
    }
}
