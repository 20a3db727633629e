//! arena - the memory a run works in: aligned buffers, the workspace, and what compiled code allocates.

use std::alloc::Layout;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

use memmap2::MmapMut;

use crate::abi::ALIGN;
use crate::error::{Result, out_of_memory};

/// From this many bytes on, memory comes in pages of its own, huge ones where the system offers them.
const MAPPED_FROM: usize = 4 << 20;

/// An owned byte buffer whose start is aligned to [`ALIGN`] bytes.
pub struct AlignedBytes {
    start: NonNull<u8>,
    len: usize,
    owner: Owner,
}

/// Where the bytes come from, and so how they are given back.
enum Owner {
    /// No memory: the length is zero.
    Nothing,
    /// The allocator; the buffer starts inside of the allocation.
    Heap { base: NonNull<u8>, layout: Layout },
    /// Pages of their own.
    Pages { _map: MmapMut },
}

#[repr(align(64))]
struct Aligned;

const _: () = assert!(align_of::<Aligned>() == ALIGN);

// SAFETY: the buffer is owned and has no interior mutability: it is to threads what a `Vec<u8>` is.
unsafe impl Send for AlignedBytes {}
// SAFETY: as above.
unsafe impl Sync for AlignedBytes {}

impl AlignedBytes {
    /// A buffer of `len` zero bytes.
    ///
    /// # Errors
    /// E0501 when there is not that much memory; it never aborts.
    pub fn zeroed(len: usize) -> Result<Self> {
        if len == 0 {
            return Ok(Self { start: NonNull::<Aligned>::dangling().cast(), len, owner: Owner::Nothing });
        }
        if len >= MAPPED_FROM { Self::pages(len) } else { Self::heap(len) }
            .ok_or_else(|| out_of_memory("a buffer", len, None))
    }

    fn pages(len: usize) -> Option<Self> {
        isize::try_from(len).ok()?;
        let mut map = MmapMut::map_anon(len).ok()?;
        // Refused where huge pages do not exist, which only costs time.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        let start = NonNull::new(map.as_mut_ptr())?;
        Some(Self { start, len, owner: Owner::Pages { _map: map } })
    }

    fn heap(len: usize) -> Option<Self> {
        // Asking for a small alignment and stepping up keeps the allocator's cheap way to zeroed memory.
        let layout = Layout::from_size_align(len.checked_add(ALIGN)?, 16).ok()?;
        // SAFETY: the layout's size is at least ALIGN, so not zero.
        let base = NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) })?;
        let step = base.as_ptr().addr().wrapping_neg() % ALIGN;
        // SAFETY: `step` is below ALIGN, and the allocation is `len + ALIGN` bytes long.
        let start = unsafe { base.add(step) };
        Some(Self { start, len, owner: Owner::Heap { base, layout } })
    }

    /// A copy of `bytes`.
    ///
    /// # Errors
    /// E0501 when there is no memory for it.
    pub fn copy_of(bytes: &[u8]) -> Result<Self> {
        let mut copy = Self::zeroed(bytes.len())?;
        copy.copy_from_slice(bytes);
        Ok(copy)
    }

    /// Address of the first byte, to write through.
    pub(crate) fn start(&mut self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// Forgets the bytes from `len` on; they stay allocated.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// The bytes as elements, where `T` has no invalid values, or `None` when the length is no multiple of `T`'s.
    pub(crate) fn elements<T: Plain>(&self) -> Option<&[T]> {
        if !self.len.is_multiple_of(size_of::<T>()) {
            return None;
        }
        // SAFETY: the start is aligned to 64 bytes, which is enough for any `Plain`; `len` bytes are initialised and
        // live as long as `self`; every bit pattern is a valid `Plain`.
        Some(unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), self.len / size_of::<T>()) })
    }

    /// The bytes as elements, to write.
    pub(crate) fn elements_mut<T: Plain>(&mut self) -> Option<&mut [T]> {
        if !self.len.is_multiple_of(size_of::<T>()) {
            return None;
        }
        // SAFETY: as in `elements`; `self` is borrowed mutably, and a `Plain` has no padding, so bytes stay initialised.
        Some(unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().cast(), self.len / size_of::<T>()) })
    }
}

/// Numbers without padding for which every bit pattern is valid.
///
/// # Safety
/// That, and an alignment of at most [`ALIGN`].
pub(crate) unsafe trait Plain: Copy {}

macro_rules! plain {
    ($($t:ty)*) => {$(
        // SAFETY: a primitive number: no padding, no invalid values.
        unsafe impl Plain for $t {}
    )*};
}
plain!(u8 i8 u16 i16 u32 i32 u64 i64 f32 f64);

impl Drop for AlignedBytes {
    fn drop(&mut self) {
        if let Owner::Heap { base, layout } = self.owner {
            // SAFETY: `base` came from `alloc_zeroed` with this layout and is freed only here.
            unsafe { std::alloc::dealloc(base.as_ptr(), layout) };
        }
    }
}

impl Deref for AlignedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `len` initialised bytes at `start` are owned by `self` (or `len` is 0 and `start` is aligned).
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for AlignedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl AsRef<[u8]> for AlignedBytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for AlignedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBytes({} bytes)", self.len)
    }
}

/// The workspace of a session: kept from run to run, replaced when a run needs more.
#[derive(Debug)]
pub(crate) struct Workspace {
    bytes: Option<AlignedBytes>,
}

impl Workspace {
    pub(crate) const fn new() -> Self {
        Self { bytes: None }
    }

    /// At least `len` bytes, and every byte of them `poison` if that is given. Contents are otherwise left over.
    pub(crate) fn reserve(&mut self, len: usize, poison: Option<u8>) -> Result<*mut u8> {
        if self.bytes.as_ref().is_none_or(|bytes| bytes.len() < len) {
            // The old one goes first: the two need not fit together.
            self.bytes = None;
        }
        let bytes = match &mut self.bytes {
            Some(bytes) => bytes,
            none => none.insert(AlignedBytes::zeroed(len)?),
        };
        if let Some(byte) = poison {
            bytes.fill(byte);
        }
        Ok(bytes.start())
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.as_ref().map_or(0, |bytes| bytes.len())
    }
}

/// What compiled code allocates during a run. Blocks are freed together when the run is over, and kept for the next
/// one, which for the same shapes asks for the same again.
#[derive(Debug)]
pub(crate) struct RunBlocks {
    inner: Mutex<Blocks>,
}

#[derive(Debug)]
struct Blocks {
    blocks: Vec<Block>,
    taken_bytes: u64,
    limit: u64,
    /// Size of the request that failed first.
    refused: Option<i64>,
}

#[derive(Debug)]
struct Block {
    bytes: AlignedBytes,
    taken: bool,
}

impl RunBlocks {
    pub(crate) const fn new() -> Self {
        Self { inner: Mutex::new(Blocks { blocks: Vec::new(), taken_bytes: 0, limit: 0, refused: None }) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Blocks> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a run that may take `limit` bytes: everything is free again, and what the last run left untouched goes.
    pub(crate) fn begin(&mut self, limit: u64) {
        let blocks = self.inner.get_mut().unwrap_or_else(PoisonError::into_inner);
        blocks.blocks.retain_mut(|block| std::mem::take(&mut block.taken));
        blocks.taken_bytes = 0;
        blocks.limit = limit;
        blocks.refused = None;
    }

    /// Memory for `bytes` bytes that stays until the next `begin`; null over the limit or without memory.
    pub(crate) fn take(&self, bytes: i64) -> *mut u8 {
        let mut blocks = self.lock();
        let pointer = blocks.take(bytes);
        if pointer.is_null() {
            blocks.refused.get_or_insert(bytes);
        }
        pointer
    }

    /// Size of the first request this run that got nothing.
    pub(crate) fn refused(&self) -> Option<i64> {
        self.lock().refused
    }

    /// Copies `into.len()` bytes from `address` on; `false` when they are not all inside one block of this run.
    pub(crate) fn read(&self, address: usize, into: &mut [u8]) -> bool {
        if into.is_empty() {
            return true;
        }
        let blocks = self.lock();
        for block in blocks.blocks.iter().filter(|block| block.taken) {
            let Some(offset) = address.checked_sub(block.bytes.start.as_ptr().addr()) else { continue };
            let Some(end) = offset.checked_add(into.len()) else { continue };
            if let Some(bytes) = block.bytes.get(offset..end) {
                into.copy_from_slice(bytes);
                return true;
            }
        }
        false
    }
}

impl Blocks {
    fn take(&mut self, bytes: i64) -> *mut u8 {
        let Ok(len) = usize::try_from(bytes) else { return std::ptr::null_mut() };
        // Empty blocks need an address of their own, too.
        let len = len.max(1);
        let taken_bytes = self.taken_bytes.saturating_add(len as u64);
        if taken_bytes > self.limit {
            return std::ptr::null_mut();
        }
        let fits = |block: &Block| !block.taken && (len..=len.saturating_mul(2)).contains(&block.bytes.len());
        let free = (0..self.blocks.len())
            .filter(|&i| fits(&self.blocks[i]))
            .min_by_key(|&i| self.blocks[i].bytes.len());
        let index = if let Some(index) = free {
            index
        } else {
            if self.blocks.try_reserve(1).is_err() {
                return std::ptr::null_mut();
            }
            let Ok(bytes) = AlignedBytes::zeroed(len) else { return std::ptr::null_mut() };
            self.blocks.push(Block { bytes, taken: false });
            self.blocks.len() - 1
        };
        self.taken_bytes = taken_bytes;
        let block = &mut self.blocks[index];
        block.taken = true;
        block.bytes.start()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_and_zero() {
        for len in [0, 1, 63, 64, 65, 4096, MAPPED_FROM - 1, MAPPED_FROM, MAPPED_FROM + 1] {
            let mut bytes = AlignedBytes::zeroed(len).unwrap();
            assert_eq!(bytes.len(), len);
            assert_eq!(bytes.start().addr() % ALIGN, 0);
            assert!(bytes.iter().all(|&b| b == 0));
            bytes.fill(7);
            assert_eq!(*AlignedBytes::copy_of(&bytes).unwrap(), *bytes);
        }
    }

    #[test]
    fn elements_need_whole_lengths() {
        let bytes = AlignedBytes::copy_of(&[1, 0, 0, 0, 2, 0, 0, 0]).unwrap();
        assert_eq!(bytes.elements::<u32>(), Some(&[1u32.to_le(), 2u32.to_le()][..]));
        let mut odd = AlignedBytes::zeroed(7).unwrap();
        assert_eq!(odd.elements::<u32>(), None);
        assert_eq!(odd.elements_mut::<u16>(), None);
    }

    #[test]
    fn huge_buffers_are_errors() {
        for len in [1 << 50, isize::MAX as usize, usize::MAX - 10, usize::MAX] {
            assert_eq!(AlignedBytes::zeroed(len).unwrap_err().code(), 501);
        }
    }

    #[test]
    fn workspace_grows_and_stays() {
        let mut workspace = Workspace::new();
        let first = workspace.reserve(100, None).unwrap();
        assert_eq!(workspace.reserve(50, Some(0xff)).unwrap(), first);
        workspace.reserve(1 << 20, None).unwrap();
        assert_eq!(workspace.len(), 1 << 20);
        assert_eq!(workspace.reserve(usize::MAX, None).unwrap_err().code(), 501);
        assert_eq!(workspace.len(), 0);
        workspace.reserve(64, None).unwrap();
    }

    #[test]
    fn blocks_are_reused_in_the_next_run() {
        let mut blocks = RunBlocks::new();
        blocks.begin(1000);
        let a = blocks.take(300);
        let b = blocks.take(400);
        assert!(!a.is_null() && !b.is_null() && a != b);
        assert_eq!(a.addr() % ALIGN, 0);
        assert!(blocks.take(301).is_null());
        assert!(blocks.take(-1).is_null());
        assert_eq!(blocks.refused(), Some(301));
        blocks.begin(1000);
        assert_eq!(blocks.refused(), None);
        assert_eq!(blocks.take(350), b);
        assert_eq!(blocks.take(290), a);
        blocks.begin(1000);
        assert_eq!(blocks.take(300), a);
        blocks.begin(1000);
        assert_eq!(blocks.lock().blocks.len(), 1);
    }

    #[test]
    fn reads_stay_inside_blocks() {
        let mut blocks = RunBlocks::new();
        blocks.begin(1 << 20);
        let start = blocks.take(10).addr();
        let mut into = [1; 10];
        assert!(blocks.read(start, &mut into));
        assert_eq!(into, [0; 10]);
        assert!(!blocks.read(start + 1, &mut into));
        assert!(!blocks.read(start.wrapping_sub(1), &mut into));
        assert!(!blocks.read(0, &mut into));
        assert!(!blocks.read(usize::MAX, &mut into));
        assert!(blocks.read(0, &mut []));
    }
}
