//! ops - the instructions of each op of a program.

use nnc_tile::program::{LaneType, Op, Ref};

use super::{
    Run,
    plan::{SIGN, TOO_GREAT},
};
use crate::asm::{Cmp, Lanes, Op1, Op2, Rm, Round, Shift, V};

impl Run<'_> {
    /// Makes an op; its value has a register from then on.
    pub(super) fn op(&mut self, op: &Op) {
        let result = match *op {
            Op::Input(..) | Op::ConstF32(_) | Op::ConstI32(_) => return,
            Op::Add(a, b) => self.two(Op2::AddF, a, b),
            Op::Sub(a, b) => self.two(Op2::SubF, a, b),
            Op::Mul(a, b) => match self.plan.scaled[self.at] {
                Some(scaled) => self.scale(scaled),
                None => self.two(Op2::MulF, a, b),
            },
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
        self.release(result);
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
