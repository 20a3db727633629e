//! operands - what instructions are given: registers, places in memory, lanes, and the operations that have several encodings.

use iced_x86::{MemoryOperand, Register};

/// A vector register by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct V(pub(crate) u8);

/// A mask register by its number, 1 to 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct K(pub(crate) u8);

/// A place in the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Label(pub(super) usize);

/// Address of a memory operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mem {
    pub(crate) base: Register,
    /// A register and what it is multiplied by: 1, 2, 4 or 8.
    pub(crate) index: Option<(Register, u32)>,
    /// Bytes.
    pub(crate) disp: i64,
}

impl Mem {
    /// `base + disp`.
    pub(crate) fn at(base: Register, disp: i64) -> Self {
        Mem { base, index: None, disp }
    }

    /// The same, further on.
    pub(crate) fn plus(self, bytes: i64) -> Self {
        Mem { disp: self.disp + bytes, ..self }
    }

    pub(super) fn operand(self) -> MemoryOperand {
        let (index, scale) = self.index.unwrap_or((Register::None, 1));
        // One register and no displacement still needs a size: zero lets the encoder choose.
        let size = u32::from(self.disp != 0);
        MemoryOperand::new(self.base, index, scale, self.disp, size, false, Register::None)
    }
}

/// The last operand of a vector instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rm {
    Reg(V),
    Mem(Mem),
    /// The same word in all lanes, from the constant pool.
    Word(u32),
}

impl From<V> for Rm {
    fn from(v: V) -> Self {
        Rm::Reg(v)
    }
}

impl From<Mem> for Rm {
    fn from(m: Mem) -> Self {
        Rm::Mem(m)
    }
}

/// Which lanes of memory an access touches; others read as zero and are not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lanes {
    All,
    /// Those whose bit is set (AVX-512).
    Mask(K),
    /// Those whose sign bit is set (AVX2).
    Signs(V),
}

/// Operations on two vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op2 {
    AddF,
    SubF,
    MulF,
    DivF,
    /// `a < b ? a : b`.
    MinF,
    /// `a > b ? a : b`.
    MaxF,
    And,
    /// `!a & b`.
    AndNot,
    Or,
    Xor,
    AddI,
    SubI,
    MulI,
    /// Products of 16-bit integers, the two of a lane added.
    MulPairs,
}

/// Operations on one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op1 {
    Sqrt,
    /// i32 to f32.
    FromInt,
    /// f32 to i32 towards zero; what does not fit gives the least i32.
    ToInt,
}

/// Shifts of i32 lanes by a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shift {
    Left,
    /// Zeros enter.
    Right,
    /// The sign enters.
    RightSigned,
}

/// Directions of rounding to a whole number, as instructions encode them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Round {
    Nearest = 0,
    Down = 1,
    Up = 2,
    Zero = 3,
}

/// Comparisons of f32 as instructions encode them; ordered but for `Ne`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cmp {
    Eq = 0,
    Lt = 1,
    Le = 2,
    /// Also true where one is no number.
    Ne = 4,
}

/// The register of a mask.
pub(crate) fn mask_register(k: K) -> Register {
    Register::K0 + u32::from(k.0)
}
