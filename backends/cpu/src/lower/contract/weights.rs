//! weights - constant operands in panels, made when compiling.
//!
//! Panel after panel, each `[k][width]`, with zeros where the last panel is wider than what remains: column j of the
//! panel that begins at column s is at `s * k + p * width + j`.

use nnc_ir::{
    constant::{Constant, Payload},
    dtype::DType,
    extent::Extent,
};

use super::{analyze::Linear, panel::Panels};

/// Packs B: `axes` are the outer axes that it has, the columns and the sums, each with their extents. One block of panels
/// for each position of the outer axes, in row-major order.
pub(super) fn pack(
    constant: &Constant,
    at: &Linear,
    extents: &[Extent],
    [outer, n, k]: [&[usize]; 3],
    panels: &Panels,
) -> Option<Constant> {
    let Panels::Fixed(runs) = panels else { return None };
    if constant.dtype() != DType::F32 {
        return None;
    }
    let base = usize::try_from(at.base.as_const()?).ok()?;
    let (outer, n, k) = (places(at, extents, outer)?, places(at, extents, n)?, places(at, extents, k)?);
    let bytes = constant.bytes();
    let mut out: Vec<u8> = Vec::with_capacity(outer.len() * k.len() * panels.padded() * 4);
    for block in &outer {
        for run in runs {
            for number in 0..run.count {
                let first = run.start + number * usize::from(run.width);
                let columns = &n[first..first + usize::from(run.cols)];
                for row in &k {
                    for column in columns {
                        let element = 4 * (base + block + row + column);
                        out.extend_from_slice(bytes.get(element..element + 4)?);
                    }
                    out.resize(out.len() + 4 * usize::from(run.width - run.cols), 0);
                }
            }
        }
    }
    let elements = i64::try_from(out.len() / 4).ok()?;
    Constant::new(DType::F32, &[elements], Payload::Inline(out.into()))
}

/// Distances from the origin of all positions on `axes`, in row-major order.
fn places(at: &Linear, extents: &[Extent], axes: &[usize]) -> Option<Vec<usize>> {
    let mut all = vec![0usize];
    for &axis in axes {
        let step = usize::try_from(at.coefficients[axis].as_const()?).ok()?;
        let n = usize::try_from(extents[axis].as_const()?).ok()?;
        all = all.iter().flat_map(|&p| (0..n).map(move |i| p + i * step)).collect();
    }
    Some(all)
}
