//! op - what a vector program is made of: operations on lanes, and the values they read.

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
