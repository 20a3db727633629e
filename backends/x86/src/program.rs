//! program - vector programs in registers: straight-line code with registers given out as values begin and end to live.
//!
//! Constants are read from the pool where they are used and operands from memory where they are first used, so only what
//! is computed holds a register.

use nnc_tile::program::{LaneType, Op, Ref, VectorProgram};

use crate::asm::{Asm, Cmp, Lanes, Mem, Op1, Op2, Round, Shift, V};

/// Where an input of a program is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Input {
    /// In a register that the program may overwrite.
    Own(V),
    /// Neighbours in memory.
    Lanes(Mem, Lanes),
    /// One element in memory, for all lanes.
    Splat(Mem),
}

/// Registers that `emit` needs besides those of the inputs, at most.
pub(crate) fn registers(program: &VectorProgram) -> usize {
    let last = last_uses(program);
    let mut live = 0usize;
    let mut most = 0;
    let mut held = vec![false; program.ops().len()];
    for (at, op) in program.ops().iter().enumerate() {
        if matches!(op, Op::ConstF32(_) | Op::ConstI32(_) | Op::Input(..)) {
            continue;
        }
        for operand in op.operands().map(|r| usize::from(r.0)) {
            if matches!(program.ops()[operand], Op::Input(..)) && !held[operand] {
                held[operand] = true;
                live += 1;
            }
        }
        // The result, constants among the operands, and what the longest sequences use on the way.
        most = most.max(live + 4);
        held[at] = true;
        live += 1;
        let mut ended: Vec<usize> =
            op.operands().map(|r| usize::from(r.0)).filter(|&r| last[r] == at).collect();
        ended.sort_unstable();
        ended.dedup();
        live -= ended.iter().filter(|&&r| held[r]).count();
    }
    most.max(live + 1)
}

fn last_uses(program: &VectorProgram) -> Vec<usize> {
    let mut last = vec![0; program.ops().len()];
    for (at, op) in program.ops().iter().enumerate() {
        for operand in op.operands() {
            last[usize::from(operand.0)] = at;
        }
    }
    for result in program.results() {
        last[usize::from(result.0)] = usize::MAX;
    }
    last
}

/// Emits a program and gives the registers of its results; `free` registers may be used, and those of inputs that are
/// its own. Results that are inputs or constants are in registers, too.
///
/// # Panics
/// If there are fewer free registers than [`registers`] says.
pub(crate) fn emit(asm: &mut Asm, program: &VectorProgram, inputs: &[Input], free: &[V]) -> Vec<V> {
    let mut run = Run {
        asm,
        program,
        inputs,
        last: last_uses(program),
        values: vec![None; program.ops().len()],
        free: free.iter().rev().copied().collect(),
        at: 0,
    };
    for (at, op) in program.ops().iter().enumerate() {
        run.at = at;
        run.op(op);
    }
    run.at = program.ops().len();
    program.results().iter().map(|&r| run.get(r)).collect()
}

struct Run<'a> {
    asm: &'a mut Asm,
    program: &'a VectorProgram,
    inputs: &'a [Input],
    last: Vec<usize>,
    /// The register of each value that has one.
    values: Vec<Option<V>>,
    free: Vec<V>,
    at: usize,
}

impl Run<'_> {
    fn take(&mut self) -> V {
        self.free.pop().expect("as many registers as the program needs are free")
    }

    /// A register with the value, which other values may share: it is not overwritten.
    fn get(&mut self, r: Ref) -> V {
        let index = usize::from(r.0);
        if let Some(v) = self.values[index] {
            return v;
        }
        let v = match self.program.ops()[index] {
            Op::Input(k, _) => match self.inputs[usize::from(k)] {
                Input::Own(v) => v,
                Input::Lanes(from, lanes) => {
                    let v = self.take();
                    self.asm.load(v, from, lanes);
                    v
                }
                Input::Splat(from) => {
                    let v = self.take();
                    self.asm.broadcast(v, from);
                    v
                }
            },
            Op::ConstF32(bits) => self.word(bits),
            Op::ConstI32(x) => self.word(x.cast_unsigned()),
            _ => unreachable!("operands come before what uses them"),
        };
        self.values[index] = Some(v);
        v
    }

    fn word(&mut self, bits: u32) -> V {
        let v = self.take();
        self.asm.constant(v, bits);
        v
    }

    /// Whether the value's register is nobody's after this op.
    fn ends(&self, r: Ref) -> bool {
        let index = usize::from(r.0);
        let constant = matches!(self.program.ops()[index], Op::ConstF32(_) | Op::ConstI32(_));
        constant || self.last[index] <= self.at
    }

    /// Gives back the registers of operands that end here, but for `kept`.
    fn release(&mut self, op: &Op, kept: V) {
        for r in op.operands() {
            let index = usize::from(r.0);
            let Some(v) = self.values[index] else { continue };
            if self.ends(r) {
                self.values[index] = None;
                if v != kept && !self.free.contains(&v) {
                    self.free.push(v);
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
            Op::Neg(a) => self.with_word(Op2::Xor, a, 0x8000_0000),
            Op::Abs(a) => self.with_word(Op2::And, a, 0x7fff_ffff),
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
        let (x, word) = (self.get(a), self.word(bits));
        self.asm.op2(op, word, x, word);
        word
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
                self.free.push(ones);
            }
        }
        to
    }

    fn select(&mut self, m: Ref, a: Ref, b: Ref) -> V {
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

    /// The instruction gives the least i32 for all that does not fit: what is too great becomes the greatest, and what
    /// is no number 0.
    fn truncate(&mut self, a: Ref) -> V {
        let x = self.get(a);
        let (to, other) = (self.take(), self.take());
        self.asm.op1(Op1::ToInt, to, x);
        self.asm.constant(other, 2_147_483_648f32.to_bits());
        self.asm.compare(Cmp::Le, other, other, x);
        self.asm.op2(Op2::Xor, to, to, other);
        self.asm.compare(Cmp::Eq, other, x, x);
        self.asm.op2(Op2::And, to, to, other);
        self.free.push(other);
        to
    }
}
