//! filters - the weights of minimal filtering: transformed when compiling, or by the kernel from their taps.
//!
//! ```text
//! held:  for each group, for each point, panels                  [k][width]
//! made:  for each group, panels, and of each a block of channels after another      [tap][k of the block][width]
//! ```
//!
//! Transformed weights are 16/9, 4 or 64/9 times as large as taps. Where they would come from memory on each run, reading the taps and
//! transforming them for as many channels as stay in cache takes less time, and the program is that much smaller.

use std::sync::Arc;

use nnc_ir::{
    constant::{Constant, Payload},
    dtype::DType,
    extent::Extent,
};
use nnc_runtime::AlignedBytes;
use nnc_tile::winograd::Winograd;

use super::{analyze::Linear, panel::Panels};

/// How weights are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filters {
    /// Transformed.
    Held,
    /// As taps, which the kernel transforms for so many input channels at a time.
    Made(i64),
}

/// Bytes of transformed weights that the kernel has at a time, with products of one panel: they stay in the second-level cache.
const MADE: i64 = 832 << 10;
/// Input channels of a step, at least.
const LEAST_STEP: i64 = 8;

impl Filters {
    /// Numbers of input channels, of `channels`, that may be transformed at a time for panels of `width` and so many
    /// squares: large ones first.
    pub(super) fn steps(way: Winograd, channels: i64, width: i64, squares: i64) -> impl Iterator<Item = i64> {
        let n = way.n() as i64;
        let most = MADE / (4 * n * n * width.max(1)) - squares;
        (LEAST_STEP..=most.min(channels)).rev().filter(move |step| channels % step == 0)
    }

    /// As the value of a decision.
    pub(super) fn number(self) -> i64 {
        match self {
            Filters::Held => 0,
            Filters::Made(step) => step,
        }
    }

    /// Of such a value.
    pub(super) fn of(number: i64) -> Filters {
        if number > 0 { Filters::Made(number) } else { Filters::Held }
    }
}

/// Weights as they lie.
pub(super) struct Weights<'a> {
    elements: &'a [[u8; 4]],
    base: usize,
    /// Distances along rows and columns of taps, along the input's channels and the result's.
    steps: [usize; 4],
}

/// Where a panel of packed weights is.
struct Place<'a> {
    /// All of the group.
    of_group: &'a mut [[u8; 4]],
    /// First output channel.
    first: usize,
    /// First column of the panel within the group.
    start: usize,
    /// Columns, and those that are some.
    width: usize,
    cols: usize,
}

impl<'a> Weights<'a> {
    /// The weights of which `at` says where they are; `k` are the axes of a tap's row and column and of input channels.
    pub(super) fn new(
        elements: &'a [[u8; 4]],
        at: &Linear,
        extents: &[Extent],
        k: &[usize],
        n: usize,
    ) -> Option<Weights<'a>> {
        let [y, x, c] = *k else { return None };
        let number = |e: &Extent| usize::try_from(e.as_const()?).ok();
        let mut steps = [0; 4];
        let mut farthest = number(&at.base)?;
        for (step, axis) in steps.iter_mut().zip([y, x, c, n]) {
            *step = number(&at.coefficients[axis])?;
            farthest += *step * (number(&extents[axis])?.checked_sub(1)?);
        }
        (farthest < elements.len()).then_some(Weights { elements, base: number(&at.base)?, steps })
    }

    fn tap(&self, (y, x): (usize, usize), c: usize, n: usize) -> [u8; 4] {
        let origin = self.base + c * self.steps[2] + n * self.steps[3];
        self.elements[origin + y * self.steps[0] + x * self.steps[1]]
    }

    /// G g G' of the window between two channels.
    fn square(&self, g: &[[f64; 3]], c: usize, n: usize, out: &mut [f64]) {
        let tap = |y: usize, x: usize| f64::from(f32::from_le_bytes(self.tap((y, x), c, n)));
        let dot = |a: &[f64; 3], b: [f64; 3]| a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
        let window: [[f64; 3]; 3] = [0, 1, 2].map(|y| [0, 1, 2].map(|x| tap(y, x)));
        for (row, out) in g.iter().zip(out.chunks_exact_mut(g.len())) {
            let along: [f64; 3] = [0, 1, 2].map(|x| dot(row, [window[0][x], window[1][x], window[2][x]]));
            for (col, out) in g.iter().zip(out) {
                *out = dot(col, along);
            }
        }
    }

    /// The weights of `channels` of input and result as a kernel of groups of `group` output channels reads them.
    pub(super) fn pack(
        &self,
        (way, filters): (Winograd, Filters),
        channels: [i64; 2],
        group: i64,
        panels: &Panels,
    ) -> Option<Constant> {
        let Panels::Fixed(runs) = panels else { return None };
        let size = |x: i64| usize::try_from(x).ok();
        let ([c, n], group) = ([size(channels[0])?, size(channels[1])?], size(group)?);
        let numbers = match filters {
            Filters::Held => way.n() * way.n(),
            Filters::Made(_) => 9,
        };
        let of_group = numbers * c * panels.padded();
        let len = n / group * of_group;
        // The buffer becomes a section of the program's weights as it is.
        let mut out = AlignedBytes::zeroed(4 * len).ok()?;
        let groups = out.as_chunks_mut::<4>().0.chunks_exact_mut(of_group);
        for (first, of_group) in (0..n).step_by(group).zip(groups) {
            for run in runs {
                let (width, cols) = (usize::from(run.width), usize::from(run.cols));
                for start in (0..run.count).map(|panel| run.start + panel * width) {
                    let mut place =
                        Place { of_group: &mut *of_group, first: first + start, start, width, cols };
                    match filters {
                        Filters::Held => self.transformed(way, c, &mut place),
                        Filters::Made(step) => self.taps(size(step)?, c, &mut place),
                    }
                }
            }
        }
        let payload = Payload::Range { offset: 0, len: out.len(), buffer: Arc::new(out) };
        Constant::new(DType::F32, &[i64::try_from(len).ok()?], payload)
    }

    /// Fills a panel of every point.
    fn transformed(&self, way: Winograd, c: usize, to: &mut Place<'_>) {
        let mut square = vec![0.0; way.n() * way.n()];
        let point = to.of_group.len() / square.len();
        for (k, column) in (0..c).flat_map(|k| (0..to.cols).map(move |j| (k, j))) {
            self.square(way.g(), k, to.first + column, &mut square);
            for (p, value) in square.iter().enumerate() {
                to.of_group[p * point + to.start * c + k * to.width + column] = (*value as f32).to_le_bytes();
            }
        }
    }

    /// Fills a panel of taps.
    fn taps(&self, step: usize, c: usize, to: &mut Place<'_>) {
        let panel = &mut to.of_group[9 * c * to.start..][..9 * c * to.width];
        for (block, into) in panel.chunks_exact_mut(9 * step * to.width).enumerate() {
            for (tap, into) in into.chunks_exact_mut(step * to.width).enumerate() {
                for (k, into) in into.chunks_exact_mut(to.width).enumerate() {
                    for (column, into) in into[..to.cols].iter_mut().enumerate() {
                        *into = self.tap((tap / 3, tap % 3), block * step + k, to.first + column);
                    }
                }
            }
        }
    }
}
