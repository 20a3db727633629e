//! multiply - the multiply-add of a product's elements as CLIF: f32, or groups of small integers.
//!
//! Words are multiplied as pairs, which x86-64 has an instruction for. Bytes are widened to words first, two elements of a
//! vector at a time, and neighbouring sums added.

use cranelift_codegen::ir::{
    Endianness, InstBuilder, MemFlagsData, Type, Value,
    types::{F32X4, I8X16, I16X8, I32X4},
};
use cranelift_frontend::FunctionBuilder;
use nnc_tile::product::Product;

use super::{arithmetic::Arithmetic, program::splat_f32};

/// Four sums that are zero.
pub(super) fn zero(b: &mut FunctionBuilder, product: Product) -> Value {
    let zero = splat_f32(b, 0);
    of_type(b, product, zero)
}

/// Four sums that have been read from memory.
pub(super) fn of_type(b: &mut FunctionBuilder, product: Product, sums: Value) -> Value {
    if product == Product::F32 { sums } else { cast(b, I32X4, sums) }
}

/// `x * y + sum`: elements of A in `x` and of B in `y`, or for f32 the other way round.
pub(super) fn step(
    b: &mut FunctionBuilder,
    arithmetic: Arithmetic,
    product: Product,
    [x, y]: [Value; 2],
    sum: Value,
) -> Value {
    let products = match product {
        Product::F32 => return arithmetic.step(b, x, y, sum),
        Product::Words => {
            let [x, y] = [x, y].map(|v| cast(b, I16X8, v));
            pairs(b, x, y)
        }
        Product::Bytes => {
            let [x, y] = [x, y].map(|v| cast(b, I8X16, v));
            // All elements of A are the same.
            let x = b.ins().uwiden_low(x);
            let (low, high) = (b.ins().swiden_low(y), b.ins().swiden_high(y));
            let (low, high) = (pairs(b, x, low), pairs(b, x, high));
            b.ins().iadd_pairwise(low, high)
        }
    };
    b.ins().iadd(sum, products)
}

/// Products of words, those of a lane added.
fn pairs(b: &mut FunctionBuilder, x: Value, y: Value) -> Value {
    let low = [x, y].map(|v| b.ins().swiden_low(v));
    let high = [x, y].map(|v| b.ins().swiden_high(v));
    let (low, high) = (b.ins().imul(low[0], low[1]), b.ins().imul(high[0], high[1]));
    b.ins().iadd_pairwise(low, high)
}

/// The same bits as lanes of another type.
pub(super) fn cast(b: &mut FunctionBuilder, ty: Type, v: Value) -> Value {
    if b.func.dfg.value_type(v) == ty {
        return v;
    }
    b.ins().bitcast(ty, MemFlagsData::new().with_endianness(Endianness::Little), v)
}

/// What is loaded as f32 as a program takes it.
pub(super) fn as_input(b: &mut FunctionBuilder, ty: Option<nnc_tile::program::LaneType>, v: Value) -> Value {
    if ty == Some(nnc_tile::program::LaneType::I32) && b.func.dfg.value_type(v) == F32X4 {
        return cast(b, I32X4, v);
    }
    v
}
