//! cut - how a nest is cut into items, the units that threads take.

use nnc_ir::extent::Extent;

use super::{
    collapse::Nest,
    schedule::{Rows, Schedule},
};

/// Scalar operations one item should have at least where the nest can be cut so.
const ITEM_OPERATIONS: i64 = 1 << 15;
/// Scalar operations assumed of a point whose reduction's length is not known.
const UNKNOWN_OPERATIONS: i64 = 64;

/// How a nest is cut into items.
pub(super) struct Cut {
    /// Positions of the last space axis in one block; `None`: all of them.
    pub(super) block: Option<i64>,
    /// Extents of the item's digits: outer space axes, and the number of blocks.
    pub(super) digits: Vec<Extent>,
    /// Rough number of scalar operations of an item.
    pub(super) cost: Extent,
}

impl Cut {
    /// All outer space axes count items; the last one does where it is long.
    pub(super) fn new(nest: &Nest, schedule: &Schedule) -> Cut {
        let inner = nest.space - 1;
        let length = &nest.extents[inner];
        let mut point = nest.point_cost();
        let operations = point.as_const().unwrap_or(UNKNOWN_OPERATIONS).max(1);
        let block = (ITEM_OPERATIONS / operations).max(1);
        // Lanes want whole turns.
        let least = if matches!(schedule, Schedule::Space(_)) { 32 } else { 1 };
        let block = if block > 64 { block / 64 * 64 } else { block.max(least) };
        let mut digits = nest.extents[..inner].to_vec();
        if let Schedule::Transpose(Rows { axis, rows, .. }) = schedule {
            digits[*axis] = digits[*axis].ceil_div(&Extent::Const(*rows));
            point = point.scale(*rows);
        }
        if length.as_const().is_some_and(|n| n <= 2 * block) {
            // An item for nothing at all costs a call, so an empty axis gives no item.
            if length.is(0) {
                digits.push(Extent::ZERO);
            }
            return Cut { block: None, digits, cost: &point * length };
        }
        digits.push(length.ceil_div(&Extent::Const(block)));
        Cut { block: Some(block), digits, cost: point.scale(block) }
    }
}
