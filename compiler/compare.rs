//! compare - how far outputs are from what is expected.

use nnc_runtime::{ElemType, Tensor};

/// When an output counts as equal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tolerance {
    /// `|got - want| <= atol + rtol * |want|`, each element.
    Elements {
        /// Relative part.
        rtol: f64,
        /// Absolute part.
        atol: f64,
    },
    /// `max |got - want| <= R * max |want|`, an output at a time.
    RelMax(f64),
}

/// How an output compares.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Difference {
    /// Greatest `|got - want|`.
    pub max_abs: f64,
    /// That over the greatest finite `|want|`.
    pub rel_max: f64,
    /// Elements outside of the tolerance.
    pub wrong: usize,
}

/// Compares one output. NaN equals NaN; infinities must be the same. `bf16` is compared with a relative tolerance of
/// 2^-6 at least (two units in its last place), as the ONNX runner does.
///
/// # Errors
/// Says which of element type and shape differs.
pub fn compare(got: &Tensor, want: &Tensor, tolerance: Tolerance) -> Result<Difference, String> {
    if got.elem() != want.elem() {
        return Err(format!("has element type {}, expected {}", got.elem(), want.elem()));
    }
    if got.dims() != want.dims() {
        return Err(format!("has shape {:?}, expected {:?}", got.dims(), want.dims()));
    }
    if matches!(got.elem(), ElemType::I64 | ElemType::U64) {
        return Ok(compare_exactly(got, want));
    }
    let (got_values, want_values) = (got.view().to_f64s(), want.view().to_f64s());
    let scale = want_values.iter().filter(|w| w.is_finite()).fold(0.0, |m: f64, w| m.max(w.abs()));
    let allowed = |want: f64| match tolerance {
        Tolerance::Elements { rtol, atol } => {
            let rtol = if got.elem() == ElemType::Bf16 { rtol.max(1.0 / 64.0) } else { rtol };
            atol + rtol * want.abs()
        }
        Tolerance::RelMax(r) => r * scale,
    };
    let mut out = Difference::default();
    for (&g, &w) in got_values.iter().zip(&want_values) {
        if g == w || (g.is_nan() && w.is_nan()) {
            continue;
        }
        let difference = if g.is_finite() && w.is_finite() { (g - w).abs() } else { f64::INFINITY };
        out.max_abs = out.max_abs.max(difference);
        out.wrong += usize::from(difference.is_nan() || difference > allowed(w));
    }
    out.rel_max = if out.max_abs == 0.0 { 0.0 } else { out.max_abs / scale };
    Ok(out)
}

/// 64-bit integers do not fit `f64`.
fn compare_exactly(got: &Tensor, want: &Tensor) -> Difference {
    let pairs = got.bytes().chunks_exact(8).zip(want.bytes().chunks_exact(8));
    let wrong = pairs.filter(|(g, w)| g != w).count();
    let max_abs = if wrong > 0 { f64::INFINITY } else { 0.0 };
    Difference { max_abs, rel_max: max_abs, wrong }
}
