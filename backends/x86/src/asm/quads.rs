//! quads - lanes by fours and eights: what several rows have in one vector (AVX-512).

use iced_x86::{Code, Instruction, Register};

use super::{Asm, K, Lanes, Mem, V, mask_register};

/// Neighbouring lanes of a vector that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Four,
    Eight,
}

impl Part {
    /// How many lanes.
    pub(crate) fn lanes(self) -> usize {
        match self {
            Part::Four => 4,
            Part::Eight => 8,
        }
    }
}

impl Asm {
    /// Four neighbours of memory in every quad of lanes.
    pub(crate) fn broadcast_four(&mut self, to: V, from: Mem) {
        self.broadcast_part(Part::Four, to, from);
    }

    /// Lanes of the mask from another register; others stay.
    pub(crate) fn copy_lanes(&mut self, to: V, from: V, lanes: K) {
        let (to, from) = (self.wide(to), self.wide(from));
        let made = Instruction::with2(Code::EVEX_Vmovaps_zmm_k1z_zmmm512, to, from);
        self.merged(made, Some(lanes));
    }

    /// Neighbours of memory in every part of the lanes.
    pub(crate) fn broadcast_part(&mut self, part: Part, to: V, from: Mem) {
        let code = match part {
            Part::Four => Code::EVEX_Vbroadcastf32x4_zmm_k1z_m128,
            Part::Eight => Code::EVEX_Vbroadcastf32x8_zmm_k1z_m256,
        };
        let to = self.wide(to);
        self.push(Instruction::with2(code, to, from.operand()));
    }

    /// The lanes of the mask, the first of as many neighbours of memory as `count` says, a power of two, in every part of the lanes that
    /// has as many; the others are zero.
    pub(crate) fn repeat_masked(&mut self, count: usize, to: V, from: Mem, lanes: K) {
        self.load(to, from, Lanes::Mask(lanes));
        let (wide, narrow) = (self.wide(to), Self::xmm(to));
        let made = match count {
            4 | 8 => {
                let quads: u32 = if count == 4 { 0x00 } else { 0x44 };
                Instruction::with4(Code::EVEX_Vshuff32x4_zmm_k1z_zmm_zmmm512b32_imm8, wide, wide, wide, quads)
            }
            2 => Instruction::with2(Code::EVEX_Vbroadcastsd_zmm_k1z_xmmm64, wide, narrow),
            _ => return,
        };
        self.push(made);
    }

    /// One element of memory in all lanes, or in those of the mask alone.
    pub(crate) fn broadcast_into(&mut self, to: V, from: Mem, lanes: Option<K>) {
        let to = self.wide(to);
        let made = Instruction::with2(Code::EVEX_Vbroadcastss_zmm_k1z_xmmm32, to, from.operand());
        self.merged(made, lanes);
    }

    fn merged(&mut self, made: Result<Instruction, iced_x86::IcedError>, lanes: Option<K>) {
        let made = self.push(made);
        if let Some(k) = lanes {
            made.set_op_mask(mask_register(k));
        }
    }

    /// Lane `lane` of each quad in all four of its lanes.
    pub(crate) fn spread_in_fours(&mut self, to: V, from: V, lane: u32) {
        let (to, from) = (self.wide(to), self.wide(from));
        let code = Code::EVEX_Vpermilps_zmm_k1z_zmmm512b32_imm8;
        self.push(Instruction::with3(code, to, from, lane * 0b0101_0101));
    }

    /// The first half of each quad in both of its halves, or the second.
    pub(crate) fn spread_in_twos(&mut self, to: V, from: V, half: u32) {
        let (to, from) = (self.wide(to), self.wide(from));
        let code = Code::EVEX_Vpermilps_zmm_k1z_zmmm512b32_imm8;
        let lanes = if half == 0 { 0b0100_0100 } else { 0b1110_1110u32 };
        self.push(Instruction::with3(code, to, from, lanes));
    }

    /// Writes part number `at`.
    pub(crate) fn store_part(&mut self, part: Part, to: Mem, from: V, at: usize) {
        let code = match part {
            Part::Four => Code::EVEX_Vextractf32x4_xmmm128_k1z_zmm_imm8,
            Part::Eight => Code::EVEX_Vextractf32x8_ymmm256_k1z_zmm_imm8,
        };
        let from = self.wide(from);
        self.push(Instruction::with3(code, to.operand(), from, at as u32));
    }

    /// Reads a part into the first lanes; the others are zero.
    pub(crate) fn load_part(&mut self, part: Part, to: V, from: Mem) {
        let number = u32::from(to.0);
        let made = match part {
            Part::Four => {
                let code = Code::EVEX_Vmovups_xmm_k1z_xmmm128;
                Instruction::with2(code, Register::XMM0 + number, from.operand())
            }
            Part::Eight => {
                let code = Code::EVEX_Vmovups_ymm_k1z_ymmm256;
                Instruction::with2(code, Register::YMM0 + number, from.operand())
            }
        };
        self.push(made);
    }
}
