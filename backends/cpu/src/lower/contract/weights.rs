//! weights - constant operands in panels, made when compiling.
//!
//! Panel after panel, each `[k][width]`, with zeros where the last panel is wider than what remains: column j of the
//! panel that begins at column s is at `s * k + p * width + j`. Where an epilogue joins groups of columns, a row of a panel has
//! `width` columns of each group, one group after another. Panels of chains are in the order of [`nnc_tile::gemm::Chains`]; where there
//! are some, every panel has room for as many rows as these.
//!
//! A weight is packed when nobody else needs it any more, from its last panel on, and given back as far as it is packed: large ones are not
//! held twice.

use std::{borrow::Cow, sync::Arc};

use nnc_ir::{
    constant::{Constant, Payload},
    dtype::DType,
    extent::Extent,
};

use nnc_runtime::AlignedBytes;
use nnc_tile::gemm::Chains;

use super::{
    analyze::Linear,
    panel::{Panels, Run},
};

/// Bytes that are packed before they are given back.
const PORTION: usize = 4 << 20;
/// Positions of the sums that are done at a time for all columns of a panel: their elements are near each other.
const NEAR: usize = 16;

/// Panels that are to be filled from a constant.
#[derive(Clone, Debug)]
pub struct Packing {
    constant: Constant,
    /// An element is at the sum of one of each: of the outer positions, the columns, the sums, and the groups of columns.
    outer: Vec<usize>,
    columns: Vec<usize>,
    sums: Vec<usize>,
    groups: Vec<usize>,
    runs: Vec<Run>,
    /// Rows of a panel: as many as positions of the sums, or more.
    rows: usize,
}

/// Where a panel is from.
struct Panel {
    /// What is added to all places.
    origin: usize,
    /// First column, columns, and columns with those that are zero.
    first: usize,
    cols: usize,
    width: usize,
    /// Chains of sums.
    chains: Option<Chains>,
    /// Its first element among those that are packed, and how many it has.
    at: usize,
    len: usize,
    /// Elements that it and all panels before it are made of come before this one.
    end: usize,
}

/// How to pack B: `axes` are the outer axes that it has, the columns and the sums, each with their extents. One block of panels
/// for each position of the outer axes, in row-major order. `groups` says how far from the columns those of each group are.
pub(super) fn pack(
    constant: &Constant,
    at: &Linear,
    extents: &[Extent],
    [outer, n, k]: [&[usize]; 3],
    (panels, groups): (&Panels, &[usize]),
) -> Option<Packing> {
    let Panels::Fixed(runs) = panels else { return None };
    if constant.dtype() != DType::F32 {
        return None;
    }
    let base = usize::try_from(at.base.as_const()?).ok()?;
    let [mut outer, columns, sums] = [outer, n, k].map(|axes| places(at, extents, axes));
    outer.iter_mut().flatten().for_each(|place| *place += base);
    let (outer, columns, sums) = (outer?, columns?, sums?);
    let rows = panels.padded_steps(&Extent::Const(i64::try_from(sums.len()).ok()?));
    let rows = usize::try_from(rows.as_const()?).ok()?;
    let (runs, groups, constant) = (runs.clone(), groups.to_vec(), constant.clone());
    let packing = Packing { constant, outer, columns, sums, groups, runs, rows };
    let far = packing.lists().iter().map(|list| list.iter().max()).try_fold(0, |sum, x| Some(sum + x?));
    far.is_none_or(|far| far < packing.constant.elements()).then(|| packing.untransposed())?
}

impl Packing {
    fn lists(&self) -> [&[usize]; 4] {
        [&self.outer, &self.columns, &self.sums, &self.groups]
    }

    /// Likewise, from what a transposed constant is made of.
    fn untransposed(self) -> Option<Packing> {
        let Payload::Transposed(t) = self.constant.payload() else { return Some(self) };
        match t.places(&self.lists()).map(<[Vec<usize>; 4]>::try_from) {
            Some(Ok([outer, columns, sums, groups])) => {
                let constant = t.of().clone();
                Some(Packing { constant, outer, columns, sums, groups, runs: self.runs, rows: self.rows })
            }
            _ => {
                let (bytes, ty) = (self.constant.bytes().into_owned(), self.constant.ty());
                let payload = Payload::Range { offset: 0, len: bytes.len(), buffer: Arc::new(bytes) };
                let constant = Constant::new(ty.dtype, self.constant.dims(), payload)?;
                Some(Packing { constant, ..self })
            }
        }
    }

    /// The panels from left to right.
    fn panels(&self) -> Vec<Panel> {
        let farthest = |list: &[usize]| list.iter().copied().max().unwrap_or(0);
        let beyond = farthest(&self.sums) + farthest(&self.groups) + 1;
        let (mut all, mut at, mut end) = (vec![], 0, 0);
        for &origin in &self.outer {
            for run in &self.runs {
                let (width, cols) = (usize::from(run.width), usize::from(run.cols));
                for first in (0..run.count).map(|number| run.start + number * width) {
                    end = end.max(origin + farthest(&self.columns[first..first + cols]) + beyond);
                    let len = self.rows * self.groups.len() * width;
                    let chains = Chains::of(run.chains, self.sums.len());
                    let chains = chains.map(|c| if run.in_parts { c.in_parts() } else { c });
                    all.push(Panel { origin, first, cols, width, chains, at, len, end });
                    at += len;
                }
            }
        }
        all
    }

    /// Fills the panels.
    ///
    /// # Errors
    /// E0501 when there is no memory for them.
    ///
    /// # Panics
    /// Never: panels are filled with elements that the constant has.
    pub fn make(mut self) -> nnc_runtime::Result<Constant> {
        let panels = self.panels();
        let len = panels.last().map_or(0, |last| last.at + last.len);
        // The buffer becomes a section of the program's weights as it is.
        let mut out = AlignedBytes::zeroed(4 * len)?;
        let into = out.as_chunks_mut::<4>().0;
        let constant = std::mem::replace(&mut self.constant, Constant::i64s(&[]));
        match constant.into_bytes() {
            Ok(mut bytes) => {
                for panel in panels.iter().rev() {
                    bytes.truncate(4 * panel.end);
                    if bytes.capacity() - bytes.len() >= PORTION {
                        bytes.shrink_to_fit();
                    }
                    self.fill(panel, bytes.as_chunks().0, &mut into[panel.at..][..panel.len]);
                }
            }
            Err(constant) => {
                let bytes: Cow<'_, [u8]> = constant.bytes();
                for panel in &panels {
                    self.fill(panel, bytes.as_chunks().0, &mut into[panel.at..][..panel.len]);
                }
            }
        }
        let payload = Payload::Range { offset: 0, len: out.len(), buffer: Arc::new(out) };
        let dims = [i64::try_from(len).unwrap_or(i64::MAX)];
        Ok(Constant::new(DType::F32, &dims, payload).expect("it has as many elements"))
    }

    fn fill(&self, panel: &Panel, elements: &[[u8; 4]], into: &mut [[u8; 4]]) {
        let columns = &self.columns[panel.first..][..panel.cols];
        let row = self.groups.len() * panel.width;
        if let Some(chains) = panel.chains {
            return self.fill_chains(panel, chains, elements, into);
        }
        if columns.windows(2).all(|c| c[1] == c[0] + 1) {
            let rows = self.sums.iter().flat_map(|sum| self.groups.iter().map(move |group| sum + group));
            for (place, into) in rows.zip(into.chunks_exact_mut(panel.width)) {
                let from = panel.origin + place + columns[0];
                into[..panel.cols].copy_from_slice(&elements[from..][..panel.cols]);
            }
            return;
        }
        for (sums, into) in self.sums.chunks(NEAR).zip(into.chunks_mut(NEAR * row)) {
            for (number, group) in self.groups.iter().enumerate() {
                for (column, place) in columns.iter().enumerate() {
                    let from = panel.origin + group + place;
                    let into = into[number * panel.width + column..].iter_mut().step_by(row);
                    for (sum, into) in sums.iter().zip(into) {
                        *into = elements[from + sum];
                    }
                }
            }
        }
    }

    /// Fills a panel of chains; what is beyond the rows stays zero.
    fn fill_chains(&self, panel: &Panel, chains: Chains, elements: &[[u8; 4]], into: &mut [[u8; 4]]) {
        let columns = &self.columns[panel.first..][..panel.cols];
        let count = usize::from(chains.count);
        // A turn of as many steps as there are chains lies behind the one before.
        let turn = count * columns.len();
        let places: Vec<Vec<usize>> = (0..columns.len())
            .map(|c| (0..count).map(|p| chains.place(columns.len(), p, c)).collect())
            .collect();
        for (number, sums) in self.sums.chunks(count).enumerate() {
            for (column, places) in columns.iter().zip(&places) {
                for (place, sum) in places.iter().zip(sums) {
                    into[turn * number + place] = elements[panel.origin + column + sum];
                }
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
