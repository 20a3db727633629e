//! memory - offsets in the arena: buffers that are not alive at the same time share memory.
//!
//! A buffer's size is `units * key`, where `key` is 1 or an expression without a constant factor, known before the run.
//! Buffers of one key form an *area*; in it they are packed one after another, each into the smallest gap that is free
//! for its whole life: largest first, or in another order where that takes less. Areas that are never in use at the same time share memory; these *shares* lie one after
//! another, and the entry computes where while starting.

use std::collections::BTreeMap;

use nnc_ir::extent::Extent;

/// Alignment of every buffer.
const ALIGN: i64 = 64;

/// From so many units on, rounding units up to the alignment costs little.
const LARGE: i64 = 1024;

/// So many buffers are packed in one order only.
const MANY: usize = 4096;

/// Part of the arena.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Area {
    /// Bytes of a unit.
    pub(crate) key: Extent,
    /// What `key` is rounded up to a multiple of, so that every offset is aligned.
    pub(crate) quantum: i64,
    /// Units of the area.
    pub(crate) units: i64,
}

/// Where buffers are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Packing {
    /// In the order of keys.
    pub(crate) areas: Vec<Area>,
    /// Areas that begin at the same place, in the order in which they lie in the arena.
    pub(crate) shares: Vec<Vec<usize>>,
    /// One a request: area and units from its start.
    pub(crate) places: Vec<(usize, i64)>,
}

/// A buffer that needs memory.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Bytes; known before the run.
    pub(crate) bytes: Extent,
    /// When it is first and last used.
    pub(crate) live: (usize, usize),
}

/// A request in its area.
struct Item {
    request: usize,
    units: i64,
    live: (usize, usize),
}

/// Gives every request a place.
pub(crate) fn pack(requests: &[Request]) -> Packing {
    // Ordered, so that the same requests give the same places.
    let mut areas: BTreeMap<(Extent, i64), Vec<Item>> = BTreeMap::new();
    for (request, r) in requests.iter().enumerate() {
        let (units, key, quantum) = split(&r.bytes);
        areas.entry((key, quantum)).or_default().push(Item { request, units, live: r.live });
    }
    let mut busy: Vec<Vec<(usize, usize)>> = Vec::new();
    let mut packing = Packing { areas: Vec::new(), shares: Vec::new(), places: vec![(0, 0); requests.len()] };
    for ((key, quantum), mut items) in areas {
        let (offsets, units) = pack_best(&mut items);
        for (item, offset) in items.iter().zip(&offsets) {
            packing.places[item.request] = (packing.areas.len(), *offset);
        }
        packing.areas.push(Area { key, quantum, units });
        busy.push(busy_times(&items));
    }
    packing.shares = share(&busy);
    packing
}

/// Most bytes of constant size that are in use at one time: no packing of these takes less.
pub(crate) fn peak_live(requests: &[Request]) -> i64 {
    most_at_once(requests.iter().map(|r| (r.bytes.as_const().unwrap_or(0).max(0), r.live)))
}

/// When any of the items is alive, as intervals in order that do not meet.
fn busy_times(items: &[Item]) -> Vec<(usize, usize)> {
    let mut lives: Vec<(usize, usize)> = items.iter().map(|i| i.live).collect();
    lives.sort_unstable();
    let mut out: Vec<(usize, usize)> = Vec::new();
    for (first, last) in lives {
        match out.last_mut() {
            Some(before) if first <= before.1 => before.1 = before.1.max(last),
            _ => out.push((first, last)),
        }
    }
    out
}

/// Areas together with others that are never in use when they are, by first use.
fn share(busy: &[Vec<(usize, usize)>]) -> Vec<Vec<usize>> {
    let meet = |a: &[(usize, usize)], b: &[(usize, usize)]| {
        let (mut i, mut j) = (0, 0);
        while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
            if x.0 <= y.1 && y.0 <= x.1 {
                return true;
            }
            if x.1 < y.1 { i += 1 } else { j += 1 }
        }
        false
    };
    let mut order: Vec<usize> = (0..busy.len()).collect();
    order.sort_by_key(|&area| (busy[area].first().copied(), area));
    let mut shares: Vec<Vec<usize>> = Vec::new();
    for area in order {
        let free = |share: &Vec<usize>| share.iter().all(|&other| !meet(&busy[other], &busy[area]));
        match shares.iter_mut().find(|share| free(share)) {
            Some(share) => share.push(area),
            None => shares.push(vec![area]),
        }
    }
    shares
}

/// Units, key and quantum of a size.
fn split(bytes: &Extent) -> (i64, Extent, i64) {
    let round = |x: i64, to: i64| x.checked_add(to - 1).map_or(i64::MAX / to * to, |x| x / to * to);
    let polynomial = match bytes {
        Extent::Const(c) => return (round((*c).max(0), ALIGN), Extent::ONE, 1),
        Extent::Expr(p) => p,
    };
    let coefficients = polynomial.terms.iter().map(|t| t.coefficient);
    let content = coefficients.chain([polynomial.constant]).fold(0, gcd).max(1);
    let key = bytes.floor_div(&Extent::Const(content));
    match content {
        c if c % ALIGN == 0 || c >= LARGE => (round(c, ALIGN), key, 1),
        c if c % 4 == 0 => (c, key, ALIGN / 4),
        c => (c, key, ALIGN),
    }
}

fn gcd(a: i64, b: i64) -> i64 {
    let (mut a, mut b) = (a.unsigned_abs(), b.unsigned_abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    i64::try_from(a).unwrap_or(1)
}

/// What comes first.
type Order<'a> = &'a dyn Fn(&Item) -> (i64, i64);

/// Packs items in several orders and leaves them in the one that takes the fewest units: offsets and those units.
fn pack_best(items: &mut [Item]) -> (Vec<i64>, i64) {
    let span = |i: &Item| i64::try_from(i.live.1 - i.live.0 + 1).unwrap_or(i64::MAX);
    let least = least_units(items);
    let orders: [Order<'_>; 4] = [
        &|i| (-i.units, 0),
        &|i| (-i.units.saturating_mul(span(i)), -i.units),
        &|i| (-span(i), -i.units),
        &|i| (i64::try_from(i.live.0).unwrap_or(i64::MAX), -i.units),
    ];
    let mut best: Option<(i64, usize)> = None;
    for (number, order) in orders.iter().enumerate() {
        items.sort_by_key(|i| (order(i), i.live, i.request));
        let units = end_of(items, &pack_area(items));
        if best.is_none_or(|(fewest, _)| units < fewest) {
            best = Some((units, number));
        }
        if units == least || items.len() > MANY {
            break;
        }
    }
    let (_, number) = best.expect("there are orders");
    items.sort_by_key(|i| (orders[number](i), i.live, i.request));
    let offsets = pack_area(items);
    let units = end_of(items, &offsets);
    (offsets, units)
}

/// Units that packed items take.
fn end_of(items: &[Item], offsets: &[i64]) -> i64 {
    items.iter().zip(offsets).map(|(i, o)| o.saturating_add(i.units)).max().unwrap_or(0)
}

/// Most units that are in use at one time.
fn least_units(items: &[Item]) -> i64 {
    most_at_once(items.iter().map(|i| (i.units, i.live)))
}

/// The most that is in use at one time of amounts with their lives.
fn most_at_once(amounts: impl Iterator<Item = (i64, (usize, usize))>) -> i64 {
    // What changes at each time: what begins there, and what has ended before it.
    let mut changes: BTreeMap<usize, i64> = BTreeMap::new();
    for (amount, live) in amounts {
        for (at, change) in [(live.0, amount), (live.1 + 1, -amount)] {
            let sum = changes.entry(at).or_default();
            *sum = sum.saturating_add(change);
        }
    }
    let mut now = 0i64;
    changes.values().fold(0, |most, change| {
        now = now.saturating_add(*change);
        most.max(now)
    })
}

/// Offsets of items in the given order.
fn pack_area(items: &[Item]) -> Vec<i64> {
    let mut offsets: Vec<i64> = Vec::with_capacity(items.len());
    // Items with a place, by offset.
    let mut placed: Vec<(i64, usize)> = Vec::new();
    for item in items {
        let meets = |other: &Item| other.live.0 <= item.live.1 && item.live.0 <= other.live.1;
        let mut best: Option<(i64, i64)> = None;
        let mut free = 0;
        for &(offset, other) in placed.iter().filter(|(_, other)| meets(&items[*other])) {
            let gap = offset - free;
            if gap >= item.units && best.is_none_or(|(smallest, _)| gap < smallest) {
                best = Some((gap, free));
            }
            free = free.max(offset.saturating_add(items[other].units));
        }
        let offset = best.map_or(free, |(_, at)| at);
        let at = placed.partition_point(|&(o, _)| o <= offset);
        placed.insert(at, (offset, offsets.len()));
        offsets.push(offset);
    }
    offsets
}

#[cfg(test)]
mod tests {
    use super::*;
    use nnc_ir::{entity::EntityId, extent::SymbolId};

    fn request(bytes: impl Into<Extent>, first: usize, last: usize) -> Request {
        Request { bytes: bytes.into(), live: (first, last) }
    }

    #[test]
    fn a_chain_needs_two_buffers_and_overlapping_lives_never_share() {
        let chain: Vec<Request> = (0..10).map(|i| request(1000, i, i + 1)).collect();
        let packing = pack(&chain);
        assert_eq!(packing.areas, [Area { key: Extent::ONE, quantum: 1, units: 2 * 1024 }]);
        let mut seed = 7u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) % below
        };
        let requests: Vec<Request> = (0..300)
            .map(|_| {
                let first = random(100) as usize;
                request(random(5000) as i64, first, first + random(20) as usize)
            })
            .collect();
        let packing = pack(&requests);
        for (i, a) in requests.iter().enumerate() {
            for (j, b) in requests.iter().enumerate().skip(i + 1) {
                let (x, y) = (packing.places[i].1, packing.places[j].1);
                let bytes = |r: &Request| r.bytes.as_const().expect("constant").max(1);
                let apart = x + bytes(a) <= y || y + bytes(b) <= x;
                let never_both = a.live.1 < b.live.0 || b.live.1 < a.live.0;
                assert!(apart || never_both || bytes(a) == 1 || bytes(b) == 1, "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn sizes_of_one_key_share_an_area() {
        let n = Extent::symbol(SymbolId::new(0));
        let packing = pack(&[
            request(n.scale(4096), 0, 1),
            request(n.scale(1028), 2, 3),
            request(n.scale(12), 0, 5),
            request(n, 0, 1),
        ]);
        let shape: Vec<(i64, i64)> = packing.areas.iter().map(|a| (a.quantum, a.units)).collect();
        assert_eq!(shape, [(1, 4096), (16, 12), (64, 1)]);
        assert_eq!(packing.places, [(0, 0), (0, 0), (1, 0), (2, 0)]);
        assert_eq!(packing.shares, [vec![0], vec![2], vec![1]]);
    }

    #[test]
    fn areas_that_are_never_in_use_together_share_memory() {
        let (n, m) = (Extent::symbol(SymbolId::new(0)), Extent::symbol(SymbolId::new(1)));
        let packing = pack(&[
            request(n.scale(64), 0, 1),
            request(m.scale(64), 2, 3),
            request(n.scale(64), 4, 5),
            request(256, 1, 4),
        ]);
        let keys: Vec<Vec<&Extent>> =
            packing.shares.iter().map(|s| s.iter().map(|&a| &packing.areas[a].key).collect()).collect();
        assert_eq!(keys, [vec![&n, &m], vec![&Extent::ONE]]);
    }
}
