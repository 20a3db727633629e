//! elements - narrow elements, parts of vectors, and blends by comparison.

use iced_x86::{Code, Instruction, Register};

use super::{Asm, Cmp, K, Lanes, Mem, Op2, Rm, V, mask_register, op2_codes};
use crate::Level;

/// How bytes become lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bytes {
    /// Zeros before.
    Unsigned,
    /// The sign before.
    Signed,
    /// All ones where the byte is not zero.
    Truth,
}

impl Asm {
    /// Reads neighbouring bytes into lanes (AVX-512).
    pub(crate) fn load_bytes(&mut self, to: V, from: Mem, way: Bytes, lanes: Lanes) {
        let code = match way {
            Bytes::Signed => Code::EVEX_Vpmovsxbd_zmm_k1z_xmmm128,
            _ => Code::EVEX_Vpmovzxbd_zmm_k1z_xmmm128,
        };
        let wide = self.wide(to);
        let made = self.push(Instruction::with2(code, wide, from.operand()));
        if let Lanes::Mask(k) = lanes {
            made.set_op_mask(mask_register(k));
            made.set_zeroing_masking(true);
        }
        if way == Bytes::Truth {
            self.push(Instruction::with3(Code::EVEX_Vptestmd_kr_k1_zmm_zmmm512b32, Register::K7, wide, wide));
            self.mask_to_lanes(to);
        }
    }

    /// Writes the low bytes of lanes next to each other (AVX-512).
    pub(crate) fn store_bytes(&mut self, to: Mem, from: V, lanes: Lanes) {
        let wide = self.wide(from);
        let code = Code::EVEX_Vpmovdb_xmmm128_k1z_zmm;
        let made = self.push(Instruction::with2(code, to.operand(), wide));
        if let Lanes::Mask(k) = lanes {
            made.set_op_mask(mask_register(k));
        }
    }

    /// Likewise of the first `n` lanes (AVX2); `scratch` is overwritten.
    pub(crate) fn store_first_bytes(&mut self, to: Mem, from: V, scratch: V, n: usize) {
        self.constant(scratch, 255);
        self.op2(Op2::And, scratch, from, scratch);
        let (wide, low) = (self.wide(scratch), Self::xmm(scratch));
        self.push(Instruction::with3(Code::VEX_Vpackusdw_ymm_ymm_ymmm256, wide, wide, wide));
        // Each half has its own four lanes twice.
        self.push(Instruction::with3(Code::VEX_Vpermq_ymm_ymmm256_imm8, wide, wide, 8));
        self.push(Instruction::with3(Code::VEX_Vpackuswb_xmm_xmm_xmmm128, low, low, low));
        if n == 8 {
            self.push(Instruction::with2(Code::VEX_Vmovq_xmmm64_xmm, to.operand(), low));
            return;
        }
        if n & 4 != 0 {
            self.push(Instruction::with2(Code::VEX_Vmovd_rm32_xmm, to.operand(), low));
        }
        if n & 2 != 0 {
            let (at, word) = (to.plus((n & 4) as i64), (n & 4) as i32 / 2);
            self.push(Instruction::with3(Code::VEX_Vpextrw_r32m16_xmm_imm8, at.operand(), low, word));
        }
        if n & 1 != 0 {
            let at = to.plus((n & 6) as i64);
            self.push(Instruction::with3(
                Code::VEX_Vpextrb_r32m8_xmm_imm8,
                at.operand(),
                low,
                (n & 6) as i32,
            ));
        }
    }

    /// Writes the truth of masks as bytes 0 and 1 next to each other (AVX-512); mask register 7 is used on the way.
    pub(crate) fn store_truth(&mut self, to: Mem, from: V, scratch: V, lanes: Lanes) {
        let (wide, low) = (self.wide(from), Self::xmm(scratch));
        let code = Code::EVEX_Vpmovd2m_kr_zmm;
        self.push(Instruction::with2(code, Register::K7, wide));
        self.push(Instruction::with2(Code::EVEX_Vpmovm2b_xmm_kr, low, Register::K7));
        self.push(Instruction::with2(Code::EVEX_Vpabsb_xmm_k1z_xmmm128, low, low));
        let code = Code::EVEX_Vmovdqu8_xmmm128_k1z_xmm;
        let made = self.push(Instruction::with2(code, to.operand(), low));
        if let Lanes::Mask(k) = lanes {
            made.set_op_mask(mask_register(k));
        }
    }

    /// Writes lane 0.
    pub(crate) fn store_first(&mut self, to: Mem, from: V) {
        let code = self.pick(Code::VEX_Vmovss_m32_xmm, Code::EVEX_Vmovss_m32_k1_xmm);
        self.push(Instruction::with2(code, to.operand(), Self::xmm(from)));
    }

    /// The upper half of the first `lanes` lanes becomes the lower.
    pub(crate) fn upper_half(&mut self, to: V, from: V, lanes: usize) {
        let ymm = |v: V| Register::YMM0 + u32::from(v.0);
        let zmm = |v: V| Register::ZMM0 + u32::from(v.0);
        let (t, f) = (Self::xmm(to), Self::xmm(from));
        let made = match lanes {
            16 => Instruction::with3(Code::EVEX_Vextractf64x4_ymmm256_k1z_zmm_imm8, ymm(to), zmm(from), 1),
            8 => {
                let code = self.pick(
                    Code::VEX_Vextractf128_xmmm128_ymm_imm8,
                    Code::EVEX_Vextractf32x4_xmmm128_k1z_ymm_imm8,
                );
                Instruction::with3(code, t, ymm(from), 1)
            }
            4 => {
                let code = self.pick(Code::VEX_Vmovhlps_xmm_xmm_xmm, Code::EVEX_Vmovhlps_xmm_xmm_xmm);
                Instruction::with3(code, t, f, f)
            }
            _ => {
                let code = self.pick(Code::VEX_Vmovshdup_xmm_xmmm128, Code::EVEX_Vmovshdup_xmm_k1z_xmmm128);
                Instruction::with2(code, t, f)
            }
        };
        self.push(made);
    }

    /// An operation whose result replaces only the lanes of the mask (AVX-512).
    pub(crate) fn op2_masked(&mut self, op: Op2, to: V, a: V, b: impl Into<Rm>, k: K) {
        let (_, code) = op2_codes(op);
        self.three(code, to, a, b.into()).set_op_mask(mask_register(k));
    }

    /// `a * 2^n` for whole `n`, rounded once (AVX-512).
    pub(crate) fn scale(&mut self, to: V, a: V, n: V) {
        self.three(Code::EVEX_Vscalefps_zmm_k1z_zmm_zmmm512b32_er, to, a, Rm::Reg(n));
    }

    /// `a` where the lane of `mask` has its sign, else `b` (AVX2).
    pub(crate) fn blend(&mut self, to: V, mask: V, a: V, b: V) {
        let code = Code::VEX_Vblendvps_ymm_ymm_ymmm256_ymm;
        let [to, mask, a, b] = [to, mask, a, b].map(|v| self.wide(v));
        self.push(Instruction::with4(code, to, b, a, mask));
    }

    /// `a` where the comparison of f32 holds, else `b`; AVX2 overwrites `scratch`, which is none of the others but `to`.
    pub(crate) fn choose(&mut self, cmp: Cmp, (x, y): (V, V), to: V, (a, b): (V, V), scratch: V) {
        if self.level == Level::Avx512 {
            let (x, y) = (self.wide(x), self.wide(y));
            let code = Code::EVEX_Vcmpps_kr_k1_zmm_zmmm512b32_imm8_sae;
            self.push(Instruction::with4(code, Register::K7, x, y, cmp as u32));
            self.blend_by_mask(to, a, b);
        } else {
            self.compare(cmp, scratch, x, y);
            self.blend(to, scratch, a, b);
        }
    }

    /// `a` where `x > y` (or `x == y`, with `equal`) as i32, else `b`; as [`Asm::choose`].
    pub(crate) fn choose_int(&mut self, equal: bool, (x, y): (V, V), to: V, (a, b): (V, V), scratch: V) {
        if self.level == Level::Avx512 {
            let (x, y) = (self.wide(x), self.wide(y));
            let code = Code::EVEX_Vpcmpd_kr_k1_zmm_zmmm512b32_imm8;
            let predicate = if equal { 0u32 } else { 6 };
            self.push(Instruction::with4(code, Register::K7, x, y, predicate));
            self.blend_by_mask(to, a, b);
        } else {
            self.compare_int(equal, scratch, x, y);
            self.blend(to, scratch, a, b);
        }
    }

    fn blend_by_mask(&mut self, to: V, a: V, b: V) {
        let [to, a, b] = [to, a, b].map(|v| self.wide(v));
        let code = Code::EVEX_Vblendmps_zmm_k1z_zmm_zmmm512b32;
        self.push(Instruction::with3(code, to, b, a)).set_op_mask(Register::K7);
    }
}
