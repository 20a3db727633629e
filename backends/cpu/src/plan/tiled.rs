//! tiled - regions that run tile by tile: their kernels by turns, each for a few rows, what is between in scratch memory.
//!
//! A pass has put nodes into a region whose last result needs, row by row, few rows of what is between. Here the steps of such
//! a region become one step, if all of them go through their results from the first element to the last (`lower::walk`), and
//! nobody else reads what is between. That is then no part of the arena: it lies in the scratch memory of each worker, for as
//! many rows as a turn needs (`super::turns`). Regions are left apart where all memory together would be more.

use nnc_ir::{
    extent::Extent,
    graph::Node,
    ops::{Tiled, attr::Attr},
};
use nnc_x86::Level;

use super::{
    Block, BufferId, BufferKind, Plan, Region, Request, Step, TiledStep, build::Planner, layout::others, pack,
};
use crate::{lower, weights::Constants};

/// Workers whose scratch memory is counted beside the arena.
const WORKERS: i64 = 4;

/// Why a region is not run by turns.
type Why = &'static str;

/// A region as the planner met it.
#[derive(Clone, Debug)]
pub(super) struct Tiling {
    /// What the pass decided.
    pub(super) op: Tiled,
    /// Steps belong to it whose time is after the first of these and not after the second.
    pub(super) times: (usize, usize),
}

/// A region that can be run by turns.
struct Candidate<'a> {
    tiling: &'a Tiling,
    /// Results of all steps but the last.
    inner: Vec<BufferId>,
    /// For each step the axes of its result in the order in which it goes through them.
    walks: Vec<Vec<usize>>,
    /// Elements of the last result in a turn.
    elements: i64,
    /// Bytes of scratch memory that a worker has for what is between.
    scratch: i64,
    /// Number of a node of it.
    node: Option<u32>,
}

impl Planner<'_> {
    /// The steps of a region, one after the other for now.
    pub(super) fn tiled(&mut self, op: &Tiled, node: &Node, block: &mut Block) {
        let before = self.clock;
        self.inline(node, block);
        self.tilings.push(Tiling { op: op.clone(), times: (before, self.clock) });
    }
}

impl Plan {
    /// Makes one step of the steps of each region that can be run tile by tile and takes no more memory so; `finish` does what
    /// is still to be done with a plan.
    pub(super) fn tile(&mut self, tilings: &[Tiling], level: Option<Level>, finish: &dyn Fn(&mut Plan)) {
        let mut chosen = Vec::new();
        for tiling in tilings {
            // Without wide tiles arithmetic takes so long that traffic never decides.
            let candidate = match level {
                Some(_) => self.candidate(tiling),
                None => Err((None, "the target has no wide tiles")),
            };
            match candidate {
                Ok(candidate) => chosen.push(candidate),
                Err((node, why)) => self.leave_apart(tiling, node, why),
            }
        }
        let bytes = |chosen: &[Candidate<'_>]| {
            let mut plan = self.without_constants();
            chosen.iter().for_each(|candidate| plan.run_by_turns(candidate));
            finish(&mut plan);
            plan.arena_bytes()
        };
        let apart = if chosen.is_empty() { 0 } else { bytes(&[]) };
        let mut dropped = Vec::new();
        while let Some(scratch) = chosen.iter().map(|c| c.scratch).max() {
            if bytes(&chosen).saturating_add(WORKERS.saturating_mul(scratch)) <= apart {
                break;
            }
            let (large, rest) = chosen.into_iter().partition(|c| c.scratch == scratch);
            dropped.extend::<Vec<_>>(large);
            chosen = rest;
        }
        for candidate in &dropped {
            self.leave_apart(candidate.tiling, candidate.node, "all memory together would be more");
        }
        chosen.iter().for_each(|candidate| self.run_by_turns(candidate));
    }

    fn leave_apart(&mut self, tiling: &Tiling, node: Option<u32>, why: Why) {
        let name = node.and_then(|n| self.node_names.get(n as usize)).map_or("", String::as_str);
        self.apart.push((format!("{} {name}", Attr::print(&tiling.op.kind)), why));
    }

    /// Where the steps of a region are.
    fn place(&self, tiling: &Tiling) -> Option<(usize, usize)> {
        let own = |step: &Step| tiling.has(step);
        Some((self.main.steps.iter().position(own)?, self.main.steps.iter().rposition(own)?))
    }

    /// How a region is run by turns, if it can be; else the number of a node of it, and why not.
    fn candidate<'a>(&self, tiling: &'a Tiling) -> Result<Candidate<'a>, (Option<u32>, Why)> {
        let Some((from, to)) = self.place(tiling) else { return Err((None, "it is in a loop or a branch")) };
        let steps = &self.main.steps[from..=to];
        let members: Vec<&Step> = steps.iter().filter(|step| !matches!(step, Step::Ensure { .. })).collect();
        let node = nodes_of(&steps[0]).first().copied();
        let refuse = |why: Why| (node, why);
        if !members.iter().all(|step| tiling.has(step)) || members.len() < 2 {
            return Err(refuse("its kernels are not one after the other"));
        }
        let walks =
            members.iter().map(|step| self.walk(step)).collect::<Result<Vec<_>, _>>().map_err(refuse)?;
        let inner = self.between(tiling, &members, &walks).map_err(refuse)?;
        let region = Region { steps: members, inner: &inner, walks: &walks };
        let turns = self.elements(&region, tiling.op.bytes).and_then(|elements| {
            let scratch = region.scratch_bytes(self, elements)?;
            Some((elements, scratch))
        });
        let (elements, scratch) = turns.ok_or_else(|| refuse("turns would need most of what is between"))?;
        Ok(Candidate { tiling, inner, walks, elements, scratch, node })
    }

    /// The axes of a step's result in the order in which its items go through them.
    fn walk(&self, step: &Step) -> Result<Vec<usize>, Why> {
        let walk = match step {
            Step::Nest(nest) if nest.results.len() == 1 => lower::walk(&self.request(nest)),
            Step::Rows(rows) if rows.results.len() == 1 => lower::rows::walk(&rows.form),
            _ => None,
        };
        walk.ok_or("a kernel of it does not go from the first row to the last, or its sizes are not known")
    }

    /// The results of all members but the last, if the members after it alone read them.
    fn between(
        &self,
        tiling: &Tiling,
        members: &[&Step],
        walks: &[Vec<usize>],
    ) -> Result<Vec<BufferId>, Why> {
        let mut inner = Vec::new();
        for (step, walk) in members.iter().zip(walks).take(members.len() - 1) {
            let member = step.member().and_then(|m| Some((m.results, &m.form?.space)));
            let Some((results, space)) = member else { return Err("it has a step that is no kernel") };
            let wide = walk.iter().filter(|&&a| !space[a].is(1));
            let placed = matches!(step, Step::Nest(nest) if nest.placement[0].is_some());
            let result = self.resolve(results[0]);
            let buffer = &self.buffers[result.0];
            let known = buffer.sizes.iter().all(|bytes| bytes.as_const().is_some());
            let own = buffer.kind == BufferKind::Own && buffer.is_settled() && known;
            if !own || placed || !wide.is_sorted() {
                return Err("what is between lies in another order or tensor");
            }
            inner.push(result);
        }
        let mut elsewhere = self.outputs.iter().any(|o| inner.contains(&self.resolve(o.buffer)));
        elsewhere |= (self.buffers.iter())
            .any(|b| matches!(b.kind, BufferKind::Part(of) if inner.contains(&self.resolve(of))));
        self.for_each_step(&mut |step| {
            let reads = || self.uses(step).into_iter().any(|b| inner.contains(&b));
            elsewhere |= !tiling.has(step) && reads();
        });
        if elsewhere { Err("what is between is read elsewhere, too") } else { Ok(inner) }
    }

    /// Elements of the last result in a turn, so that what is between has about so many bytes: whole positions of one of its
    /// axes, about as many in each turn.
    fn elements(&self, region: &Region<'_>, bytes: i64) -> Option<i64> {
        let (space, walk) = (&region.steps.last()?.member()?.form?.space, region.walks.last()?);
        let extents: Vec<i64> = walk.iter().map(|&a| space[a].as_const()).collect::<Option<_>>()?;
        let between = |b: &BufferId| self.buffers[b.0].sizes.iter().filter_map(Extent::as_const).max();
        let between: i64 = region.inner.iter().filter_map(between).sum();
        let all: i64 = extents.iter().product();
        let fit = i64::try_from(i128::from(all) * i128::from(bytes) / i128::from(between.max(1))).ok()?;
        let mut unit = all;
        for extent in extents {
            unit /= extent.max(1);
            if extent > 1 && unit <= fit {
                let parts = (extent + fit / unit - 1) / (fit / unit);
                return Some((extent + parts - 1) / parts * unit);
            }
        }
        Some(1)
    }

    /// Makes one step of the steps of a region.
    fn run_by_turns(&mut self, candidate: &Candidate<'_>) {
        let Some((from, to)) = self.place(candidate.tiling) else { return };
        // Room is taken before.
        let (mut steps, members): (Vec<Step>, Vec<Step>) =
            self.main.steps.splice(from..=to, []).partition(|step| matches!(step, Step::Ensure { .. }));
        let (first, last) = candidate.tiling.times;
        // What members read or write lives as long as all of them: the first and the last of them run by turns.
        let used: Vec<BufferId> = members.iter().flat_map(|step| self.uses(step)).collect();
        for buffer in used {
            for buffer in [buffer, self.base(buffer).0] {
                if let Some(live) = &mut self.buffers[buffer.0].live {
                    *live = (live.0.min(first + 1), live.1.max(last));
                }
            }
        }
        for &buffer in &candidate.inner {
            self.buffers[buffer.0].kind = BufferKind::Slice;
        }
        let kernel = self.next_kernel();
        let what = Attr::print(&candidate.tiling.op.kind);
        let nodes = members.iter().flat_map(nodes_of).copied().collect();
        let (inner, walks, elements) = (candidate.inner.clone(), candidate.walks.clone(), candidate.elements);
        let members = Block { steps: members };
        steps.push(Step::Tiled(Box::new(TiledStep { kernel, what, members, inner, walks, elements, nodes })));
        self.main.steps.splice(from..from, steps);
    }

    /// Buffers that a step uses, but for those of the blocks in it.
    fn uses(&self, step: &Step) -> Vec<BufferId> {
        let used = match step {
            Step::Nest(nest) => [&nest.operands[..], &nest.results].concat(),
            other => others(other),
        };
        used.into_iter().map(|b| self.resolve(b)).collect()
    }

    /// A copy without what only code needs.
    fn without_constants(&self) -> Plan {
        Plan {
            buffers: self.buffers.clone(),
            main: self.main.clone(),
            outputs: self.outputs.clone(),
            constants: Constants::default(),
            node_names: Vec::new(),
            apart: Vec::new(),
            ..*self
        }
    }

    /// Bytes of the arena that are known.
    fn arena_bytes(&self) -> i64 {
        let request = |(kind, sizes, live): (BufferKind, &[Extent], Option<(usize, usize)>)| {
            let most = sizes.iter().filter_map(Extent::as_const).max().filter(|_| kind == BufferKind::Own)?;
            Some(Request { bytes: Extent::Const(most), live: live? })
        };
        let requests: Vec<Request> =
            self.buffers.iter().filter_map(|b| request((b.kind, &b.sizes, b.live))).collect();
        pack(&requests).areas.iter().map(|area| area.units).sum()
    }
}

impl Tiling {
    /// Whether a step is part of it.
    fn has(&self, step: &Step) -> bool {
        step.member().is_some_and(|m| self.times.0 < m.at && m.at <= self.times.1)
    }
}

/// Numbers of the nodes of a kernel.
fn nodes_of(step: &Step) -> &[u32] {
    step.member().map_or(&[], |member| member.nodes)
}
