//! scaled - powers of two that are applied in two factors, by the one instruction that AVX-512 has for it.
//!
//! ```text
//!   s = fma(x, k, magic + 254)        n = s - (magic + 254)       bits = s as an integer, its low bits n + 254
//!   half = bits >> 1                  rest = bits - half
//!   fma(p, 2^half, 2^half) * 2^rest   =   (1 + p) * 2^n, `1 + p` rounded, and the product once more
//! ```
//!
//! The two factors have exponents from the low bits, with a bias each. A product with a power of two is exact unless the result is
//! not a normal number, and so is that of the first factor: `1 + p` is added to a half of the power at most. Where the first factor
//! is no normal number it is zero, and the second one so small that the result is zero, too. That holds for `n` from -254 to 128,
//! which `x` has to be bounded for.

use nnc_tile::program::{Op, Ref, VectorProgram};

use super::Run;
use crate::{
    Level,
    asm::{Op2, Rm, V},
};

/// A product that is `(1 + p) * 2^n`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scaled {
    pub(super) p: Ref,
    pub(super) n: Ref,
}

/// 1.5 * 2^23 and two biases of an exponent.
const MAGIC: f32 = 12_583_166.0;
/// Bits of a fraction.
const FRACTION: u8 = 23;

/// For each op, what is scaled by it.
pub(super) fn find(level: Level, program: &VectorProgram) -> Vec<Option<Scaled>> {
    let ops = program.ops();
    let scaled = |op: &Op| match *op {
        Op::Mul(a, b) if level == Level::Avx512 => scaled(program, a, b).or_else(|| scaled(program, b, a)),
        _ => None,
    };
    ops.iter().map(scaled).collect()
}

/// The product of `y`, which is scaled once, and the other factor.
fn scaled(program: &VectorProgram, y: Ref, factor: Ref) -> Option<Scaled> {
    let op = |r: Ref| program.ops()[usize::from(r.0)];
    let Op::Fma(p, first, again) = op(y) else { return None };
    let (half, rest) = (exponent(program, first)?, exponent(program, factor)?);
    let (Op::ShrS(bits, 1), Op::ISub(all, less)) = (op(half), op(rest)) else { return None };
    let Op::Bitcast(s) = op(bits) else { return None };
    let Op::Fma(x, k, magic) = op(s) else { return None };
    let (k, magic_value) = (number(op(k))?, number(op(magic))?);
    let [least, most] = bounds(program, x)?;
    let inside = k > 0.0 && (least * k).round() >= -254.0 && (most * k).round() <= 128.0;
    let same = first == again && bits == all && half == less;
    if !same || !inside || magic_value.to_bits() != MAGIC.to_bits() || matches!(op(p), Op::Input(..)) {
        return None;
    }
    let whole = |o: &Op| matches!(*o, Op::Sub(a, b) if a == s && number(op(b)) == Some(MAGIC));
    let n = program.ops()[..usize::from(y.0)].iter().position(whole)?;
    Some(Scaled { p, n: Ref(u16::try_from(n).ok()?) })
}

/// The integer that a power of two has its exponent from.
fn exponent(program: &VectorProgram, power: Ref) -> Option<Ref> {
    let Op::Bitcast(bits) = program.ops()[usize::from(power.0)] else { return None };
    match program.ops()[usize::from(bits.0)] {
        Op::Shl(n, FRACTION) => Some(n),
        _ => None,
    }
}

fn number(op: Op) -> Option<f32> {
    if let Op::ConstF32(bits) = op { Some(f32::from_bits(bits)) } else { None }
}

/// Between which numbers a value is, unless it is no number.
fn bounds(program: &VectorProgram, x: Ref) -> Option<[f32; 2]> {
    let op = |r: Ref| program.ops()[usize::from(r.0)];
    let Op::Min(most, raised) = op(x) else { return None };
    let Op::Max(least, _) = op(raised) else { return None };
    Some([number(op(least))?, number(op(most))?])
}

impl Run<'_> {
    /// `(1 + p) * 2^n`.
    pub(super) fn scale(&mut self, Scaled { p, n }: Scaled) -> V {
        let (x, power) = (self.get(p), self.get(n));
        let to = if self.ends(p) && x != power { x } else { self.take() };
        let one = 1f32.to_bits();
        let held = self.words.iter().find(|(w, _)| *w == one).map(|(_, v)| *v);
        self.asm.op2(Op2::AddF, to, x, held.map_or(Rm::Word(one), Rm::Reg));
        self.asm.scale(to, to, power);
        to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `e^x` from two factors, where `x` is at most so great.
    fn exponential(most: f32) -> VectorProgram {
        let mut program = VectorProgram::new();
        let x = program.input(0);
        let (least, most) = (program.f32(-176.0), program.f32(most));
        let x = program.push(Op::Max(least, x));
        let x = program.push(Op::Min(most, x));
        let (log2_e, magic) = (program.f32(std::f32::consts::LOG2_E), program.f32(MAGIC));
        let shifted = program.push(Op::Fma(x, log2_e, magic));
        let n = program.push(Op::Sub(shifted, magic));
        let p = program.push(Op::Mul(n, n));
        let bits = program.push(Op::Bitcast(shifted));
        let half = program.push(Op::ShrS(bits, 1));
        let rest = program.push(Op::ISub(bits, half));
        let [down, up] = [half, rest].map(|n| {
            let bits = program.push(Op::Shl(n, FRACTION));
            program.push(Op::Bitcast(bits))
        });
        let y = program.push(Op::Fma(p, down, down));
        let y = program.push(Op::Mul(y, up));
        program.result(y);
        program
    }

    #[test]
    fn two_factors_are_one_where_the_power_has_bounds() {
        let found = |level, most| find(level, &exponential(most)).iter().flatten().count();
        assert_eq!(found(Level::Avx512, 89.0), 1);
        assert_eq!(found(Level::Avx512, 90.0), 0, "2^129 has no second factor");
        assert_eq!(found(Level::Avx2, 89.0), 0, "no instruction");
    }
}
