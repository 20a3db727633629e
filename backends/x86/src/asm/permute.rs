//! permute - lanes of several vectors in another order, and masks of as many lanes as a register says.

use iced_x86::{Code, Instruction, Register};

use super::{Asm, K, Lanes, Mem, V};
use crate::Level;

impl Asm {
    /// What [`Asm::evens`] wants in a register.
    pub(crate) fn evens_order(&mut self, to: V, scratch: Register) {
        self.every_other(0, to, scratch);
    }

    /// What [`Asm::odds`] wants in a register.
    pub(crate) fn odds_order(&mut self, to: V, scratch: Register) {
        self.every_other(1, to, scratch);
    }

    fn every_other(&mut self, first: u32, to: V, scratch: Register) {
        if self.level == Level::Avx512 {
            let words: Vec<u32> = (0..16).map(|lane| 2 * lane + first).collect();
            self.address_of(scratch, &words);
            self.load(to, Mem::at(scratch, 0), Lanes::All);
        }
    }

    /// Every other lane of `a` and then of `b`, from the first on, in the place of `a`.
    pub(crate) fn evens(&mut self, a: V, b: V, order: V) {
        self.picked(a, b, order, 0x88);
    }

    /// Likewise from the second lane on.
    pub(crate) fn odds(&mut self, a: V, b: V, order: V) {
        self.picked(a, b, order, 0xdd);
    }

    fn picked(&mut self, a: V, b: V, order: V, of_each_half: u32) {
        let (first, second) = (self.wide(a), self.wide(b));
        if self.level == Level::Avx512 {
            let order = self.wide(order);
            self.push(Instruction::with3(Code::EVEX_Vpermt2ps_zmm_k1z_zmm_zmmm512b32, first, order, second));
            return;
        }
        let code = Code::VEX_Vshufps_ymm_ymm_ymmm256_imm8;
        self.push(Instruction::with4(code, first, first, second, of_each_half));
        // Each half has two of `a` and two of `b`.
        self.push(Instruction::with3(Code::VEX_Vpermq_ymm_ymmm256_imm8, first, first, 0xd8u32));
    }

    /// As many of the first lanes as `count` says, no more than there are in a vector: AVX-512 sets a mask register, AVX2 a
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
