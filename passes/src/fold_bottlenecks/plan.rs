//! plan - where to cut a chain so that its pieces, each one contraction, cost least.

use nnc_ir::Module;

use super::{chain::Placed, link::Link};
use crate::{cost::Cost, pass::PassCx, target::TargetDesc};

/// How many times the least cycles for its arithmetic a contraction is taken to need. Few channels fill tiles badly: with
/// less, the 32 -> 16 -> 96 channels of MobileNetV2 (112 x 112) were joined, and the model ran 7 % longer.
const SLACK: i64 = 4;

/// The least price of the links before a place, and where their last piece begins.
#[derive(Clone, Copy)]
struct Best {
    price: i64,
    from: usize,
}

/// The pieces of more than one link. Misses say why links on the two sides of a cut are apart.
pub(super) fn cut(module: &Module, chain: Vec<Placed>, cx: &mut PassCx<'_>) -> Vec<Vec<Placed>> {
    let links: Vec<&Link> = chain.iter().map(|p| &p.link).collect();
    let starts = starts(module, &links, cx.target);
    for at in starts.iter().skip(1) {
        let reason = why_apart(module, links[*at - 1], links[*at], cx.target);
        cx.miss(module, chain[*at].first, format!("apart from the contraction before it: {reason}"));
    }
    let mut pieces: Vec<Vec<Placed>> = Vec::new();
    for (i, placed) in chain.into_iter().enumerate() {
        if starts.contains(&i) {
            pieces.push(Vec::new());
        }
        pieces.last_mut().expect("the first piece starts at 0").push(placed);
    }
    pieces.retain(|p| p.len() > 1);
    pieces
}

/// Where the pieces of the cheapest plan begin, in order. Of equally cheap plans, the one with more pieces.
fn starts(module: &Module, links: &[&Link], target: &TargetDesc) -> Vec<usize> {
    let mut best = vec![Best { price: i64::MAX, from: 0 }; links.len() + 1];
    best[0].price = 0;
    for from in 0..links.len() {
        let mut joined = links[from].clone();
        for to in from + 1..=links.len() {
            let price = best[from].price.saturating_add(price(joined.cost(module), target));
            let is_better = price < best[to].price || (price == best[to].price && from > best[to].from);
            if is_better && !grows_with_extents(module, &joined, &links[from..to]) {
                best[to] = Best { price, from };
            }
            match links.get(to).map(|next| joined.then(next)) {
                Some(Ok(longer)) => joined = longer,
                Some(Err(_)) | None => break,
            }
        }
    }
    let mut starts = Vec::new();
    let mut at = links.len();
    while at > 0 {
        at = best[at].from;
        starts.push(at);
    }
    starts.reverse();
    starts
}

/// Cycles, as if neither arithmetic and traffic nor kernels overlapped.
fn price(cost: Cost, target: &TargetDesc) -> i64 {
    let arithmetic = Cost { read: 0, written: 0, kernels: 0, ..cost }.cycles(target);
    let others = Cost { flops: 0, contraction_flops: 0, ..cost }.cycles(target);
    arithmetic.saturating_mul(SLACK).saturating_add(others)
}

/// Whether the joined link does more arithmetic for each of positions whose number only a run knows: what that costs has
/// no bound, what it saves may be one kernel.
fn grows_with_extents(module: &Module, joined: &Link, parts: &[&Link]) -> bool {
    let is_known = joined.output.dims().is_some() && joined.input.dims().is_some();
    let apart = parts.iter().map(|l| l.cost(module).flops).fold(0, i64::saturating_add);
    !is_known && joined.cost(module).flops > apart
}

fn why_apart(module: &Module, a: &Link, b: &Link, target: &TargetDesc) -> String {
    let joined = match a.then(b) {
        Err(reason) => return reason,
        Ok(joined) => joined,
    };
    let (first, second, cost) = (a.cost(module), b.cost(module), joined.cost(module));
    let apart_price = price(first, target).saturating_add(price(second, target));
    let joined_price = price(cost, target);
    let reason = match joined_price < apart_price && grows_with_extents(module, &joined, &[a, b]) {
        true => "more arithmetic for each of a number of positions that only a run knows",
        false => "the bottleneck is the cheaper form",
    };
    let (apart, joined) = (side(first.plus(second), apart_price), side(cost, joined_price));
    format!("{reason}: apart: {apart}, joined: {joined}")
}

fn side(cost: Cost, cycles: i64) -> String {
    format!("{} flops, {} bytes, {cycles} cycles", cost.flops, cost.bytes())
}
