//! asm - instructions of AVX2 and AVX-512 by one set of names, labels and constants.
//!
//! A [`Level`] decides how wide a vector register is and which encoding an operation has; emitters say what they want
//! and not how it is encoded. Instructions are kept as a list until [`Asm::finish`], since a label may be placed
//! after its use. An instruction's address in the list is its number plus one: iced's block encoder turns those
//! into real distances.

use iced_x86::{Code, IcedError, Instruction, MemoryOperand, Register};

use crate::Level;

pub(crate) mod elements;
mod finish;
mod general;
mod permute;
pub(crate) mod quads;
mod repeat;

/// A vector register by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct V(pub(crate) u8);

/// A mask register by its number, 1 to 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct K(pub(crate) u8);

/// A place in the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Label(usize);

/// Address of a memory operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mem {
    pub(crate) base: Register,
    /// A register and what it is multiplied by: 1, 2, 4 or 8.
    pub(crate) index: Option<(Register, u32)>,
    /// Bytes.
    pub(crate) disp: i64,
}

impl Mem {
    /// `base + disp`.
    pub(crate) fn at(base: Register, disp: i64) -> Self {
        Mem { base, index: None, disp }
    }

    /// The same, further on.
    pub(crate) fn plus(self, bytes: i64) -> Self {
        Mem { disp: self.disp + bytes, ..self }
    }

    fn operand(self) -> MemoryOperand {
        let (index, scale) = self.index.unwrap_or((Register::None, 1));
        // One register and no displacement still needs a size: zero lets the encoder choose.
        let size = u32::from(self.disp != 0);
        MemoryOperand::new(self.base, index, scale, self.disp, size, false, Register::None)
    }
}

/// The last operand of a vector instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rm {
    Reg(V),
    Mem(Mem),
    /// The same word in all lanes, from the constant pool.
    Word(u32),
}

impl From<V> for Rm {
    fn from(v: V) -> Self {
        Rm::Reg(v)
    }
}

impl From<Mem> for Rm {
    fn from(m: Mem) -> Self {
        Rm::Mem(m)
    }
}

/// Which lanes of memory an access touches; others read as zero and are not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lanes {
    All,
    /// Those whose bit is set (AVX-512).
    Mask(K),
    /// Those whose sign bit is set (AVX2).
    Signs(V),
}

/// Operations on two vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op2 {
    AddF,
    SubF,
    MulF,
    DivF,
    /// `a < b ? a : b`.
    MinF,
    /// `a > b ? a : b`.
    MaxF,
    And,
    /// `!a & b`.
    AndNot,
    Or,
    Xor,
    AddI,
    SubI,
    MulI,
    /// Products of 16-bit integers, the two of a lane added.
    MulPairs,
}

/// Operations on one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op1 {
    Sqrt,
    /// i32 to f32.
    FromInt,
    /// f32 to i32 towards zero; what does not fit gives the least i32.
    ToInt,
}

/// Shifts of i32 lanes by a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shift {
    Left,
    /// Zeros enter.
    Right,
    /// The sign enters.
    RightSigned,
}

/// Directions of rounding to a whole number, as instructions encode them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Round {
    Nearest = 0,
    Down = 1,
    Up = 2,
    Zero = 3,
}

/// Comparisons of f32 as instructions encode them; ordered but for `Ne`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cmp {
    Eq = 0,
    Lt = 1,
    Le = 2,
    /// Also true where one is no number.
    Ne = 4,
}

/// A list of instructions in the making.
pub(crate) struct Asm {
    /// What may be used.
    pub(crate) level: Level,
    list: Vec<Instruction>,
    /// Position of each label, once it is placed.
    labels: Vec<Option<usize>>,
    /// Instructions that name a label, and the label.
    uses: Vec<(usize, Label)>,
    /// Words of the constant pool, each with its label.
    pool: Vec<(Vec<u32>, Label)>,
    failed: Option<String>,
}

/// Why a tile has no wide code: an operand that no instruction has room for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodeError(pub String);

impl From<IcedError> for EncodeError {
    fn from(e: IcedError) -> Self {
        EncodeError(e.to_string())
    }
}

/// General-purpose registers that hold the first six arguments.
pub(crate) const ARGS: [Register; 6] =
    [Register::RDI, Register::RSI, Register::RDX, Register::RCX, Register::R8, Register::R9];

impl Asm {
    pub(crate) fn new(level: Level) -> Self {
        Asm { level, list: vec![], labels: vec![], uses: vec![], pool: vec![], failed: None }
    }

    /// The register by its number, as wide as the level has it.
    fn wide(&self, v: V) -> Register {
        let first = if self.level == Level::Avx512 { Register::ZMM0 } else { Register::YMM0 };
        first + u32::from(v.0)
    }

    fn xmm(v: V) -> Register {
        Register::XMM0 + u32::from(v.0)
    }

    /// Chooses the AVX2 or the AVX-512 form.
    fn pick(&self, vex: Code, evex: Code) -> Code {
        if self.level == Level::Avx512 { evex } else { vex }
    }

    fn push(&mut self, made: Result<Instruction, IcedError>) -> &mut Instruction {
        let mut instruction = match made {
            Ok(instruction) => instruction,
            Err(e) => {
                self.failed.get_or_insert(e.to_string());
                Instruction::with(Code::Nopd)
            }
        };
        instruction.set_ip(self.list.len() as u64 + 1);
        self.list.push(instruction);
        let last = self.list.len() - 1;
        &mut self.list[last]
    }

    // Vectors.

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

    /// The same word in all lanes.
    pub(crate) fn constant(&mut self, to: V, bits: u32) {
        if bits == 0 {
            return self.zero(to);
        }
        let label = self.pooled(&[bits]);
        let code = self.pick(Code::VEX_Vbroadcastss_ymm_m32, Code::EVEX_Vbroadcastss_zmm_k1z_xmmm32);
        let to = self.wide(to);
        let made = Instruction::with2(code, to, MemoryOperand::with_base_displ_size(Register::RIP, 1, 8));
        self.push(made);
        self.uses.push((self.list.len() - 1, label));
    }

    /// Address of words in the constant pool.
    pub(crate) fn address_of(&mut self, to: Register, words: &[u32]) {
        let label = self.pooled(words);
        let from = MemoryOperand::with_base_displ_size(Register::RIP, 1, 8);
        self.push(Instruction::with2(Code::Lea_r64_m, to, from));
        self.uses.push((self.list.len() - 1, label));
    }

    fn pooled(&mut self, words: &[u32]) -> Label {
        if let Some((_, label)) = self.pool.iter().find(|(w, _)| w == words) {
            return *label;
        }
        let label = self.label();
        self.pool.push((words.to_vec(), label));
        label
    }

    /// An operation on two vectors.
    pub(crate) fn op2(&mut self, op: Op2, to: V, a: V, b: impl Into<Rm>) {
        let (vex, evex) = op2_codes(op);
        let code = self.pick(vex, evex);
        self.three(code, to, a, b.into());
    }

    /// An instruction whose last operand may be in memory.
    fn three(&mut self, code: Code, to: V, a: V, b: Rm) -> &mut Instruction {
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

    fn mask_to_lanes(&mut self, to: V) {
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

    /// The end of a function that used wide registers: what follows may use narrow ones at full speed.
    pub(crate) fn zero_upper(&mut self) {
        self.push(Ok(Instruction::with(Code::VEX_Vzeroupper)));
    }

    // Masks.

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

    // Places.

    /// A label that is placed later.
    pub(crate) fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// Places a label before the next instruction.
    pub(crate) fn place(&mut self, label: Label) {
        self.labels[label.0] = Some(self.list.len());
    }

    /// A label before the next instruction.
    pub(crate) fn here(&mut self) -> Label {
        let label = self.label();
        self.place(label);
        label
    }

    /// A jump, by one of iced's near forms such as `Jne_rel32_64`.
    pub(crate) fn jump(&mut self, code: Code, to: Label) {
        self.push(Instruction::with_branch(code, 1));
        self.uses.push((self.list.len() - 1, to));
    }
}

fn too_far() -> String {
    "a distance has over 31 bits".into()
}

/// The low half of a general-purpose register.
fn low_half(register: Register) -> Register {
    Register::EAX + (register as u32 - Register::RAX as u32)
}

/// The register of a mask.
pub(crate) fn mask_register(k: K) -> Register {
    Register::K0 + u32::from(k.0)
}

fn op2_codes(op: Op2) -> (Code, Code) {
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
