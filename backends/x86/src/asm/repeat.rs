//! repeat - a few neighbours of memory again and again over all lanes, and the sums of such parts.

use iced_x86::{Code, Instruction, Register};

use super::{Asm, Lanes, Mem, Op2, V, quads::Part};
use crate::Level;

impl Asm {
    /// As many neighbours as `count` says, a power of two, in every part of the lanes that has as many.
    pub(crate) fn load_repeated(&mut self, count: usize, to: V, from: Mem) {
        let code = match (self.level, count) {
            (Level::Avx512, 8) => return self.broadcast_part(Part::Eight, to, from),
            (Level::Avx512, 4) => return self.broadcast_four(to, from),
            (Level::Avx512, 2) => Code::EVEX_Vbroadcastsd_zmm_k1z_xmmm64,
            (Level::Avx2, 4) => Code::VEX_Vbroadcastf128_ymm_m128,
            (Level::Avx2, 2) => Code::VEX_Vbroadcastsd_ymm_m64,
            _ => return self.load(to, from, Lanes::All),
        };
        let to = self.wide(to);
        self.push(Instruction::with2(code, to, from.operand()));
    }

    /// Likewise where only the lanes of some of the neighbours are there; the others are zero.
    pub(crate) fn load_repeated_part(&mut self, count: usize, to: V, from: Mem, lanes: Lanes) {
        self.load(to, from, lanes);
        let (wide, narrow) = (self.wide(to), Self::xmm(to));
        let made = match (self.level, count) {
            (Level::Avx512, 4 | 8) => {
                let parts: u32 = if count == 4 { 0x00 } else { 0x44 };
                Instruction::with4(Code::EVEX_Vshuff32x4_zmm_k1z_zmm_zmmm512b32_imm8, wide, wide, wide, parts)
            }
            (Level::Avx512, 2) => Instruction::with2(Code::EVEX_Vbroadcastsd_zmm_k1z_xmmm64, wide, narrow),
            (Level::Avx2, 4) => {
                Instruction::with4(Code::VEX_Vperm2f128_ymm_ymm_ymmm256_imm8, wide, wide, wide, 0u32)
            }
            (Level::Avx2, 2) => Instruction::with2(Code::VEX_Vbroadcastsd_ymm_xmm, wide, narrow),
            _ => return,
        };
        self.push(made);
    }

    /// Reads the first `n` lanes, a power of two; the others are zero.
    pub(crate) fn load_some(&mut self, n: usize, to: V, from: Mem) {
        let code = match (self.level, n) {
            (Level::Avx512, 1) => Code::EVEX_Vmovss_xmm_k1z_m32,
            (Level::Avx512, 2) => Code::EVEX_Vmovsd_xmm_k1z_m64,
            (Level::Avx512, 4) => Code::EVEX_Vmovups_xmm_k1z_xmmm128,
            (Level::Avx512, 8) => Code::EVEX_Vmovups_ymm_k1z_ymmm256,
            (Level::Avx2, 1) => Code::VEX_Vmovss_xmm_m32,
            (Level::Avx2, 2) => Code::VEX_Vmovsd_xmm_m64,
            (Level::Avx2, 4) => Code::VEX_Vmovups_xmm_xmmm128,
            _ => return self.load(to, from, Lanes::All),
        };
        let to = if n > 4 { Self::ymm(to) } else { Self::xmm(to) };
        self.push(Instruction::with2(code, to, from.operand()));
    }

    /// Writes the first `n` lanes, a power of two.
    pub(crate) fn store_some(&mut self, n: usize, to: Mem, from: V) {
        let code = match (self.level, n) {
            (Level::Avx512, 1) => Code::EVEX_Vmovss_m32_k1_xmm,
            (Level::Avx512, 2) => Code::EVEX_Vmovsd_m64_k1_xmm,
            (Level::Avx512, 4) => Code::EVEX_Vmovups_xmmm128_k1z_xmm,
            (Level::Avx512, 8) => Code::EVEX_Vmovups_ymmm256_k1z_ymm,
            (Level::Avx2, 1) => Code::VEX_Vmovss_m32_xmm,
            (Level::Avx2, 2) => Code::VEX_Vmovsd_m64_xmm,
            (Level::Avx2, 4) => Code::VEX_Vmovups_xmmm128_xmm,
            _ => return self.store(to, from, Lanes::All),
        };
        let from = if n > 4 { Self::ymm(from) } else { Self::xmm(from) };
        self.push(Instruction::with2(code, to.operand(), from));
    }

    fn ymm(v: V) -> Register {
        Register::YMM0 + u32::from(v.0)
    }

    /// Sums of neighbouring lanes of two vectors, in the place of the first: in each quad two sums of `a`, then two of `b`.
    pub(crate) fn add_neighbours(&mut self, a: V, b: V, scratch: V) {
        let code =
            self.pick(Code::VEX_Vshufps_ymm_ymm_ymmm256_imm8, Code::EVEX_Vshufps_zmm_k1z_zmm_zmmm512b32_imm8);
        self.add_picked(code, [0x88, 0xdd], a, b, scratch);
    }

    /// Likewise of neighbouring quads of lanes: the sums of `a`, then those of `b`.
    pub(crate) fn add_neighbour_quads(&mut self, a: V, b: V, scratch: V) {
        match self.level {
            Level::Avx512 => {
                let code = Code::EVEX_Vshuff32x4_zmm_k1z_zmm_zmmm512b32_imm8;
                self.add_picked(code, [0x88, 0xdd], a, b, scratch);
            }
            Level::Avx2 => {
                let code = Code::VEX_Vperm2f128_ymm_ymm_ymmm256_imm8;
                self.add_picked(code, [0x20, 0x31], a, b, scratch);
            }
        }
    }

    fn add_picked(&mut self, code: Code, [first, second]: [u32; 2], a: V, b: V, scratch: V) {
        let [x, y, evens] = [a, b, scratch].map(|v| self.wide(v));
        self.push(Instruction::with4(code, evens, x, y, first));
        self.push(Instruction::with4(code, x, x, y, second));
        self.op2(Op2::AddF, a, scratch, a);
    }

    /// Lanes in the order that a table in memory says.
    pub(crate) fn reorder(&mut self, v: V, table: Register, scratch: V) {
        self.load(scratch, Mem::at(table, 0), Lanes::All);
        let code = self.pick(Code::VEX_Vpermps_ymm_ymm_ymmm256, Code::EVEX_Vpermps_zmm_k1z_zmm_zmmm512b32);
        let (v, order) = (self.wide(v), self.wide(scratch));
        self.push(Instruction::with3(code, v, order, v));
    }
}
