//! slices - a convolution done by slices of the input's channels.
//!
//! The windows of an item's columns reach so many channels that no cache holds them, or A for so many terms. Then an item goes over
//! slices one after another: all of its tiles with the terms of the first, then all with those of the next. The sums so far are where
//! the result will be, which gives the same bits.

use cranelift_codegen::ir::{InstBuilder, Value};
use nnc_ir::extent::Extent;
use nnc_tile::epilogue::EpilogueInput;

use super::{analyze::Problem, conv::BLOCK, emit::Gen, split::Nest, tiles::Terms, window::Window};

/// Elements of the input that an item copies for a slice, and of A that it reads: the second-level cache holds both.
pub(super) const SLICE: i64 = 64 << 10;
/// Columns that an item should have, so that A is not read too often.
const COLUMNS: i64 = 96;

/// Slices of the input's channels.
#[derive(Clone, Debug)]
pub(super) struct Slices {
    /// The axis of the sum, its positions of a slice, and how many slices there are.
    pub(super) axis: usize,
    positions: i64,
    count: i64,
    /// The contraction of one of them.
    pub(super) problem: Problem,
    pub(super) window: Window,
}

impl Slices {
    /// Slices by which an item has enough columns where it would have few otherwise.
    pub(super) fn of(p: &Problem, window: &Window) -> Option<Slices> {
        let extents = &p.nest.extents;
        let counts: Option<Vec<i64>> = p.n.iter().map(|&a| extents[a].as_const()).collect();
        let counts = counts?;
        let columns: i64 = counts.iter().product();
        let elements = |nest: &Nest, first: i64| {
            let all = std::iter::once(first).chain(counts[1..].iter().copied());
            let all: Vec<Extent> = all.map(Extent::Const).collect();
            window.block(nest, &p.n, &all).elements.as_const()
        };
        // As many along the first axis as make a good item.
        let first = (COLUMNS * counts[0] / columns.max(1)).clamp(1, counts[0]);
        if elements(&p.nest, first)? <= BLOCK {
            return None;
        }
        let axis = *p.k.first()?;
        let number = window.dims.iter().position(|d| matches!(d.k, Some((k, _)) if k == axis))?;
        let (dim, all) = (&window.dims[number], extents[axis].as_const()?);
        let plain = dim.n.is_none() && number != window.row && !dim.guarded;
        // Sums are where the result will be: nothing may be read there, and it has to be f32.
        let reads = p.operands.iter().any(|(o, _)| o.kind == EpilogueInput::Tile);
        if !plain || reads || !p.is_single() || p.k.len() < 2 {
            return None;
        }
        let of = |positions: i64| {
            let mut problem = p.clone();
            problem.nest.extents[axis] = Extent::Const(positions);
            problem
        };
        let fits = |positions: &i64| {
            let part = of(*positions);
            let input = elements(&part.nest, first).is_some_and(|n| n <= SLICE);
            let terms = part.extent(&p.k).as_const().zip(p.extent(&p.m).as_const());
            let weights = terms.is_some_and(|(k, m)| k * m <= SLICE);
            all % positions == 0 && input && (weights || *positions == 1)
        };
        let positions = (1..all).rev().find(fits)?;
        let mut window = window.clone();
        let step = window.dims[number].k.map_or(1, |(_, step)| step);
        window.dims[number].outer.push((axis, Extent::Const(step)));
        Some(Slices { axis, positions, count: all / positions, problem: of(positions), window })
    }

    /// The terms of slice `number`.
    pub(super) fn each(&self, g: &mut Gen<'_, '_>, body: &mut dyn FnMut(&mut Gen<'_, '_>, Terms, Value)) {
        let zero = g.int(0);
        body(g, Terms::First, zero);
        if self.count > 2 {
            let (from, to) = (g.int(1), g.int(self.count - 1));
            g.range(from, to, |g, slice| {
                let at = g.b.ins().imul_imm_s(slice, self.positions);
                body(g, Terms::Middle, at);
            });
        }
        let last = g.int((self.count - 1) * self.positions);
        body(g, Terms::Last, last);
    }
}
