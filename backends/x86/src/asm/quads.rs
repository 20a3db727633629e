//! quads - lanes by fours and eights: what several rows have in one vector (AVX-512).

use iced_x86::{Code, Instruction, Register};

use super::{Asm, K, Mem, V, mask_register};

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
