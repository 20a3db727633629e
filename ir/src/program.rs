//! program - scalar programs: what a loop computes for one element, in primitives only.
//!
//! A program is straight-line SSA over single elements of compute types (never `f16`, `bf16`). Every primitive has one
//! meaning, given here, that the evaluator and every backend follow bit for bit; transcendental functions are spelt in
//! primitives by [`crate::math`].

use rustc_hash::FxHashMap;

use crate::{
    dtype::{DType, Scalar},
    form::Ix,
};

/// How many operations a division or a square root counts as.
pub const DIVISION: i64 = 4;

/// A value of a program: the position of its instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ref(pub u32);

impl Ref {
    /// Position of the instruction.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Operations on one element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unary {
    /// Floats: flips the sign bit; integers: wraps.
    Neg,
    /// Floats: clears the sign bit; signed integers: wraps at the least value.
    Abs,
    /// IEEE 754 square root.
    Sqrt,
    /// Towards minus infinity.
    Floor,
    /// Towards plus infinity.
    Ceil,
    /// Towards zero.
    Trunc,
    /// To the nearest integer, ties to even.
    Nearest,
    /// `bool`: negation; integers: every bit flipped.
    Not,
}

/// Operations on two elements of one type. Comparisons give `bool`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Binary {
    /// IEEE, or wrapping.
    Add,
    /// IEEE, or wrapping.
    Sub,
    /// IEEE, or wrapping.
    Mul,
    /// IEEE; integers: towards zero, `x / 0 = 0`, least / -1 wraps.
    Div,
    /// Integers only: `a - a / b * b` with the division above, and `x rem 0 = 0`.
    Rem,
    /// `a > b ? a : b`, so `b` where either is NaN.
    Max,
    /// `a < b ? a : b`, so `b` where either is NaN.
    Min,
    /// `bool` and integers.
    And,
    /// `bool` and integers.
    Or,
    /// `bool` and integers.
    Xor,
    /// Integers; a count outside `0..width` gives 0.
    Shl,
    /// Integers, filling with zeros; a count outside `0..width` gives 0.
    ShrU,
    /// Integers, filling with the sign bit; a count outside `0..width` counts as `width - 1`.
    ShrS,
    /// Equal; false where either is NaN.
    Eq,
    /// Not equal; true where either is NaN.
    Ne,
    /// Less; false where either is NaN.
    Lt,
    /// Less or equal; false where either is NaN.
    Le,
}

impl Binary {
    /// Whether the result is `bool` whatever the operands are.
    #[must_use]
    pub fn is_comparison(self) -> bool {
        matches!(self, Binary::Eq | Binary::Ne | Binary::Lt | Binary::Le)
    }
}

/// One instruction. Operands come before it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Inst {
    /// The element that load number `.0` of the form reads, at its compute type.
    Load(usize),
    /// In `finish` programs: the value of accumulator number `.0`.
    Acc(usize),
    /// An index expression, as `i64`.
    Index(Ix),
    /// A constant.
    Const(Scalar),
    /// One operand.
    Unary(Unary, Ref),
    /// Two operands of one type.
    Binary(Binary, Ref, Ref),
    /// `a * b + c`, rounded once (floats only).
    Fma(Ref, Ref, Ref),
    /// `a * b + c`: rounded once where the target has an instruction for that, as [`MulAdds::Fused`] says; elsewhere a
    /// product and a sum that each round, [`MulAdds::Separate`] (floats only). [`Program::settled`] decides.
    MulAdd(Ref, Ref, Ref),
    /// The second operand where the first, a `bool`, is true; else the third.
    Select(Ref, Ref, Ref),
    /// Conversion: float to float rounds to nearest even; integer to float likewise; float to integer truncates,
    /// saturates, NaN gives 0; integer to integer wraps; anything to `bool` is `x != 0`; `bool` to number is 0 or 1.
    Cast(DType, Ref),
    /// The same bits as another type of the same width.
    Bitcast(DType, Ref),
}

/// How a target does [`Inst::MulAdd`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MulAdds {
    /// In one instruction, rounded once. The evaluator's way.
    Fused,
    /// By a multiplication and an addition.
    Separate,
}

/// A scalar program with its results.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Program {
    insts: Vec<(Inst, DType)>,
    /// What the program computes, in order.
    pub results: Vec<Ref>,
}

impl Program {
    /// Instructions with the types of their values, in order.
    #[must_use]
    pub fn insts(&self) -> &[(Inst, DType)] {
        &self.insts
    }
    /// Type of a value.
    #[must_use]
    pub fn dtype(&self, r: Ref) -> DType {
        self.insts[r.index()].1
    }
    /// Types of the results.
    pub fn result_dtypes(&self) -> impl Iterator<Item = DType> {
        self.results.iter().map(|&r| self.dtype(r))
    }
    /// Scalar operations of one evaluation: a multiply-add counts twice, a division or root as often as [`DIVISION`] says.
    #[must_use]
    pub fn operations(&self) -> i64 {
        let one = |inst: &Inst| match inst {
            Inst::Load(_) | Inst::Acc(_) | Inst::Index(_) | Inst::Const(_) | Inst::Bitcast(..) => 0,
            Inst::Fma(..) | Inst::MulAdd(..) => 2,
            Inst::Binary(Binary::Div | Binary::Rem, ..) | Inst::Unary(Unary::Sqrt, _) => DIVISION,
            Inst::Unary(..) | Inst::Binary(..) | Inst::Select(..) | Inst::Cast(..) => 1,
        };
        self.insts.iter().map(|(inst, _)| one(inst)).sum()
    }

    /// The same program for a target: without [`Inst::MulAdd`].
    #[must_use]
    pub fn settled(&self, mul_adds: MulAdds) -> Program {
        if !self.insts.iter().any(|(inst, _)| matches!(inst, Inst::MulAdd(..))) {
            return self.clone();
        }
        let mut b = Builder::new();
        let mut map: Vec<Ref> = Vec::with_capacity(self.insts.len());
        for (inst, dtype) in &self.insts {
            let r = match (inst.map_refs(|r| map[r.index()]), mul_adds) {
                (Inst::MulAdd(x, y, z), MulAdds::Fused) => b.fma(x, y, z),
                (Inst::MulAdd(x, y, z), MulAdds::Separate) => {
                    let product = b.mul(x, y);
                    b.add(product, z)
                }
                (inst, _) => b.push(inst, *dtype),
            };
            map.push(r);
        }
        b.finish(self.results.iter().map(|r| map[r.index()]).collect::<Vec<_>>())
    }

    /// The program with its index expressions replaced.
    #[must_use]
    pub fn map_indices(&self, index: &dyn Fn(&Ix) -> Ix) -> Program {
        let mut b = Builder::new();
        let results = b.splice(self, &mut |b, inst, dtype| match inst {
            Inst::Index(ix) => b.index(index(ix)),
            other => b.push(other.clone(), dtype),
        });
        b.finish(results)
    }

    /// The instruction of a value.
    #[must_use]
    pub fn inst(&self, r: Ref) -> &Inst {
        &self.insts[r.index()].0
    }
}

/// Builds a program; equal instructions become one.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    program: Program,
    seen: FxHashMap<Inst, Ref>,
}

impl Builder {
    /// An empty program.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The program with `results`, without the instructions that they do not need.
    #[must_use]
    pub fn finish(mut self, results: impl Into<Vec<Ref>>) -> Program {
        self.program.results = results.into();
        prune(&self.program)
    }

    /// Type of a value made so far.
    #[must_use]
    pub fn dtype(&self, r: Ref) -> DType {
        self.program.dtype(r)
    }

    /// Adds any instruction whose value has type `dtype`.
    pub fn push(&mut self, inst: Inst, dtype: DType) -> Ref {
        if let Some(&r) = self.seen.get(&inst) {
            return r;
        }
        let r = Ref(u32::try_from(self.program.insts.len()).expect("programs stay small"));
        self.program.insts.push((inst.clone(), dtype));
        self.seen.insert(inst, r);
        r
    }

    /// The element read by load `k`, of storage type `dtype`.
    pub fn load(&mut self, k: usize, dtype: DType) -> Ref {
        self.push(Inst::Load(k), dtype.compute())
    }
    /// Accumulator `k`.
    pub fn acc(&mut self, k: usize, dtype: DType) -> Ref {
        self.push(Inst::Acc(k), dtype.compute())
    }
    /// An index expression as `i64`.
    pub fn index(&mut self, ix: Ix) -> Ref {
        self.push(Inst::Index(ix), DType::I64)
    }
    /// A constant.
    pub fn constant(&mut self, c: Scalar) -> Ref {
        self.push(Inst::Const(c), c.dtype)
    }
    /// An `f32` constant.
    pub fn f32(&mut self, x: f32) -> Ref {
        self.constant(Scalar::f32(x))
    }
    /// The number `x` in the type of `like`.
    pub fn num(&mut self, like: Ref, x: f64) -> Ref {
        let dtype = self.dtype(like);
        self.constant(if dtype.is_float() { Scalar::float(dtype, x) } else { Scalar::int(dtype, x as i64) })
    }
    /// One operand.
    pub fn unary(&mut self, op: Unary, a: Ref) -> Ref {
        self.push(Inst::Unary(op, a), self.dtype(a))
    }
    /// Two operands of one type.
    pub fn binary(&mut self, op: Binary, a: Ref, b: Ref) -> Ref {
        debug_assert_eq!(self.dtype(a), self.dtype(b), "{op:?}");
        let dtype = if op.is_comparison() { DType::Bool } else { self.dtype(a) };
        self.push(Inst::Binary(op, a, b), dtype)
    }
    /// `a + b`.
    pub fn add(&mut self, a: Ref, b: Ref) -> Ref {
        self.binary(Binary::Add, a, b)
    }
    /// `a - b`.
    pub fn sub(&mut self, a: Ref, b: Ref) -> Ref {
        self.binary(Binary::Sub, a, b)
    }
    /// `a * b`.
    pub fn mul(&mut self, a: Ref, b: Ref) -> Ref {
        self.binary(Binary::Mul, a, b)
    }
    /// `a / b`.
    pub fn div(&mut self, a: Ref, b: Ref) -> Ref {
        self.binary(Binary::Div, a, b)
    }
    /// `a > b ? a : b`.
    pub fn max(&mut self, a: Ref, b: Ref) -> Ref {
        self.binary(Binary::Max, a, b)
    }
    /// `a < b ? a : b`.
    pub fn min(&mut self, a: Ref, b: Ref) -> Ref {
        self.binary(Binary::Min, a, b)
    }
    /// `a < b`.
    pub fn lt(&mut self, a: Ref, b: Ref) -> Ref {
        self.binary(Binary::Lt, a, b)
    }
    /// `a <= b`.
    pub fn le(&mut self, a: Ref, b: Ref) -> Ref {
        self.binary(Binary::Le, a, b)
    }
    /// `a == b`.
    pub fn eq(&mut self, a: Ref, b: Ref) -> Ref {
        self.binary(Binary::Eq, a, b)
    }
    /// `a * b + c`, rounded once.
    pub fn fma(&mut self, a: Ref, b: Ref, c: Ref) -> Ref {
        self.push(Inst::Fma(a, b, c), self.dtype(a))
    }
    /// `a * b + c`, rounded as often as the target does it.
    pub fn mul_add(&mut self, a: Ref, b: Ref, c: Ref) -> Ref {
        self.push(Inst::MulAdd(a, b, c), self.dtype(a))
    }
    /// `c ? a : b`.
    pub fn select(&mut self, c: Ref, a: Ref, b: Ref) -> Ref {
        self.push(Inst::Select(c, a, b), self.dtype(a))
    }
    /// Conversion to `dtype` (no instruction where it is that already).
    pub fn cast(&mut self, dtype: DType, a: Ref) -> Ref {
        if self.dtype(a) == dtype.compute() {
            a
        } else {
            self.push(Inst::Cast(dtype.compute(), a), dtype.compute())
        }
    }
    /// The same bits as `dtype`.
    pub fn bitcast(&mut self, dtype: DType, a: Ref) -> Ref {
        self.push(Inst::Bitcast(dtype, a), dtype)
    }

    /// Copies `program` in, with loads, accumulators and index expressions translated by `leaf`, and gives its results.
    ///
    /// `leaf` returns the value that stands for a leaf instruction.
    pub fn splice(
        &mut self,
        program: &Program,
        leaf: &mut dyn FnMut(&mut Self, &Inst, DType) -> Ref,
    ) -> Vec<Ref> {
        let mut map: Vec<Ref> = Vec::with_capacity(program.insts.len());
        for (inst, dtype) in &program.insts {
            let r = match inst {
                Inst::Load(_) | Inst::Acc(_) | Inst::Index(_) => leaf(self, inst, *dtype),
                _ => self.push(inst.map_refs(|r| map[r.index()]), *dtype),
            };
            map.push(r);
        }
        program.results.iter().map(|r| map[r.index()]).collect()
    }
}

impl Inst {
    /// The values it reads.
    #[must_use]
    pub fn refs(&self) -> Vec<Ref> {
        match *self {
            Inst::Load(_) | Inst::Acc(_) | Inst::Index(_) | Inst::Const(_) => vec![],
            Inst::Unary(_, a) | Inst::Cast(_, a) | Inst::Bitcast(_, a) => vec![a],
            Inst::Binary(_, a, b) => vec![a, b],
            Inst::Fma(a, b, c) | Inst::MulAdd(a, b, c) | Inst::Select(a, b, c) => vec![a, b, c],
        }
    }
    /// The same instruction reading other values.
    #[must_use]
    pub fn map_refs(&self, mut f: impl FnMut(Ref) -> Ref) -> Inst {
        match self {
            Inst::Unary(op, a) => Inst::Unary(*op, f(*a)),
            Inst::Cast(d, a) => Inst::Cast(*d, f(*a)),
            Inst::Bitcast(d, a) => Inst::Bitcast(*d, f(*a)),
            Inst::Binary(op, a, b) => Inst::Binary(*op, f(*a), f(*b)),
            Inst::Fma(a, b, c) => Inst::Fma(f(*a), f(*b), f(*c)),
            Inst::MulAdd(a, b, c) => Inst::MulAdd(f(*a), f(*b), f(*c)),
            Inst::Select(a, b, c) => Inst::Select(f(*a), f(*b), f(*c)),
            leaf => leaf.clone(),
        }
    }
}

fn prune(program: &Program) -> Program {
    let mut live = vec![false; program.insts.len()];
    for r in &program.results {
        live[r.index()] = true;
    }
    for i in (0..program.insts.len()).rev() {
        if live[i] {
            for r in program.insts[i].0.refs() {
                live[r.index()] = true;
            }
        }
    }
    let mut map = vec![Ref(0); program.insts.len()];
    let mut out = Program::default();
    for (i, (inst, dtype)) in program.insts.iter().enumerate() {
        if live[i] {
            map[i] = Ref(u32::try_from(out.insts.len()).expect("not more than before"));
            out.insts.push((inst.map_refs(|r| map[r.index()]), *dtype));
        }
    }
    out.results = program.results.iter().map(|r| map[r.index()]).collect();
    out
}
