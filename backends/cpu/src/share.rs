//! share - kernels that differ only in which slots of the frame they read are one function.
//!
//! A kernel reads addresses and numbers from slots of the frame, wherever its buffers, weights and extents happen to have
//! theirs. Numbered in the order in which a kernel reads them, the slots are arguments: the repeated layers of a network
//! then have equal functions. Each of their calls copies its slots next to each other first (`entry/steps.rs`):
//!
//! ```text
//! slot 0   number of the kernel, for profiles
//! slot 1   what the kernel reads first
//! ...
//! ```

use std::hash::{Hash, Hasher};

use cranelift_codegen::ir::{Function, Inst, InstructionData, Opcode, Value};
use rustc_hash::{FxHashMap, FxHasher};

use crate::frame::offset;

/// First slot of the arguments: the number of the kernel is before them.
const FIRST: usize = 1;

/// A function and whether Cranelift's optimiser would make it better.
pub(crate) struct Lowered {
    /// Symbol name.
    pub(crate) name: String,
    /// The function, which reads the frame.
    pub(crate) function: Function,
    /// Whether Cranelift's optimiser would make it better.
    pub(crate) optimise: bool,
    /// Whether its calls may pay for copying slots.
    pub(crate) may_share: bool,
}

/// What a kernel calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Use {
    /// Position among the functions.
    pub(crate) function: usize,
    /// Byte offsets of the slots that are its arguments, or `None` where it reads the frame itself.
    pub(crate) arguments: Option<Vec<i32>>,
}

/// The functions that are needed, in the order of the first kernel of each, and the use of each kernel.
pub(crate) fn share(lowered: Vec<Lowered>) -> (Vec<Lowered>, Vec<Use>) {
    let mut functions: Vec<(Lowered, Option<Vec<i32>>, usize)> = Vec::with_capacity(lowered.len());
    let mut uses = Vec::with_capacity(lowered.len());
    let mut by_hash: FxHashMap<u64, Vec<usize>> = FxHashMap::default();
    for mut kernel in lowered {
        let read = if kernel.may_share { number_slots(&mut kernel.function) } else { None };
        let alike = match &read {
            Some(_) => by_hash.entry(hash(&kernel.function)).or_default(),
            None => &mut Vec::new(),
        };
        let same = alike.iter().copied().find(|&at| {
            let (other, ..) = &functions[at];
            other.optimise == kernel.optimise && equal(&other.function, &kernel.function)
        });
        let function = same.unwrap_or(functions.len());
        uses.push(Use { function, arguments: read.clone() });
        match same {
            Some(at) => functions[at].2 += 1,
            None => {
                alike.push(function);
                functions.push((kernel, read, 1));
            }
        }
    }
    for (kernel, read, uses) in &mut functions {
        if let (Some(read), 1) = (read, uses) {
            restore_slots(&mut kernel.function, read);
        }
    }
    for one in &mut uses {
        if functions[one.function].2 == 1 {
            one.arguments = None;
        }
    }
    (functions.into_iter().map(|(kernel, ..)| kernel).collect(), uses)
}

/// The instructions of a kernel that read slots of the frame, or `None` if it does more with the frame than that.
pub(crate) fn frame_loads(function: &Function) -> Option<Vec<(Inst, i32)>> {
    let entry = function.layout.entry_block()?;
    let frame: Value = *function.dfg.block_params(entry).first()?;
    let mut loads = Vec::new();
    for block in function.layout.blocks() {
        for inst in function.layout.block_insts(block) {
            if !function.dfg.inst_values(inst).any(|v| function.dfg.resolve_aliases(v) == frame) {
                continue;
            }
            match &function.dfg.insts[inst] {
                InstructionData::Load { opcode: Opcode::Load, offset, .. } => {
                    loads.push((inst, (*offset).into()))
                }
                _ => return None,
            }
        }
    }
    Some(loads)
}

/// Gives the slots that a kernel reads the places of arguments; gives where each was.
fn number_slots(function: &mut Function) -> Option<Vec<i32>> {
    let loads = frame_loads(function)?;
    let mut read: Vec<i32> = Vec::new();
    for (inst, at) in loads {
        let number = read.iter().position(|&r| r == at).unwrap_or_else(|| {
            read.push(at);
            read.len() - 1
        });
        move_load(function, inst, offset(FIRST + number));
    }
    Some(read)
}

/// The other way round.
fn restore_slots(function: &mut Function, read: &[i32]) {
    for (inst, at) in frame_loads(function).into_iter().flatten() {
        let number = usize::try_from(at / offset(1)).unwrap_or(0).saturating_sub(FIRST);
        move_load(function, inst, read[number]);
    }
}

fn move_load(function: &mut Function, inst: Inst, to: i32) {
    if let InstructionData::Load { offset, .. } = &mut function.dfg.insts[inst] {
        *offset = to.into();
    }
}

fn hash(function: &Function) -> u64 {
    let mut hasher = FxHasher::default();
    function.stencil.hash(&mut hasher);
    hasher.finish()
}

fn equal(a: &Function, b: &Function) -> bool {
    a.stencil == b.stencil && a.params.user_named_funcs() == b.params.user_named_funcs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use cranelift_codegen::ir::{AbiParam, InstBuilder, MemFlagsData, Signature, UserFuncName, types::I64};
    use cranelift_codegen::isa::CallConv;
    use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};

    /// Writes what is in one slot, plus a constant, where another slot says; with a use of the frame itself, if that is asked for.
    fn kernel(name: &str, [from, to]: [usize; 2], add: i64, escapes: bool) -> Lowered {
        let mut signature = Signature::new(CallConv::SystemV);
        signature.params = vec![AbiParam::new(I64); 4];
        let mut function = Function::with_name_signature(UserFuncName::default(), signature);
        let mut context = FunctionBuilderContext::new();
        let mut b = FunctionBuilder::new(&mut function, &mut context);
        let entry = b.create_block();
        b.append_block_params_for_function_params(entry);
        b.switch_to_block(entry);
        let frame = b.block_params(entry)[0];
        let flags = MemFlagsData::trusted();
        let (x, y) =
            (b.ins().load(I64, flags, frame, offset(from)), b.ins().load(I64, flags, frame, offset(to)));
        let x = b.ins().iadd_imm_s(x, add);
        let x = if escapes { b.ins().iadd(x, frame) } else { x };
        b.ins().store(flags, x, y, 0);
        b.ins().return_(&[]);
        b.seal_all_blocks();
        Lowered { name: name.into(), function, optimise: true, may_share: true }
    }

    fn read(function: &Function) -> Vec<i32> {
        frame_loads(function).into_iter().flatten().map(|(_, at)| at).collect()
    }

    #[test]
    fn kernels_that_differ_in_slots_are_one() {
        let one = |f: usize| Use { function: f, arguments: None };
        let of =
            |f: usize, slots: [usize; 2]| Use { function: f, arguments: Some(slots.map(offset).to_vec()) };
        let (functions, uses) = share(vec![
            kernel("a", [9, 12], 1, false),
            kernel("b", [9, 12], 2, false),
            kernel("c", [30, 11], 1, false),
            kernel("d", [11, 30], 1, true),
            kernel("e", [8, 8], 1, false),
            Lowered { may_share: false, ..kernel("f", [9, 12], 1, false) },
            Lowered { optimise: false, ..kernel("g", [9, 12], 1, false) },
            kernel("h", [12, 9], 1, false),
        ]);
        let names: Vec<&str> = functions.iter().map(|f| &*f.name).collect();
        assert_eq!(names, ["a", "b", "d", "e", "f", "g"]);
        let (a, c, h) = (of(0, [9, 12]), of(0, [30, 11]), of(0, [12, 9]));
        assert_eq!(uses, [a, one(1), c, one(2), one(3), one(4), one(5), h]);
        assert_eq!(read(&functions[0].function), [offset(1), offset(2)]);
        assert_eq!(read(&functions[1].function), [offset(9), offset(12)]);
        assert_eq!(read(&functions[3].function), [offset(8), offset(8)]);
        assert_eq!(frame_loads(&functions[2].function), None);
    }
}
