//! order - elements of any type as integers that compare as the elements do.
//!
//! The order is total: NaN is above everything and equal to itself, the two zeros are equal.

use super::view::Fault;
use crate::elem::ElemType;

/// The key of an element given by its bytes: `a < b` for elements is `key(a) < key(b)`.
pub(super) type KeyFn = fn(&[u8]) -> u64;

/// Takes `N` bytes of what is as long.
fn take<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.first_chunk().copied().unwrap_or([0; N])
}

/// Key of a float of `bits` bits whose exponent is all ones from `infinity` on.
fn float_key(raw: u64, bits: u32, infinity: u64) -> u64 {
    let sign = 1 << (bits - 1);
    let magnitude = raw & (sign - 1);
    if magnitude > infinity {
        u64::MAX
    } else if raw & sign != 0 && magnitude != 0 {
        sign - magnitude
    } else {
        sign + magnitude
    }
}

/// Moves signed integers to where they compare as unsigned ones.
fn signed_key(value: i64) -> u64 {
    value.cast_unsigned() ^ 1 << 63
}

/// The key function of an element type.
pub(super) fn key_fn(elem: ElemType) -> KeyFn {
    match elem {
        ElemType::Bool => |b| u64::from(take::<1>(b)[0] != 0),
        ElemType::U8 => |b| u64::from(u8::from_le_bytes(take(b))),
        ElemType::U16 => |b| u64::from(u16::from_le_bytes(take(b))),
        ElemType::U32 => |b| u64::from(u32::from_le_bytes(take(b))),
        ElemType::U64 => |b| u64::from_le_bytes(take(b)),
        ElemType::I8 => |b| signed_key(i64::from(i8::from_le_bytes(take(b)))),
        ElemType::I16 => |b| signed_key(i64::from(i16::from_le_bytes(take(b)))),
        ElemType::I32 => |b| signed_key(i64::from(i32::from_le_bytes(take(b)))),
        ElemType::I64 => |b| signed_key(i64::from_le_bytes(take(b))),
        ElemType::F16 => |b| float_key(u64::from(u16::from_le_bytes(take(b))), 16, 0x7c00),
        ElemType::Bf16 => |b| float_key(u64::from(u16::from_le_bytes(take(b))), 16, 0x7f80),
        ElemType::F32 => |b| float_key(u64::from(u32::from_le_bytes(take(b))), 32, 0x7f80_0000),
        ElemType::F64 => |b| float_key(u64::from_le_bytes(take(b)), 64, 0x7ff0_0000_0000_0000),
    }
}

/// The key of zero.
pub(super) fn zero_key(elem: ElemType) -> u64 {
    key_fn(elem)(&[0; 8])
}

/// A tensor seen from one axis: `outer` x `extent` x `inner` elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Split {
    pub(super) outer: usize,
    pub(super) extent: usize,
    pub(super) inner: usize,
}

impl Split {
    /// Splits at `axis`; `None` when there is no such axis. The elements of `dims` exist, so products fit.
    pub(super) fn at(dims: &[i64], axis: i64) -> Option<Self> {
        let axis = usize::try_from(axis).ok()?;
        let extent = usize::try_from(*dims.get(axis)?).ok()?;
        Some(Self { outer: product(&dims[..axis])?, extent, inner: product(&dims[axis + 1..])? })
    }
}

fn product(dims: &[i64]) -> Option<usize> {
    // Some extent elsewhere may be zero, so that these alone are not bounded by the memory there is.
    dims.iter().try_fold(1usize, |product, &dim| product.checked_mul(usize::try_from(dim).ok()?))
}

/// A vector with room for `len` elements.
pub(super) fn reserved<T>(len: usize) -> Result<Vec<T>, Fault> {
    let mut vec = Vec::new();
    vec.try_reserve_exact(len).map_err(|_| Fault::no_memory::<T>(len))?;
    Ok(vec)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<const N: usize>(elem: ElemType, ascending: &[[u8; N]]) {
        let keys: Vec<_> = ascending.iter().map(|bytes| key_fn(elem)(bytes)).collect();
        assert!(keys.is_sorted_by(|a, b| a < b), "{elem}: {keys:x?}");
    }

    #[test]
    fn keys_compare_as_elements() {
        let inf = f32::INFINITY;
        check(ElemType::F32, &[-inf, -1.0, -1e-45, 0.0, 1e-45, 1.0, inf, f32::NAN].map(f32::to_le_bytes));
        let inf = f64::INFINITY;
        check(ElemType::F64, &[-inf, -2.0, -1.5, 0.0, 1.5, f64::MAX, inf, f64::NAN].map(f64::to_le_bytes));
        check(
            ElemType::F16,
            &[0xfc00u16, 0xc000, 0x8001, 0, 1, 0x3c00, 0x7c00, 0x7c01].map(u16::to_le_bytes),
        );
        check(
            ElemType::Bf16,
            &[0xff80u16, 0xc000, 0x8001, 0, 1, 0x3f80, 0x7f80, 0x7f81].map(u16::to_le_bytes),
        );
        check(ElemType::I64, &[i64::MIN, -1, 0, 1, i64::MAX].map(i64::to_le_bytes));
        check(ElemType::I8, &[i8::MIN, -1, 0, 1, i8::MAX].map(i8::to_le_bytes));
        check(ElemType::U64, &[0, 1, u64::MAX].map(u64::to_le_bytes));
        check(ElemType::Bool, &[[0], [1]]);
    }

    #[test]
    fn zeros_and_nans_are_equal() {
        let key = key_fn(ElemType::F32);
        assert_eq!(key(&(-0f32).to_le_bytes()), zero_key(ElemType::F32));
        assert_eq!(key(&(-f32::NAN).to_le_bytes()), key(&f32::from_bits(0x7f80_0001).to_le_bytes()));
        assert_eq!(key_fn(ElemType::Bool)(&[7]), key_fn(ElemType::Bool)(&[1]));
    }

    #[test]
    fn splits_have_bounded_products() {
        assert_eq!(Split::at(&[2, 3, 4], 1), Some(Split { outer: 2, extent: 3, inner: 4 }));
        assert_eq!(Split::at(&[2], 0), Some(Split { outer: 1, extent: 2, inner: 1 }));
        assert_eq!(Split::at(&[], 0), None);
        assert_eq!(Split::at(&[2], -1), None);
        assert_eq!(Split::at(&[i64::MAX, i64::MAX, 0], 2), None);
        assert_eq!(
            Split::at(&[0, i64::MAX], 0),
            Some(Split { outer: 1, extent: 0, inner: i64::MAX as usize })
        );
    }
}
