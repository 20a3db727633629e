//! guarded - memory that ends where an unmapped page begins: who reads or writes past its end kills the process.

use memmap2::{MmapMut, MmapOptions};
use std::fs::File;
use std::sync::atomic::{AtomicUsize, Ordering};

const PAGE: usize = 4096;
const CANARY: u8 = 0xa5;

/// So many bytes, with at least `room` before them; and where they start.
fn before_unmapped(n: usize, room: usize) -> (MmapMut, usize) {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let pages = (n + room).div_ceil(PAGE).max(1) * PAGE;
    let name = format!("nnc-guarded-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    file.set_len(pages as u64).unwrap();
    // The page after the end of the file is mapped, but has nothing behind it.
    // SAFETY: the file has no name any more, so nobody else changes it; touching what is mapped beyond its end kills the
    // process, which is what it is for.
    let map = unsafe { MmapOptions::new().len(pages + PAGE).map_mut(&file).unwrap() };
    (map, pages - n)
}

/// Guarded memory for f32.
pub(crate) struct Guarded {
    map: MmapMut,
    start: usize,
    /// Bytes.
    n: usize,
}

impl Guarded {
    /// `n` elements, all `fill`.
    pub(crate) fn new(n: usize, fill: f32) -> Self {
        let mut guarded = Self::of_len(n * 4);
        guarded.slice().fill(fill);
        guarded
    }

    /// A copy of bytes.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Self {
        let mut guarded = Self::of_len(bytes.len());
        guarded.bytes().copy_from_slice(bytes);
        guarded
    }

    /// So many bytes.
    fn of_len(n: usize) -> Self {
        let (map, start) = before_unmapped(n, 0);
        Guarded { map, start, n }
    }

    /// A copy of elements.
    pub(crate) fn from(elements: &[f32]) -> Self {
        let mut guarded = Self::new(elements.len(), 0.0);
        guarded.slice().copy_from_slice(elements);
        guarded
    }

    pub(crate) fn slice(&mut self) -> &mut [f32] {
        assert!(self.n.is_multiple_of(4), "f32 have four bytes");
        // SAFETY: the bytes from start to the end of the file are n / 4 f32, aligned since pages are.
        unsafe { std::slice::from_raw_parts_mut(self.map[self.start..].as_mut_ptr().cast(), self.n / 4) }
    }

    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        &mut self.map[self.start..][..self.n]
    }

    pub(crate) fn address(&self) -> i64 {
        self.map[self.start..].as_ptr() as i64
    }
}

/// Guarded bytes, with canaries before them.
pub(crate) struct Buffer {
    map: MmapMut,
    start: usize,
    len: usize,
}

impl Buffer {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let (mut map, start) = before_unmapped(bytes.len(), 64);
        map[..start].fill(CANARY);
        map[start..][..bytes.len()].copy_from_slice(bytes);
        Self { map, start, len: bytes.len() }
    }
    pub(crate) fn address(&self) -> i64 {
        self.map[self.start..].as_ptr() as i64
    }
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.map[self.start..self.start + self.len]
    }
    /// Checks that nothing was written before the buffer.
    pub(crate) fn check(&self) {
        assert!(self.map[..self.start].iter().all(|&b| b == CANARY), "written before the buffer");
    }
}
