//! vectors - vectors in registers: loads, stores and arithmetic.

use iced_x86::{Code, Instruction, MemoryOperand, Register};

use super::{Asm, Lanes, Mem, Op1, Op2, Rm, Round, Shift, V, mask_register};
use crate::Level;

impl Asm {
    /// `to = 0`.
    pub(crate) fn zero(&mut self, to: V) {
        let code = Code::VEX_Vxorps_xmm_xmm_xmmm128;
        if to.0 < 16 {
            let x = Self::xmm(to);
            self.push(Instruction::with3(code, x, x, x));
        } else {
            let x = self.wide(to);
            self.push(Instruction::with3(Code::EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32, x, x, x));
        }
    }

    /// Copies a register.
    pub(crate) fn copy(&mut self, to: V, from: V) {
        if to == from {
            return;
        }
        let code = self.pick(Code::VEX_Vmovaps_ymm_ymmm256, Code::EVEX_Vmovaps_zmm_k1z_zmmm512);
        let (to, from) = (self.wide(to), self.wide(from));
        self.push(Instruction::with2(code, to, from));
    }

    /// Reads neighbours.
    pub(crate) fn load(&mut self, to: V, from: Mem, lanes: Lanes) {
        let wide = self.wide(to);
        match lanes {
            Lanes::Signs(mask) => {
                let mask = self.wide(mask);
                let code = Code::VEX_Vmaskmovps_ymm_ymm_m256;
                self.push(Instruction::with3(code, wide, mask, from.operand()));
            }
            _ => {
                let code = self.pick(Code::VEX_Vmovups_ymm_ymmm256, Code::EVEX_Vmovups_zmm_k1z_zmmm512);
                let made = self.push(Instruction::with2(code, wide, from.operand()));
                if let Lanes::Mask(k) = lanes {
                    made.set_op_mask(mask_register(k));
                    made.set_zeroing_masking(true);
                }
            }
        }
    }

    /// Writes neighbours.
    pub(crate) fn store(&mut self, to: Mem, from: V, lanes: Lanes) {
        let wide = self.wide(from);
        match lanes {
            Lanes::Signs(mask) => {
                let mask = self.wide(mask);
                let code = Code::VEX_Vmaskmovps_m256_ymm_ymm;
                self.push(Instruction::with3(code, to.operand(), mask, wide));
            }
            _ => {
                let code = self.pick(Code::VEX_Vmovups_ymmm256_ymm, Code::EVEX_Vmovups_zmmm512_k1z_zmm);
                let made = self.push(Instruction::with2(code, to.operand(), wide));
                if let Lanes::Mask(k) = lanes {
                    made.set_op_mask(mask_register(k));
                }
            }
        }
    }

    /// One element of memory in all lanes.
    pub(crate) fn broadcast(&mut self, to: V, from: Mem) {
        let code = self.pick(Code::VEX_Vbroadcastss_ymm_m32, Code::EVEX_Vbroadcastss_zmm_k1z_xmmm32);
        let to = self.wide(to);
        self.push(Instruction::with2(code, to, from.operand()));
    }

    /// An operation on two vectors.
    pub(crate) fn op2(&mut self, op: Op2, to: V, a: V, b: impl Into<Rm>) {
        let (vex, evex) = op2_codes(op);
        let code = self.pick(vex, evex);
        self.three(code, to, a, b.into());
    }

    /// An instruction whose last operand may be in memory.
    pub(super) fn three(&mut self, code: Code, to: V, a: V, b: Rm) -> &mut Instruction {
        let (to, a) = (self.wide(to), self.wide(a));
        match b {
            Rm::Reg(b) => self.push(Instruction::with3(code, to, a, self.wide(b))),
            Rm::Mem(b) => self.push(Instruction::with3(code, to, a, b.operand())),
            Rm::Word(bits) => {
                // AVX-512 instructions broadcast what they read themselves.
                let broadcasts = self.level == Level::Avx512;
                let words = vec![bits; if broadcasts { 1 } else { self.level.lanes() }];
                let label = self.pooled(&words);
                self.uses.push((self.list.len(), label));
                let from = MemoryOperand::with_base_displ_size(Register::RIP, 1, 8);
                let made = self.push(Instruction::with3(code, to, a, from));
                made.set_is_broadcast(broadcasts);
                made
            }
        }
    }

    /// An operation on one vector.
    pub(crate) fn op1(&mut self, op: Op1, to: V, a: V) {
        let (vex, evex) = match op {
            Op1::Sqrt => (Code::VEX_Vsqrtps_ymm_ymmm256, Code::EVEX_Vsqrtps_zmm_k1z_zmmm512b32_er),
            Op1::FromInt => (Code::VEX_Vcvtdq2ps_ymm_ymmm256, Code::EVEX_Vcvtdq2ps_zmm_k1z_zmmm512b32_er),
            Op1::ToInt => (Code::VEX_Vcvttps2dq_ymm_ymmm256, Code::EVEX_Vcvttps2dq_zmm_k1z_zmmm512b32_sae),
        };
        let code = self.pick(vex, evex);
        let (to, a) = (self.wide(to), self.wide(a));
        self.push(Instruction::with2(code, to, a));
    }

    /// `acc = a * b + acc`, rounded once. With lanes given, others of `acc` stay and memory is not read for them
    /// (AVX-512 only).
    pub(crate) fn fma(&mut self, acc: V, a: V, b: impl Into<Rm>, lanes: Lanes) {
        let code = self
            .pick(Code::VEX_Vfmadd231ps_ymm_ymm_ymmm256, Code::EVEX_Vfmadd231ps_zmm_k1z_zmm_zmmm512b32_er);
        self.fma_of(code, acc, a, b.into(), lanes);
    }

    /// `a = a * b + c`, rounded once: the first multiplicand is overwritten.
    pub(crate) fn fma_over_a(&mut self, a: V, b: V, c: impl Into<Rm>) {
        let code = self
            .pick(Code::VEX_Vfmadd213ps_ymm_ymm_ymmm256, Code::EVEX_Vfmadd213ps_zmm_k1z_zmm_zmmm512b32_er);
        self.fma_of(code, a, b, c.into(), Lanes::All);
    }

    /// An instruction that adds a product of two operands to the first.
    pub(crate) fn fma_of(&mut self, code: Code, to: V, a: V, b: Rm, lanes: Lanes) {
        let made = self.three(code, to, a, b);
        if let Lanes::Mask(k) = lanes {
            made.set_op_mask(mask_register(k));
        }
    }

    /// `acc = a * b + acc` where `b` is one element of memory for all lanes (AVX-512 only).
    pub(crate) fn fma_broadcast(&mut self, acc: V, a: V, b: Mem) {
        let (to, a) = (self.wide(acc), self.wide(a));
        let code = Code::EVEX_Vfmadd231ps_zmm_k1z_zmm_zmmm512b32_er;
        self.push(Instruction::with3(code, to, a, b.operand())).set_is_broadcast(true);
    }

    /// Rounds f32 lanes to whole numbers.
    pub(crate) fn round(&mut self, to: V, a: V, way: Round) {
        let code = self
            .pick(Code::VEX_Vroundps_ymm_ymmm256_imm8, Code::EVEX_Vrndscaleps_zmm_k1z_zmmm512b32_imm8_sae);
        let (to, a) = (self.wide(to), self.wide(a));
        // Bit 3 keeps the inexact flag of MXCSR as it was.
        self.push(Instruction::with3(code, to, a, 8 | way as u32));
    }

    /// Shifts i32 lanes.
    pub(crate) fn shift(&mut self, way: Shift, to: V, a: V, count: u8) {
        let (vex, evex) = match way {
            Shift::Left => (Code::VEX_Vpslld_ymm_ymm_imm8, Code::EVEX_Vpslld_zmm_k1z_zmmm512b32_imm8),
            Shift::Right => (Code::VEX_Vpsrld_ymm_ymm_imm8, Code::EVEX_Vpsrld_zmm_k1z_zmmm512b32_imm8),
            Shift::RightSigned => (Code::VEX_Vpsrad_ymm_ymm_imm8, Code::EVEX_Vpsrad_zmm_k1z_zmmm512b32_imm8),
        };
        let code = self.pick(vex, evex);
        let (to, a) = (self.wide(to), self.wide(a));
        self.push(Instruction::with3(code, to, a, u32::from(count)));
    }
}

pub(super) fn op2_codes(op: Op2) -> (Code, Code) {
    match op {
        Op2::AddF => (Code::VEX_Vaddps_ymm_ymm_ymmm256, Code::EVEX_Vaddps_zmm_k1z_zmm_zmmm512b32_er),
        Op2::SubF => (Code::VEX_Vsubps_ymm_ymm_ymmm256, Code::EVEX_Vsubps_zmm_k1z_zmm_zmmm512b32_er),
        Op2::MulF => (Code::VEX_Vmulps_ymm_ymm_ymmm256, Code::EVEX_Vmulps_zmm_k1z_zmm_zmmm512b32_er),
        Op2::DivF => (Code::VEX_Vdivps_ymm_ymm_ymmm256, Code::EVEX_Vdivps_zmm_k1z_zmm_zmmm512b32_er),
        Op2::MinF => (Code::VEX_Vminps_ymm_ymm_ymmm256, Code::EVEX_Vminps_zmm_k1z_zmm_zmmm512b32_sae),
        Op2::MaxF => (Code::VEX_Vmaxps_ymm_ymm_ymmm256, Code::EVEX_Vmaxps_zmm_k1z_zmm_zmmm512b32_sae),
        Op2::And => (Code::VEX_Vpand_ymm_ymm_ymmm256, Code::EVEX_Vpandd_zmm_k1z_zmm_zmmm512b32),
        Op2::AndNot => (Code::VEX_Vpandn_ymm_ymm_ymmm256, Code::EVEX_Vpandnd_zmm_k1z_zmm_zmmm512b32),
        Op2::Or => (Code::VEX_Vpor_ymm_ymm_ymmm256, Code::EVEX_Vpord_zmm_k1z_zmm_zmmm512b32),
        Op2::Xor => (Code::VEX_Vpxor_ymm_ymm_ymmm256, Code::EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32),
        Op2::AddI => (Code::VEX_Vpaddd_ymm_ymm_ymmm256, Code::EVEX_Vpaddd_zmm_k1z_zmm_zmmm512b32),
        Op2::SubI => (Code::VEX_Vpsubd_ymm_ymm_ymmm256, Code::EVEX_Vpsubd_zmm_k1z_zmm_zmmm512b32),
        Op2::MulPairs => (Code::VEX_Vpmaddwd_ymm_ymm_ymmm256, Code::EVEX_Vpmaddwd_zmm_k1z_zmm_zmmm512),
        Op2::MulI => (Code::VEX_Vpmulld_ymm_ymm_ymmm256, Code::EVEX_Vpmulld_zmm_k1z_zmm_zmmm512b32),
    }
}
