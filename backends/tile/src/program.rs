//! program - vector programs: straight-line pointwise arithmetic over f32 and i32 lanes.
//!
//! A program is in SSA form: an op refers to earlier ops by [`Ref`], and pushing an op that is already there
//! returns the earlier one. All lanes are independent, so one program describes any vector width and the scalar case
//! alike. The epilogue of a tile kernel is a program whose input 0 is the accumulator.
//!
//! Numbers: every f32 op rounds once, to nearest even, denormals kept. `Min` and `Max` return their *second* operand
//! when the operands are equal or unordered, as `minps` and `maxps` do. Comparisons give an i32 mask, all ones or all
//! zeros; an unordered comparison is false, except `Ne`. `Select` is bitwise. Which NaN an arithmetic op returns
//! (sign and payload) is unspecified; `Neg`, `Abs`, `Select` and `Bitcast` move bits and are exact for NaN too.

use std::fmt;

/// Type of the lanes of one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LaneType {
    /// IEEE 754 binary32.
    F32,
    /// 32-bit two's complement integer; also the type of masks.
    I32,
}

/// A value of a program: the result of one of its ops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ref(pub u16);

/// One op. Floats are held as bits, so that equality and hash are those of the program's meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Op {
    /// The n-th input of the program, with its lane type.
    Input(u16, LaneType),
    /// The same f32 in every lane, by its bits.
    ConstF32(u32),
    /// The same i32 in every lane.
    ConstI32(i32),
    /// f32 `a + b`.
    Add(Ref, Ref),
    /// f32 `a - b`.
    Sub(Ref, Ref),
    /// f32 `a * b`.
    Mul(Ref, Ref),
    /// f32 `a / b`.
    Div(Ref, Ref),
    /// f32 `a < b ? a : b`.
    Min(Ref, Ref),
    /// f32 `a > b ? a : b`.
    Max(Ref, Ref),
    /// f32 `a * b + c`, rounded once.
    Fma(Ref, Ref, Ref),
    /// f32 square root.
    Sqrt(Ref),
    /// f32 with the sign bit flipped.
    Neg(Ref),
    /// f32 with the sign bit cleared.
    Abs(Ref),
    /// f32 rounded towards minus infinity.
    Floor(Ref),
    /// f32 rounded towards plus infinity.
    Ceil(Ref),
    /// f32 rounded towards zero.
    Trunc(Ref),
    /// f32 rounded to nearest, ties to even.
    Nearest(Ref),
    /// Mask of `a < b`; operands both f32 or both i32 (signed).
    Lt(Ref, Ref),
    /// Mask of `a <= b`; operands both f32 or both i32 (signed).
    Le(Ref, Ref),
    /// Mask of `a == b`; operands both f32 or both i32.
    Eq(Ref, Ref),
    /// Mask of `a != b`; operands both f32 or both i32.
    Ne(Ref, Ref),
    /// Bits of `a` where the mask has ones, of `b` elsewhere; `a` and `b` of one type, the mask i32.
    Select(Ref, Ref, Ref),
    /// i32 bitwise and.
    And(Ref, Ref),
    /// i32 bitwise or.
    Or(Ref, Ref),
    /// i32 bitwise exclusive or.
    Xor(Ref, Ref),
    /// i32 bitwise complement.
    Not(Ref),
    /// i32 shifted left by a constant below 32.
    Shl(Ref, u8),
    /// i32 shifted right by a constant below 32, zeros entering.
    ShrU(Ref, u8),
    /// i32 shifted right by a constant below 32, the sign entering.
    ShrS(Ref, u8),
    /// i32 `a + b`, wrapping.
    IAdd(Ref, Ref),
    /// i32 `a - b`, wrapping.
    ISub(Ref, Ref),
    /// i32 `a * b`, wrapping.
    IMul(Ref, Ref),
    /// The same bits with the other lane type.
    Bitcast(Ref),
    /// i32 to the nearest f32, ties to even.
    ConvI32ToF32(Ref),
    /// f32 to i32 towards zero, saturating; NaN gives 0.
    TruncF32ToI32(Ref),
}

impl Op {
    /// Operands, in order.
    pub fn operands(&self) -> impl Iterator<Item = Ref> + use<> {
        let list = match *self {
            Op::Input(..) | Op::ConstF32(_) | Op::ConstI32(_) => [None; 3],
            Op::Sqrt(a) | Op::Neg(a) | Op::Abs(a) | Op::Floor(a) | Op::Ceil(a) | Op::Trunc(a) => {
                [Some(a), None, None]
            }
            Op::Nearest(a) | Op::Not(a) | Op::Bitcast(a) | Op::ConvI32ToF32(a) => [Some(a), None, None],
            Op::TruncF32ToI32(a) | Op::Shl(a, _) | Op::ShrU(a, _) | Op::ShrS(a, _) => [Some(a), None, None],
            Op::Add(a, b) | Op::Sub(a, b) | Op::Mul(a, b) | Op::Div(a, b) => [Some(a), Some(b), None],
            Op::Min(a, b) | Op::Max(a, b) => [Some(a), Some(b), None],
            Op::Lt(a, b) | Op::Le(a, b) | Op::Eq(a, b) | Op::Ne(a, b) => [Some(a), Some(b), None],
            Op::And(a, b) | Op::Or(a, b) | Op::Xor(a, b) => [Some(a), Some(b), None],
            Op::IAdd(a, b) | Op::ISub(a, b) | Op::IMul(a, b) => [Some(a), Some(b), None],
            Op::Fma(a, b, c) | Op::Select(a, b, c) => [Some(a), Some(b), Some(c)],
        };
        list.into_iter().flatten()
    }

    /// The same op of other operands.
    #[must_use]
    pub fn map_operands(&self, f: impl Fn(Ref) -> Ref) -> Op {
        match *self {
            Op::Input(..) | Op::ConstF32(_) | Op::ConstI32(_) => *self,
            Op::Sqrt(a) => Op::Sqrt(f(a)),
            Op::Neg(a) => Op::Neg(f(a)),
            Op::Abs(a) => Op::Abs(f(a)),
            Op::Floor(a) => Op::Floor(f(a)),
            Op::Ceil(a) => Op::Ceil(f(a)),
            Op::Trunc(a) => Op::Trunc(f(a)),
            Op::Nearest(a) => Op::Nearest(f(a)),
            Op::Not(a) => Op::Not(f(a)),
            Op::Bitcast(a) => Op::Bitcast(f(a)),
            Op::ConvI32ToF32(a) => Op::ConvI32ToF32(f(a)),
            Op::TruncF32ToI32(a) => Op::TruncF32ToI32(f(a)),
            Op::Shl(a, n) => Op::Shl(f(a), n),
            Op::ShrU(a, n) => Op::ShrU(f(a), n),
            Op::ShrS(a, n) => Op::ShrS(f(a), n),
            Op::Add(a, b) => Op::Add(f(a), f(b)),
            Op::Sub(a, b) => Op::Sub(f(a), f(b)),
            Op::Mul(a, b) => Op::Mul(f(a), f(b)),
            Op::Div(a, b) => Op::Div(f(a), f(b)),
            Op::Min(a, b) => Op::Min(f(a), f(b)),
            Op::Max(a, b) => Op::Max(f(a), f(b)),
            Op::Lt(a, b) => Op::Lt(f(a), f(b)),
            Op::Le(a, b) => Op::Le(f(a), f(b)),
            Op::Eq(a, b) => Op::Eq(f(a), f(b)),
            Op::Ne(a, b) => Op::Ne(f(a), f(b)),
            Op::And(a, b) => Op::And(f(a), f(b)),
            Op::Or(a, b) => Op::Or(f(a), f(b)),
            Op::Xor(a, b) => Op::Xor(f(a), f(b)),
            Op::IAdd(a, b) => Op::IAdd(f(a), f(b)),
            Op::ISub(a, b) => Op::ISub(f(a), f(b)),
            Op::IMul(a, b) => Op::IMul(f(a), f(b)),
            Op::Fma(a, b, c) => Op::Fma(f(a), f(b), f(c)),
            Op::Select(m, a, b) => Op::Select(f(m), f(a), f(b)),
        }
    }
}

/// A straight-line program from input vectors to result vectors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct VectorProgram {
    ops: Vec<Op>,
    results: Vec<Ref>,
}

impl VectorProgram {
    /// The program without ops and results.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Ops in the order of evaluation.
    #[must_use]
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// Values the program returns.
    #[must_use]
    pub fn results(&self) -> &[Ref] {
        &self.results
    }

    /// How many inputs a caller must give: one more than the highest input used.
    #[must_use]
    pub fn n_inputs(&self) -> usize {
        self.ops
            .iter()
            .map(|op| if let Op::Input(k, _) = op { usize::from(*k) + 1 } else { 0 })
            .max()
            .unwrap_or(0)
    }

    /// Lane type of input `k`, if the program reads it.
    #[must_use]
    pub fn input_type(&self, k: usize) -> Option<LaneType> {
        self.ops.iter().find_map(|op| match op {
            Op::Input(n, ty) if usize::from(*n) == k => Some(*ty),
            _ => None,
        })
    }

    /// Lane type of a value.
    ///
    /// # Panics
    /// If the value is not of this program.
    #[must_use]
    pub fn lane_type(&self, value: Ref) -> LaneType {
        match self.ops[usize::from(value.0)] {
            Op::Input(_, ty) => ty,
            Op::Select(_, a, _) => self.lane_type(a),
            Op::Bitcast(a) => match self.lane_type(a) {
                LaneType::F32 => LaneType::I32,
                LaneType::I32 => LaneType::F32,
            },
            Op::ConstI32(_) | Op::TruncF32ToI32(_) | Op::Not(_) => LaneType::I32,
            Op::Lt(..) | Op::Le(..) | Op::Eq(..) | Op::Ne(..) | Op::And(..) | Op::Or(..) | Op::Xor(..) => {
                LaneType::I32
            }
            Op::Shl(..) | Op::ShrU(..) | Op::ShrS(..) | Op::IAdd(..) | Op::ISub(..) | Op::IMul(..) => {
                LaneType::I32
            }
            Op::ConstF32(_) | Op::ConvI32ToF32(_) | Op::Fma(..) | Op::Sqrt(_) | Op::Neg(_) | Op::Abs(_) => {
                LaneType::F32
            }
            Op::Add(..) | Op::Sub(..) | Op::Mul(..) | Op::Div(..) | Op::Min(..) | Op::Max(..) => {
                LaneType::F32
            }
            Op::Floor(_) | Op::Ceil(_) | Op::Trunc(_) | Op::Nearest(_) => LaneType::F32,
        }
    }

    /// Appends an op, or finds the equal one that is already there.
    ///
    /// # Panics
    /// If an operand is not of this program or has a type the op does not take, if a shift is 32 or more, or if the
    /// program would exceed 65536 ops.
    pub fn push(&mut self, op: Op) -> Ref {
        if let Some(idx) = self.ops.iter().position(|o| *o == op) {
            return Ref(u16::try_from(idx).expect("indices of existing ops fit, as push checks"));
        }
        self.check(&op);
        let idx = u16::try_from(self.ops.len()).expect("a vector program has at most 65536 ops");
        self.ops.push(op);
        Ref(idx)
    }

    /// Appends input `k` of f32 lanes.
    pub fn input(&mut self, k: u16) -> Ref {
        self.push(Op::Input(k, LaneType::F32))
    }

    /// Appends an f32 constant.
    pub fn f32(&mut self, value: f32) -> Ref {
        self.push(Op::ConstF32(value.to_bits()))
    }

    /// Appends an i32 constant.
    pub fn i32(&mut self, value: i32) -> Ref {
        self.push(Op::ConstI32(value))
    }

    /// Declares a value to be the next result.
    ///
    /// # Panics
    /// If the value is not of this program.
    pub fn result(&mut self, value: Ref) {
        assert!(usize::from(value.0) < self.ops.len(), "result is a value of the program");
        self.results.push(value);
    }

    fn check(&self, op: &Op) {
        use LaneType::{F32, I32};
        let types: Vec<LaneType> = op.operands().map(|r| self.lane_type(r)).collect();
        let good = match op {
            Op::Input(..) | Op::ConstF32(_) | Op::ConstI32(_) | Op::Bitcast(_) => true,
            Op::Lt(..) | Op::Le(..) | Op::Eq(..) | Op::Ne(..) => types[0] == types[1],
            Op::Select(..) => types[0] == I32 && types[1] == types[2],
            Op::Shl(_, n) | Op::ShrU(_, n) | Op::ShrS(_, n) => types[0] == I32 && *n < 32,
            Op::And(..) | Op::Or(..) | Op::Xor(..) | Op::Not(_) => types.iter().all(|t| *t == I32),
            Op::IAdd(..) | Op::ISub(..) | Op::IMul(..) | Op::ConvI32ToF32(_) => {
                types.iter().all(|t| *t == I32)
            }
            Op::Add(..)
            | Op::Sub(..)
            | Op::Mul(..)
            | Op::Div(..)
            | Op::Min(..)
            | Op::Max(..)
            | Op::Fma(..) => types.iter().all(|t| *t == F32),
            Op::Sqrt(_)
            | Op::Neg(_)
            | Op::Abs(_)
            | Op::Floor(_)
            | Op::Ceil(_)
            | Op::Trunc(_)
            | Op::Nearest(_) => types[0] == F32,
            Op::TruncF32ToI32(_) => types[0] == F32,
        };
        assert!(good, "{op:?} does not take operands of types {types:?}");
    }

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
    fn equal_ops_are_one_value() {
        let mut p = VectorProgram::new();
        let x = p.input(0);
        assert_eq!(p.push(Op::Add(x, x)), p.push(Op::Add(x, x)));
        assert_ne!(p.f32(0.0), p.f32(-0.0));
    }

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

    #[test]
    #[should_panic(expected = "does not take operands")]
    fn types_are_checked() {
        let mut p = VectorProgram::new();
        let (x, n) = (p.input(0), p.i32(1));
        p.push(Op::Add(x, n));
    }
}
