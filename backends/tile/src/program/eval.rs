//! eval - the meaning of a vector program: its value in one lane.

use std::fmt;

use super::{LaneType, Op, Ref, VectorProgram};

/// One lane of a value.
#[derive(Clone, Copy, Debug)]
pub enum Lane {
    /// A binary32 lane.
    F32(f32),
    /// A 32-bit integer or mask lane.
    I32(i32),
}

impl Lane {
    /// Type of the lane.
    #[must_use]
    pub fn lane_type(self) -> LaneType {
        match self {
            Lane::F32(_) => LaneType::F32,
            Lane::I32(_) => LaneType::I32,
        }
    }

    /// The lane's 32 bits.
    #[must_use]
    pub fn bits(self) -> u32 {
        match self {
            Lane::F32(x) => x.to_bits(),
            Lane::I32(x) => x.cast_unsigned(),
        }
    }

    /// The lane of the given type and bits.
    #[must_use]
    pub fn from_bits(ty: LaneType, bits: u32) -> Self {
        match ty {
            LaneType::F32 => Lane::F32(f32::from_bits(bits)),
            LaneType::I32 => Lane::I32(bits.cast_signed()),
        }
    }

    /// The f32 in the lane.
    ///
    /// # Panics
    /// If the lane is an i32.
    #[must_use]
    pub fn f32(self) -> f32 {
        match self {
            Lane::F32(x) => x,
            Lane::I32(_) => panic!("expected an f32 lane"),
        }
    }

    /// The i32 in the lane.
    ///
    /// # Panics
    /// If the lane is an f32.
    #[must_use]
    pub fn i32(self) -> i32 {
        match self {
            Lane::I32(x) => x,
            Lane::F32(_) => panic!("expected an i32 lane"),
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lane::F32(x) => write!(f, "{x:?} ({:#010x})", x.to_bits()),
            Lane::I32(x) => write!(f, "{x}"),
        }
    }
}

impl VectorProgram {
    /// Evaluates the program for one lane; this is the definition of the ops.
    ///
    /// # Panics
    /// If there are too few inputs or one has the wrong type.
    #[must_use]
    pub fn eval(&self, inputs: &[Lane]) -> Vec<Lane> {
        let values = self.eval_ops(inputs);
        self.results.iter().map(|r| values[usize::from(r.0)]).collect()
    }

    /// Evaluates a program whose inputs and single result are f32.
    ///
    /// # Panics
    /// As [`VectorProgram::eval`], and if the first result is not f32.
    #[must_use]
    pub fn eval_f32(&self, inputs: &[f32]) -> f32 {
        let lanes: Vec<Lane> = inputs.iter().map(|x| Lane::F32(*x)).collect();
        self.eval(&lanes)[0].f32()
    }

    /// Evaluates the program for one lane and returns the value of every op.
    ///
    /// # Panics
    /// As [`VectorProgram::eval`].
    #[must_use]
    pub fn eval_ops(&self, inputs: &[Lane]) -> Vec<Lane> {
        let mut values: Vec<Lane> = Vec::with_capacity(self.ops.len());
        for op in &self.ops {
            let value = eval_op(op, inputs, &values);
            values.push(value);
        }
        values
    }
}

fn eval_op(op: &Op, inputs: &[Lane], values: &[Lane]) -> Lane {
    let lane = |r: Ref| values[usize::from(r.0)];
    let f = |r: Ref| lane(r).f32();
    let i = |r: Ref| lane(r).i32();
    let mask = |cond: bool| Lane::I32(if cond { -1 } else { 0 });
    let compare =
        |a: Ref, b: Ref, on_f32: fn(&f32, &f32) -> bool, on_i32: fn(&i32, &i32) -> bool| match lane(a) {
            Lane::F32(x) => mask(on_f32(&x, &f(b))),
            Lane::I32(x) => mask(on_i32(&x, &i(b))),
        };
    match *op {
        Op::Input(k, ty) => {
            let lane = inputs[usize::from(k)];
            assert!(lane.lane_type() == ty, "input {k} is {ty:?}");
            lane
        }
        Op::ConstF32(bits) => Lane::F32(f32::from_bits(bits)),
        Op::ConstI32(x) => Lane::I32(x),
        Op::Add(a, b) => Lane::F32(f(a) + f(b)),
        Op::Sub(a, b) => Lane::F32(f(a) - f(b)),
        Op::Mul(a, b) => Lane::F32(f(a) * f(b)),
        Op::Div(a, b) => Lane::F32(f(a) / f(b)),
        Op::Min(a, b) => Lane::F32(if f(a) < f(b) { f(a) } else { f(b) }),
        Op::Max(a, b) => Lane::F32(if f(a) > f(b) { f(a) } else { f(b) }),
        Op::Fma(a, b, c) => Lane::F32(f(a).mul_add(f(b), f(c))),
        Op::Sqrt(a) => Lane::F32(f(a).sqrt()),
        Op::Neg(a) => Lane::F32(-f(a)),
        Op::Abs(a) => Lane::F32(f(a).abs()),
        Op::Floor(a) => Lane::F32(f(a).floor()),
        Op::Ceil(a) => Lane::F32(f(a).ceil()),
        Op::Trunc(a) => Lane::F32(f(a).trunc()),
        Op::Nearest(a) => Lane::F32(f(a).round_ties_even()),
        Op::Lt(a, b) => compare(a, b, f32::lt, i32::lt),
        Op::Le(a, b) => compare(a, b, f32::le, i32::le),
        Op::Eq(a, b) => compare(a, b, f32::eq, i32::eq),
        Op::Ne(a, b) => compare(a, b, f32::ne, i32::ne),
        Op::Select(m, a, b) => {
            let m = lane(m).bits();
            Lane::from_bits(lane(a).lane_type(), (lane(a).bits() & m) | (lane(b).bits() & !m))
        }
        Op::And(a, b) => Lane::I32(i(a) & i(b)),
        Op::Or(a, b) => Lane::I32(i(a) | i(b)),
        Op::Xor(a, b) => Lane::I32(i(a) ^ i(b)),
        Op::Not(a) => Lane::I32(!i(a)),
        Op::Shl(a, n) => Lane::I32(i(a) << n),
        Op::ShrU(a, n) => Lane::I32((i(a).cast_unsigned() >> n).cast_signed()),
        Op::ShrS(a, n) => Lane::I32(i(a) >> n),
        Op::IAdd(a, b) => Lane::I32(i(a).wrapping_add(i(b))),
        Op::ISub(a, b) => Lane::I32(i(a).wrapping_sub(i(b))),
        Op::IMul(a, b) => Lane::I32(i(a).wrapping_mul(i(b))),
        Op::Bitcast(a) => match lane(a) {
            Lane::F32(x) => Lane::from_bits(LaneType::I32, x.to_bits()),
            Lane::I32(x) => Lane::from_bits(LaneType::F32, x.cast_unsigned()),
        },
        Op::ConvI32ToF32(a) => Lane::F32(i(a) as f32),
        // A Rust cast saturates and sends NaN to 0.
        Op::TruncF32ToI32(a) => Lane::I32(f(a) as i32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn min_and_max_return_the_second_operand_when_unordered_or_equal() {
        let mut p = VectorProgram::new();
        let (a, b) = (p.input(0), p.input(1));
        let (lo, hi) = (p.push(Op::Min(a, b)), p.push(Op::Max(a, b)));
        p.result(lo);
        p.result(hi);
        for (a, b) in [(f32::NAN, 1.0), (0.0, -0.0), (-0.0, 0.0)] {
            for r in p.eval(&[Lane::F32(a), Lane::F32(b)]) {
                assert_eq!(r.bits(), b.to_bits());
            }
        }
    }
}
