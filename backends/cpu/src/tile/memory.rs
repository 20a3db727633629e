//! memory - loads and stores of f32 vectors, whole, in part and through scratch.

use cranelift_codegen::ir::types::{F32, F32X4, F64, F64X2, I8, I32X4, I64};
use cranelift_codegen::ir::{Endianness, InstBuilder, MemFlagsData, StackSlotData, StackSlotKind, Value};
use cranelift_frontend::FunctionBuilder;

use super::loops::counted_loop;

/// Bytes of an f32.
pub(super) const F32_BYTES: i32 = 4;

/// Flags of a load from memory the tile does not write: it may be folded into the instruction that uses it.
pub(super) fn input_flags() -> MemFlagsData {
    MemFlagsData::new().with_notrap().with_can_move()
}

/// Flags of an access to memory the tile writes.
pub(super) fn output_flags() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

fn little() -> MemFlagsData {
    MemFlagsData::new().with_endianness(Endianness::Little)
}

/// Byte offset of element `idx`.
///
/// # Panics
/// If it does not fit in the 31 bits an addressing mode has.
pub(super) fn byte_offset(idx: usize) -> i32 {
    i32::try_from(idx * 4).expect("constant strides of a tile span less than 2 GiB")
}

/// `base + idx * stride` for a run-time stride in bytes.
pub(super) fn advance(builder: &mut FunctionBuilder, base: Value, stride: Value, idx: usize) -> Value {
    match idx {
        0 => base,
        1 => builder.ins().iadd(base, stride),
        _ => {
            let idx = i64::try_from(idx).expect("tiles are small");
            let step = builder.ins().imul_imm_s(stride, idx);
            builder.ins().iadd(base, step)
        }
    }
}

/// An f32 in four lanes.
pub(super) fn load_splat(
    builder: &mut FunctionBuilder,
    flags: MemFlagsData,
    ptr: Value,
    offset: i32,
) -> Value {
    let x = builder.ins().load(F32, flags, ptr, offset);
    builder.ins().splat(F32X4, x)
}

/// The first `n` (1 to 4) of four lanes, the others zero; touches no other element.
pub(super) fn load_lanes(
    builder: &mut FunctionBuilder,
    flags: MemFlagsData,
    ptr: Value,
    offset: i32,
    n: usize,
) -> Value {
    match n {
        4 => builder.ins().load(F32X4, flags, ptr, offset),
        1 => {
            let x = builder.ins().load(F32, flags, ptr, offset);
            builder.ins().scalar_to_vector(F32X4, x)
        }
        _ => {
            let pair = builder.ins().load(F64, flags, ptr, offset);
            let pair = builder.ins().scalar_to_vector(F64X2, pair);
            let pair = builder.ins().bitcast(F32X4, little(), pair);
            if n == 2 {
                return pair;
            }
            let third = builder.ins().load(F32, flags, ptr, offset + 2 * F32_BYTES);
            builder.ins().insertlane(pair, third, 2)
        }
    }
}

/// Stores the first `n` (1 to 4) of four lanes.
pub(super) fn store_lanes(builder: &mut FunctionBuilder, value: Value, ptr: Value, offset: i32, n: usize) {
    let flags = output_flags();
    match n {
        4 => {
            builder.ins().store(flags, value, ptr, offset);
        }
        1 => {
            let x = builder.ins().extractlane(value, 0);
            builder.ins().store(flags, x, ptr, offset);
        }
        _ => {
            let pair = builder.ins().bitcast(F64X2, little(), value);
            let pair = builder.ins().extractlane(pair, 0);
            builder.ins().store(flags, pair, ptr, offset);
            if n == 3 {
                let third = builder.ins().extractlane(value, 2);
                builder.ins().store(flags, third, ptr, offset + 2 * F32_BYTES);
            }
        }
    }
}

/// Stores the low bytes of the first `n` (1 to 4) of four lanes of i32 next to each other.
pub(super) fn store_bytes(builder: &mut FunctionBuilder, value: Value, ptr: Value, at: usize, n: usize) {
    let flags = output_flags();
    let offset = i32::try_from(at).expect("rows of a tile are short");
    let mask = builder.func.dfg.constants.insert(255i32.to_le_bytes().repeat(4).into());
    let mask = builder.ins().vconst(I32X4, mask);
    // Nothing saturates: lanes are less than 256.
    let low = builder.ins().band(value, mask);
    let halves = builder.ins().unarrow(low, low);
    let bytes = builder.ins().unarrow(halves, halves);
    let words = builder.ins().bitcast(I32X4, little(), bytes);
    let word = builder.ins().extractlane(words, 0);
    match n {
        4 => {
            builder.ins().store(flags, word, ptr, offset);
        }
        1 => {
            builder.ins().istore8(flags, word, ptr, offset);
        }
        _ => {
            builder.ins().istore16(flags, word, ptr, offset);
            if n == 3 {
                let third = builder.ins().ushr_imm_u(word, 16);
                builder.ins().istore8(flags, third, ptr, offset + 2);
            }
        }
    }
}

/// Address of fresh stack memory for `n` f32.
pub(super) fn scratch(builder: &mut FunctionBuilder, n: usize) -> Value {
    let bytes = u32::try_from(n * 4).expect("tiles are small");
    let slot = builder.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, bytes, 4));
    builder.ins().stack_addr(I64, slot, 0)
}

/// Rows of f32 in memory: the address of the first element and the row stride in bytes.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    pub(super) ptr: Value,
    pub(super) stride_bytes: Value,
}

/// Copies `n_rows` rows of `n_cols` f32, the number of columns known only at run time.
pub(super) fn copy_rows(builder: &mut FunctionBuilder, to: Rows, from: Rows, n_rows: usize, n_cols: Value) {
    copy_elements(builder, to, from, n_rows, n_cols, 4);
}

/// Likewise, of elements of 4 bytes or of 1.
pub(super) fn copy_elements(
    builder: &mut FunctionBuilder,
    to: Rows,
    from: Rows,
    n_rows: usize,
    n_cols: Value,
    bytes: usize,
) {
    let n_rows = builder.ins().iconst(I64, i64::try_from(n_rows).expect("tiles are small"));
    let (ty, step) = if bytes == 1 { (I8, 1) } else { (F32, 4) };
    let row_bytes = if bytes == 1 { n_cols } else { builder.ins().ishl_imm_u(n_cols, 2) };
    counted_loop(builder, n_rows, 1, &[to.ptr, from.ptr], |builder, _, rows| {
        let (to_row, from_row) = (rows[0], rows[1]);
        counted_loop(builder, row_bytes, step, &[], |builder, offset, _| {
            let src = builder.ins().iadd(from_row, offset);
            let dst = builder.ins().iadd(to_row, offset);
            let x = builder.ins().load(ty, output_flags(), src, 0);
            builder.ins().store(output_flags(), x, dst, 0);
            vec![]
        });
        vec![builder.ins().iadd(to_row, to.stride_bytes), builder.ins().iadd(from_row, from.stride_bytes)]
    });
}
