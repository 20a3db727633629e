//! weights - constant operands in panels, made when compiling.
//!
//! Panel after panel, each `[k][width]`, with zeros where the last panel is wider than what remains: column j of the
//! panel that begins at column s is at `s * k + p * width + j`. Where an epilogue joins groups of columns, a row of a panel has
//! `width` columns of each group, one group after another. Panels of chains are in the order of [`nnc_tile::gemm::Chains`]; where there
//! are some, every panel has room for as many rows as these.

use std::sync::Arc;

use nnc_ir::{
    constant::{Constant, Payload},
    dtype::DType,
    extent::Extent,
};

use nnc_runtime::AlignedBytes;

use super::{
    analyze::Linear,
    panel::{Panels, Run},
};

/// Packs B: `axes` are the outer axes that it has, the columns and the sums, each with their extents. One block of panels
/// for each position of the outer axes, in row-major order. `groups` says how far from the columns those of each group are.
pub(super) fn pack(
    constant: &Constant,
    at: &Linear,
    extents: &[Extent],
    [outer, n, k]: [&[usize]; 3],
    (panels, groups): (&Panels, &[usize]),
) -> Option<Constant> {
    let Panels::Fixed(runs) = panels else { return None };
    if constant.dtype() != DType::F32 {
        return None;
    }
    let base = usize::try_from(at.base.as_const()?).ok()?;
    let (outer, n, k) = (places(at, extents, outer)?, places(at, extents, n)?, places(at, extents, k)?);
    let bytes = constant.bytes();
    let (elements, _) = bytes.as_chunks::<4>();
    let steps = i64::try_from(k.len()).ok()?;
    let steps = usize::try_from(panels.padded_steps(&Extent::Const(steps)).as_const()?).ok()?;
    let len = outer.len() * steps * panels.padded() * groups.len();
    // The buffer becomes a section of the program's weights as it is.
    let mut out = AlignedBytes::zeroed(4 * len).ok()?;
    let mut rest = out.as_chunks_mut::<4>().0;
    for block in &outer {
        for run in runs {
            for number in 0..run.count {
                let first = run.start + number * usize::from(run.width);
                let columns = &n[first..first + usize::from(run.cols)];
                let width = usize::from(run.width) * groups.len();
                let (panel, after) = rest.split_at_mut_checked(steps * width)?;
                rest = after;
                if run.chains > 1 {
                    chained(panel, run, &k, |row, c| elements.get(base + block + row + columns[c]).copied());
                    continue;
                }
                let mut rest = panel;
                let dense = columns.windows(2).all(|c| c[1] == c[0] + 1);
                for (row, group) in k.iter().flat_map(|row| groups.iter().map(move |group| (row, group))) {
                    let origin = base + block + row + group;
                    let (into, after) = rest.split_at_mut_checked(usize::from(run.width))?;
                    rest = after;
                    if dense {
                        let from = origin + columns[0];
                        into[..columns.len()].copy_from_slice(elements.get(from..from + columns.len())?);
                    } else {
                        for (into, c) in into.iter_mut().zip(columns) {
                            *into = elements.get(origin + c).copied().unwrap_or_default();
                        }
                    }
                }
            }
        }
    }
    let payload = Payload::Range { offset: 0, len: out.len(), buffer: Arc::new(out) };
    Constant::new(DType::F32, &[i64::try_from(len).ok()?], payload)
}

/// Columns of a panel of chains; what is beyond the rows stays zero.
fn chained(
    panel: &mut [[u8; 4]],
    run: &Run,
    rows: &[usize],
    element: impl Fn(usize, usize) -> Option<[u8; 4]>,
) {
    let (chains, columns) = (usize::from(run.chains), usize::from(run.cols));
    for (p, &row) in rows.iter().enumerate() {
        for c in 0..columns {
            let to = (p / chains * columns + c) * chains + p % chains;
            if let (Some(to), Some(from)) = (panel.get_mut(to), element(row, c)) {
                *to = from;
            }
        }
    }
}

/// Distances from the origin of all positions on `axes`, in row-major order.
pub(super) fn places(at: &Linear, extents: &[Extent], axes: &[usize]) -> Option<Vec<usize>> {
    let mut all = vec![0usize];
    for &axis in axes {
        let step = usize::try_from(at.coefficients[axis].as_const()?).ok()?;
        let n = usize::try_from(extents[axis].as_const()?).ok()?;
        all = all.iter().flat_map(|&p| (0..n).map(move |i| p + i * step)).collect();
    }
    Some(all)
}
