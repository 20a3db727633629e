//! frame - where kernels find pointers and run-time numbers: the head of the workspace, one `i64` slot each.
//!
//! ```text
//! slot 0            context pointer
//! slot 1            scratch base      slot 2  scratch bytes a worker
//! slot 8 ...        pointers: one slot a buffer (inputs, outputs, weights, intermediates)
//!                   extents: the value of every extent that is not constant, as kernels ask for them
//! ```
//!
//! The generated `run` fills the slots; kernels only read them. Kernels that share a function get a table of their slots
//! in place of the frame (`share`).

use indexmap::IndexMap;
use nnc_ir::extent::Extent;

/// Slot of the context pointer.
pub const CONTEXT: usize = 0;
/// Slot of the scratch base.
pub const SCRATCH: usize = 1;
/// Slot of the scratch bytes a worker has.
pub const SCRATCH_BYTES: usize = 2;
/// First slot of the pointers and extents.
pub const POINTERS: usize = 8;

/// Byte offset of a slot.
pub(crate) fn offset(slot: usize) -> i32 {
    i32::try_from(8 * slot).expect("a frame stays below 2 GiB: there are fewer values than 2^27")
}

/// The slot of a pointer, counted from the frame's first slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PointerSlot(pub usize);

/// A number that is fixed for the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameValue {
    /// Known when compiling.
    Const(i64),
    /// In that slot of the frame.
    Slot(usize),
}

/// Assigns the slots of the frame.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    /// Slots given out.
    given: usize,
    extents: IndexMap<Extent, usize>,
}

impl Frame {
    /// A frame without tables.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn next(&mut self) -> usize {
        self.given += 1;
        POINTERS + self.given - 1
    }

    /// Adds a slot for a pointer.
    pub fn add_pointer(&mut self) -> PointerSlot {
        PointerSlot(self.next())
    }

    /// Adds so many slots next to each other; gives the first.
    pub fn add_pointers(&mut self, count: usize) -> PointerSlot {
        let first = PointerSlot(POINTERS + self.given);
        self.given += count;
        first
    }

    /// Where the value of `extent` is.
    pub fn extent(&mut self, extent: &Extent) -> FrameValue {
        if let Some(c) = extent.as_const() {
            return FrameValue::Const(c);
        }
        if let Some(&slot) = self.extents.get(extent) {
            return FrameValue::Slot(slot);
        }
        let slot = self.next();
        self.extents.insert(extent.clone(), slot);
        FrameValue::Slot(slot)
    }

    /// The extents that are in the frame, in slot order, with the slot of each.
    pub fn extents(&self) -> impl Iterator<Item = (usize, &Extent)> {
        self.extents.iter().map(|(extent, &slot)| (slot, extent))
    }

    /// Number of slots.
    #[must_use]
    pub fn slots(&self) -> usize {
        POINTERS + self.given
    }
}
