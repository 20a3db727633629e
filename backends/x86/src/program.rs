//! program - vector programs in registers: straight-line code with registers given out as values begin and end to live.
//!
//! Constants are read from the pool where they are used, by the instruction itself if it can, unless registers hold them, and
//! operands from memory where they are first used, so only what is computed holds a register. A constant that the next
//! instruction reads as well, as that of another vector does, is loaded once for both. A comparison that decides one
//! select is made with it.

mod ops;
mod plan;
mod scaled;

pub(crate) use self::plan::{reads_first, registers, steps, words};

use nnc_tile::program::{Op, Ref, VectorProgram};

use self::plan::{Plan, constant, leaf, word_of};
use crate::{
    Level,
    asm::{Asm, Lanes, Mem, Rm, V, elements::Bytes},
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
    let (level, handed) = (asm.level, matches!(results, Results::Handed(_)));
    let mut run = Run {
        asm,
        program,
        inputs,
        words,
        kept: words.iter().map(|(_, v)| *v).chain(kept_inputs).collect(),
        plan: Plan::of(level, program, handed),
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

    /// Gives back the registers of operands that end at this op, but for `kept`.
    fn release(&mut self, kept: V) {
        for r in self.plan.operands(self.program, self.at) {
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
}
