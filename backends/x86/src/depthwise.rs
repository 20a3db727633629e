//! depthwise - what the tiles of depthwise convolutions share: a step of a sum, and what becomes of one.

use iced_x86::Register;
use nnc_tile::epilogue::{Epilogue, EpilogueInput};

use crate::{
    asm::{Asm, Lanes, Mem, V},
    program::{self, Input},
};

/// The rows of operands of an epilogue.
pub(crate) const OPERANDS: [Register; 4] = [Register::R12, Register::R13, Register::R14, Register::R15];

/// `acc += w * x`, with x in memory; the third register from the top may be overwritten.
pub(crate) fn multiply_add(asm: &mut Asm, acc: V, w: V, from: Mem, lanes: Lanes) {
    if let Lanes::Signs(_) = lanes {
        let part = V((asm.level.registers() - 3) as u8);
        asm.load(part, from, lanes);
        asm.fma(acc, w, part, Lanes::All);
    } else {
        asm.fma(acc, w, from, lanes);
    }
}

/// A vector of sums after the epilogue, if there is one; `place` says where the vector's operands are in a row of them.
pub(crate) fn finished(
    asm: &mut Asm,
    epilogue: Option<&Epilogue>,
    acc: V,
    place: &dyn Fn(Register) -> Mem,
    lanes: Lanes,
    free: &[V],
) -> V {
    let Some(epilogue) = epilogue else { return acc };
    let operand = |(index, kind): (usize, &EpilogueInput)| match kind {
        EpilogueInput::Row | EpilogueInput::Scalar => Input::Splat(Mem::at(OPERANDS[index], 0)),
        EpilogueInput::Col | EpilogueInput::Tile => Input::Lanes(place(OPERANDS[index]), lanes),
        EpilogueInput::Behind { .. } => unreachable!("`check` has ruled it out"),
    };
    let operands = epilogue.inputs.iter().enumerate().map(operand);
    let inputs: Vec<Input> = std::iter::once(Input::Own(acc)).chain(operands).collect();
    program::emit(asm, &epilogue.program, &inputs, free)[0]
}
