//! asked - rows that the stages of a block ask for before they are used.
//!
//! ```text
//!   block k    stage 0         reads rows of operands, asked for during block k - 1
//!              stage 1         asks for rows of block k + 1, which stage 0 will read then
//! ```
//!
//! Between stages that read memory there are some that compute on what the cache holds: memory would be idle meanwhile.
//! Processors see themselves what is read on and on, but not that a stage goes back to where the block began. What a stage
//! writes they have in time: asking for rows of the result, too, made norms slower.

use cranelift_codegen::ir::{InstBuilder, Value, condcodes::IntCC, types::I64};
use nnc_ir::{dtype::DType, extent::Extent};

use super::{
    super::{
        access::Access,
        collapse::Nest,
        nest::{Emitter, Pointer},
        stream::Asked,
    },
    Cutting, Part, RowsRequest,
};
use crate::frame::PointerSlot;

/// Operands that are asked for.
const OPERANDS: usize = 2;

/// Rows of memory, one for each item.
pub(super) struct Ask {
    pointer: PointerSlot,
    /// Bytes before the first row, and from each to the next.
    base: Extent,
    step: Extent,
    /// Items that lie between those that ask and those that use it.
    later: Extent,
}

/// Has a stage after the first, along rows as long, ask for those that the first one reads.
pub(super) fn plan(parts: &mut [Part], request: &RowsRequest, cutting: &Cutting) {
    let Some((first, others)) = parts.split_first_mut().filter(|_| cutting.ahead) else { return };
    let length = first.nest.extents.last();
    let Some(asking) = others.iter_mut().find(|part| part.nest.extents.last() == length) else { return };
    for (access, &operand) in first.nest.loads.iter().zip(&first.nest.operands) {
        let Some(operand) = request.operands.get(operand) else { continue };
        let known = asking.asks.iter().any(|ask| ask.pointer == operand.pointer);
        let more = !known && asking.asks.len() < OPERANDS;
        let Some((base, step)) = rows_of(&first.nest, access).filter(|_| more) else { continue };
        asking.asks.push(Ask { pointer: operand.pointer, base, step, later: cutting.block.clone() });
    }
}

/// Bytes before the first row that an access touches and from each to the next, if rows have their elements next to each other
/// and the same distance everywhere.
fn rows_of(nest: &Nest, access: &Access) -> Option<(Extent, Extent)> {
    let wide: Vec<usize> = (0..nest.rows).filter(|&a| !nest.extents[a].is(1)).collect();
    let &last = wide.last()?;
    let even = |pair: &[usize]| {
        access.coefficients[pair[0]] == &access.coefficients[pair[1]] * &nest.extents[pair[1]]
    };
    let plain = access.conditions.is_empty() && access.extra.is_empty() && access.dtype == DType::F32;
    let along = access.coefficients.last().is_some_and(|c| c.is(1));
    let step = &access.coefficients[last];
    let found = plain && along && wide.windows(2).all(even) && !step.is(0);
    found.then(|| (access.base.scale(4), step.scale(4)))
}

impl Ask {
    /// Where the rows are, while items `items.0..items.1` of those up to `end` are computed.
    pub(super) fn emit(&self, e: &mut Emitter<'_, '_>, (items, end): ((Value, Value), Value)) -> Asked {
        let pointer = e.pointer(Pointer::Slot(self.pointer));
        let first = e.plus(pointer, &self.base);
        // What has been read already where no items follow.
        let (later, zero) = (e.extent(&self.later), e.b.ins().iconst(I64, 0));
        let more = e.b.ins().icmp(IntCC::SignedLessThan, items.1, end);
        let later = e.b.ins().select(more, later, zero);
        let before = e.times(later, &self.step);
        Asked { base: e.b.ins().iadd(first, before), step: self.step.clone() }
    }
}
