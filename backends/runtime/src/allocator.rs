//! allocator - has the system's allocator give large blocks back when they are freed.

/// Blocks of so many bytes are mapped each on its own.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MAPPED_FROM: i32 = 1 << 20;

/// Has freed blocks of 1 MiB and more go back to the system at once, in the whole process: for programs that compile.
///
/// The allocator of glibc maps large blocks on their own, but takes the size of each that is freed, up to 32 MiB, as the new
/// bound: weights that are made and freed one after another would then leave holes that stay in memory. Elsewhere nothing is changed.
pub fn give_back_large_blocks() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        unsafe extern "C" {
            fn mallopt(parameter: i32, value: i32) -> i32;
        }
        /// `M_MMAP_THRESHOLD` of malloc.h.
        const THRESHOLD: i32 = -3;
        // SAFETY: the function takes two numbers, which are of the right types, and locks what it changes. If it refuses, nothing is
        // changed.
        let _ = unsafe { mallopt(THRESHOLD, MAPPED_FROM) };
    }
}
