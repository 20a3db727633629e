//! arithmetic - multiply-adds on targets that have an instruction for them, and on those that have not.
//!
//! Two things are meant by one instruction. In a *program* `fma` is an operation with one rounding, whose bits what is made
//! of it relies on; without the instruction it is computed in f64. In the *sum* of a product, and in functions that say so
//! (`Inst::MulAdd`), it only is the fastest way: without the instruction these multiply and add. Each term of a sum is then rounded once more, by its product:
//! n terms added to a start value err by at most gamma_(n + 1) times the sum of magnitudes, and by gamma_n where the
//! start is zero, whose sum with the first term is exact (Higham, Accuracy and Stability of Numerical Algorithms, s. 3.1).

use cranelift_codegen::{
    ir::{
        Endianness, InstBuilder, MemFlagsData, Type, Value,
        condcodes::{FloatCC, IntCC},
        types::{F32X4, F64X2, I8X16, I32X4, I64X2},
    },
    isa::TargetIsa,
};
use cranelift_frontend::FunctionBuilder;
use nnc_ir::program::MulAdds;
use nnc_tile::winograd::Multiples;

/// Whether a target has instructions by Cranelift's name for them.
pub(crate) fn has_feature(isa: &dyn TargetIsa, name: &str) -> bool {
    isa.isa_flags().iter().any(|f| f.name == name && f.as_bool() == Some(true))
}

/// How a target multiplies and adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arithmetic {
    /// Whether there is an instruction for `a * b + c` with one rounding.
    pub fused: bool,
}

impl Arithmetic {
    /// That of a target.
    #[must_use]
    pub fn of(isa: &dyn TargetIsa) -> Self {
        let has = |name| has_feature(isa, name);
        Arithmetic { fused: isa.name() != "x64" || (has("has_fma") && has("has_avx")) }
    }

    /// How it does the multiply-adds of functions.
    #[must_use]
    pub fn mul_adds(self) -> MulAdds {
        if self.fused { MulAdds::Fused } else { MulAdds::Separate }
    }

    /// How it adds multiples in transforms of squares.
    pub(crate) fn multiples(self) -> Multiples {
        if self.fused { Multiples::Fused } else { Multiples::Separate }
    }

    /// One step of a sum: `x * y + sum`, f32 lanes or one f32.
    pub(crate) fn step(self, b: &mut FunctionBuilder, x: Value, y: Value, sum: Value) -> Value {
        if self.fused {
            return b.ins().fma(x, y, sum);
        }
        // The sum comes first: two-operand instructions then leave it in its register.
        let product = b.ins().fmul(x, y);
        b.ins().fadd(sum, product)
    }

    /// `x * y + z` rounded once, in four f32 lanes; goes on in another block where there is no instruction for it.
    pub(crate) fn fma(self, b: &mut FunctionBuilder, x: Value, y: Value, z: Value) -> Value {
        if self.fused {
            return b.ins().fma(x, y, z);
        }
        let upper = [x, y, z].map(|v| shuffled(b, v, v, |byte| (byte + 8) % 16));
        let halves = [[x, y, z], upper].map(|operands| {
            let [x, y, z] = operands.map(|v| b.ins().fvpromote_low(v));
            let product = b.ins().fmul(x, y);
            (product, z, b.ins().fadd(product, z))
        });
        let sums = halves.map(|(_, _, sum)| sum);
        let fast = demoted(b, sums);
        let doubtful = doubtful(b, sums);
        let (exact, done) = (b.create_block(), b.create_block());
        b.set_cold_block(exact);
        let out = b.append_block_param(done, F32X4);
        b.ins().brif(doubtful, exact, &[], done, &[fast.into()]);
        b.switch_to_block(exact);
        let odd = halves.map(|(product, z, sum)| to_odd(b, product, z, sum));
        let slow = demoted(b, odd);
        b.ins().jump(done, &[slow.into()]);
        b.switch_to_block(done);
        out
    }
}

/// Two pairs of f64 as f32.
fn demoted(b: &mut FunctionBuilder, halves: [Value; 2]) -> Value {
    let [low, high] = halves.map(|half| b.ins().fvdemote(half));
    shuffled(b, low, high, |byte| if byte < 8 { byte } else { byte + 8 })
}

fn constant(b: &mut FunctionBuilder, ty: Type, bytes: &[u8]) -> Value {
    let handle = b.func.dfg.constants.insert(bytes.repeat(16 / bytes.len()).into());
    b.ins().vconst(ty, handle)
}

/// Whether a sum in f64 may be one that rounding to f32 rounds a second time: halfway between two f32, where the sum's own
/// error decides, or smaller than the normal numbers, among which halves lie elsewhere.
fn doubtful(b: &mut FunctionBuilder, [low, high]: [Value; 2]) -> Value {
    let word = |b: &mut FunctionBuilder, upper: u8| {
        let words = shuffled(b, low, high, |byte| byte / 4 * 8 + byte % 4 + 4 * upper);
        bitcast(b, I32X4, words)
    };
    // The 29 bits that f32 has no room for.
    let below = word(b, 0);
    let below = b.ins().ishl_imm_u(below, 3);
    let half = constant(b, I32X4, &i32::MIN.to_le_bytes());
    let tie = b.ins().icmp(IntCC::Equal, below, half);
    let above = word(b, 1);
    let magnitude = constant(b, I32X4, &i32::MAX.to_le_bytes());
    let above = b.ins().band(above, magnitude);
    let zero = constant(b, I32X4, &[0; 4]);
    let normal = constant(b, I32X4, &(f64::from(f32::MIN_POSITIVE).to_bits() >> 32).to_le_bytes()[..4]);
    let something = b.ins().icmp(IntCC::SignedGreaterThan, above, zero);
    let small = b.ins().icmp(IntCC::SignedGreaterThan, normal, above);
    let small = b.ins().band(small, something);
    let either = b.ins().bor(tie, small);
    b.ins().vany_true(either)
}

fn bitcast(b: &mut FunctionBuilder, ty: Type, x: Value) -> Value {
    b.ins().bitcast(ty, MemFlagsData::new().with_endianness(Endianness::Little), x)
}

/// Bytes of two vectors of f32, by number: those of the second come after those of the first.
fn shuffled(b: &mut FunctionBuilder, x: Value, y: Value, byte: impl Fn(u8) -> u8) -> Value {
    let (x, y) = (bitcast(b, I8X16, x), bitcast(b, I8X16, y));
    let bytes: Vec<u8> = (0..16).map(byte).collect();
    let handle = b.func.dfg.immediates.push(bytes.into());
    let out = b.ins().shuffle(x, y, handle);
    bitcast(b, F32X4, out)
}

/// The sum of a product and z in f64 rounded to odd, so that rounding it to f32 gives the bits of one rounding; the product
/// of two f32 is exact. Boldo and Melquiond 2008, "Emulation of FMA and correctly rounded sums".
fn to_odd(b: &mut FunctionBuilder, p: Value, z: Value, sum: Value) -> Value {
    let z_part = b.ins().fsub(sum, p);
    let p_part = b.ins().fsub(sum, z_part);
    let p_error = b.ins().fsub(p, p_part);
    let z_error = b.ins().fsub(z, z_part);
    let error = b.ins().fadd(p_error, z_error);
    // False where the error is no number: there the sum is none, or infinite.
    let (zero, magnitude) = (constant(b, F64X2, &[0; 8]), constant(b, I64X2, &i64::MAX.to_le_bytes()));
    let error_bits = bitcast(b, I64X2, error);
    let size = b.ins().band(error_bits, magnitude);
    let size = bitcast(b, F64X2, size);
    let inexact = b.ins().fcmp(FloatCC::LessThan, zero, size);
    // Towards zero by one where the sum was rounded away from it, then the last bit set.
    let one = constant(b, I64X2, &1i64.to_le_bytes());
    let one = b.ins().band(inexact, one);
    let bits = bitcast(b, I64X2, sum);
    let signs = b.ins().bxor(error_bits, bits);
    let away = b.ins().ushr_imm_u(signs, 63);
    let away = b.ins().band(away, one);
    let bits = b.ins().isub(bits, away);
    let bits = b.ins().bor(bits, one);
    bitcast(b, F64X2, bits)
}
