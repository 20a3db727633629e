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
    let (elements, _) = bytes.as_chunks::<4>();
    let mut out: Vec<[u8; 4]> = Vec::with_capacity(outer.len() * k.len() * panels.padded());
    for block in &outer {
        for run in runs {
            for number in 0..run.count {
                let first = run.start + number * usize::from(run.width);
                let columns = &n[first..first + usize::from(run.cols)];
                let padding = usize::from(run.width - run.cols);
                let dense = columns.windows(2).all(|c| c[1] == c[0] + 1);
                for row in &k {
                    let origin = base + block + row;
                    if dense {
                        let from = origin + columns[0];
                        out.extend_from_slice(elements.get(from..from + columns.len())?);
                    } else {
                        let element = |c: &usize| elements.get(origin + c).copied().unwrap_or_default();
                        out.extend(columns.iter().map(element));
                    }
                    out.extend(std::iter::repeat_n([0; 4], padding));
                }
            }
        }
    }
    let elements = i64::try_from(out.len()).ok()?;
    Constant::new(DType::F32, &[elements], Payload::Inline(out.as_flattened().into()))
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
