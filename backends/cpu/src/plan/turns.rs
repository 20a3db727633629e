//! turns - what each kernel of a tiled region does in each turn, and how much of what is between a turn needs.
//!
//! A turn computes some rows of the last result. What it needs of the results before, each kernel computes just before: in
//! the first turn of a thread all that is needed, in a later one what has not been computed yet. So within a thread nothing
//! is computed twice; where a thread begins, the rows that windows reach back are.

use super::Span;
use crate::kernel::Pace;

/// One kernel of a region.
pub(crate) struct Member<'a> {
    /// Which items compute which elements.
    pub(crate) pace: Pace,
    /// Elements of the result.
    pub(crate) total: i64,
    /// For a span of the result what is read of the results of members before, by their numbers; `None` where unknown.
    pub(crate) reads: Box<Reads<'a>>,
}

/// The members whose results are read for a span, and where.
pub(crate) type Reads<'a> = dyn Fn(Span) -> Option<Vec<(usize, Span)>> + 'a;

/// What a member does in a turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Turn {
    /// First item where the turn is the first of a thread.
    pub(crate) fresh: i64,
    /// First item, at least, in a later turn: what was computed before is left out.
    pub(crate) least: i64,
    /// The first item after those of this turn.
    pub(crate) end: i64,
    /// First element of the result that is kept, in the first turn of a thread.
    pub(crate) fresh_from: i64,
    /// Likewise in a later turn.
    pub(crate) from: i64,
    /// The first element after those that are there after this turn.
    pub(crate) to: i64,
}

/// The turns of a region.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Turns {
    /// By turn and member.
    pub(crate) turns: Vec<Vec<Turn>>,
    /// Elements of each result that a turn has at most.
    pub(crate) room: Vec<i64>,
    /// By how many elements a turn goes on at most, of results of which some are kept from turn to turn; else 0.
    pub(crate) step: Vec<i64>,
}

impl Turns {
    /// Elements that there is room for: with what is kept from turn to turn some more, so that it is not moved in each.
    pub(crate) fn room(&self, member: usize) -> i64 {
        let need = self.room[member];
        need + (2 * self.step[member]).min(need / 2)
    }
}

/// The turns of members, the last of which computes `elements` elements in a turn, or as many as a block has. `None` if nobody
/// knows what a member reads.
pub(crate) fn turns(members: &[Member<'_>], elements: i64) -> Option<Turns> {
    let ranges = ranges(members.last()?, elements);
    let none = vec![0; members.len()];
    let totals: Vec<i64> = members.iter().map(|member| member.total).collect();
    // Turns of a thread that has done all before.
    let mut later: Vec<Vec<Need>> = Vec::with_capacity(ranges.len());
    for &range in &ranges {
        let done = later.last().map_or_else(|| none.clone(), |turn| turn.iter().map(|n| n.items.1).collect());
        later.push(one_turn(members, range, &Limits { first: &done, end: &done, from: &totals })?);
    }
    // The first element that any turn from there on wants.
    let mut wanted = totals.clone();
    let mut kept = vec![none.clone(); ranges.len()];
    for (kept, turn) in kept.iter_mut().zip(&later).rev() {
        for (s, need) in turn.iter().enumerate() {
            if need.items.0 < need.items.1 {
                wanted[s] = wanted[s].min(members[s].pace.elements(need.items.0));
            }
            wanted[s] = need.read.map_or(wanted[s], |(from, _)| wanted[s].min(from));
        }
        kept.clone_from(&wanted);
    }
    let mut found = Turns { turns: Vec::new(), room: none.clone(), step: none.clone() };
    let mut before = none.clone();
    for (at, &range) in ranges.iter().enumerate() {
        let end: Vec<i64> = later[at].iter().map(|need| need.items.1).collect();
        // A thread that begins here must have what the turns after it will want.
        let from = kept.get(at + 1).unwrap_or(&totals);
        let fresh = one_turn(members, range, &Limits { first: &none, end: &end, from })?;
        let mut turn = Vec::with_capacity(members.len());
        for (s, member) in members.iter().enumerate() {
            let (first, next) = (&fresh[s], &later[at][s]);
            let to = member.pace.elements(end[s]);
            let read = first.read.map_or(member.total, |(from, _)| from);
            let fresh_from = member.pace.elements(first.items.0).min(read);
            let own = Turn {
                fresh: first.items.0,
                least: next.items.0,
                end: end[s],
                fresh_from,
                from: kept[at][s],
                to,
            };
            if first.items.1 != own.end {
                return None;
            }
            if own.from < before[s] {
                found.step[s] = found.step[s].max(to - before[s]);
            }
            found.room[s] = found.room[s].max(to - own.fresh_from.min(own.from).min(to));
            before[s] = to;
            turn.push(own);
        }
        found.turns.push(turn);
    }
    Some(found)
}

/// The items of the last member in each turn: some blocks of a segment.
fn ranges(last: &Member<'_>, elements: i64) -> Vec<(i64, i64)> {
    let (pace, blocks) = (last.pace, last.pace.blocks());
    let step = (elements / pace.block).max(1);
    let turns = (blocks + step - 1) / step;
    let item = |segment: i64, block: i64| (segment * blocks + block.min(blocks)) * pace.items;
    (0..last.total / pace.segment)
        .flat_map(|segment| (0..turns).map(move |turn| (segment, turn * step)))
        .map(|(segment, from)| (item(segment, from), item(segment, from + step)))
        .collect()
}

/// By how many elements each member goes on from one turn to the next, about.
pub(crate) fn parts(members: &[Member<'_>], elements: i64) -> Option<Vec<i64>> {
    let total = members.last()?.total;
    // Somewhere in the middle, where windows do not meet a border.
    let at = total / elements.max(1) / 2 * elements;
    let from = at.min((total - 2 * elements).max(0));
    let spans = |from: i64| -> Option<Vec<Span>> {
        let mut spans = vec![(0, 0); members.len()];
        *spans.last_mut()? = (from, (from + elements).min(total));
        for (s, member) in members.iter().enumerate().rev().filter(|(_, m)| m.total > 0) {
            if spans[s].0 >= spans[s].1 {
                continue;
            }
            for (other, (from, to)) in (member.reads)(spans[s])? {
                let span = &mut spans[other];
                *span = if span.0 < span.1 { (span.0.min(from), span.1.max(to)) } else { (from, to) };
            }
        }
        Some(spans)
    };
    let (now, next) = (spans(from)?, spans((from + elements).min(total - 1))?);
    let part = |(a, b): (&Span, &Span)| if b.1 > a.1 { b.1 - a.1 } else { a.1 - a.0 };
    Some(now.iter().zip(&next).map(part).collect())
}

/// Items of a member in a turn, and what is read of its result.
#[derive(Clone, Copy, Debug, Default)]
struct Need {
    items: (i64, i64),
    read: Option<Span>,
}

/// By member.
struct Limits<'a> {
    /// The first item that has not been done.
    first: &'a [i64],
    /// The least end of items.
    end: &'a [i64],
    /// The element from which on they are wanted, at the latest.
    from: &'a [i64],
}

/// What the members do so that the last can do items `range`.
fn one_turn(members: &[Member<'_>], range: (i64, i64), limits: &Limits<'_>) -> Option<Vec<Need>> {
    let mut needs = vec![Need::default(); members.len()];
    for (s, member) in members.iter().enumerate().rev() {
        let pace = &member.pace;
        needs[s].items = if s + 1 == members.len() {
            range
        } else {
            let (from, to) = needs[s].read.unwrap_or((member.total, 0));
            let end = pace.items_for(to).max(limits.end[s]);
            (pace.items_before(from.min(limits.from[s])).max(limits.first[s]).min(end), end)
        };
        let (from, to) = needs[s].items;
        let span = (pace.elements(from), pace.elements(to));
        if span.0 >= span.1 {
            continue;
        }
        for (other, span) in (member.reads)(span)? {
            let read = &mut needs[other].read;
            *read = Some(read.map_or(span, |(a, b)| (a.min(span.0), b.max(span.1))));
        }
    }
    Some(needs)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of four elements, one an item; windows of three rows over `n` rows.
    fn window(n: i64) -> Vec<Member<'static>> {
        let pace = |block: i64| Pace { segment: 4 * n, block, items: 1 };
        let rows = move |(from, to): Span| Some(vec![(0, ((from - 4).max(0), (to + 4).min(4 * n)))]);
        vec![
            Member { pace: pace(8), total: 4 * n, reads: Box::new(|_| Some(vec![])) },
            Member { pace: pace(4), total: 4 * n, reads: Box::new(rows) },
            Member { pace: pace(4), total: 4 * n, reads: Box::new(|span| Some(vec![(1, span)])) },
        ]
    }

    #[test]
    fn rows_that_windows_share_are_computed_once_a_thread() {
        let found = turns(&window(8), 8).expect("windows go on");
        let of = |s: usize| -> Vec<(i64, i64, i64)> {
            found.turns.iter().map(|t| (t[s].fresh, t[s].least, t[s].end)).collect()
        };
        assert_eq!(of(2), [(0, 0, 2), (2, 2, 4), (4, 4, 6), (6, 6, 8)]);
        assert_eq!(of(1), [(0, 0, 2), (2, 2, 4), (4, 4, 6), (6, 6, 8)]);
        // Items of two rows: rows -1 to 2 are items 0 and 1, and so on.
        assert_eq!(of(0), [(0, 0, 2), (0, 2, 3), (1, 3, 4), (2, 4, 4)]);
        assert_eq!(found.room[1], 8);
        let kept: Vec<i64> = found.turns.iter().map(|t| t[0].from).collect();
        assert_eq!(kept, [0, 4, 12, 20]);
    }

    #[test]
    fn what_reads_back_to_the_start_keeps_all() {
        let mut members = window(8);
        // Later rows want earlier ones.
        members[1].reads = Box::new(|(from, to)| Some(vec![(0, (32 - to, 32 - from))]));
        let found = turns(&members, 8).expect("all is known");
        assert_eq!(found.room[0], 32);
    }

    #[test]
    fn blocks_of_any_size_go_on_from_wherever_a_thread_begins() {
        for block in 1..16 {
            let mut members = window(9);
            members[0].pace.block = block;
            members[1].pace.block = 17 - block;
            let found = turns(&members, 7).expect("all is known");
            for (at, turn) in found.turns.iter().enumerate() {
                for (s, own) in turn.iter().enumerate() {
                    let next = found.turns.get(at + 1).map_or(own.to, |turn| turn[s].from);
                    assert!(own.fresh_from <= next || own.to <= next, "turn {at} of member {s}: {own:?}");
                    assert!(own.to - own.from <= found.room[s] && own.to - own.fresh_from <= found.room[s]);
                }
            }
        }
    }
}
