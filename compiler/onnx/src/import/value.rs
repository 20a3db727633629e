//! value - what an ONNX name stands for while its graph is imported.

use nnc_ir::{extent::Extent, graph::ValueId};

/// Longest integer tensor whose elements are followed symbolically.
pub(crate) const MAX_KNOWN: usize = 1024;

/// A tensor, with its elements where they are known in terms of extents.
#[derive(Clone, Debug)]
pub(crate) struct Imported {
    /// The value in the module.
    pub(crate) id: ValueId,
    /// Elements of a small tensor of known shape, in row-major order (integers, or floats that are whole numbers).
    pub(crate) known: Option<Vec<Extent>>,
}

impl From<ValueId> for Imported {
    fn from(id: ValueId) -> Self {
        Self { id, known: None }
    }
}

impl Imported {
    /// The elements, if all are constants.
    pub(crate) fn ints(&self) -> Option<Vec<i64>> {
        self.known.as_ref()?.iter().map(Extent::as_const).collect()
    }
}

/// What a name stands for.
#[derive(Clone, Debug)]
pub(crate) enum Binding {
    /// A tensor.
    Tensor(Imported),
    /// A sequence whose length is known when importing.
    Sequence(Vec<Imported>),
    /// An optional without a value.
    Nothing,
    /// The result of a node that was refused: whatever reads it is passed over.
    Poison,
}

impl From<Imported> for Binding {
    fn from(value: Imported) -> Self {
        Self::Tensor(value)
    }
}

impl From<ValueId> for Binding {
    fn from(id: ValueId) -> Self {
        Self::Tensor(id.into())
    }
}
