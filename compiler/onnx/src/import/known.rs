//! known - elements of small integer tensors as extents, so that shapes are computed while importing.

use nnc_ir::{
    constant::Constant,
    dtype::{DType, Scalar},
    extent::{Extent, Symbol},
    graph::{Module, Provenance, RegionId},
};

use super::value::{Imported, MAX_KNOWN};

/// Largest whole number up to which every whole number is an `f32`.
const EXACT_IN_F32: f64 = 16_777_216.0;

/// Appends a constant and notes its elements if it is a small one of whole numbers.
pub(crate) fn bind_constant(
    module: &mut Module,
    region: RegionId,
    constant: Constant,
    loc: &Provenance,
) -> Imported {
    let known = elements(&constant);
    Imported { id: module.append_constant(region, constant, loc), known }
}

/// Elements of a small constant of whole numbers.
pub(crate) fn elements(constant: &Constant) -> Option<Vec<Extent>> {
    if constant.elements() > MAX_KNOWN {
        return None;
    }
    constant.scalars().into_iter().map(|s| whole(s).map(Extent::Const)).collect()
}

pub(crate) fn whole(s: Scalar) -> Option<i64> {
    match s.as_f64() {
        Some(x) if x.fract() == 0.0 && x.abs() <= EXACT_IN_F32 && (x != 0.0 || x.is_sign_positive()) => {
            Some(x as i64)
        }
        Some(_) => None,
        None => s.as_i64(),
    }
}

/// Whether an element type is followed symbolically.
pub(crate) fn followed(dtype: DType) -> bool {
    matches!(dtype, DType::I64 | DType::I32 | DType::F32 | DType::F64 | DType::Bool)
}

/// Least and greatest value of an extent, as far as the ranges of symbols tell.
pub(crate) fn bounds(module: &Module, extent: &Extent) -> (i64, i64) {
    extent.bounds(&|s| module.symbols.get(s).map_or((i64::MIN, i64::MAX), |s: &Symbol| (s.min, s.max)))
}

/// Whether an extent is never negative.
pub(crate) fn is_natural(module: &Module, extent: &Extent) -> bool {
    bounds(module, extent).0 >= 0
}

/// Quotient towards zero, as ONNX divides integers, if both operands have a sign that is known.
pub(crate) fn div(module: &Module, a: &Extent, b: &Extent) -> Option<Extent> {
    if let (Some(a), Some(b)) = (a.as_const(), b.as_const()) {
        return a.checked_div(b).map(Extent::Const);
    }
    (is_natural(module, a) && bounds(module, b).0 > 0).then(|| a.floor_div(b))
}

/// Remainder of the quotient towards zero (`fmod`) or towards minus infinity.
pub(crate) fn rem(module: &Module, a: &Extent, b: &Extent, towards_zero: bool) -> Option<Extent> {
    if let (Some(x), Some(y)) = (a.as_const(), b.as_const()) {
        let r = x.checked_rem(y)?;
        let flip = !towards_zero && r != 0 && (r < 0) != (y < 0);
        return Some(Extent::Const(if flip { r + y } else { r }));
    }
    (is_natural(module, a) && bounds(module, b).0 > 0).then(|| a.modulo(b))
}

/// Whether `a < b`, if that is known.
pub(crate) fn less(module: &Module, a: &Extent, b: &Extent) -> Option<bool> {
    let (low, high) = bounds(module, &(a - b));
    match () {
        () if high < 0 => Some(true),
        () if low >= 0 => Some(false),
        () => None,
    }
}

/// Whether `a == b`, if that is known.
pub(crate) fn equal(module: &Module, a: &Extent, b: &Extent) -> Option<bool> {
    let (low, high) = bounds(module, &(a - b));
    match () {
        () if low == 0 && high == 0 => Some(true),
        () if low > 0 || high < 0 => Some(false),
        () => None,
    }
}

/// Elements of a tensor that another one's elements are moved to: `from` gives the position that each comes from.
pub(crate) fn moved(
    all: &[Extent],
    dims: &[i64],
    result_dims: &[i64],
    from: impl Fn(&[i64]) -> Vec<i64>,
) -> Option<Vec<Extent>> {
    let count = result_dims.iter().try_fold(1i64, |n, d| n.checked_mul(*d))?;
    if usize::try_from(count).ok()? > MAX_KNOWN {
        return None;
    }
    let mut at = vec![0; result_dims.len()];
    let mut out = Vec::new();
    for _ in 0..count {
        let mut flat = 0;
        for (position, dim) in from(&at).into_iter().zip(dims) {
            flat = flat * dim + position;
        }
        out.push(all.get(usize::try_from(flat).ok()?)?.clone());
        for axis in (0..at.len()).rev() {
            at[axis] += 1;
            if at[axis] < result_dims[axis] {
                break;
            }
            at[axis] = 0;
        }
    }
    Some(out)
}
