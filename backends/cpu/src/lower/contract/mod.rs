//! contract - contractions by tiles: matrix products, convolutions, einsum, with what is fused to them.
//!
//! Reading order: `split` and `analyze` (what are rows, columns and sums), `epilogue` (the fused program), `direct`
//! (operands at linear places, computed first by `prologue`), `groups` (a product with what joins its columns),
//! `window`, `fill`, `conv` and `depthwise` (convolutions, perhaps by `slices`), `last`, `fill_last`, `taps` and `lanes` (convolutions with channels last), `winograd`, `filters` and `squares` (those of window 3
//! by minimal filtering), `ints` and `int_taps` (products of integers, packed by `int_weights` and `int_pack`); `panel`,
//! `portions`, `pack`, `rows`,
//!
//! Share of the 128-bit multiply-add peak on a Zen 5 core, f32, bias and rectifier fused, constant weights
//! (`cargo bench --profile dev -p nnc-cpu --bench contract`):
//!
//! | contraction | share |
//! |---|---|
//! | window 7 stride 2 of 3 channels 224x224; window 3 of 64 channels 56x56, 128 28x28, 256 14x14, 512 7x7 | 92, 91, 88, 83, 80 |
//! | window 1 of 64 channels 56x56, 1024 14x14, 2048 7x7; of stride 2 | 89, 91, 84, 90 |
//! | the same with run-time sizes: window 3 of 64 channels 56x56, 256 14x14; window 1 | 87, 77, 89 |
//! | 4 channels in each of 32 groups, window 3, 56x56 | 80 |
//! | depthwise window 3 at 112x112, 56x56, 14x14, 7x7; window 5 at 28x28; window 3 stride 2 at 112x112 | 66, 67, 48, 39, 62, 34 |
//! | product 128x768x768, 128x768x3072, 1024x1024x1024, 197x192x192 | 93, 89, 92, 92 |
//! | 512x512x512 of run-time operands, as it lies and transposed | 90, 90 |
//! | attention: 12 times 128x128x64 transposed, 128x64x128 | 86, 91 |
//! | one row by 2048x1000 in cache | 82 |
//!
//! What is lower: depthwise convolutions of small or strided planes spend as long on copying rows as on multiplying; 7x7
//! fills panels of 20 columns badly; one row by a matrix of 64 MiB is as fast as memory (49 GB/s).

mod analyze;
mod conv;
mod depthwise;
mod direct;
mod epilogue;
mod fetch;
mod fill;
mod fill_last;
mod filters;
mod groups;
mod int_pack;
mod int_taps;
mod int_weights;
mod ints;
mod lanes;
mod last;
mod pack;
mod panel;
mod portions;
mod prologue;
mod rows;
mod slices;
mod split;
mod spread;
mod squares;
mod taps;
mod tiles;
mod weights;
mod window;
mod winograd;

use nnc_x86::Level;

use self::{
    analyze::{BFrom, Problem},
    conv::Conv,
    depthwise::Depthwise,
    direct::Direct,
    lanes::Lanes,
    last::Last,
    taps::TapsConv,
    winograd::WinogradConv,
};
use super::{emit, scalar::Abilities};
use crate::{
    frame::PointerSlot,
    kernel::{Filtering, Kernel, LowerCx, NestRequest},
    tile::Arithmetic,
};

/// Why tiles cannot do a contraction.
pub(super) type Refusal = &'static str;

/// Why tiles cannot do a contraction, whatever the target.
pub(super) fn refusal(request: &NestRequest) -> Option<Refusal> {
    let why = problem(request).err()?;
    match Last::of(request) {
        Some(last) if last.is_single_channels() => Some(SINGLE),
        // An operand of a plain product that is computed for each of its rows is better computed once before.
        Some(last) if last.problem.prologue.is_none() => None,
        _ => Some(why),
    }
}

/// The axes of a contraction's space, those of extent 1 left out, in the order in which the items of its kernel go through
/// them; `None` if they are not done one after the other.
pub(super) fn walk(request: &NestRequest) -> Option<Vec<usize>> {
    match problem(request) {
        Ok(p) => (matches!(p.b_from, BFrom::Linear { .. }) && !p.is_whole()).then(|| p.walk()),
        Err(_) => {
            let last = Last::of(request).filter(|last| last.depthwise && !last.is_single_channels())?;
            (!last.problem.is_whole() && Lanes::can_do(&last, request)).then(|| last.walk())
        }
    }
}

/// What tiles of single channels cannot do.
const SINGLE: Refusal = "tiles of single channels store one f32 result";

/// A request as a contraction that tiles other than those with channels last can do.
fn problem(request: &NestRequest) -> Result<Problem, Refusal> {
    let problem = Problem::of(request)?;
    if problem.is_whole() {
        return ints::possible(&problem).map(|_| problem.clone());
    }
    match &problem.b_from {
        BFrom::Window(window) if !problem.is_single() => {
            if Depthwise::new(&problem, window).is_some() {
                return Err(SINGLE);
            }
            if winograd::may_do(&problem, window) {
                return Err("convolutions by minimal filtering store one f32 result");
            }
            Ok(problem)
        }
        _ => Ok(problem),
    }
}

/// The kernel of a contraction, or why it is none that tiles can do.
pub(super) fn lower(request: &NestRequest, cx: &mut LowerCx<'_>) -> Result<Kernel, Refusal> {
    if Abilities::of(cx.isa).is_err() {
        return Err("the target has too few instructions");
    }
    let mut problem = match problem(request) {
        Ok(problem) => problem,
        Err(why) => return lower_last(request, cx).unwrap_or(Err(why)),
    };
    if problem.is_whole() {
        return ints::lower(&problem, request, cx);
    }
    problem.level = problem.wide_level(cx.tiles.level());
    problem.arithmetic = Arithmetic::of(cx.isa);
    if problem.level.is_some()
        && let Some(other) = problem.of_one_column(request)
        && let Some(level) = other.wide_level(problem.level)
    {
        problem = Problem { level: Some(level), arithmetic: problem.arithmetic, ..other };
    }
    Ok(match &problem.b_from {
        BFrom::Linear { .. } => {
            let way = Direct::new(&problem, request, cx).ok_or("it reads an operand that is not there")?;
            way.lower(&problem, request, cx)
        }
        BFrom::Window(window) => match Depthwise::new(&problem, window) {
            Some(way) => way.lower(&problem, request, cx),
            None => {
                let way = Conv::new(&problem, window, &mut cx.choices)
                    .ok_or("its windows cannot be copied in blocks")?;
                way.lower(&problem, request, cx)
            }
        },
    })
}

pub(crate) use groups::Pair;
pub use weights::Packing;

/// Whether a product and the nest that joins groups of its columns are one kernel of wide tiles.
pub(crate) fn joins(pair: &Pair<'_>, level: Level) -> bool {
    Problem::of_groups(pair).is_ok_and(|(problem, _)| problem.wide_level(Some(level)).is_some())
}

/// The kernel of a pair that [`joins`]; `turn` is where the steps of the loop around it are counted.
pub(super) fn lower_pair(
    pair: &Pair<'_>,
    turn: Option<PointerSlot>,
    cx: &mut LowerCx<'_>,
) -> Result<Kernel, Refusal> {
    let (mut problem, request) = Problem::of_groups(pair)?;
    problem.level = problem.wide_level(cx.tiles.level());
    let way = Direct::in_loop(&problem, &request, turn, cx).ok_or("its weights cannot be packed")?;
    Ok(way.lower(&problem, &request, cx))
}

/// The kernel of a convolution with channels last.
fn lower_last(request: &NestRequest, cx: &mut LowerCx<'_>) -> Option<Result<Kernel, Refusal>> {
    let mut last = Last::of(request).filter(|last| !last.is_single_channels())?;
    if last.problem.is_whole() {
        return Some(int_taps::lower(&last, request, cx));
    }
    if last.depthwise {
        return Some(Ok(Lanes::new(&last, request, cx)?.lower(&last, request, cx)));
    }
    last.problem.level = last.problem.wide_level(cx.tiles.level());
    last.problem.arithmetic = Arithmetic::of(cx.isa);
    if let Some(way) = WinogradConv::new(&last, request, cx) {
        return way.lower(&last, request, cx).map(Ok);
    }
    Some(Ok(TapsConv::new(&last, request, cx)?.lower(&last, request, cx)))
}

/// How tiles do a contraction whose result has its channels last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LastWay {
    /// As products.
    Product {
        /// Channels of the result.
        columns: i64,
        /// Time in per mille of that of the products: less by minimal filtering.
        per_mille: i64,
    },
    /// Every channel by itself.
    Depthwise,
}

/// The way of a request, if tiles can do it with channels as columns and constant weights.
pub(crate) fn last_way(request: &NestRequest, level: Option<Level>, filtering: Filtering) -> Option<LastWay> {
    let columns = |p: &Problem, per_mille: i64| {
        p.extent(&p.n).as_const().map(|columns| LastWay::Product { columns, per_mille })
    };
    match Problem::of(request) {
        Ok(problem) => {
            let constant = request.operands[problem.nest.loads[problem.b].operand].constant.is_some();
            (constant && matches!(problem.b_from, BFrom::Linear { .. })).then(|| columns(&problem, 1000))?
        }
        Err(_) => {
            let last = Last::of(request).filter(|last| !last.is_single_channels())?;
            match last.depthwise {
                true => Some(LastWay::Depthwise),
                false => columns(&last.problem, winograd::per_mille(&last, filtering, level)),
            }
        }
    }
}
