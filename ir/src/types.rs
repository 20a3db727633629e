//! types - tensor types.

use std::fmt;

use crate::{
    dtype::DType,
    extent::{Extent, product},
};

/// Extents of the axes, outermost first.
pub type Shape = Vec<Extent>;

/// Element type and shape of a tensor value.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TensorType {
    /// Element type.
    pub dtype: DType,
    /// Extents; empty for a scalar.
    pub shape: Shape,
}

impl TensorType {
    /// A tensor of `dtype` and `shape`.
    pub fn new(dtype: DType, shape: impl Into<Shape>) -> Self {
        Self { dtype, shape: shape.into() }
    }
    /// A tensor whose extents are all known.
    #[must_use]
    pub fn of(dtype: DType, dims: &[i64]) -> Self {
        Self { dtype, shape: dims.iter().map(|&d| Extent::Const(d)).collect() }
    }
    /// Number of axes.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.shape.len()
    }
    /// Number of elements.
    #[must_use]
    pub fn elements(&self) -> Extent {
        product(&self.shape)
    }
    /// Number of bytes.
    #[must_use]
    pub fn bytes(&self) -> Extent {
        let element = i64::try_from(self.dtype.bytes()).unwrap_or(8);
        self.elements().scale(element)
    }
    /// The extents, if all are known.
    #[must_use]
    pub fn dims(&self) -> Option<Vec<i64>> {
        self.shape.iter().map(Extent::as_const).collect()
    }
    /// The same shape with another element type.
    #[must_use]
    pub fn with_dtype(&self, dtype: DType) -> Self {
        Self { dtype, shape: self.shape.clone() }
    }
    /// The same element type with another shape.
    #[must_use]
    pub fn with_shape(&self, shape: impl Into<Shape>) -> Self {
        Self { dtype: self.dtype, shape: shape.into() }
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[", self.dtype)?;
        for (i, extent) in self.shape.iter().enumerate() {
            write!(f, "{}{extent}", if i > 0 { "," } else { "" })?;
        }
        f.write_str("]")
    }
}

impl fmt::Debug for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
