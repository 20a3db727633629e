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

mod eval;
mod op;

pub use eval::Lane;
pub use op::{LaneType, Op, Ref};

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
    #[should_panic(expected = "does not take operands")]
    fn types_are_checked() {
        let mut p = VectorProgram::new();
        let (x, n) = (p.input(0), p.i32(1));
        p.push(Op::Add(x, n));
    }
}
