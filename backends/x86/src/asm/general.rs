//! general - instructions of general-purpose registers: addresses, counters, strides.

use iced_x86::{Code, Instruction, Register};

use super::{Asm, Mem, low_half, too_far};

impl Asm {
    /// `to = from`.
    pub(crate) fn mov(&mut self, to: Register, from: Register) {
        if to != from {
            self.push(Instruction::with2(Code::Mov_r64_rm64, to, from));
        }
    }

    /// `to = value`.
    pub(crate) fn mov_imm(&mut self, to: Register, value: i64) {
        if let Ok(small) = u32::try_from(value) {
            let narrow = low_half(to);
            self.push(Instruction::with2(Code::Mov_r32_imm32, narrow, small));
        } else {
            self.push(Instruction::with2(Code::Mov_r64_imm64, to, value));
        }
    }

    /// Reads 64 bits.
    pub(crate) fn mov_load(&mut self, to: Register, from: Mem) {
        self.push(Instruction::with2(Code::Mov_r64_rm64, to, from.operand()));
    }

    /// Writes 64 bits.
    pub(crate) fn mov_store(&mut self, to: Mem, from: Register) {
        self.push(Instruction::with2(Code::Mov_rm64_r64, to.operand(), from));
    }

    /// Reads 32 bits; the others are zero.
    pub(crate) fn mov_load_low(&mut self, to: Register, from: Mem) {
        self.push(Instruction::with2(Code::Mov_r32_rm32, low_half(to), from.operand()));
    }

    /// Writes the low 32 bits.
    pub(crate) fn mov_store_low(&mut self, to: Mem, from: Register) {
        self.push(Instruction::with2(Code::Mov_rm32_r32, to.operand(), low_half(from)));
    }

    /// `to += what is in memory`.
    pub(crate) fn add_load(&mut self, to: Register, from: Mem) {
        self.push(Instruction::with2(Code::Add_r64_rm64, to, from.operand()));
    }

    /// Adds to 64 bits in memory.
    pub(crate) fn add_to_memory(&mut self, to: Mem, value: i64) {
        match i32::try_from(value) {
            Ok(value) => {
                self.push(Instruction::with2(Code::Add_rm64_imm32, to.operand(), value));
            }
            Err(_) => {
                self.failed.get_or_insert_with(too_far);
            }
        }
    }

    /// Asks for the line of a place to be brought to the caches; the place need not be there.
    pub(crate) fn prefetch(&mut self, at: Mem) {
        self.push(Instruction::with1(Code::Prefetcht0_m8, at.operand()));
    }

    /// Likewise for what is read once: it does not take the place of lines that are read more often.
    pub(crate) fn prefetch_once(&mut self, at: Mem) {
        self.push(Instruction::with1(Code::Prefetchnta_m8, at.operand()));
    }

    /// `to = address`.
    pub(crate) fn lea(&mut self, to: Register, from: Mem) {
        if from.index.is_none() && from.disp == 0 {
            return self.mov(to, from.base);
        }
        self.push(Instruction::with2(Code::Lea_r64_m, to, from.operand()));
    }

    /// `to += from`.
    pub(crate) fn add(&mut self, to: Register, from: Register) {
        self.push(Instruction::with2(Code::Add_r64_rm64, to, from));
    }

    /// `to += value`; the flags tell of the sum.
    pub(crate) fn add_imm(&mut self, to: Register, value: i64) {
        let Ok(value) = i32::try_from(value) else {
            self.failed.get_or_insert_with(too_far);
            return;
        };
        let short = i8::try_from(value).is_ok();
        let code = if short { Code::Add_rm64_imm8 } else { Code::Add_rm64_imm32 };
        self.push(Instruction::with2(code, to, value));
    }

    /// `to *= value`.
    pub(crate) fn mul_imm(&mut self, to: Register, value: i64) {
        match i32::try_from(value) {
            Ok(value) => {
                self.push(Instruction::with3(Code::Imul_r64_rm64_imm32, to, to, value));
            }
            Err(_) => {
                self.failed.get_or_insert_with(too_far);
            }
        }
    }

    /// `to *= from`.
    pub(crate) fn mul(&mut self, to: Register, from: Register) {
        self.push(Instruction::with2(Code::Imul_r64_rm64, to, from));
    }

    /// `to <<= count`.
    pub(crate) fn shl(&mut self, to: Register, count: u32) {
        self.push(Instruction::with2(Code::Shl_rm64_imm8, to, count));
    }

    /// `to &= value`.
    pub(crate) fn and_imm(&mut self, to: Register, value: i32) {
        self.push(Instruction::with2(Code::And_rm64_imm32, to, value));
    }

    /// `to >>= count`, zeros entering.
    pub(crate) fn shift_right(&mut self, to: Register, count: u32) {
        self.push(Instruction::with2(Code::Shr_rm64_imm8, to, count));
    }

    /// `to = from`, without the bits from number `count` on.
    pub(crate) fn keep_low_bits(&mut self, to: Register, from: Register, count: Register) {
        self.push(Instruction::with3(Code::VEX_Bzhi_r64_rm64_r64, to, from, count));
    }

    pub(crate) fn push_register(&mut self, register: Register) {
        self.push(Instruction::with1(Code::Push_r64, register));
    }

    pub(crate) fn pop_register(&mut self, register: Register) {
        self.push(Instruction::with1(Code::Pop_r64, register));
    }

    pub(crate) fn ret(&mut self) {
        self.push(Ok(Instruction::with(Code::Retnq)));
    }

    /// The number in `0..=most` that is nearest.
    pub(crate) fn clamp(&mut self, to: Register, most: i64) {
        for (bound, stays) in [(0, Code::Jge_rel32_64), (most, Code::Jle_rel32_64)] {
            let fine = self.label();
            self.cmp_imm(to, bound as i32);
            self.jump(stays, fine);
            self.mov_imm(to, bound);
            self.place(fine);
        }
    }

    /// Sets the flags for `a - b`.
    pub(crate) fn cmp(&mut self, a: Register, b: Register) {
        self.push(Instruction::with2(Code::Cmp_r64_rm64, a, b));
    }

    /// Sets the flags for `a - value`.
    pub(crate) fn cmp_imm(&mut self, a: Register, value: i32) {
        self.push(Instruction::with2(Code::Cmp_rm64_imm32, a, value));
    }

    /// `to -= from`.
    pub(crate) fn sub(&mut self, to: Register, from: Register) {
        self.push(Instruction::with2(Code::Sub_r64_rm64, to, from));
    }

    /// `to = -to`.
    pub(crate) fn negate(&mut self, to: Register) {
        self.push(Instruction::with1(Code::Neg_rm64, to));
    }

    /// `memory -= 1`; the flags tell of the difference.
    pub(crate) fn decrement(&mut self, at: Mem) {
        self.push(Instruction::with2(Code::Add_rm64_imm8, at.operand(), -1i32));
    }
}
