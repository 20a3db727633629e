//! permute - lanes of several vectors in another order, and masks of as many lanes as a register says.

use iced_x86::{Code, IcedError, Instruction, Register};

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

    /// Transposes as many vectors as there are lanes, from register 0 on; gives the registers of the rows. One register more
    /// is overwritten.
    pub(crate) fn transpose(&mut self) -> Vec<V> {
        let lanes = self.level.lanes() as u8;
        let [low, high] = [
            self.pick(Code::VEX_Vunpcklps_ymm_ymm_ymmm256, Code::EVEX_Vunpcklps_zmm_k1z_zmm_zmmm512b32),
            self.pick(Code::VEX_Vunpckhps_ymm_ymm_ymmm256, Code::EVEX_Vunpckhps_zmm_k1z_zmm_zmmm512b32),
        ];
        let [low_pairs, high_pairs] = [
            self.pick(Code::VEX_Vunpcklpd_ymm_ymm_ymmm256, Code::EVEX_Vunpcklpd_zmm_k1z_zmm_zmmm512b64),
            self.pick(Code::VEX_Vunpckhpd_ymm_ymm_ymmm256, Code::EVEX_Vunpckhpd_zmm_k1z_zmm_zmmm512b64),
        ];
        let mut rows: Vec<V> = (0..lanes).map(V).collect();
        let mut spare = V(lanes);
        // Words of two rows by turns, then pairs of them: each quarter has four rows' words of one column.
        for (step, codes) in [(1, [low, high]), (2, [low_pairs, high_pairs])] {
            self.exchange(&mut rows, &mut spare, step, &|to, a, b, upper| {
                Instruction::with3(codes[usize::from(upper)], to, a, b)
            });
        }
        // Then quarters change their places.
        let quarters = Code::EVEX_Vshuff32x4_zmm_k1z_zmm_zmmm512b32_imm8;
        let halves = Code::VEX_Vperm2f128_ymm_ymm_ymmm256_imm8;
        let steps: &[(usize, Code, [u32; 2])] = match self.level {
            Level::Avx2 => &[(4, halves, [0x20, 0x31])],
            Level::Avx512 => &[(4, quarters, [0x44, 0xee]), (8, quarters, [0x88, 0xdd])],
        };
        for &(step, code, order) in steps {
            self.exchange(&mut rows, &mut spare, step, &|to, a, b, upper| {
                Instruction::with4(code, to, a, b, order[usize::from(upper)])
            });
        }
        // Each exchange of quarters and of words left neighbouring bits of a row's number in the other order.
        let place = |r: usize| match self.level {
            Level::Avx2 => (r & 4) | ((r & 1) << 1) | ((r >> 1) & 1),
            Level::Avx512 => ((r & 5) << 1) | ((r >> 1) & 5),
        };
        (0..usize::from(lanes)).map(|r| rows[place(r)]).collect()
    }

    /// Of vectors `step` apart two others: what the code makes of them first, and what it makes of them then.
    fn exchange(
        &mut self,
        rows: &mut [V],
        spare: &mut V,
        step: usize,
        code: &dyn Fn(Register, Register, Register, bool) -> Result<Instruction, IcedError>,
    ) {
        for i in (0..rows.len()).filter(|i| i & step == 0) {
            let (a, b) = (rows[i], rows[i + step]);
            let [to, first, second] = [*spare, a, b].map(|v| self.wide(v));
            self.push(code(to, first, second, false));
            self.push(code(first, first, second, true));
            (rows[i], rows[i + step], *spare) = (*spare, a, b);
        }
    }

    /// What [`Asm::weave`] wants in registers.
    pub(crate) fn weave_orders(&mut self, to: [V; 2], scratch: Register) {
        if self.level == Level::Avx512 {
            for (to, first) in to.into_iter().zip([0, 8]) {
                let words: Vec<u32> = (0..16).map(|lane| first + lane / 2 + 16 * (lane % 2)).collect();
                self.address_of(scratch, &words);
                self.load(to, Mem::at(scratch, 0), Lanes::All);
            }
        }
    }

    /// Lanes of `a` and `b` by turns: two vectors, in `free` or in the places of `a` and `b`, which are overwritten.
    pub(crate) fn weave(&mut self, [a, b]: [V; 2], free: [V; 2], orders: [V; 2]) -> [V; 2] {
        let [x, y, s, t] = [a, b, free[0], free[1]].map(|v| self.wide(v));
        if self.level == Level::Avx512 {
            self.copy(free[0], a);
            for (to, order) in [(s, orders[0]), (x, orders[1])] {
                let order = self.wide(order);
                self.push(Instruction::with3(Code::EVEX_Vpermt2ps_zmm_k1z_zmm_zmmm512b32, to, order, y));
            }
            return [free[0], a];
        }
        self.push(Instruction::with3(Code::VEX_Vunpcklps_ymm_ymm_ymmm256, s, x, y));
        self.push(Instruction::with3(Code::VEX_Vunpckhps_ymm_ymm_ymmm256, t, x, y));
        for (to, order) in [(x, 0x20u32), (y, 0x31)] {
            self.push(Instruction::with4(Code::VEX_Vperm2f128_ymm_ymm_ymmm256_imm8, to, s, t, order));
        }
        [a, b]
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
