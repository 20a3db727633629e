//! program - vector programs in registers: straight-line code with registers given out as values begin and end to live.
//!
//! Constants are read from the pool where they are used, by the instruction itself if it can, unless registers hold them, and
//! operands from memory where they are first used, so only what is computed holds a register. A constant that the next
//! instruction reads as well, as that of another vector does, is loaded once for both. A comparison that decides one
//! select is made with it.

use nnc_tile::program::{LaneType, Op, Ref, VectorProgram};

use crate::{
    Level,
    asm::{Asm, Cmp, Lanes, Mem, Op1, Op2, Rm, Round, Shift, V, elements::Bytes},
};

/// Where an input of a program is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Input {
    /// In a register that the program may overwrite.
    Own(V),
    /// In a register that stays as it is.
    Kept(V),
    /// Neighbours in memory.
    Lanes(Mem, Lanes),
    /// Neighbouring bytes in memory.
    Bytes(Mem, Bytes, Lanes),
    /// One element in memory, for all lanes.
    Splat(Mem),
}

/// What becomes of the ops of a program.
struct Plan {
    /// The op at which a value is used last.
    last: Vec<usize>,
    /// Whether anything uses it.
    needed: Vec<bool>,
    /// Comparisons that are made where the one select that they are for is.
    fused: Vec<bool>,
    /// The op that is made after one.
    next: Vec<usize>,
}

impl Plan {
    /// Results stay to the end, or are `handed` over when they are there.
    fn of(program: &VectorProgram, handed: bool) -> Plan {
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
    fn again(&self, program: &VectorProgram, at: usize, r: Ref) -> bool {
        let next = self.next.get(at).and_then(|&next| program.ops().get(next));
        next.is_some_and(|op| self.operands(program, op).contains(&r))
    }

    /// What an op reads; a select reads the operands of the comparison that is made with it.
    fn operands(&self, program: &VectorProgram, op: &Op) -> Vec<Ref> {
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
const SIGN: u32 = 0x8000_0000;
/// The least f32 beyond all i32.
const TOO_GREAT: u32 = 0x4f00_0000;

fn leaf(op: &Op) -> bool {
    constant(op) || matches!(op, Op::Input(..))
}

fn constant(op: &Op) -> bool {
    word_of(op).is_some()
}

fn word_of(op: &Op) -> Option<u32> {
    match *op {
        Op::ConstF32(bits) => Some(bits),
        Op::ConstI32(x) => Some(x.cast_unsigned()),
        _ => None,
    }
}

/// Emits a program and gives the registers of its results; `free` registers may be used, and those of inputs that are
/// its own. Results that are inputs or constants are in registers, too.
///
/// # Panics
/// If there are fewer free registers than [`registers`] says.
pub(crate) fn emit(asm: &mut Asm, program: &VectorProgram, inputs: &[Input], free: &[V]) -> Vec<V> {
    emit_with(asm, program, inputs, &[], free)
}

/// As [`emit`], where registers hold words of the pool already; these stay as they are.
pub(crate) fn emit_with(
    asm: &mut Asm,
    program: &VectorProgram,
    inputs: &[Input],
    words: &[(u32, V)],
    free: &[V],
) -> Vec<V> {
    let mut results = vec![None; program.results().len()];
    run(asm, program, (inputs, words, free), Results::Kept(&mut results));
    results.into_iter().map(|v| v.expect("every result has a register")).collect()
}

/// As [`emit_with`], where each result is handed over, with its number, as soon as it is there: its register may be
/// overwritten then.
pub(crate) fn emit_each(
    asm: &mut Asm,
    program: &VectorProgram,
    inputs: &[Input],
    words: &[(u32, V)],
    free: &[V],
    take: &mut dyn FnMut(&mut Asm, usize, V),
) {
    run(asm, program, (inputs, words, free), Results::Handed(take));
}

/// Registers that [`emit_with`] takes of the free ones, or [`emit_each`], whose results are `handed` over.
pub(crate) fn taken(
    level: Level,
    (program, handed): (&VectorProgram, bool),
    inputs: &[Input],
    words: &[(u32, V)],
) -> usize {
    // Numbers that no register has, of instructions that are not encoded.
    let free: Vec<V> = (SCRATCH_FROM..SCRATCH_TO).map(V).collect();
    let (mut kept, mut drop) = (vec![None; program.results().len()], |_: &mut Asm, _: usize, _: V| {});
    let results = if handed { Results::Handed(&mut drop) } else { Results::Kept(&mut kept) };
    let left = run(&mut Asm::new(level), program, (inputs, words, &free), results);
    free.len() - left
}

/// First register of a trial, and the first after them.
const SCRATCH_FROM: u8 = 32;
/// See [`SCRATCH_FROM`]: there are as many registers of any kind in iced's list behind the first vector register.
const SCRATCH_TO: u8 = 100;

/// What becomes of results.
enum Results<'a> {
    /// Each gets a register until the end.
    Kept(&'a mut [Option<V>]),
    /// Each is handed over when it is there.
    Handed(&'a mut dyn FnMut(&mut Asm, usize, V)),
}

/// How many of the free registers were never taken.
fn run(
    asm: &mut Asm,
    program: &VectorProgram,
    (inputs, words, free): (&[Input], &[(u32, V)], &[V]),
    mut results: Results<'_>,
) -> usize {
    let kept_inputs = inputs.iter().filter_map(|i| if let Input::Kept(v) = i { Some(*v) } else { None });
    let handed = matches!(results, Results::Handed(_));
    let mut run = Run {
        asm,
        program,
        inputs,
        words,
        kept: words.iter().map(|(_, v)| *v).chain(kept_inputs).collect(),
        plan: Plan::of(program, handed),
        values: vec![None; program.ops().len()],
        free: free.iter().rev().copied().collect(),
        least: free.len(),
        at: 0,
    };
    for (at, op) in program.ops().iter().enumerate() {
        run.at = at;
        if run.plan.needed[at] && !run.plan.fused[at] && !leaf(op) {
            run.op(op);
            if let Results::Handed(take) = &mut results {
                run.hand_over(at, *take);
            }
        }
    }
    run.at = program.ops().len();
    for (k, &r) in program.results().iter().enumerate() {
        let at_end = leaf(&program.ops()[usize::from(r.0)]);
        match &mut results {
            Results::Kept(registers) => registers[k] = Some(run.get(r)),
            Results::Handed(take) if at_end => {
                let v = run.get(r);
                take(run.asm, k, v);
            }
            Results::Handed(_) => {}
        }
    }
    run.least
}

struct Run<'a> {
    asm: &'a mut Asm,
    program: &'a VectorProgram,
    inputs: &'a [Input],
    words: &'a [(u32, V)],
    /// Registers that stay as they are.
    kept: Vec<V>,
    plan: Plan,
    /// The register of each value that has one.
    values: Vec<Option<V>>,
    free: Vec<V>,
    /// The fewest that were free so far.
    least: usize,
    at: usize,
}

impl Run<'_> {
    fn take(&mut self) -> V {
        let v = self.free.pop().expect("as many registers as the program needs are free");
        self.least = self.least.min(self.free.len());
        v
    }

    /// A register with the value, which other values may share: it is not overwritten.
    fn get(&mut self, r: Ref) -> V {
        let index = usize::from(r.0);
        if let Some(v) = self.values[index] {
            return v;
        }
        let op = &self.program.ops()[index];
        let v = match (op, word_of(op)) {
            (_, Some(bits)) => self.word(bits),
            (Op::Input(k, _), None) => match self.inputs[usize::from(*k)] {
                Input::Own(v) | Input::Kept(v) => v,
                Input::Lanes(from, lanes) => {
                    let v = self.take();
                    self.asm.load(v, from, lanes);
                    v
                }
                Input::Bytes(from, way, lanes) => {
                    let v = self.take();
                    self.asm.load_bytes(v, from, way, lanes);
                    v
                }
                Input::Splat(from) => {
                    let v = self.take();
                    self.asm.broadcast(v, from);
                    v
                }
            },
            _ => unreachable!("operands come before what uses them"),
        };
        self.values[index] = Some(v);
        v
    }

    /// A register with the word, which is given back unless it is kept.
    fn word(&mut self, bits: u32) -> V {
        if let Some((_, v)) = self.words.iter().find(|(w, _)| *w == bits) {
            return *v;
        }
        let v = self.take();
        self.asm.constant(v, bits);
        v
    }

    fn give_back(&mut self, v: V) {
        if !self.kept.contains(&v) && !self.free.contains(&v) {
            self.free.push(v);
        }
    }

    /// Gives the value of an op to those who want it as a result, and its register back if nothing else reads it.
    fn hand_over(&mut self, at: usize, take: &mut dyn FnMut(&mut Asm, usize, V)) {
        let Some(v) = self.values[at] else { return };
        let mine = |r: &Ref| usize::from(r.0) == at;
        for (k, _) in self.program.results().iter().enumerate().filter(|(_, r)| mine(r)) {
            take(self.asm, k, v);
        }
        if self.plan.last[at] <= at {
            self.values[at] = None;
            self.give_back(v);
        }
    }

    /// Where the value is in memory, if an instruction may read it there: nothing else uses it.
    fn in_memory(&self, r: Ref) -> Option<Mem> {
        let index = usize::from(r.0);
        let Op::Input(k, _) = self.program.ops()[index] else { return None };
        match self.inputs[usize::from(k)] {
            Input::Lanes(from, Lanes::All) if self.values[index].is_none() && self.ends(r) => Some(from),
            _ => None,
        }
    }

    /// What an instruction may read in memory: an operand that nothing else uses, or a constant that no register holds.
    fn last_operand(&self, r: Ref) -> Option<Rm> {
        let index = usize::from(r.0);
        match word_of(&self.program.ops()[index]) {
            Some(bits) => {
                let held = self.values[index].is_some() || self.words.iter().any(|(w, _)| *w == bits);
                let read_once = !held && bits != 0 && !self.plan.again(self.program, self.at, r);
                read_once.then_some(Rm::Word(bits))
            }
            None => self.in_memory(r).map(Rm::Mem),
        }
    }

    /// Whether the value's register is nobody's after this op.
    fn ends(&self, r: Ref) -> bool {
        let index = usize::from(r.0);
        if self.values[index].is_some_and(|v| self.kept.contains(&v)) {
            return false;
        }
        if constant(&self.program.ops()[index]) {
            return !self.plan.again(self.program, self.at, r);
        }
        self.plan.last[index] <= self.at
    }

    /// Gives back the registers of operands that end here, but for `kept`.
    fn release(&mut self, op: &Op, kept: V) {
        for r in self.plan.operands(self.program, op) {
            let index = usize::from(r.0);
            let Some(v) = self.values[index] else { continue };
            if self.ends(r) {
                self.values[index] = None;
                if v != kept {
                    self.give_back(v);
                }
            }
        }
    }

    /// A register for the result: that of an operand that ends here, or a free one.
    fn target(&mut self, operands: &[Ref]) -> V {
        for &r in operands {
            if let (true, Some(v)) = (self.ends(r), self.values[usize::from(r.0)]) {
                return v;
            }
        }
        self.take()
    }

    fn op(&mut self, op: &Op) {
        let result = match *op {
            Op::Input(..) | Op::ConstF32(_) | Op::ConstI32(_) => return,
            Op::Add(a, b) => self.two(Op2::AddF, a, b),
            Op::Sub(a, b) => self.two(Op2::SubF, a, b),
            Op::Mul(a, b) => self.two(Op2::MulF, a, b),
            Op::Div(a, b) => self.two(Op2::DivF, a, b),
            Op::Min(a, b) => self.two(Op2::MinF, a, b),
            Op::Max(a, b) => self.two(Op2::MaxF, a, b),
            Op::And(a, b) => self.two(Op2::And, a, b),
            Op::Or(a, b) => self.two(Op2::Or, a, b),
            Op::Xor(a, b) => self.two(Op2::Xor, a, b),
            Op::IAdd(a, b) => self.two(Op2::AddI, a, b),
            Op::ISub(a, b) => self.two(Op2::SubI, a, b),
            Op::IMul(a, b) => self.two(Op2::MulI, a, b),
            Op::Fma(a, b, c) => self.fma(a, b, c),
            Op::Sqrt(a) => self.one(Op1::Sqrt, a),
            Op::ConvI32ToF32(a) => self.one(Op1::FromInt, a),
            Op::TruncF32ToI32(a) => self.truncate(a),
            Op::Neg(a) => self.with_word(Op2::Xor, a, SIGN),
            Op::Abs(a) => self.with_word(Op2::And, a, !SIGN),
            Op::Not(a) => self.with_word(Op2::Xor, a, u32::MAX),
            Op::Floor(a) => self.round(a, Round::Down),
            Op::Ceil(a) => self.round(a, Round::Up),
            Op::Trunc(a) => self.round(a, Round::Zero),
            Op::Nearest(a) => self.round(a, Round::Nearest),
            Op::Lt(a, b) => self.compare(Cmp::Lt, a, b),
            Op::Le(a, b) => self.compare(Cmp::Le, a, b),
            Op::Eq(a, b) => self.compare(Cmp::Eq, a, b),
            Op::Ne(a, b) => self.compare(Cmp::Ne, a, b),
            Op::Select(m, a, b) => self.select(m, a, b),
            Op::Shl(a, n) => self.shift(Shift::Left, a, n),
            Op::ShrU(a, n) => self.shift(Shift::Right, a, n),
            Op::ShrS(a, n) => self.shift(Shift::RightSigned, a, n),
            Op::Bitcast(a) => {
                let v = self.get(a);
                let to = self.target(&[a]);
                self.asm.copy(to, v);
                to
            }
        };
        self.release(op, result);
        self.values[self.at] = Some(result);
    }

    fn two(&mut self, op: Op2, a: Ref, b: Ref) -> V {
        let commutes =
            matches!(op, Op2::AddF | Op2::MulF | Op2::AddI | Op2::MulI | Op2::And | Op2::Or | Op2::Xor);
        let swap = commutes && self.last_operand(a).is_some() && self.last_operand(b).is_none();
        let (a, b) = if swap { (b, a) } else { (a, b) };
        if let (true, Some(y)) = (a != b, self.last_operand(b)) {
            let x = self.get(a);
            let to = self.target(&[a]);
            self.asm.op2(op, to, x, y);
            return to;
        }
        let (x, y) = (self.get(a), self.get(b));
        let to = self.target(&[a, b]);
        self.asm.op2(op, to, x, y);
        to
    }

    fn one(&mut self, op: Op1, a: Ref) -> V {
        let x = self.get(a);
        let to = self.target(&[a]);
        self.asm.op1(op, to, x);
        to
    }

    fn with_word(&mut self, op: Op2, a: Ref, bits: u32) -> V {
        let x = self.get(a);
        let to = self.target(&[a]);
        let held = self.words.iter().find(|(w, _)| *w == bits).map(|(_, v)| *v);
        self.asm.op2(op, to, x, held.map_or(Rm::Word(bits), Rm::Reg));
        to
    }

    fn round(&mut self, a: Ref, way: Round) -> V {
        let x = self.get(a);
        let to = self.target(&[a]);
        self.asm.round(to, x, way);
        to
    }

    fn shift(&mut self, way: Shift, a: Ref, count: u8) -> V {
        let x = self.get(a);
        let to = self.target(&[a]);
        self.asm.shift(way, to, x, count);
        to
    }

    fn fma(&mut self, a: Ref, b: Ref, c: Ref) -> V {
        if let Some(to) = self.fma_with_memory(a, b, c) {
            return to;
        }
        let (x, y, z) = (self.get(a), self.get(b), self.get(c));
        // The sum's register is overwritten, or a multiplicand's, or a copy.
        let ends = |run: &Self, r: Ref, others: [V; 2]| {
            run.ends(r) && run.values[usize::from(r.0)].is_some_and(|v| !others.contains(&v))
        };
        if ends(self, c, [x, y]) {
            self.asm.fma(z, x, y, Lanes::All);
            z
        } else if ends(self, a, [y, z]) {
            self.asm.fma_over_a(x, y, z);
            x
        } else if ends(self, b, [x, z]) {
            self.asm.fma_over_a(y, x, z);
            y
        } else {
            let to = self.take();
            self.asm.copy(to, z);
            self.asm.fma(to, x, y, Lanes::All);
            to
        }
    }

    /// The same with an operand in memory, if that costs no copy.
    fn fma_with_memory(&mut self, a: Ref, b: Ref, c: Ref) -> Option<V> {
        if a == b || b == c || a == c {
            return None;
        }
        let held = |run: &Self, r: Ref| run.values[usize::from(r.0)].is_some() && run.ends(r);
        // A constant that no register holds gets one of its own.
        let fresh = matches!(self.last_operand(c), Some(Rm::Word(_)));
        for (m, other) in [(a, b), (b, a)] {
            if let (Some(from), true) = (self.last_operand(m), fresh || held(self, c)) {
                let (z, y) = (self.get(c), self.get(other));
                if y != z {
                    self.asm.fma(z, y, from, Lanes::All);
                    return Some(z);
                }
            }
        }
        for (over, other) in [(a, b), (b, a)] {
            if let (Some(from), true) = (self.last_operand(c), held(self, over)) {
                let (x, y) = (self.get(over), self.get(other));
                if x != y {
                    self.asm.fma_over_a(x, y, from);
                    return Some(x);
                }
            }
        }
        None
    }

    fn compare(&mut self, cmp: Cmp, a: Ref, b: Ref) -> V {
        let (x, y) = (self.get(a), self.get(b));
        let to = self.target(&[a, b]);
        if self.program.lane_type(a) == LaneType::F32 {
            self.asm.compare(cmp, to, x, y);
            return to;
        }
        match cmp {
            Cmp::Eq => self.asm.compare_int(true, to, x, y),
            Cmp::Lt => self.asm.compare_int(false, to, y, x),
            Cmp::Le | Cmp::Ne => {
                // The complement of what there is an instruction for.
                self.asm.compare_int(cmp == Cmp::Ne, to, x, y);
                let ones = self.word(u32::MAX);
                self.asm.op2(Op2::Xor, to, to, ones);
                self.give_back(ones);
            }
        }
        to
    }

    fn select(&mut self, m: Ref, a: Ref, b: Ref) -> V {
        if self.plan.fused[usize::from(m.0)] {
            return self.choose(m, a, b);
        }
        let (mask, x, y) = (self.get(m), self.get(a), self.get(b));
        let to = if self.ends(m) && mask != x && mask != y {
            mask
        } else {
            let to = self.take();
            self.asm.copy(to, mask);
            to
        };
        let scratch = self.take();
        self.asm.select(to, x, y, scratch);
        self.free.push(scratch);
        to
    }

    /// A select with the comparison that it is by.
    fn choose(&mut self, m: Ref, a: Ref, b: Ref) -> V {
        let (cmp, x, y) = match self.program.ops()[usize::from(m.0)] {
            Op::Lt(x, y) => (Cmp::Lt, x, y),
            Op::Le(x, y) => (Cmp::Le, x, y),
            Op::Eq(x, y) => (Cmp::Eq, x, y),
            Op::Ne(x, y) => (Cmp::Ne, x, y),
            _ => unreachable!("only comparisons are fused"),
        };
        let (vx, vy, va, vb) = (self.get(x), self.get(y), self.get(a), self.get(b));
        let to = self.take();
        if self.program.lane_type(x) == LaneType::F32 {
            self.asm.choose(cmp, (vx, vy), to, (va, vb), to);
            return to;
        }
        match cmp {
            Cmp::Eq => self.asm.choose_int(true, (vx, vy), to, (va, vb), to),
            Cmp::Lt => self.asm.choose_int(false, (vy, vx), to, (va, vb), to),
            // The other way round.
            Cmp::Ne => self.asm.choose_int(true, (vx, vy), to, (vb, va), to),
            Cmp::Le => self.asm.choose_int(false, (vx, vy), to, (vb, va), to),
        }
        to
    }

    /// The instruction gives the least i32 for all that does not fit: what is too great becomes the greatest, and what
    /// is no number 0.
    fn truncate(&mut self, a: Ref) -> V {
        let x = self.get(a);
        let (to, other) = (self.take(), self.take());
        self.asm.op1(Op1::ToInt, to, x);
        self.asm.constant(other, TOO_GREAT);
        self.asm.compare(Cmp::Le, other, other, x);
        self.asm.op2(Op2::Xor, to, to, other);
        self.asm.compare(Cmp::Eq, other, x, x);
        self.asm.op2(Op2::And, to, to, other);
        self.free.push(other);
        to
    }
}
