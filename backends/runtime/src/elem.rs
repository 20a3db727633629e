//! elem - element types of the tensors that cross the run-time boundary.

use std::fmt;

/// Type of one element, by the code that compiled programs, extern calls and artefacts use for it.
///
/// The numbers are part of the ABI and of the artefact format: never renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ElemType {
    /// One byte, 0 or 1; any other value reads as true.
    Bool = 0,
    /// 8-bit unsigned integer.
    U8 = 1,
    /// 8-bit signed integer.
    I8 = 2,
    /// 16-bit unsigned integer.
    U16 = 3,
    /// 16-bit signed integer.
    I16 = 4,
    /// 32-bit unsigned integer.
    U32 = 5,
    /// 32-bit signed integer.
    I32 = 6,
    /// 64-bit unsigned integer.
    U64 = 7,
    /// 64-bit signed integer.
    I64 = 8,
    /// IEEE binary16.
    F16 = 9,
    /// The upper half of an IEEE binary32.
    Bf16 = 10,
    /// IEEE binary32.
    F32 = 11,
    /// IEEE binary64.
    F64 = 12,
}

impl ElemType {
    /// All element types, by code.
    pub const ALL: [ElemType; 13] = [
        Self::Bool,
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::U64,
        Self::I64,
        Self::F16,
        Self::Bf16,
        Self::F32,
        Self::F64,
    ];

    /// The type with this code.
    #[must_use]
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(code).ok()?).copied()
    }

    /// The code of this type.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Bytes of one element.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::Bool | Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 | Self::F16 | Self::Bf16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    /// Short name, as messages print it (`f32`, `i64`, `bool`).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::U8 => "u8",
            Self::I8 => "i8",
            Self::U16 => "u16",
            Self::I16 => "i16",
            Self::U32 => "u32",
            Self::I32 => "i32",
            Self::U64 => "u64",
            Self::I64 => "i64",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::F32 => "f32",
            Self::F64 => "f64",
        }
    }

    /// The type with this short name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.name() == name)
    }
}

impl fmt::Display for ElemType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Bytes of a dense tensor, or `None` when an extent is negative or the product does not fit.
#[must_use]
pub fn tensor_bytes(elem: ElemType, dims: &[i64]) -> Option<usize> {
    // A zero extent makes the product zero whatever the others are, so it is looked for first.
    if dims.iter().any(|&d| d < 0) {
        return None;
    }
    if dims.contains(&0) {
        return Some(0);
    }
    let bytes = dims.iter().try_fold(elem.size(), |bytes, &d| bytes.checked_mul(usize::try_from(d).ok()?))?;
    isize::try_from(bytes).ok().map(|_| bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_round_trip() {
        for (code, elem) in ElemType::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(elem.code()), code);
            assert_eq!(ElemType::from_code(u32::from(elem.code())), Some(elem));
            assert_eq!(ElemType::from_name(elem.name()), Some(elem));
        }
        assert_eq!(ElemType::from_code(13), None);
        assert_eq!(ElemType::from_code(u32::MAX), None);
    }

    #[test]
    fn byte_counts_are_checked() {
        assert_eq!(tensor_bytes(ElemType::F32, &[]), Some(4));
        assert_eq!(tensor_bytes(ElemType::F64, &[2, 3]), Some(48));
        assert_eq!(tensor_bytes(ElemType::U8, &[i64::MAX, i64::MAX, 0]), Some(0));
        assert_eq!(tensor_bytes(ElemType::U8, &[i64::MAX]), Some(i64::MAX as usize));
        assert_eq!(tensor_bytes(ElemType::U16, &[i64::MAX]), None);
        assert_eq!(tensor_bytes(ElemType::U8, &[-1]), None);
        assert_eq!(tensor_bytes(ElemType::U8, &[-1, 0]), None);
    }
}
