//! permute - lanes of several vectors in another order, and masks of as many lanes as a register says.

use iced_x86::{Code, Instruction, Register};

use super::{Asm, K, Lanes, Mem, V};
use crate::Level;

impl Asm {
    /// What [`Asm::evens`] wants in a register.
    pub(crate) fn evens_order(&mut self, to: V, scratch: Register) {
        if self.level == Level::Avx512 {
            let words: Vec<u32> = (0..16).map(|lane| 2 * lane).collect();
            self.address_of(scratch, &words);
            self.load(to, Mem::at(scratch, 0), Lanes::All);
        }
    }

    /// Every other lane of `a` and then of `b`, from the first on, in the place of `a`.
    pub(crate) fn evens(&mut self, a: V, b: V, order: V) {
        let (first, second) = (self.wide(a), self.wide(b));
        if self.level == Level::Avx512 {
            let order = self.wide(order);
            self.push(Instruction::with3(Code::EVEX_Vpermt2ps_zmm_k1z_zmm_zmmm512b32, first, order, second));
            return;
        }
        let code = Code::VEX_Vshufps_ymm_ymm_ymmm256_imm8;
        self.push(Instruction::with4(code, first, first, second, 0x88u32));
        // Each half has two of `a` and two of `b`.
        self.push(Instruction::with3(Code::VEX_Vpermq_ymm_ymmm256_imm8, first, first, 0xd8u32));
    }

    /// As many of the first lanes as `count` says, fewer than there are in a vector: AVX-512 sets a mask register, AVX2 a
    /// vector. `count` and `scratch` are overwritten.
    pub(crate) fn counted_lanes(&mut self, count: Register, to: K, signs: V, scratch: Register) -> Lanes {
        if self.level == Level::Avx512 {
            self.mov_imm(scratch, -1);
            self.keep_low_bits(scratch, scratch, count);
            self.mask_from(to, scratch);
            return Lanes::Mask(to);
        }
        // All ones and then all zeros: what begins as many before the zeros as are counted is the mask.
        let ones = self.level.lanes();
        let words: Vec<u32> = (0..2 * ones).map(|w| if w < ones { u32::MAX } else { 0 }).collect();
        self.negate(count);
        self.address_of(scratch, &words);
        self.load(signs, Mem { base: scratch, index: Some((count, 4)), disp: 4 * ones as i64 }, Lanes::All);
        Lanes::Signs(signs)
    }
}
