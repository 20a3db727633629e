//! target - what passes may know of a processor: plain numbers, looked up by name, so that the same name gives the same code.

/// Facts about a processor and the code the backend makes for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetDesc {
    /// Bytes of a vector.
    pub vector_bytes: i64,
    /// Number of vector registers.
    pub vector_registers: i64,
    /// Bytes of the first-level data cache, the second level, and the share of the last level that one core may count on.
    pub cache_bytes: [i64; 3],
    /// Bytes a cycle that one core reads from each of these, and from memory.
    pub bytes_per_cycle: [i64; 4],
    /// Vector instructions a cycle.
    pub vectors_per_cycle: i64,
    /// Cycles to start a kernel.
    pub kernel_cycles: i64,
}

impl TargetDesc {
    /// A processor with 128-bit vectors and small caches: for tests, and where nothing is known.
    pub const GENERIC: TargetDesc = TargetDesc {
        vector_bytes: 16,
        vector_registers: 16,
        cache_bytes: [32 << 10, 512 << 10, 4 << 20],
        bytes_per_cycle: [64, 32, 16, 4],
        vectors_per_cycle: 2,
        kernel_cycles: 200,
    };
}
