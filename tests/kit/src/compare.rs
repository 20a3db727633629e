//! compare - whether tensors are equal up to rounding, and where they are not.

use nnc_ir::{dtype::Scalar, eval::Tensor};

/// How far elements may differ: `|got - want| <= absolute + relative * |want|`.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    /// Part of the wanted magnitude.
    pub relative: f64,
    /// On top of it.
    pub absolute: f64,
}

impl Tolerance {
    /// What conformance cases allow.
    pub const CONFORMANCE: Tolerance = Tolerance { relative: 1e-3, absolute: 1e-7 };
}

/// Compares two tensors: equal types, equal integers, close floats; NaN equals NaN.
///
/// # Errors
/// Says what differs first, and how many elements do.
pub fn compare(got: &Tensor, want: &Tensor, tolerance: Tolerance) -> Result<(), String> {
    if got.dtype != want.dtype || got.dims != want.dims {
        return Err(format!("is {}, should be {}", got.ty(), want.ty()));
    }
    let (a, b) = (got.scalars(), want.scalars());
    let odd: Vec<usize> = (0..a.len()).filter(|&i| !close(a[i], b[i], tolerance)).collect();
    match odd.first() {
        None => Ok(()),
        Some(&i) => {
            Err(format!("{} of {} differ; element {i} is {}, should be {}", odd.len(), a.len(), a[i], b[i]))
        }
    }
}

fn close(got: Scalar, want: Scalar, tolerance: Tolerance) -> bool {
    match (got.as_f64(), want.as_f64()) {
        (Some(a), Some(b)) => {
            a == b
                || (a.is_nan() && b.is_nan())
                || (b.is_finite() && (a - b).abs() <= tolerance.absolute + tolerance.relative * b.abs())
        }
        _ => got == want,
    }
}
