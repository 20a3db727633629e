//! plan - what becomes of the ops of a program before any is made: which are needed, where values end, what is read in memory.

use nnc_tile::program::{Op, Ref, VectorProgram};

use super::scaled::{self, Scaled};
use crate::Level;

/// What becomes of the ops of a program.
pub(super) struct Plan {
    /// The op at which a value is used last.
    pub(super) last: Vec<usize>,
    /// Whether anything uses it.
    pub(super) needed: Vec<bool>,
    /// Comparisons that are made where the one select that they are for is.
    pub(super) fused: Vec<bool>,
    /// Products that are made by scaling.
    pub(super) scaled: Vec<Option<Scaled>>,
    /// The op that is made after one.
    next: Vec<usize>,
}

impl Plan {
    /// Results stay to the end, or are `handed` over when they are there.
    pub(super) fn of(level: Level, program: &VectorProgram, handed: bool) -> Plan {
        let ops = program.ops();
        let scaled = scaled::find(level, program);
        let operands = |at: usize| match scaled[at] {
            Some(Scaled { p, n }) => vec![p, n],
            None => ops[at].operands().collect(),
        };
        let mut needed = vec![false; ops.len()];
        let mut uses = vec![0usize; ops.len()];
        for result in program.results() {
            needed[usize::from(result.0)] = true;
            uses[usize::from(result.0)] += 1;
        }
        for at in (0..ops.len()).rev() {
            if needed[at] {
                for r in operands(at) {
                    needed[usize::from(r.0)] = true;
                    uses[usize::from(r.0)] += 1;
                }
            }
        }
        let mut fused = vec![false; ops.len()];
        for (at, op) in ops.iter().enumerate() {
            let Op::Select(m, ..) = *op else { continue };
            let mask = usize::from(m.0);
            let compares = matches!(ops[mask], Op::Lt(..) | Op::Le(..) | Op::Eq(..) | Op::Ne(..));
            fused[mask] = needed[at] && compares && uses[mask] == 1;
        }
        let mut next = vec![ops.len(); ops.len()];
        for at in (1..ops.len()).rev() {
            let made = needed[at] && !fused[at] && !leaf(&ops[at]);
            next[at - 1] = if made { at } else { next[at] };
        }
        let mut plan = Plan { last: vec![0; ops.len()], needed, fused, scaled, next };
        for at in (0..ops.len()).filter(|&at| plan.needed[at] && !plan.fused[at]).collect::<Vec<usize>>() {
            for r in plan.operands(program, at) {
                plan.last[usize::from(r.0)] = at;
            }
        }
        for result in program.results().iter().filter(|_| !handed) {
            plan.last[usize::from(result.0)] = usize::MAX;
        }
        plan
    }

    /// Whether the op after `at` reads a value, too.
    pub(super) fn again(&self, program: &VectorProgram, at: usize, r: Ref) -> bool {
        let next = self.next.get(at).filter(|&&next| next < program.ops().len());
        next.is_some_and(|&next| self.operands(program, next).contains(&r))
    }

    /// What the op at `at` reads; a select reads the operands of the comparison that is made with it.
    pub(super) fn operands(&self, program: &VectorProgram, at: usize) -> Vec<Ref> {
        if let Some(Scaled { p, n }) = self.scaled[at] {
            return vec![p, n];
        }
        let mut out = Vec::with_capacity(4);
        for r in program.ops()[at].operands() {
            if self.fused[usize::from(r.0)] {
                out.extend(program.ops()[usize::from(r.0)].operands());
            } else {
                out.push(r);
            }
        }
        out
    }
}

// What follows asks without scaling, which needs no more registers and reads nothing else.

/// Registers that `emit` needs besides those of the inputs, at most.
pub(crate) fn registers(program: &VectorProgram) -> usize {
    let plan = Plan::of(Level::Avx2, program, false);
    let mut live = 0usize;
    let mut most = 0;
    let mut held = vec![false; program.ops().len()];
    for (at, op) in program.ops().iter().enumerate() {
        if leaf(op) || !plan.needed[at] || plan.fused[at] {
            continue;
        }
        let operands = plan.operands(program, at);
        for operand in operands.iter().map(|r| usize::from(r.0)) {
            if matches!(program.ops()[operand], Op::Input(..)) && !held[operand] {
                held[operand] = true;
                live += 1;
            }
        }
        let constants = operands.iter().filter(|r| constant(&program.ops()[usize::from(r.0)])).count();
        // The result, and what the longest sequences use on the way.
        most = most.max(live + constants + 3);
        held[at] = true;
        live += 1;
        let mut ended: Vec<usize> =
            operands.iter().map(|r| usize::from(r.0)).filter(|&r| plan.last[r] == at).collect();
        ended.sort_unstable();
        ended.dedup();
        live -= ended.iter().filter(|&&r| held[r]).count();
    }
    most.max(live + program.results().len())
}

/// Words that the program reads from the pool, those it reads most often first.
pub(crate) fn words(program: &VectorProgram) -> Vec<u32> {
    let plan = Plan::of(Level::Avx2, program, false);
    let mut words: Vec<(u32, usize)> = Vec::new();
    let mut count = |bits: u32| match words.iter_mut().find(|(w, _)| *w == bits) {
        Some((_, n)) => *n += 1,
        None => words.push((bits, 1)),
    };
    for (at, op) in program.ops().iter().enumerate().filter(|(at, _)| plan.needed[*at]) {
        for r in op.operands() {
            word_of(&program.ops()[usize::from(r.0)]).into_iter().for_each(&mut count);
        }
        match op {
            Op::Neg(_) => count(SIGN),
            Op::Abs(_) => count(!SIGN),
            Op::Not(_) => count(u32::MAX),
            Op::TruncF32ToI32(_) => count(TOO_GREAT),
            _ => {}
        }
        let _ = at;
    }
    words.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    words.into_iter().map(|(bits, _)| bits).collect()
}

/// Whether each result may be stored where it is there: what is read in memory has been read by then.
pub(crate) fn reads_first(program: &VectorProgram) -> bool {
    let plan = Plan::of(Level::Avx2, program, true);
    let first = program.results().iter().map(|r| usize::from(r.0)).min().unwrap_or(0);
    let ops = program.ops();
    let input = |r: &Ref| matches!(ops[usize::from(r.0)], Op::Input(..));
    let made = |at: usize| plan.needed[at] && !plan.fused[at] && !leaf(&ops[at]);
    let reads = |at: usize| plan.operands(program, at).iter().any(input);
    made(first) && (first + 1..ops.len()).all(|at| !made(at) || !reads(at))
}

/// How many ops of a program are computed.
pub(crate) fn steps(program: &VectorProgram) -> usize {
    let plan = Plan::of(Level::Avx2, program, true);
    let made = |(at, op): &(usize, &Op)| plan.needed[*at] && !plan.fused[*at] && !leaf(op);
    program.ops().iter().enumerate().filter(made).count()
}

/// The sign bit of a lane.
pub(super) const SIGN: u32 = 0x8000_0000;
/// The least f32 beyond all i32.
pub(super) const TOO_GREAT: u32 = 0x4f00_0000;

pub(super) fn leaf(op: &Op) -> bool {
    constant(op) || matches!(op, Op::Input(..))
}

pub(super) fn constant(op: &Op) -> bool {
    word_of(op).is_some()
}

pub(super) fn word_of(op: &Op) -> Option<u32> {
    match *op {
        Op::ConstF32(bits) => Some(bits),
        Op::ConstI32(x) => Some(x.cast_unsigned()),
        _ => None,
    }
}
