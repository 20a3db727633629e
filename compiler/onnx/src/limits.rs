//! limits - how much a model may ask for: the one home of the defaults.

/// Upper bounds that hold whatever a file says; crossing one is an error of family E05.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of the protobuf file itself (weights of larger models are external data).
    pub proto_bytes: u64,
    /// Bytes of one file of external data.
    pub external_bytes: u64,
    /// Nodes over all graphs and functions of the file.
    pub nodes: usize,
    /// Rank of a tensor.
    pub rank: usize,
    /// Largest declared extent of an axis.
    pub extent: i64,
    /// Bytes of a name.
    pub name_bytes: usize,
    /// Graphs within graphs, the main graph included.
    pub graph_nesting: usize,
    /// Types within types (optional of sequence of ...).
    pub type_nesting: usize,
    /// Attributes of a node or function.
    pub attributes: usize,
    /// Model-local functions.
    pub functions: usize,
    /// Functions within functions when calls are expanded.
    pub call_depth: usize,
    /// Nodes after all calls are expanded.
    pub inlined_nodes: usize,
    /// Bytes of node names, value names and attributes after all calls are expanded.
    pub inlined_bytes: usize,
    /// Bytes of all sparse initializers made dense.
    pub dense_bytes: usize,
    /// Bytes of decoded structs, to which [`Limits::DECODED_PER_BYTE`] per byte of the file are added.
    pub decoded_bytes: usize,
    /// Problems listed before the rest is only counted.
    pub problems: usize,
}

impl Limits {
    /// Bytes of decoded structs allowed per byte of the file.
    pub const DECODED_PER_BYTE: usize = 6;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            proto_bytes: 2 << 30,
            external_bytes: 64 << 30,
            nodes: 1_000_000,
            rank: 32,
            extent: 1 << 47,
            name_bytes: 64 << 10,
            graph_nesting: 32,
            type_nesting: 32,
            attributes: 1_000,
            functions: 10_000,
            call_depth: 100,
            inlined_nodes: 1_000_000,
            inlined_bytes: 1 << 30,
            dense_bytes: 2 << 30,
            decoded_bytes: 96 << 20,
            problems: 100,
        }
    }
}
