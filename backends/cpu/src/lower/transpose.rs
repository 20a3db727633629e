//! transpose - movements that read neighbours along one axis and write them along another.
//!
//! An item is a band of rows of the result, as wide as a cache line of the operand: each line that is read is used up.
//! Blocks of four by four elements are transposed in registers; where the last axis has two positions, two vectors are
//! woven into one another. Where there is wide code a tile does the item.

use cranelift_codegen::ir::{InstBuilder, Value, condcodes::IntCC, types::I64};

use nnc_tile::{
    Tile,
    transpose::{Transpose, TransposeArg},
};

use super::{LowerError, nest::Emitter, place::Cursor, scalar, schedule::Rows, vector};
use crate::wide;

impl Emitter<'_, '_> {
    /// Positions `from..to` of the last axis for the item's rows.
    pub(super) fn transpose(
        &mut self,
        rows: &Rows,
        from: Value,
        to: Value,
        load: Cursor,
        result: Cursor,
    ) -> Result<(), LowerError> {
        let nest = self.nest;
        let inner = nest.space - 1;
        let first = self.axes[rows.axis].expect("the item's axes are known");
        let length = self.extent(&nest.extents[rows.axis]);
        let behind = self.b.ins().iadd_imm_s(first, rows.rows);
        let spec = Transpose { pairs: rows.pairs };
        if let Some(tile) = self.tiles.number(&Tile::Transpose(spec)) {
            let stop = self.b.ins().smin(behind, length);
            let count = self.b.ins().isub(stop, first);
            let columns = self.b.ins().isub(to, from);
            let load = self.move_along(inner, from, &nest.loads, &[load])[0];
            let result = self.move_along(inner, from, &nest.results, &[result])[0];
            let args: Vec<Value> = (spec.args().into_iter())
                .map(|arg| match arg {
                    TransposeArg::X => self.address(load),
                    TransposeArg::Y => self.address(result),
                    TransposeArg::Rows => count,
                    TransposeArg::Columns => columns,
                    TransposeArg::XStep => self.extent(&nest.loads[0].coefficients[inner]),
                    TransposeArg::YStep => self.extent(&nest.results[0].coefficients[rows.axis]),
                })
                .collect();
            wide::call(self.b, tile, &args);
            return Ok(());
        }
        let whole = self.b.ins().icmp(IntCC::SignedLessThanOrEqual, behind, length);
        let step = if rows.pairs { 2 } else { 4 };
        let end = self.whole_turns(from, to, step);
        let end = self.b.ins().select(whole, end, from);
        self.axis_loop(inner, (from, end, step), [&[load], &[result]], &[], |e, [load, result], _| {
            for block in 0..rows.rows / 4 {
                if rows.pairs {
                    e.interleave_block(block, load[0], result[0]);
                } else {
                    e.transpose_block(rows.axis, block, load[0], result[0]);
                }
            }
            Ok(vec![])
        })?;
        // What fills no block.
        let stop = self.b.ins().smin(behind, length);
        let count = self.b.ins().isub(stop, first);
        let zero = self.b.ins().iconst(I64, 0);
        self.counted(zero, count, 1, &[], |e, row, _| {
            let loads = e.move_along(rows.axis, row, &nest.loads, &[load]);
            let results = e.move_along(rows.axis, row, &nest.results, &[result]);
            e.one_by_one(end, to, [&loads, &results])?;
            Ok(vec![])
        })?;
        Ok(())
    }

    /// Rows `4 block ..` of the item, whose two positions of the last axis lie one after the other.
    fn interleave_block(&mut self, block: i64, load: Cursor, result: Cursor) {
        let nest = self.nest;
        let dtype = nest.loads[0].dtype;
        let bytes = dtype.bytes() as i64;
        let disp = |cursor: Cursor, elements: i64| {
            cursor.disp + i32::try_from(elements * bytes).expect("bands are small")
        };
        let between = nest.loads[0].coefficients[nest.space - 1].scale(bytes);
        let other = self.plus(load.addr, &between);
        let at = disp(load, 4 * block);
        let rows = [load.addr, other].map(|addr| vector::load(self.b, dtype, addr, at));
        for (half, lanes) in (0..).zip(vector::interleaved(self.b, rows)) {
            let to = disp(result, 8 * block + 4 * half);
            self.b.ins().store(scalar::tensor_flags(), lanes, result.addr, to);
        }
    }

    /// Rows `4 block ..` of the item, four positions of the last axis.
    fn transpose_block(&mut self, axis: usize, block: i64, load: Cursor, result: Cursor) {
        let nest = self.nest;
        let dtype = nest.loads[0].dtype;
        let bytes = dtype.bytes() as i64;
        let between = nest.loads[0].coefficients[nest.space - 1].scale(bytes);
        let disp = load.disp + i32::try_from(4 * bytes * block).expect("bands are small");
        let columns = [0, 1, 2, 3].map(|column| {
            let addr = self.plus(load.addr, &between.scale(column));
            vector::load(self.b, dtype, addr, disp)
        });
        let below = nest.results[0].coefficients[axis].scale(bytes);
        for (row, lanes) in (0..).zip(vector::transposed(self.b, columns)) {
            let addr = self.plus(result.addr, &below.scale(4 * block + row));
            self.b.ins().store(scalar::tensor_flags(), lanes, addr, result.disp);
        }
    }
}
