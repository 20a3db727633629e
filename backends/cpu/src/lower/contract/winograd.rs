//! winograd - convolutions of window 3x3 by minimal filtering: which, and the transformed weights.
//!
//! ```text
//! V = B' d B  for squares of the input      M[p] = V[p] U[p]  for each point p      y = A' M A, and the epilogue
//! ```
//!
//! A square of m x m results takes (m + 2)^2 multiply-adds for each pair of channels instead of 9 m^2: F(2, 3) saves 2.25
//! times, F(4, 3) 4 times, F(6, 3) 5.1 times. Against that stand the transforms, squares that the plane does not fill, and transformed weights,
//! which are 1.8, 4 and 7.1 times as large and are read once for each block of squares: where planes are small that is what
//! takes the time, unless the kernel makes them of taps when it runs (`filters`). The choice is by an estimate of all that, from shapes alone.
//!
//! # Rounding
//!
//! Transforms add what they later cancel, so that results err more than sums by taps do. With u = 2^-24, gamma_k = k u /
//! (1 - k u), C channels, and |.| of every element, one error analysis of matrix products after another (Higham, "Accuracy
//! and Stability of Numerical Algorithms", 2002, section 3.5; for these transforms Barabasz, Anderson, Soodhalter and Gregg,
//! "Error Analysis and Improving the Accuracy of Winograd Convolution for Deep Neural Networks", 2020, theorem 7) gives
//!
//! ```text
//! |error| <= gamma_k |A'| ( sum over c of (|G| |g| |G'|) * (|B'| |d| |B|) ) |A|,     k = C + 2 (a + b) + 2
//! ```
//!
//! where a and b are the roundings that a number meets on its way through A' and through B' along one axis (2 and 1 for
//! F(2, 3), 3 and 2 for F(4, 3), 3 and 3 for F(6, 3): multiples are fused into sums; without multiply-adds, where multiples that are
//! no powers of two are rounded, 3 and 3 for F(4, 3), 3 and 4 for F(6, 3)) and 2 are the weight's, which is transformed in `f64`; where the kernel
//! transforms it, in `f32`, they are 9: four along each axis, that of the number of G among them. With |d| <= D and |g| <= W the right
//! side is at most C D W times the square of the greatest row of |A'| (|G| 1 * |B'| 1):
//!
//! | | sum by taps | F(2, 3) | F(4, 3) | F(6, 3) |
//! |---|---|---|---|---|
//! | factor of C D W | 9 | 8^2 | 48^2 | 67.7^2 |
//! | growth | 1 | 7.1 | 256 | 509 |
//!
//! That is the worst case of one corner of a square: data without a plan stay below it by the square root of k and more.
//! What is infinite or not a number in one pixel makes the whole square so. `tests/winograd.rs` holds random convolutions
//! to the bound of every element.

use nnc_ir::{
    dtype::DType,
    extent::{Extent, product},
};
use nnc_tile::{epilogue::EpilogueInput, winograd::Winograd};
use nnc_x86::Level;

use super::{
    analyze::{BFrom, Linear, Problem},
    filters::{Filters, Weights},
    last::{Last, Taps},
    panel::{Code, Panels, Product},
    spread,
    window::{Dim, Window},
};
use crate::{
    choice::{Choices, Knob},
    frame::PointerSlot,
    kernel::{Filtering, LowerCx, NestRequest},
    tile::{Arithmetic, cover_cost, wide_cover_cost},
};

/// Items there should be where there is enough work.
const ITEMS: i64 = 8;
/// Multiply-adds that are enough work for an item: some microseconds.
const ITEM_WORK: i64 = 1 << 19;
/// Bytes of squares' transforms that stay in the second-level cache.
const CACHED: i64 = 640 << 10;
/// Bytes of weights that stay in the second-level cache, and in the last.
const WEIGHTS: [i64; 2] = [640 << 10, 12 << 20];
/// Bytes a cycle that are read from the second-level cache, from the last, and from memory.
const RATES: [i64; 3] = [32, 12, 5];
/// Bytes of transformed weights, at most: beyond, the memory they take counts for more.
const MOST_WEIGHTS: i64 = 256 << 20;

/// Columns of a panel, about.
const WIDTH: i64 = 48;
/// Input channels that are worth a pass over the products.
const LEAST_STEP: i64 = 32;

/// Squares of an item that are tried.
const CUTS: [i64; 6] = [14, 28, 56, 84, 112, 168];

/// How a convolution will be done.
#[derive(Clone, Debug)]
pub(super) struct WinogradConv {
    pub(super) way: Winograd,
    /// Channels of the input and of the result.
    pub(super) channels: [i64; 2],
    /// Rows and columns of the result.
    pub(super) plane: [i64; 2],
    /// Squares of an item.
    pub(super) squares: i64,
    /// Output channels of an item.
    pub(super) group: i64,
    /// Their panels.
    pub(super) panels: Panels,
    /// Whether tiles read the transforms spread.
    pub(super) spread: bool,
    /// How weights are kept.
    pub(super) filters: Filters,
    /// Where they are.
    pub(super) weight: PointerSlot,
}

/// A convolution in numbers.
#[derive(Clone, Copy, Debug)]
struct Shape {
    /// Planes.
    planes: i64,
    rows: i64,
    columns: i64,
    c: i64,
    n: i64,
    level: Option<Level>,
    /// Bytes a cycle at which weights are first read.
    rate: i64,
}

/// Whether a convolution that writes its channels first may be done so once they are last.
pub(super) fn may_do(p: &Problem, window: &Window) -> bool {
    let extents = &p.nest.extents;
    let taps = |d: &&Dim| d.n.is_some();
    let three = |d: &Dim| {
        let step = d.k.is_some_and(|(axis, step)| step == 1 && extents[axis].is(3));
        step && d.n.is_some_and(|(_, stride)| stride == 1)
    };
    let channels =
        product(window.dims.iter().filter(|d| d.n.is_none()).filter_map(|d| Some(&extents[d.k?.0])));
    let many = |e: Extent| e.as_const().is_some_and(|e| e >= 8);
    window.dims.iter().filter(taps).count() == 2
        && window.dims.iter().filter(taps).all(three)
        && many(channels)
        && many(p.extent(&p.m))
}

/// The time that a convolution will take, in per mille of that of the sum by taps.
pub(super) fn per_mille(last: &Last, filtering: Filtering, level: Option<Level>) -> i64 {
    let Some((shape, most)) = Shape::of(last, level, filtering.weights).zip(filtering.most) else {
        return 1000;
    };
    let least = shape.ways(most).into_iter().min().map_or(i64::MAX, |(time, _)| time);
    least.min(shape.time_of_taps()).saturating_mul(1000) / shape.time_of_taps().max(1)
}

impl WinogradConv {
    /// Decides; transforms and packs the weights.
    pub(super) fn new(last: &Last, request: &NestRequest, cx: &mut LowerCx<'_>) -> Option<WinogradConv> {
        let most = cx.filtering.most?;
        let shape = Shape::of(last, cx.tiles.level(), cx.filtering.weights)?;
        let p = &last.problem;
        let extents = &p.nest.extents;
        let BFrom::Linear { at, .. } = &p.b_from else { return None };
        let constant = request.operands.get(p.nest.loads[p.b].operand)?.constant.as_ref()?;
        if constant.dtype() != DType::F32 {
            return None;
        }
        let bytes = constant.bytes();
        let taps = Weights::new(bytes.as_chunks().0, at, extents, &p.k, *p.n.last()?)?;
        let code = shape.level.map_or(Code::Clif(Arithmetic::of(cx.isa)), Code::Wide);
        let choices = &mut cx.choices;
        let way = shape.choose(most, choices)?;
        let group = choices.number(Knob::Channels, shape.group(way), || shape.groups().collect());
        let squares = choices.number(Knob::Squares, shape.squares(way, group), || shape.cuts(way));
        let panels = Panels::choose(Product::plain(Some(squares), Some(group)), code, choices);
        let width = panels.widest();
        let filters = shape.filters(way, width, squares).number();
        let steps = || Filters::steps(way, shape.c, width, squares).take(3);
        let filters = choices.number(Knob::Filters, filters, || std::iter::once(0).chain(steps()).collect());
        let filters = Filters::of(filters);
        // What is spread is read by all panels of a group, one point after the other.
        let spread = filters == Filters::Held && spread::pays(p, cx, &panels, &Extent::Const(group));
        let channels = [shape.c, shape.n];
        let weight = cx.add_weight(taps.pack((way, filters), channels, group, &panels)?);
        let plane = [shape.rows, shape.columns];
        Some(WinogradConv { way, channels, plane, squares, group, panels, filters, spread, weight })
    }

    /// Squares along rows and along columns.
    pub(super) fn counts(&self) -> [i64; 2] {
        let m = self.way.m() as i64;
        self.plane.map(|extent| (extent + m - 1) / m)
    }
}

impl Shape {
    /// The numbers of a convolution that can be done so.
    fn of(last: &Last, level: Option<Level>, weights: i64) -> Option<Shape> {
        let (p, windows) = (&last.problem, &last.windows);
        let BFrom::Linear { at, .. } = &p.b_from else { return None };
        let y = windows.y?;
        let (_, c) = windows.channels?;
        let window = |t: &Taps| (t.count, t.stride, t.dilation) == (3, 1, 1);
        let extents = &p.nest.extents;
        let around: Vec<usize> = p.outer.iter().copied().filter(|&a| a != y.pixel).collect();
        let shared = around.iter().all(|&a| at.coefficients[a].is(0));
        let by_pixel = |(o, at): &(super::epilogue::Operand, Linear)| match o.kind {
            EpilogueInput::Row | EpilogueInput::Behind { .. } => false,
            EpilogueInput::Tile => true,
            EpilogueInput::Col | EpilogueInput::Scalar => at.coefficients[y.pixel].is(0),
        };
        if !p.is_single()
            || p.prologue.is_some()
            || !window(&windows.x)
            || !window(&y)
            || !shared
            || !p.operands.iter().all(by_pixel)
        {
            return None;
        }
        Some(Shape {
            planes: product(around.iter().map(|&a| &extents[a])).as_const().unwrap_or(1),
            rows: extents[y.pixel].as_const().filter(|&n| n > 0)?,
            columns: extents[windows.x.pixel].as_const().filter(|&n| n > 0)?,
            c,
            n: p.extent(&p.n).as_const().filter(|&n| n > 0)?,
            level,
            rate: WEIGHTS
                .into_iter()
                .zip(RATES)
                .find(|(cache, _)| weights <= *cache)
                .map_or(RATES[2], |(_, rate)| rate),
        })
    }

    /// The way that takes the least time, of squares up to the largest ones that may be, or `None` where that is the sum
    /// by taps.
    fn choose(&self, most: Winograd, choices: &mut Choices) -> Option<Winograd> {
        let ways = self.ways(most);
        let default = self.best(&ways);
        let number = |way: Option<Winograd>| way.map_or(0, |way| way.m() as i64);
        let near = |(time, _): &&(i64, Winograd)| *time < self.time_of_taps() * 2;
        let others = || {
            let ways = ways.iter().filter(near).map(|(_, way)| number(Some(*way)));
            std::iter::once(0).chain(ways).collect()
        };
        if ways.is_empty() {
            return None;
        }
        let taken = choices.number(Knob::Winograd, number(default), others);
        ways.iter().map(|(_, way)| *way).find(|&way| number(Some(way)) == taken)
    }

    /// The time of each way that may be thought of.
    fn ways(&self, most: Winograd) -> Vec<(i64, Winograd)> {
        // What is packed in few panels has no more to gain, and the estimate is rough.
        let few = self.c < 8 || self.n < 8;
        // Squares of 8x8 are transformed in more registers than sixteen.
        let fits = |way: Winograd| way < Winograd::F6 || self.level == Some(Level::Avx512);
        let ways = Winograd::ALL.into_iter().filter(|&way| way <= most && fits(way) && !few);
        ways.map(|way| (self.time(way), way)).collect()
    }

    /// That of least time, if it takes less than the sum by taps.
    fn best(&self, ways: &[(i64, Winograd)]) -> Option<Winograd> {
        let (time, way) = ways.iter().min()?;
        (*time < self.time_of_taps() * 15 / 16).then_some(*way)
    }

    fn lanes(&self) -> i64 {
        self.level.map_or(4, Level::lanes) as i64
    }

    /// Thousandths of a cycle for a product of `m` rows and `n` columns, one step of the sum.
    fn product(&self, m: i64, n: i64) -> i64 {
        let (m, n) = (usize::try_from(m).unwrap_or(1), usize::try_from(n).unwrap_or(1));
        let cost = match self.level {
            Some(level) => wide_cover_cost(level, m, n),
            None => cover_cost(m, n, Arithmetic { fused: true }) / 2,
        };
        i64::try_from(cost).unwrap_or(i64::MAX)
    }

    fn total(&self, way: Winograd) -> i64 {
        let m = way.m() as i64;
        ((self.rows + m - 1) / m) * ((self.columns + m - 1) / m)
    }

    /// Bytes of transformed weights.
    fn weights(&self, way: Winograd) -> i64 {
        let n = way.n() as i64;
        4 * n * n * self.c * self.n
    }

    /// Output channels of an item.
    fn group(&self, way: Winograd) -> i64 {
        // Where there are few blocks of squares, but all of them need all weights.
        let blocks = self.planes * ((self.total(way) + 55) / 56);
        let mut parts = 1;
        while self.weights(way) > WEIGHTS[0] && blocks * parts < ITEMS && self.n % (parts * 64) == 0 {
            parts *= 2;
        }
        self.n / parts
    }

    /// Squares of an item: few where their transforms and the weights stay in cache, many where the weights do not.
    fn squares(&self, way: Winograd, group: i64) -> i64 {
        let (n, weights) = (way.n() as i64, self.weights(way));
        let cached = CACHED / (4 * n * n * (self.c + group)).max(1);
        let wanted = match weights {
            w if w <= WEIGHTS[0] => cached.clamp(14, 56).min(self.most_squares(way, group)),
            w if w <= WEIGHTS[1] => cached.clamp(28, 84),
            _ => cached.clamp(112, 168),
        };
        self.cut(way, wanted)
    }

    /// Squares of an item at most, so that there are enough items; each reads all weights.
    fn most_squares(&self, way: Winograd, group: i64) -> i64 {
        let (points, total) = ((way.n() * way.n()) as i64, self.total(way));
        let others = self.planes * (self.n / group);
        let work = points * total * self.c * group;
        let items = (others.saturating_mul(work) / ITEM_WORK).clamp(1, ITEMS / 2);
        let blocks = (items + others - 1) / others.max(1);
        ((total + blocks - 1) / blocks).max(1)
    }

    /// About so many squares of an item, so that all items have as many.
    fn cut(&self, way: Winograd, wanted: i64) -> i64 {
        let total = self.total(way);
        let blocks = (total + wanted - 1) / wanted;
        (total + blocks - 1) / blocks
    }

    /// Numbers of squares of an item that may do.
    fn cuts(&self, way: Winograd) -> Vec<i64> {
        let mut all: Vec<i64> = CUTS.iter().map(|&wanted| self.cut(way, wanted)).collect();
        all.dedup();
        all
    }

    /// Output channels of an item that may do.
    fn groups(&self) -> impl Iterator<Item = i64> {
        let n = self.n;
        [1, 2, 4, 8]
            .into_iter()
            .filter(move |parts| *parts == 1 || n % (parts * 32) == 0)
            .map(move |parts| n / parts)
    }

    /// How weights are kept, for panels of `width` and so many squares of an item: in the way that takes less time.
    fn filters(&self, way: Winograd, width: i64, squares: i64) -> Filters {
        // Those that stay in the second-level cache are best read there.
        if self.weights(way) <= WEIGHTS[0] {
            return Filters::Held;
        }
        let step = Filters::steps(way, self.c, width, squares).next().filter(|&step| step >= LEAST_STEP);
        // What is read again from the last-level cache is mostly read while multiplying.
        let held = self.held_time(way, 16);
        step.filter(|&step| self.made_time(way, step) < held).map_or(Filters::Held, Filters::Made)
    }

    /// Thousandths of a cycle for reading transformed weights: for each block of squares but the first it takes one part in
    /// `later`, if they stay in the last-level cache.
    fn held_time(&self, way: Winograd, later: i64) -> i64 {
        let bytes = self.weights(way);
        let too_much = if bytes > MOST_WEIGHTS { i64::MAX / 2 } else { 0 };
        self.read_time(bytes, self.blocks(way), later).saturating_add(too_much)
    }

    /// Thousandths of a cycle for reading taps and transforming them for so many channels at a time.
    fn made_time(&self, way: Winograd, step: i64) -> i64 {
        // Of a vector of output channels, by measurement.
        let cycles = match way {
            Winograd::F2 => 30,
            Winograd::F4 => 70,
            Winograd::F6 => 140,
        };
        let blocks = self.blocks(way);
        // Products are read and written once more for each further step.
        let products = 2 * (way.n() * way.n()) as i64 * self.total(way) * self.planes;
        let again = products * (self.c / step - 1);
        // Vectors of CLIF have more steps.
        let cycles = if self.level.is_some() { cycles } else { 2 * cycles };
        let made = 1000 * self.vectors(self.n) * (blocks * self.c * cycles + again);
        self.read_time(4 * 9 * self.c * self.n, blocks, 16) + made
    }

    fn read_time(&self, bytes: i64, blocks: i64, later: i64) -> i64 {
        let read = match bytes {
            b if b <= WEIGHTS[0] => b,
            b if b <= WEIGHTS[1] => b + b * (blocks - 1) / later,
            b => b * blocks,
        };
        read * 1000 / self.rate
    }

    fn vectors(&self, channels: i64) -> i64 {
        (channels + self.lanes() - 1) / self.lanes()
    }

    /// Blocks of squares.
    fn blocks(&self, way: Winograd) -> i64 {
        let squares = self.squares(way, self.group(way));
        self.planes * ((self.total(way) + squares - 1) / squares)
    }

    /// Thousandths of a cycle.
    fn time(&self, way: Winograd) -> i64 {
        let group = self.group(way);
        let squares = self.squares(way, group);
        let points = (way.n() * way.n()) as i64;
        let blocks = self.blocks(way);
        // Of a product: a step of the sum, and beginning and end of the tiles.
        let step = self.product(squares, group);
        let products = blocks * (self.n / group) * points * (step * self.c + 6 * step + 20_000);
        // Instructions and memory of a vector of channels, by measurement.
        let [input, output] = match way {
            Winograd::F2 => [60, 50],
            Winograd::F4 => [150, 130],
            Winograd::F6 => [280, 240],
        };
        let [input, output] = [input * self.vectors(self.c), output * self.vectors(self.n)];
        let transforms = blocks * squares * 1000 * (input + output + 40);
        let weights = match self.filters(way, WIDTH, squares) {
            Filters::Held => self.held_time(way, 4),
            Filters::Made(step) => self.made_time(way, step),
        };
        (products + transforms).saturating_add(weights)
    }

    /// Likewise for the sum by taps.
    fn time_of_taps(&self) -> i64 {
        let products = self.planes * self.rows * self.product(self.columns, self.n) * 9 * self.c;
        products + 4 * 9 * self.c * self.n * 1000 / self.rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(level: Level, rate: i64) -> Shape {
        Shape { planes: 1, rows: 14, columns: 14, c: 32, n: 72, level: Some(level), rate }
    }

    /// Where weights stay in a cache, their size speaks less against large squares.
    #[test]
    fn squares_are_larger_where_weights_stay_in_a_cache() {
        let best = |rate| {
            let shape = shape(Level::Avx512, rate);
            shape.best(&shape.ways(Winograd::F4))
        };
        assert_eq!(best(RATES[2]), Some(Winograd::F2));
        assert_eq!(best(RATES[0]), Some(Winograd::F4));
    }

    #[test]
    fn work_for_several_threads_is_several_items() {
        let shape = shape(Level::Avx2, RATES[0]);
        for way in [Winograd::F2, Winograd::F4] {
            let group = shape.group(way);
            assert!(shape.squares(way, group) * 2 <= shape.total(way) + 1, "{way:?}");
        }
    }
}
