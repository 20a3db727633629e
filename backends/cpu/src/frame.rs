//! frame - where kernels find pointers and run-time numbers: the head of the workspace, one `i64` slot each.
//!
//! ```text
//! slot 0            context pointer
//! slot 1            scratch base      slot 2  scratch bytes a worker
//! slot 8 ...        pointer table: one slot a buffer (inputs, outputs, weights, intermediates)
//! after it          extent table: the value of every extent that is not constant, as kernels ask for them
//! ```
//!
//! The generated `run` fills the tables; kernels only read them. The pointer table must be complete before the first
//! extent is asked for.

use indexmap::IndexSet;
use nnc_ir::extent::Extent;

/// Slot of the context pointer.
pub const CONTEXT: usize = 0;
/// Slot of the scratch base.
pub const SCRATCH: usize = 1;
/// Slot of the scratch bytes a worker has.
pub const SCRATCH_BYTES: usize = 2;
/// First slot of the pointer table.
pub const POINTERS: usize = 8;

/// A slot of the pointer table, counted from the frame's first slot.
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
    pointers: usize,
    extents: IndexSet<Extent>,
}

impl Frame {
    /// A frame without tables.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a slot to the pointer table.
    ///
    /// # Panics
    /// If an extent has been asked for already.
    pub fn add_pointer(&mut self) -> PointerSlot {
        assert!(self.extents.is_empty(), "the pointer table is complete before the extent table begins");
        self.pointers += 1;
        PointerSlot(POINTERS + self.pointers - 1)
    }

    /// Where the value of `extent` is.
    pub fn extent(&mut self, extent: &Extent) -> FrameValue {
        match extent.as_const() {
            Some(c) => FrameValue::Const(c),
            None => {
                let (index, _) = self.extents.insert_full(extent.clone());
                FrameValue::Slot(POINTERS + self.pointers + index)
            }
        }
    }

    /// The extent table, in slot order, with the slot of each.
    pub fn extents(&self) -> impl Iterator<Item = (usize, &Extent)> {
        self.extents.iter().enumerate().map(|(i, e)| (POINTERS + self.pointers + i, e))
    }

    /// Number of slots.
    #[must_use]
    pub fn slots(&self) -> usize {
        POINTERS + self.pointers + self.extents.len()
    }
}
