//! slots - the frame as the entry uses it: a slot for every buffer, symbol and counter.

use nnc_ir::{
    entity::EntityId,
    extent::{Extent, SymbolId},
    graph::Module,
};

use crate::{
    frame::{Frame, POINTERS, PointerSlot, offset},
    plan::{Bounds, BufferId, BufferKind, Packing, Plan, Request, pack, peak_live},
};

/// Slot of the outputs table, which `run` was given.
pub(super) const OUTPUTS: usize = 3;
/// Slot of the table of output extents.
pub(super) const OUTPUT_DIMS: usize = 4;

/// Where the memory of a buffer comes from, now that all is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    /// The caller or constant data or a region's steps, as the plan says.
    Elsewhere,
    /// The arena: area, and units from its start.
    Arena(usize, i64),
    /// The context's `alloc`; the slot after the address has the capacity.
    Dynamic,
}

/// A slot for an address within a buffer. Kernels that write at different places of a tensor are the same but for it.
#[derive(Clone, Debug)]
pub(crate) struct Shifted {
    /// The slot.
    pub(crate) slot: PointerSlot,
    /// Slot of the buffer.
    pub(crate) from: PointerSlot,
    /// Bytes in between.
    pub(crate) bytes: Extent,
}

/// The slots of a program.
pub(crate) struct Slots {
    /// One a buffer that is no other buffer's memory.
    buffers: Vec<Option<PointerSlot>>,
    /// One a buffer.
    pub(super) memory: Vec<Memory>,
    /// The arena.
    pub(crate) packing: Packing,
    /// Most bytes of the arena, of known size, that are in use at one time.
    pub(crate) peak_live_bytes: i64,
    symbols: Vec<PointerSlot>,
    counters: Vec<PointerSlot>,
}

const _: () = assert!(OUTPUT_DIMS < POINTERS);

impl Slots {
    /// Gives buffers memory and everything a slot.
    pub(crate) fn new(module: &Module, plan: &Plan, frame: &mut Frame) -> Self {
        let bounds = Bounds::new(&module.symbols);
        let mut memory = vec![Memory::Elsewhere; plan.buffers.len()];
        let mut requests = Vec::new();
        let mut requesters = Vec::new();
        for (i, buffer) in plan.buffers.iter().enumerate() {
            let (BufferKind::Own, Some(live)) = (buffer.kind, buffer.live) else { continue };
            let mut sizes = buffer.sizes.iter().map(|e| bounds.at_most(e));
            let first = sizes.next().unwrap_or(None);
            let bytes = sizes.fold(first, |a, b| Some(a?.max_with(&b?)));
            match bytes {
                Some(bytes) if !buffer.unbounded => {
                    requests.push(Request { bytes, live });
                    requesters.push(i);
                }
                _ => memory[i] = Memory::Dynamic,
            }
        }
        let packing = pack(&requests);
        for (&i, &(area, units)) in requesters.iter().zip(&packing.places) {
            memory[i] = Memory::Arena(area, units);
        }
        let buffers = plan.buffers.iter().zip(&memory).map(|(buffer, memory)| {
            if matches!(buffer.kind, BufferKind::Same(_)) {
                return None;
            }
            let slot = frame.add_pointer();
            if *memory == Memory::Dynamic {
                frame.add_pointer();
            }
            Some(slot)
        });
        let buffers = buffers.collect();
        let symbols = module.symbols.ids().map(|_| frame.add_pointer()).collect();
        let counters = (0..plan.counters).map(|_| frame.add_pointer()).collect();
        Self { buffers, memory, packing, peak_live_bytes: peak_live(&requests), symbols, counters }
    }

    /// Slot of a buffer's address.
    pub(crate) fn buffer(&self, plan: &Plan, buffer: BufferId) -> PointerSlot {
        self.buffers[plan.resolve(buffer).0].expect("a buffer that is no other's memory has a slot")
    }

    /// Whether a buffer is at one place from the start of a run to its end.
    pub(crate) fn is_settled(&self, plan: &Plan, buffer: BufferId) -> bool {
        let own = plan.buffer(buffer);
        let kind = matches!(own.kind, BufferKind::Own | BufferKind::Output(_));
        kind && own.is_settled() && !self.is_dynamic(plan, buffer)
    }

    /// Whether the memory of a buffer is taken while running.
    pub(super) fn is_dynamic(&self, plan: &Plan, buffer: BufferId) -> bool {
        self.memory[plan.resolve(buffer).0] == Memory::Dynamic
    }

    /// Number of buffers whose memory is taken while running.
    pub(crate) fn dynamic_buffers(&self) -> usize {
        self.memory.iter().filter(|m| **m == Memory::Dynamic).count()
    }

    /// Byte offset of a symbol's value.
    pub(super) fn symbol(&self, symbol: SymbolId) -> i32 {
        offset(self.symbols[symbol.index()].0)
    }

    /// Byte offset of a counter.
    pub(super) fn counter(&self, counter: usize) -> i32 {
        offset(self.counter_slot(counter).0)
    }

    /// Slot of a counter.
    pub(crate) fn counter_slot(&self, counter: usize) -> PointerSlot {
        self.counters[counter]
    }
}
