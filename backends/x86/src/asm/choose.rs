//! choose - lanes chosen: masks of the first few, comparisons, and selects by them.

use iced_x86::{Code, Instruction, Register};

use super::{Asm, Cmp, K, Lanes, Mem, Op2, V, low_half, mask_register};
use crate::Level;

impl Asm {
    /// A mask of the first `count` lanes, for all counts from 0 to 16; `scratch` is overwritten (AVX-512).
    pub(crate) fn mask_first(&mut self, to: K, count: u32, scratch: Register) {
        let bits = (1u32 << count) - 1;
        self.mov_imm(scratch, i64::from(bits));
        self.mask_from(to, scratch);
    }

    /// The first `n` lanes, of those that are not all: AVX-512 sets a mask register, AVX2 a vector. `scratch` is overwritten.
    pub(crate) fn first_lanes(&mut self, n: usize, to: K, signs: V, scratch: Register) -> Lanes {
        if self.level == Level::Avx2 {
            return self.first_signs(n, signs, scratch);
        }
        self.mask_first(to, n as u32, scratch);
        Lanes::Mask(to)
    }

    /// Likewise by the signs of a vector (AVX2).
    pub(crate) fn first_signs(&mut self, n: usize, to: V, scratch: Register) -> Lanes {
        let words: Vec<u32> = (0..self.level.lanes()).map(|w| if w < n { u32::MAX } else { 0 }).collect();
        self.address_of(scratch, &words);
        self.load(to, Mem::at(scratch, 0), Lanes::All);
        Lanes::Signs(to)
    }

    /// A mask from the low 16 bits of a register (AVX-512).
    pub(crate) fn mask_from(&mut self, to: K, from: Register) {
        let narrow = low_half(from);
        self.push(Instruction::with2(Code::VEX_Kmovw_kr_r32, mask_register(to), narrow));
    }

    /// Lanes of ones where the comparison of f32 holds, of zeros elsewhere. AVX-512 uses mask register 7 on the way.
    pub(crate) fn compare(&mut self, cmp: Cmp, to: V, a: V, b: V) {
        let (a, b) = (self.wide(a), self.wide(b));
        if self.level == Level::Avx512 {
            let code = Code::EVEX_Vcmpps_kr_k1_zmm_zmmm512b32_imm8_sae;
            self.push(Instruction::with4(code, Register::K7, a, b, cmp as u32));
            self.mask_to_lanes(to);
        } else {
            let to = self.wide(to);
            self.push(Instruction::with4(Code::VEX_Vcmpps_ymm_ymm_ymmm256_imm8, to, a, b, cmp as u32));
        }
    }

    /// Lanes of ones where `a > b` (or `a == b`, with `equal`) as i32, of zeros elsewhere.
    pub(crate) fn compare_int(&mut self, equal: bool, to: V, a: V, b: V) {
        let (a, b) = (self.wide(a), self.wide(b));
        if self.level == Level::Avx512 {
            let code = Code::EVEX_Vpcmpd_kr_k1_zmm_zmmm512b32_imm8;
            let predicate = if equal { 0u32 } else { 6 };
            self.push(Instruction::with4(code, Register::K7, a, b, predicate));
            self.mask_to_lanes(to);
        } else {
            let to = self.wide(to);
            let code =
                if equal { Code::VEX_Vpcmpeqd_ymm_ymm_ymmm256 } else { Code::VEX_Vpcmpgtd_ymm_ymm_ymmm256 };
            self.push(Instruction::with3(code, to, a, b));
        }
    }

    pub(super) fn mask_to_lanes(&mut self, to: V) {
        let to = self.wide(to);
        self.push(Instruction::with2(Code::EVEX_Vpmovm2d_zmm_kr, to, Register::K7));
    }

    /// Bits of `a` where `mask` has ones, of `b` elsewhere; the result takes the place of the mask. AVX2 overwrites
    /// `scratch`.
    pub(crate) fn select(&mut self, mask: V, a: V, b: V, scratch: V) {
        if self.level == Level::Avx512 {
            let (mask, a, b) = (self.wide(mask), self.wide(a), self.wide(b));
            // 0xca is the truth table of (mask & a) | (!mask & b).
            let code = Code::EVEX_Vpternlogd_zmm_k1z_zmm_zmmm512b32_imm8;
            self.push(Instruction::with4(code, mask, a, b, 0xcau32));
        } else {
            self.op2(Op2::AndNot, scratch, mask, b);
            self.op2(Op2::And, mask, mask, a);
            self.op2(Op2::Or, mask, mask, scratch);
        }
    }
}
