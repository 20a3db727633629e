//! check - whether what a run gave is what it may give.

use nnc_ir::{
    dtype::{DType, Scalar},
    eval::Tensor,
};

use super::{element::Bound, run::BoundTensor};

/// How many elements were held to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Agreement {
    /// To their bits.
    pub points: usize,
    /// To a range.
    pub ranges: usize,
    /// To nothing.
    pub unknown: usize,
}

impl Agreement {
    /// Adds the numbers of another.
    pub fn add(&mut self, other: Agreement) {
        self.points += other.points;
        self.ranges += other.ranges;
        self.unknown += other.unknown;
    }
}

/// Compares a result with its bounds.
///
/// # Errors
/// The first element that is not what it may be.
pub fn check(bound: &BoundTensor, got: &Tensor) -> Result<Agreement, String> {
    if bound.dtype != got.dtype || bound.dims != got.dims {
        return Err(format!("is {}, not {}{:?}", got.ty(), bound.dtype, bound.dims));
    }
    let mut agreement = Agreement::default();
    for (i, (bound, x)) in bound.elements.iter().zip(got.scalars()).enumerate() {
        let holds = match *bound {
            Bound::Point(want) => {
                agreement.points += 1;
                same(want, x)
            }
            Bound::Range(lo, hi) => {
                agreement.ranges += 1;
                x.as_f64().is_some_and(|x| (lo..=hi).contains(&x))
            }
            Bound::Any => {
                agreement.unknown += 1;
                true
            }
        };
        if !holds {
            return Err(format!("element {i} of {} is {x:?} ({:#x}), must be {bound:?}", got.ty(), x.bits));
        }
    }
    Ok(agreement)
}

/// The same bits; any NaN for a NaN, whose bits machines choose differently.
fn same(a: Scalar, b: Scalar) -> bool {
    let nan = |x: Scalar| matches!(x.dtype, DType::F32 | DType::F64) && x.as_f64().is_some_and(f64::is_nan);
    a == b || (nan(a) && nan(b))
}
