//! plan - what becomes of the ops of a program before any is made: which are needed, where values end, what is read in memory.

use nnc_tile::program::{Op, Ref, VectorProgram};

/// What becomes of the ops of a program.
pub(super) struct Plan {
    /// The op at which a value is used last.
    pub(super) last: Vec<usize>,
    /// Whether anything uses it.
    pub(super) needed: Vec<bool>,
    /// Comparisons that are made where the one select that they are for is.
    pub(super) fused: Vec<bool>,
    /// The op that is made after one.
    next: Vec<usize>,
}

impl Plan {
    /// Results stay to the end, or are `handed` over when they are there.
    pub(super) fn of(program: &VectorProgram, handed: bool) -> Plan {
        let ops = program.ops();
        let mut needed = vec![false; ops.len()];
        let mut uses = vec![0usize; ops.len()];
        for result in program.results() {
            needed[usize::from(result.0)] = true;
            uses[usize::from(result.0)] += 1;
        }
        for (at, op) in ops.iter().enumerate().rev().filter(|(_, op)| op.operands().next().is_some()) {
            if needed[at] {
                for r in op.operands() {
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
        let mut plan = Plan { last: vec![0; ops.len()], needed, fused, next };
        for (at, op) in ops.iter().enumerate().filter(|(at, _)| plan.needed[*at] && !plan.fused[*at]) {
            for r in plan.operands(program, op) {
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
        let next = self.next.get(at).and_then(|&next| program.ops().get(next));
        next.is_some_and(|op| self.operands(program, op).contains(&r))
    }

    /// What an op reads; a select reads the operands of the comparison that is made with it.
    pub(super) fn operands(&self, program: &VectorProgram, op: &Op) -> Vec<Ref> {
        let mut out = Vec::with_capacity(4);
        for r in op.operands() {
            if self.fused[usize::from(r.0)] {
                out.extend(program.ops()[usize::from(r.0)].operands());
            } else {
                out.push(r);
            }
        }
        out
    }
}

/// Registers that `emit` needs besides those of the inputs, at most.
pub(crate) fn registers(program: &VectorProgram) -> usize {
    let plan = Plan::of(program, false);
    let mut live = 0usize;
    let mut most = 0;
    let mut held = vec![false; program.ops().len()];
    for (at, op) in program.ops().iter().enumerate() {
        if leaf(op) || !plan.needed[at] || plan.fused[at] {
            continue;
        }
        let operands = plan.operands(program, op);
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
    let plan = Plan::of(program, false);
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
    let plan = Plan::of(program, true);
    let first = program.results().iter().map(|r| usize::from(r.0)).min().unwrap_or(0);
    let ops = program.ops();
    let input = |r: &Ref| matches!(ops[usize::from(r.0)], Op::Input(..));
    let made = |at: usize| plan.needed[at] && !plan.fused[at] && !leaf(&ops[at]);
    let reads = |at: usize| plan.operands(program, &ops[at]).iter().any(input);
    made(first) && (first + 1..ops.len()).all(|at| !made(at) || !reads(at))
}

/// How many ops of a program are computed.
pub(crate) fn steps(program: &VectorProgram) -> usize {
    let plan = Plan::of(program, true);
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
