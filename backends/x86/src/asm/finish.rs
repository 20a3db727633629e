//! finish - from the list of instructions to bytes: distances, and the constant pool behind the code.

use iced_x86::{BlockEncoder, BlockEncoderOptions, Instruction, InstructionBlock, Register};

use super::{Asm, EncodeError};

/// Bytes of a line of the cache; functions begin with one.
const LINE: usize = 64;
/// Between code and pool: an instruction that stops.
const FILLER: u8 = 0xcc;

impl Asm {
    /// The bytes.
    ///
    /// # Errors
    /// An operand did not fit its instruction.
    pub(crate) fn finish(mut self) -> Result<Vec<u8>, EncodeError> {
        let code = self.list.len();
        let mut pool = std::mem::take(&mut self.pool);
        // Long ones first, so that none lies across lines of the cache that need not.
        pool.sort_by_key(|(words, _)| std::cmp::Reverse(words.len()));
        for (words, label) in pool {
            self.place(label);
            for chunk in words.chunks(4) {
                self.push(Instruction::with_declare_dword(chunk));
            }
        }
        if let Some(error) = self.failed {
            return Err(EncodeError(error));
        }
        for (at, label) in &self.uses {
            let place = self.labels[label.0].expect("labels that are used are placed");
            let address = place as u64 + 1;
            let instruction = &mut self.list[*at];
            if instruction.memory_base() == Register::RIP {
                instruction.set_memory_displacement64(address);
            } else {
                instruction.set_near_branch64(address);
            }
        }
        let block = InstructionBlock::new(&self.list, 0);
        let options = BlockEncoderOptions::RETURN_NEW_INSTRUCTION_OFFSETS
            | BlockEncoderOptions::RETURN_CONSTANT_OFFSETS;
        let done = BlockEncoder::encode(64, block, options)?;
        let Some(&end) = done.new_instruction_offsets.get(code) else { return Ok(done.code_buffer) };
        // The pool begins a line; what reads it reads that much farther.
        let (mut bytes, end) = (done.code_buffer, end as usize);
        let gap = end.next_multiple_of(LINE) - end;
        for at in
            self.uses.iter().map(|(at, _)| *at).filter(|&at| self.list[at].memory_base() == Register::RIP)
        {
            let instruction = done.new_instruction_offsets[at] as usize;
            let field = instruction + done.constant_offsets[at].displacement_offset();
            let distance = &mut bytes[field..field + 4];
            let old = u32::from_le_bytes([distance[0], distance[1], distance[2], distance[3]]);
            distance.copy_from_slice(&old.wrapping_add(gap as u32).to_le_bytes());
        }
        bytes.splice(end..end, std::iter::repeat_n(FILLER, gap));
        Ok(bytes)
    }
}
