//! inner - the loop over the last space axis: in lanes where the schedule says so, the rest one by one.

use cranelift_codegen::ir::{InstBuilder, Value, condcodes::IntCC, types::I64};

use super::{
    LowerError,
    cut::Cut,
    levels::INNER,
    nest::Emitter,
    place::Cursor,
    schedule::{Lanes, Schedule},
    vector::Val,
};

impl Emitter<'_, '_> {
    /// Positions `from..to` of the last space axis.
    pub(super) fn inner(
        &mut self,
        from: Value,
        to: Value,
        cut: &Cut,
        loads: &[Cursor],
        results: &[Cursor],
    ) -> Result<(), LowerError> {
        let cursors = [loads, results];
        let lanes = match self.schedule.clone() {
            Schedule::Space(lanes) => lanes,
            Schedule::Transpose(rows) => return self.transpose(&rows, from, to, loads[0], results[0]),
            Schedule::Reduce(_) if self.stream_folds(from, to, cursors)? => return Ok(()),
            Schedule::Scalar | Schedule::Reduce(_) => return self.one_by_one(from, to, cursors),
        };
        // What is known of the length says which loops never turn.
        let known = if cut.block.is_none() && lanes.interior.is_empty() {
            self.nest.extents[lanes.axis].as_const()
        } else {
            None
        };
        let Some(holds) = self.item_holds(lanes.axis) else {
            return self.span(&lanes, known, from, to, cursors);
        };
        let (free, bound, go_on) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        self.b.ins().brif(holds, free, &[], bound, &[]);
        self.b.switch_to_block(free);
        // Conditions that are known at the item's level have been computed; here nobody looks at them.
        let unconditional: Vec<Cursor> = loads.iter().map(|c| Cursor { condition: None, ..*c }).collect();
        self.item_holds = true;
        self.span(&lanes, known, from, to, [&unconditional, results])?;
        self.item_holds = false;
        self.b.ins().jump(go_on, &[]);
        self.b.switch_to_block(bound);
        self.span(&lanes, known, from, to, cursors)?;
        self.b.ins().jump(go_on, &[]);
        self.b.switch_to_block(go_on);
        Ok(())
    }

    /// Positions `from..to`: what comes before the interior one by one, the interior in lanes, the rest one by one.
    fn span(
        &mut self,
        lanes: &Lanes,
        known: Option<i64>,
        from: Value,
        to: Value,
        cursors: [&[Cursor]; 2],
    ) -> Result<(), LowerError> {
        if lanes.interior.is_empty() {
            let (rest, left) = self.turns(lanes, known, from, to, cursors)?;
            return if left == Some(0) { Ok(()) } else { self.one_by_one(rest, to, cursors) };
        }
        let (mut first, mut stop) = (from, to);
        for (lower, upper) in &lanes.interior {
            let (lower, upper) = (self.extent(lower), self.extent(upper));
            first = self.b.ins().smax(first, lower);
            stop = self.b.ins().smin(stop, upper);
        }
        // Nothing before the start, nothing after the end, whatever the interior is.
        let first = self.b.ins().smin(first, to);
        let stop = self.b.ins().smax(stop, first);
        // The loop of single positions runs twice: before and after the lanes.
        let (singly, in_lanes, done) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        let [start, end, again] = [0; 3].map(|_| self.b.append_block_param(singly, I64));
        let zero = self.b.ins().iconst(I64, 0);
        self.b.ins().jump(singly, &[from.into(), first.into(), zero.into()]);
        self.b.switch_to_block(singly);
        self.one_by_one(start, end, cursors)?;
        self.b.ins().brif(again, done, &[], in_lanes, &[]);
        self.b.switch_to_block(in_lanes);
        let (rest, _) = self.turns(lanes, known, first, stop, cursors)?;
        let one = self.b.ins().iconst(I64, 1);
        self.b.ins().jump(singly, &[rest.into(), to.into(), one.into()]);
        self.b.switch_to_block(done);
        Ok(())
    }

    /// Positions from `from` on in lanes, not beyond `to`: where they end, and how many are left if that is known.
    fn turns(
        &mut self,
        lanes: &Lanes,
        known: Option<i64>,
        mut from: Value,
        to: Value,
        cursors: [&[Cursor]; 2],
    ) -> Result<(Value, Option<i64>), LowerError> {
        if self.stream_span(from, to, known, cursors)? {
            return Ok((to, Some(0)));
        }
        if lanes.overlap {
            return Ok((self.overlapping(lanes, from, to, cursors)?, known.map(|_| 0)));
        }
        let mut left = known;
        for turn in lanes.turns() {
            let step = (turn.width * turn.copies) as i64;
            if left.is_some_and(|n| n < step) {
                continue;
            }
            let end = self.whole_turns(from, to, step);
            self.in_lanes(turn, from, end, cursors)?;
            from = end;
            left = left.map(|n| n % step);
        }
        Ok((from, left))
    }

    /// All of `from..to` in lanes, if there are enough to fill a vector: the last one ends at the end and overlaps the
    /// one before.
    fn overlapping(
        &mut self,
        lanes: &Lanes,
        from: Value,
        to: Value,
        cursors: [&[Cursor]; 2],
    ) -> Result<Value, LowerError> {
        let width = lanes.width as i64;
        let last = self.b.ins().iadd_imm_s(to, -width);
        let enough = self.b.ins().icmp(IntCC::SignedLessThanOrEqual, from, last);
        let to = self.b.ins().select(enough, to, from);
        self.lanes = Some(lanes.clone());
        self.counted(from, to, width, &[], |e, position, _| {
            let position = e.b.ins().smin(position, last);
            e.axes[lanes.axis] = Some(position);
            let moved = [
                e.move_along(lanes.axis, position, &e.nest.loads, cursors[0]),
                e.move_along(lanes.axis, position, &e.nest.results, cursors[1]),
            ];
            let carried = e.point(moved)?;
            e.axes[lanes.axis] = None;
            Ok(carried)
        })?;
        self.lanes = None;
        Ok(to)
    }

    /// Whether the item meets all conditions that do not change from lane to lane; `None` if there is none, or none
    /// that could be told so.
    fn item_holds(&mut self, axis: usize) -> Option<Value> {
        let ranges = self.nest.item_ranges(axis, self.uses)?;
        let mut holds: Option<Value> = None;
        for range in &ranges {
            let zero = self.b.ins().iconst(I64, 0);
            let mut outer = zero;
            for (axis, coefficient) in range.outer.iter().enumerate().filter(|(_, c)| !c.is(0)) {
                let at = self.axes[axis].expect("the item's axes are known");
                let step = self.times(at, coefficient);
                outer = self.b.ins().iadd(outer, step);
            }
            let (least, greatest) = (self.plus(outer, &range.least), self.plus(outer, &range.greatest));
            let extent = self.extent(&range.extent);
            let above = self.b.ins().icmp(IntCC::SignedGreaterThanOrEqual, least, zero);
            let below = self.b.ins().icmp(IntCC::SignedLessThan, greatest, extent);
            let both = self.b.ins().band(above, below);
            holds = Some(match holds {
                Some(others) => self.b.ins().band(others, both),
                None => both,
            });
        }
        holds
    }

    /// The greatest position at or before `to` that is whole turns of `step` after `from`.
    pub(super) fn whole_turns(&mut self, from: Value, to: Value, step: i64) -> Value {
        let length = self.b.ins().isub(to, from);
        let turns = if step.count_ones() == 1 {
            self.b.ins().band_imm_s(length, -step)
        } else {
            let count = self.b.ins().udiv_imm_u(length, step);
            self.b.ins().imul_imm_s(count, step)
        };
        self.b.ins().iadd(from, turns)
    }

    pub(super) fn one_by_one(
        &mut self,
        from: Value,
        to: Value,
        cursors: [&[Cursor]; 2],
    ) -> Result<(), LowerError> {
        let axis = self.nest.space - 1;
        self.axis_loop(axis, (from, to, 1), cursors, &[], |e, cursors, _| e.point(cursors))?;
        Ok(())
    }

    fn in_lanes(
        &mut self,
        lanes: Lanes,
        from: Value,
        to: Value,
        cursors: [&[Cursor]; 2],
    ) -> Result<(), LowerError> {
        let (axis, step) = (lanes.axis, (lanes.width * lanes.copies) as i64);
        self.lanes = Some(lanes);
        self.axis_loop(axis, (from, to, step), cursors, &[], |e, cursors, _| e.point(cursors))?;
        self.lanes = None;
        Ok(())
    }

    /// What happens at a point of the space, or at one lane of each of the vectors at once.
    fn point(&mut self, [loads, results]: [Vec<Cursor>; 2]) -> Result<Vec<Value>, LowerError> {
        let nest = self.nest;
        let loads = self.enter(INNER, loads);
        let values = match nest.combine {
            None => self.program(&nest.body, &[])?,
            Some(combine) => {
                let accs = self.reduction(combine, &loads)?;
                self.enter_finish(&loads);
                self.program(&nest.finish, &accs)?
            }
        };
        if let Some(target) = &nest.scatter {
            let Val::One(update) = values[0][0] else { unreachable!("updates are written one by one") };
            self.scatter(target, update, results[0], nest.results[0].dtype);
            return Ok(vec![]);
        }
        for (i, (access, cursor)) in nest.results.iter().zip(results).enumerate() {
            let of_result: Vec<Val> = values.iter().map(|copy| copy[i]).collect();
            self.write(access, cursor, &of_result);
        }
        Ok(vec![])
    }
}
