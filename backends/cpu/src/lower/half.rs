//! half - conversions of `f16` and `bf16` by integer operations, alike for one lane and for vectors of lanes.
//!
//! The bits of the half-precision number are in the lower half of 32-bit lanes. Exact, denormals included; narrowing
//! rounds to nearest even; NaN becomes quiet and keeps the upper bits of its payload, as x86's conversions do.

use cranelift_codegen::ir::{
    Endianness, InstBuilder, MemFlagsData, Type, Value,
    condcodes::IntCC,
    types::{F32, F32X4, I32, I32X4},
};
use cranelift_frontend::FunctionBuilder;
use nnc_ir::dtype::DType;

/// 32-bit lanes, one or four.
struct Lanes<'a, 'b> {
    b: &'a mut FunctionBuilder<'b>,
    vector: bool,
}

impl Lanes<'_, '_> {
    fn constant(&mut self, bits: u32) -> Value {
        if self.vector {
            let handle = self.b.func.dfg.constants.insert(bits.to_le_bytes().repeat(4).into());
            self.b.ins().vconst(I32X4, handle)
        } else {
            self.b.ins().iconst(I32, i64::from(bits))
        }
    }
    fn and(&mut self, x: Value, mask: u32) -> Value {
        let mask = self.constant(mask);
        self.b.ins().band(x, mask)
    }
    fn or(&mut self, x: Value, bits: u32) -> Value {
        let bits = self.constant(bits);
        self.b.ins().bor(x, bits)
    }
    fn shl(&mut self, x: Value, by: i64) -> Value {
        let by = self.b.ins().iconst(I32, by);
        self.b.ins().ishl(x, by)
    }
    fn shr(&mut self, x: Value, by: i64) -> Value {
        let by = self.b.ins().iconst(I32, by);
        self.b.ins().ushr(x, by)
    }
    fn as_float(&mut self, x: Value) -> Value {
        self.bitcast(if self.vector { F32X4 } else { F32 }, x)
    }
    fn as_bits(&mut self, x: Value) -> Value {
        self.bitcast(if self.vector { I32X4 } else { I32 }, x)
    }
    fn bitcast(&mut self, ty: Type, x: Value) -> Value {
        self.b.ins().bitcast(ty, MemFlagsData::new().with_endianness(Endianness::Little), x)
    }
    /// `x` where `a > limit` (signed; both sides are below 2^31), else `y`.
    fn where_above(&mut self, a: Value, limit: u32, x: Value, y: Value) -> Value {
        let limit = self.constant(limit);
        let above = self.b.ins().icmp(IntCC::SignedGreaterThan, a, limit);
        if self.vector { self.b.ins().bitselect(above, x, y) } else { self.b.ins().select(above, x, y) }
    }
}

/// The `f32` (one lane or four) with the value of the `f16` or `bf16` whose bits are in `bits` (zero above them).
pub(super) fn widen(b: &mut FunctionBuilder, dtype: DType, bits: Value) -> Value {
    let vector = b.func.dfg.value_type(bits) == I32X4;
    let mut l = Lanes { b, vector };
    if dtype == DType::BF16 {
        let magnitude = l.and(bits, 0x7fff);
        let quiet = l.or(bits, 0x40);
        let bits = l.where_above(magnitude, 0x7f80, quiet, bits);
        let bits = l.shl(bits, 16);
        return l.as_float(bits);
    }
    let sign = l.and(bits, 0x8000);
    let sign = l.shl(sign, 16);
    let magnitude = l.and(bits, 0x7fff);
    // Read as f32, the shifted bits are the number times 2^-112, denormals included.
    let shifted = l.shl(magnitude, 13);
    let scaled = l.as_float(shifted);
    let scale = l.constant((127 + 112) << 23);
    let scale = l.as_float(scale);
    let finite = l.b.ins().fmul(scaled, scale);
    let finite = l.as_bits(finite);
    let infinite = l.or(shifted, 0x7f80_0000);
    let nan = l.or(infinite, 0x0040_0000);
    let special = l.where_above(magnitude, 0x7c00, nan, infinite);
    let out = l.where_above(magnitude, 0x7bff, special, finite);
    let out = l.b.ins().bor(out, sign);
    l.as_float(out)
}

/// The bits of `value` (`f32`, one lane or four) rounded to `f16` or `bf16`, zero above them.
pub(super) fn narrow(b: &mut FunctionBuilder, dtype: DType, value: Value) -> Value {
    let vector = b.func.dfg.value_type(value) == F32X4;
    let mut l = Lanes { b, vector };
    let bits = l.as_bits(value);
    let magnitude = l.and(bits, 0x7fff_ffff);
    if dtype == DType::BF16 {
        let upper = l.shr(bits, 16);
        let odd = l.and(upper, 1);
        let bias = l.constant(0x7fff);
        let bias = l.b.ins().iadd(bias, odd);
        let rounded = l.b.ins().iadd(bits, bias);
        let rounded = l.shr(rounded, 16);
        let nan = l.or(upper, 0x40);
        return l.where_above(magnitude, 0x7f80_0000, nan, rounded);
    }
    let sign = l.shr(bits, 16);
    let sign = l.and(sign, 0x8000);
    // Normal: rebias the exponent and round at bit 13; a carry goes on into the exponent, up to infinity.
    let odd = l.shr(magnitude, 13);
    let odd = l.and(odd, 1);
    let bias = l.constant((112u32 << 23).wrapping_neg().wrapping_add(0xfff));
    let normal = l.b.ins().iadd(magnitude, bias);
    let normal = l.b.ins().iadd(normal, odd);
    let normal = l.shr(normal, 13);
    // Denormal: adding 0.5 makes the unit in the last place 2^-24, so that the addition rounds.
    let half = l.constant(0x3f00_0000);
    let half_float = l.as_float(half);
    let magnitude_float = l.as_float(magnitude);
    let denormal = l.b.ins().fadd(magnitude_float, half_float);
    let denormal = l.as_bits(denormal);
    let denormal = l.b.ins().isub(denormal, half);
    let finite = l.where_above(magnitude, 0x387f_ffff, normal, denormal);
    let infinite = l.constant(0x7c00);
    let out = l.where_above(magnitude, 0x477f_ffff, infinite, finite);
    let payload = l.shr(magnitude, 13);
    let payload = l.and(payload, 0x3ff);
    let nan = l.or(payload, 0x7e00);
    let out = l.where_above(magnitude, 0x7f80_0000, nan, out);
    l.b.ins().bor(out, sign)
}
