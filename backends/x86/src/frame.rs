//! frame - a function's arguments, saved registers and scratch memory.
//!
//! ```text
//!   rbp + 16 + 8 i    argument 6 + i
//!   rbp + 8           return address
//!   rbp               the caller's rbp
//!   rbp - 8 ...       saved registers, then arguments 0 to 5
//!   rsp ...           scratch memory, on a cache line
//! ```

use iced_x86::Register;

use crate::asm::{ARGS, Asm, Mem};

/// Registers that a function gives back as they were.
const SAVED: [Register; 5] = [Register::RBX, Register::R12, Register::R13, Register::R14, Register::R15];

/// Registers that hold addresses and counts, for functions that give them out as they go.
pub(crate) const POOL: [Register; 10] = [
    Register::RDX,
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
    Register::RBX,
    Register::R12,
    Register::R13,
    Register::R14,
    Register::R15,
];
/// For anything short.
pub(crate) const TEMP: Register = Register::RAX;

/// The frame of a function that has been opened: where the arguments of its spec are.
pub(crate) struct Frame<A> {
    args: Vec<A>,
}

impl<A: PartialEq> Frame<A> {
    /// Begins a function: every argument has a place in memory from here on, and the first six are in their registers
    /// still. There are `scratch` bytes at `rsp`.
    pub(crate) fn open(asm: &mut Asm, args: Vec<A>, scratch: usize) -> Self {
        asm.push_register(Register::RBP);
        asm.mov(Register::RBP, Register::RSP);
        for register in SAVED {
            asm.push_register(register);
        }
        for register in &ARGS[..args.len().min(ARGS.len())] {
            asm.push_register(*register);
        }
        if scratch > 0 {
            asm.add_imm(Register::RSP, -(scratch as i64));
            asm.and_imm(Register::RSP, -64);
        }
        Frame { args }
    }

    /// Where an argument is.
    pub(crate) fn arg(&self, arg: A) -> Mem {
        let index = self.args.iter().position(|a| *a == arg);
        self.at(index.expect("the spec asks for the argument"))
    }

    /// Where argument number `index` is.
    pub(crate) fn at(&self, index: usize) -> Mem {
        assert!(index < self.args.len(), "an argument of the function");
        let disp = if index < ARGS.len() {
            -8 * (SAVED.len() + index + 1) as i64
        } else {
            16 + 8 * (index - ARGS.len()) as i64
        };
        Mem::at(Register::RBP, disp)
    }

    /// Ends the function.
    pub(crate) fn close(&self, asm: &mut Asm) {
        asm.zero_upper();
        asm.lea(Register::RSP, Mem::at(Register::RBP, -8 * SAVED.len() as i64));
        for register in SAVED.iter().rev() {
            asm.pop_register(*register);
        }
        asm.pop_register(Register::RBP);
        asm.ret();
    }
}
