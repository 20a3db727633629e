//! dtype - element types and single elements.

use std::fmt;

/// Element type of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum DType {
    Bool,
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F16,
    BF16,
    F32,
    F64,
}

impl DType {
    /// Every element type.
    pub const ALL: [DType; 13] = [
        DType::Bool,
        DType::U8,
        DType::I8,
        DType::U16,
        DType::I16,
        DType::U32,
        DType::I32,
        DType::U64,
        DType::I64,
        DType::F16,
        DType::BF16,
        DType::F32,
        DType::F64,
    ];

    /// Bytes of one element.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            DType::Bool | DType::U8 | DType::I8 => 1,
            DType::U16 | DType::I16 | DType::F16 | DType::BF16 => 2,
            DType::U32 | DType::I32 | DType::F32 => 4,
            DType::U64 | DType::I64 | DType::F64 => 8,
        }
    }
    /// Whether elements are floating-point numbers.
    #[must_use]
    pub fn is_float(self) -> bool {
        matches!(self, DType::F16 | DType::BF16 | DType::F32 | DType::F64)
    }
    /// Whether elements are integers (`bool` is not).
    #[must_use]
    pub fn is_int(self) -> bool {
        !self.is_float() && self != DType::Bool
    }
    /// Whether elements are signed integers.
    #[must_use]
    pub fn is_signed_int(self) -> bool {
        matches!(self, DType::I8 | DType::I16 | DType::I32 | DType::I64)
    }
    /// Whether elements are unsigned integers.
    #[must_use]
    pub fn is_unsigned_int(self) -> bool {
        self.is_int() && !self.is_signed_int()
    }
    /// The type scalar programs compute in: `f16` and `bf16` are widened to `f32` when loaded and rounded to nearest
    /// even when stored; every other type is its own.
    #[must_use]
    pub fn compute(self) -> DType {
        match self {
            DType::F16 | DType::BF16 => DType::F32,
            other => other,
        }
    }
    /// Spelling in the text format.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            DType::Bool => "bool",
            DType::U8 => "u8",
            DType::I8 => "i8",
            DType::U16 => "u16",
            DType::I16 => "i16",
            DType::U32 => "u32",
            DType::I32 => "i32",
            DType::U64 => "u64",
            DType::I64 => "i64",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::F32 => "f32",
            DType::F64 => "f64",
        }
    }
    /// Inverse of [`DType::name`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<DType> {
        Self::ALL.into_iter().find(|d| d.name() == name)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One element of a compute type, as bits: little end first, zero above the type's width.
///
/// Equality and hashing are by bits, so that constants are matched exactly.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scalar {
    /// A compute type (never `f16` or `bf16`).
    pub dtype: DType,
    /// The element's bits.
    pub bits: u64,
}

impl Scalar {
    /// An `f32`.
    #[must_use]
    pub fn f32(x: f32) -> Self {
        Self { dtype: DType::F32, bits: u64::from(x.to_bits()) }
    }
    /// An `f64`.
    #[must_use]
    pub fn f64(x: f64) -> Self {
        Self { dtype: DType::F64, bits: x.to_bits() }
    }
    /// An `i64`.
    #[must_use]
    pub fn i64(x: i64) -> Self {
        Self { dtype: DType::I64, bits: x.cast_unsigned() }
    }
    /// An `i32`.
    #[must_use]
    pub fn i32(x: i32) -> Self {
        Self { dtype: DType::I32, bits: u64::from(x.cast_unsigned()) }
    }
    /// A `bool`.
    #[must_use]
    pub fn bool(x: bool) -> Self {
        Self { dtype: DType::Bool, bits: u64::from(x) }
    }
    /// The integer `x`, wrapped to the width of `dtype`; for floats the nearest float.
    #[must_use]
    pub fn int(dtype: DType, x: i64) -> Self {
        match dtype.compute() {
            DType::F32 => Self::f32(x as f32),
            DType::F64 => Self::f64(x as f64),
            DType::Bool => Self::bool(x != 0),
            d => Self { dtype: d, bits: x.cast_unsigned() & mask(d) },
        }
    }
    /// The float `x` rounded to `dtype` (a float type); integers take the value truncated towards zero, saturating.
    #[must_use]
    pub fn float(dtype: DType, x: f64) -> Self {
        match dtype.compute() {
            DType::F32 => Self::f32(x as f32),
            DType::F64 => Self::f64(x),
            d => Self::int(d, x as i64),
        }
    }
    /// Zero of `dtype`.
    #[must_use]
    pub fn zero(dtype: DType) -> Self {
        Self { dtype: dtype.compute(), bits: 0 }
    }
    /// Least value: minus infinity for floats.
    #[must_use]
    pub fn lowest(dtype: DType) -> Self {
        match dtype.compute() {
            DType::F32 => Self::f32(f32::NEG_INFINITY),
            DType::F64 => Self::f64(f64::NEG_INFINITY),
            d if d.is_signed_int() => Self { dtype: d, bits: 1 << (d.bytes() * 8 - 1) },
            d => Self::zero(d),
        }
    }
    /// Greatest value: infinity for floats.
    #[must_use]
    pub fn highest(dtype: DType) -> Self {
        match dtype.compute() {
            DType::F32 => Self::f32(f32::INFINITY),
            DType::F64 => Self::f64(f64::INFINITY),
            DType::Bool => Self::bool(true),
            d if d.is_signed_int() => Self { dtype: d, bits: mask(d) >> 1 },
            d => Self { dtype: d, bits: mask(d) },
        }
    }
    /// The value as `i64` for integers and `bool` (`u64` wraps); `None` for floats.
    #[must_use]
    pub fn as_i64(self) -> Option<i64> {
        let shift = 64 - 8 * self.dtype.bytes();
        match self.dtype {
            DType::Bool => Some(i64::from(self.bits != 0)),
            d if d.is_signed_int() => Some((self.bits << shift).cast_signed() >> shift),
            d if d.is_int() => Some(self.bits.cast_signed()),
            _ => None,
        }
    }
    /// The value as `f64`, for floats only (exact).
    #[must_use]
    pub fn as_f64(self) -> Option<f64> {
        match self.dtype {
            DType::F32 => Some(f64::from(f32::from_bits(self.bits as u32))),
            DType::F64 => Some(f64::from_bits(self.bits)),
            _ => None,
        }
    }
    /// The bits as `f32`.
    #[must_use]
    pub fn to_f32(self) -> f32 {
        f32::from_bits(self.bits as u32)
    }
    /// The bits as `f64`.
    #[must_use]
    pub fn to_f64(self) -> f64 {
        f64::from_bits(self.bits)
    }
    /// Reads one element of storage type `dtype` (`f16` and `bf16` widen), little end first.
    ///
    /// # Panics
    /// If `bytes` is shorter than the element.
    #[must_use]
    pub fn load(dtype: DType, bytes: &[u8]) -> Self {
        let mut raw = [0u8; 8];
        raw[..dtype.bytes()].copy_from_slice(&bytes[..dtype.bytes()]);
        let bits = u64::from_le_bytes(raw);
        match dtype {
            DType::F16 => Self::f32(half::f16::from_bits(bits as u16).to_f32()),
            DType::BF16 => Self::f32(half::bf16::from_bits(bits as u16).to_f32()),
            d => Self { dtype: d, bits },
        }
    }
    /// Writes the element in storage type `dtype`, whose compute type must be the scalar's type.
    ///
    /// # Panics
    /// If `bytes` is shorter than the element.
    pub fn store(self, dtype: DType, bytes: &mut [u8]) {
        let bits = match dtype {
            DType::F16 => u64::from(half::f16::from_f32(self.to_f32()).to_bits()),
            DType::BF16 => u64::from(half::bf16::from_f32(self.to_f32()).to_bits()),
            _ => self.bits,
        };
        bytes[..dtype.bytes()].copy_from_slice(&bits.to_le_bytes()[..dtype.bytes()]);
    }
}

/// Bits an element of `dtype` occupies.
pub(crate) fn mask(dtype: DType) -> u64 {
    u64::MAX >> (64 - 8 * dtype.bytes())
}

impl fmt::Debug for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.dtype, self.as_i64()) {
            (DType::Bool, _) => write!(f, "{}", self.bits != 0),
            (DType::F32, _) => write!(f, "{:?}f32", self.to_f32()),
            (DType::F64, _) => write!(f, "{:?}f64", self.to_f64()),
            (DType::U64, _) => write!(f, "{}u64", self.bits),
            (d, Some(x)) => write!(f, "{x}{d}"),
            (d, None) => write!(f, "0x{:x}{d}", self.bits),
        }
    }
}
