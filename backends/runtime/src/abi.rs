//! abi - the contract between compiled code and the runtime.
//!
//! A compiled program is one position-independent blob with four entries. It imports nothing: whatever it needs of
//! the runtime it reaches through the [`Context`]. The same layout serves code that was just compiled, code loaded
//! from an artefact, and code linked into a C program, so every field is eight bytes wide and nothing here may be
//! reordered without raising [`VERSION`].
//!
//! **Memory.** `inputs[i]` is aligned to its element size, never null (an empty tensor has some address). Workspace,
//! weights, allocations and the outputs of [`crate::Program::run`] are aligned to [`ALIGN`] bytes. Inputs, outputs
//! and workspace do not overlap.
//!
//! **Outputs.** On entry of `run`, `actual_dims[i]` holds what `output_dims` said. Where all of those are known or
//! bounded, `outputs[i]` is a buffer for that upper bound. Where one of them is [`UNBOUNDED`], `outputs[i]` is null:
//! the code then takes memory from [`Context::alloc`], fills it, and stores its address in `outputs[i]`. Where data
//! decides, the code overwrites `actual_dims[i]`; elements lie densely by the *actual* extents.
//!
//! **Kernels** have the type [`BodyFn`]. Code calls one through [`Context::parallel_for`] where there is one and the kernel
//! is worth splitting, else directly. Code that was compiled to be traced calls every kernel through it, with a negative
//! `n` for one that is to run here and whole, over `[0, -n)`: a profile notes those calls. What a kernel is called with
//! begins with its number among the program's kernels, where several of them are one function; else with the address of
//! the context.
//!
//! **Floating point.** Code is entered with rounding to nearest, denormals kept and exceptions masked, on every
//! thread; the caller's state comes back afterwards.

use std::ffi::c_void;
use std::mem::offset_of;

pub use crate::elem::ElemType;

/// Version of this contract, in the upper half of [`Context::version`].
pub const VERSION: i64 = 1;

/// Alignment in bytes of workspace, weights, allocations and runtime-owned outputs.
pub const ALIGN: usize = 64;

/// What `output_dims` writes for an extent without a bound.
pub const UNBOUNDED: i64 = -1;

/// Highest rank a tensor may have.
pub const MAX_RANK: usize = 32;

/// Checks input extents and binds symbols; returns 0 or a diagnostic number. On entry `symbols` holds the value of
/// each symbol that is an input axis as it stands, and 0 for the others, which `bind` may fill. Elements of inputs do not
/// matter to it: a runtime need not call it, nor the two below, for the extents of the call before.
pub type BindFn = unsafe extern "C" fn(
    input_dims: *const *const i64,
    inputs: *const *const c_void,
    symbols: *mut i64,
) -> i32;

/// Writes the extents of every output: exact, an upper bound where data decides, or [`UNBOUNDED`].
pub type OutputDimsFn = unsafe extern "C" fn(symbols: *const i64, output_dims: *const *mut i64);

/// Bytes of workspace for these symbols; negative or `i64::MAX` when it does not fit an `i64`.
pub type WorkspaceBytesFn = unsafe extern "C" fn(symbols: *const i64, max_workers: i64) -> i64;

/// Runs the whole model; returns 0 or a diagnostic number, which is then in [`Context::fault_code`] too.
pub type RunFn = unsafe extern "C" fn(
    context: *mut Context,
    symbols: *const i64,
    inputs: *const *const c_void,
    outputs: *mut *mut c_void,
    actual_dims: *const *mut i64,
    workspace: *mut c_void,
) -> i32;

/// Body of a parallel loop over `[begin, end)`. `worker` is below [`Context::max_workers`], and no two calls that run
/// at the same time have the same one.
pub type BodyFn = unsafe extern "C" fn(arg: *mut c_void, begin: i64, end: i64, worker: i64);

/// Runs `body` over `[0, n)`, in parts, on several threads; returns when all parts are done. A negative `n` asks for
/// `[0, -n)` in one piece on the calling thread, with the worker that this thread is.
pub type ParallelForFn = unsafe extern "C" fn(pool: *const c_void, n: i64, body: BodyFn, arg: *mut c_void);

/// Memory that lives until `run` returns; null when there is none.
pub type AllocFn = unsafe extern "C" fn(context: *mut Context, bytes: i64) -> *mut u8;

/// A function of the runtime's allowlist; returns 0 or a diagnostic number, which it also records in the context.
pub type ExternFn = unsafe extern "C" fn(context: *mut Context, call: *const ExternCall) -> i32;

/// What the code knows of the runtime, twelve slots of eight bytes.
#[repr(C)]
#[derive(Debug)]
pub struct Context {
    /// Slot 0: [`VERSION`] in the upper 32 bits, bytes of this struct in the lower.
    pub version: i64,
    /// Slot 1: `None` (null) means: call the body with `(arg, 0, n, 0)`.
    pub parallel_for: Option<ParallelForFn>,
    /// Slot 2: first argument of `parallel_for`.
    pub pool: *const c_void,
    /// Slot 3: allocation for extents without a bound.
    pub alloc: Option<AllocFn>,
    /// Slot 4: non-zero asks the code to stop with [`fault::CANCELLED`]; the pointer may be null.
    pub cancel: *const i32,
    /// Slot 5: one address a weight section.
    pub weights: *const *const u8,
    /// Slot 6: the functions of [`crate::externs::Extern`], by index.
    pub externs: *const ExternFn,
    /// Slot 7: how many workers `parallel_for` may use; scratch is laid out for so many.
    pub max_workers: i64,
    /// Slot 8: number of a diagnostic ([`fault`]), 0 while all is well.
    pub fault_code: i64,
    /// Slot 9: index of the node in the program's node table, or -1.
    pub fault_node: i64,
    /// Slot 10: the value at fault (an index, a divisor, a number of bytes ...).
    pub fault_value: i64,
    /// Slot 11: what bounds the value, 0 where that is not known.
    pub fault_limit: i64,
}

impl Context {
    /// The value of slot 0.
    pub const VERSION_AND_SIZE: i64 = (VERSION << 32) | size_of::<Context>() as i64;
}

/// Byte offsets of the [`Context`]'s slots, for code generators.
pub mod context_offset {
    use super::{Context, offset_of};
    /// `version`.
    pub const VERSION: i32 = offset_of!(Context, version) as i32;
    /// `parallel_for`.
    pub const PARALLEL_FOR: i32 = offset_of!(Context, parallel_for) as i32;
    /// `pool`.
    pub const POOL: i32 = offset_of!(Context, pool) as i32;
    /// `alloc`.
    pub const ALLOC: i32 = offset_of!(Context, alloc) as i32;
    /// `cancel`.
    pub const CANCEL: i32 = offset_of!(Context, cancel) as i32;
    /// `weights`.
    pub const WEIGHTS: i32 = offset_of!(Context, weights) as i32;
    /// `externs`.
    pub const EXTERNS: i32 = offset_of!(Context, externs) as i32;
    /// `max_workers`.
    pub const MAX_WORKERS: i32 = offset_of!(Context, max_workers) as i32;
    /// `fault_code`.
    pub const FAULT_CODE: i32 = offset_of!(Context, fault_code) as i32;
    /// `fault_node`.
    pub const FAULT_NODE: i32 = offset_of!(Context, fault_node) as i32;
    /// `fault_value`.
    pub const FAULT_VALUE: i32 = offset_of!(Context, fault_value) as i32;
    /// `fault_limit`.
    pub const FAULT_LIMIT: i32 = offset_of!(Context, fault_limit) as i32;
}

/// Slots (of eight bytes) at the head of a frame, which is the head of the workspace. Extents and buffer addresses
/// follow from [`frame_slot::TABLES`] on, as the code generator lays them out.
pub mod frame_slot {
    /// Address of the [`Context`](super::Context).
    pub const CONTEXT: i32 = 0;
    /// Address of the first worker's scratch memory.
    pub const SCRATCH: i32 = 1;
    /// Bytes of scratch memory of each worker.
    pub const SCRATCH_BYTES: i32 = 2;
    /// First slot of the code generator's own tables.
    pub const TABLES: i32 = 3;
}

/// Numbers that code stores in [`Context::fault_code`]: diagnostic numbers, so 805 is E0805.
pub mod fault {
    /// E0224: data decide an extent outside its range; the value is that extent, the limit the greatest.
    pub const BAD_SHAPE: i64 = 224;
    /// E0236: two extents that must be equal are not; value and limit are the two.
    pub const EXTENT_CLASH: i64 = 236;
    /// E0501: no memory; the value is the number of bytes.
    pub const OUT_OF_MEMORY: i64 = 501;
    /// E0802: an operand has an extent the node cannot take; the value is that extent.
    pub const BAD_EXTENT: i64 = 802;
    /// E0805: an index outside its axis; the value is the index, the limit the extent.
    pub const BAD_INDEX: i64 = 805;
    /// E0806: integer division or remainder that has no result.
    pub const BAD_DIVISION: i64 = 806;
    /// E0807: an operand's value is not one the node can take (a zero step, k over the extent ...).
    pub const BAD_VALUE: i64 = 807;
    /// E0808: the caller cancelled the run.
    pub const CANCELLED: i64 = 808;
    /// E0809: compiled code and runtime disagree; a bug in nnc.
    pub const INTERNAL: i64 = 809;
}

/// One tensor of an extern call, five slots of eight bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ExternTensor {
    /// Slot 0: the elements; null for an absent operand or a result nobody wants.
    pub data: *mut u8,
    /// Slot 1: [`ElemType`] code.
    pub elem: i64,
    /// Slot 2: bytes at `data`: of an operand at least its elements, of a result what it may fill.
    pub bytes: i64,
    /// Slot 3: length of `dims`.
    pub rank: i64,
    /// Slot 4: extents: read of an operand, written of a result.
    pub dims: *mut i64,
}

/// A call of a function of the allowlist, seven slots of eight bytes.
#[repr(C)]
#[derive(Debug)]
pub struct ExternCall {
    /// Slot 0: index of the calling node, for faults.
    pub node: i64,
    /// Slot 1: attributes; each function of [`crate::externs`] documents its own.
    pub attrs: *const i64,
    /// Slot 2: how many attributes.
    pub n_attrs: i64,
    /// Slot 3: operands.
    pub inputs: *const ExternTensor,
    /// Slot 4: how many operands.
    pub n_inputs: i64,
    /// Slot 5: results.
    pub outputs: *const ExternTensor,
    /// Slot 6: how many results.
    pub n_outputs: i64,
}

/// Byte offsets of an [`ExternCall`], for code generators.
pub mod call_offset {
    use super::{ExternCall, offset_of};
    /// `node`.
    pub const NODE: i32 = offset_of!(ExternCall, node) as i32;
    /// `attrs`.
    pub const ATTRS: i32 = offset_of!(ExternCall, attrs) as i32;
    /// `n_attrs`.
    pub const N_ATTRS: i32 = offset_of!(ExternCall, n_attrs) as i32;
    /// `inputs`.
    pub const INPUTS: i32 = offset_of!(ExternCall, inputs) as i32;
    /// `n_inputs`.
    pub const N_INPUTS: i32 = offset_of!(ExternCall, n_inputs) as i32;
    /// `outputs`.
    pub const OUTPUTS: i32 = offset_of!(ExternCall, outputs) as i32;
    /// `n_outputs`.
    pub const N_OUTPUTS: i32 = offset_of!(ExternCall, n_outputs) as i32;
    /// Bytes of the whole call.
    pub const SIZE: i32 = size_of::<ExternCall>() as i32;
}

/// Byte offsets of an [`ExternTensor`], for code generators.
pub mod tensor_offset {
    use super::{ExternTensor, offset_of};
    /// `data`.
    pub const DATA: i32 = offset_of!(ExternTensor, data) as i32;
    /// `elem`.
    pub const ELEM: i32 = offset_of!(ExternTensor, elem) as i32;
    /// `bytes`.
    pub const BYTES: i32 = offset_of!(ExternTensor, bytes) as i32;
    /// `rank`.
    pub const RANK: i32 = offset_of!(ExternTensor, rank) as i32;
    /// `dims`.
    pub const DIMS: i32 = offset_of!(ExternTensor, dims) as i32;
    /// Bytes of one tensor.
    pub const SIZE: i32 = size_of::<ExternTensor>() as i32;
}

/// The floating-point state compiled code is promised, until it is dropped: then the caller's is back.
#[derive(Debug)]
pub(crate) struct FloatState {
    #[cfg(target_arch = "x86_64")]
    saved: u32,
    /// The state belongs to the thread it was taken on.
    _here: std::marker::PhantomData<*const ()>,
}

/// MXCSR: round to nearest, denormals kept, all exceptions masked, no flags.
#[cfg(target_arch = "x86_64")]
const MXCSR: u32 = 0x1f80;

/// MXCSR: flags of exceptions that have happened.
#[cfg(target_arch = "x86_64")]
const MXCSR_FLAGS: u32 = 0x3f;

impl FloatState {
    /// Saves this thread's state and sets the promised one.
    pub(crate) fn enter() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let mut saved = 0u32;
            // SAFETY: `stmxcsr` writes four bytes to a local of four bytes.
            unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut saved, options(nostack)) };
            // Flags do not matter to code; they are the caller's again afterwards.
            if saved & !MXCSR_FLAGS != MXCSR {
                set_mxcsr(MXCSR);
            }
            Self { saved, _here: std::marker::PhantomData }
        }
        #[cfg(not(target_arch = "x86_64"))]
        Self { _here: std::marker::PhantomData }
    }
}

impl Drop for FloatState {
    fn drop(&mut self) {
        #[cfg(target_arch = "x86_64")]
        set_mxcsr(self.saved);
    }
}

#[cfg(target_arch = "x86_64")]
fn set_mxcsr(value: u32) {
    // SAFETY: `ldmxcsr` reads four bytes of a local of four bytes; the value is the constant above or one that was
    // read from the register, so no reserved bit is set. Rust code assumes the default state, which the constant is;
    // a caller's own state is only put back as it was found.
    unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const value, options(nostack, readonly)) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn context_slots_are_as_documented() {
        let offsets = [
            context_offset::VERSION,
            context_offset::PARALLEL_FOR,
            context_offset::POOL,
            context_offset::ALLOC,
            context_offset::CANCEL,
            context_offset::WEIGHTS,
            context_offset::EXTERNS,
            context_offset::MAX_WORKERS,
            context_offset::FAULT_CODE,
            context_offset::FAULT_NODE,
            context_offset::FAULT_VALUE,
            context_offset::FAULT_LIMIT,
        ];
        for (slot, offset) in offsets.into_iter().enumerate() {
            assert_eq!(offset, 8 * slot as i32);
        }
        assert_eq!(size_of::<Context>(), 96);
        assert_eq!(call_offset::SIZE, 56);
        assert_eq!(tensor_offset::SIZE, 40);
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn float_state_is_set_and_restored() {
        const FLUSH: u32 = MXCSR | 0x8040;
        set_mxcsr(FLUSH);
        let outer = FloatState::enter();
        assert_eq!(outer.saved & 0xffc0, FLUSH & 0xffc0);
        drop(outer);
        let again = FloatState::enter();
        assert_eq!(again.saved & 0xffc0, FLUSH & 0xffc0);
        drop(again);
        set_mxcsr(MXCSR);
    }
}
