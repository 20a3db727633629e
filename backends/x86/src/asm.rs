//! asm - instructions of AVX2 and AVX-512 by one set of names, labels and constants.
//!
//! A [`Level`] decides how wide a vector register is and which encoding an operation has; emitters say what they want
//! and not how it is encoded. Instructions are kept as a list until [`Asm::finish`], since a label may be placed
//! after its use. An instruction's address in the list is its number plus one: iced's block encoder turns those
//! into real distances.

mod choose;
pub(crate) mod elements;
mod finish;
mod general;
mod operands;
mod permute;
pub(crate) mod quads;
mod repeat;
mod vectors;

use iced_x86::{Code, IcedError, Instruction, MemoryOperand, Register};

pub(crate) use self::operands::{Cmp, K, Label, Lanes, Mem, Op1, Op2, Rm, Round, Shift, V, mask_register};
use self::vectors::op2_codes;
use crate::Level;
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

    // The constant pool.

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

    // The end of a function.

    /// The end of a function that used wide registers: what follows may use narrow ones at full speed.
    pub(crate) fn zero_upper(&mut self) {
        self.push(Ok(Instruction::with(Code::VEX_Vzeroupper)));
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
