//! inner - the loop over the last space axis: in lanes where the schedule says so, the rest one by one.

use cranelift_codegen::ir::{InstBuilder, Value};

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
        let Schedule::Space(lanes) = self.schedule.clone() else { return self.one_by_one(from, to, cursors) };
        let mut from = from;
        let mut stop = to;
        if !lanes.interior.is_empty() {
            let start = from;
            for (lower, upper) in &lanes.interior {
                let (lower, upper) = (self.extent(lower), self.extent(upper));
                from = self.b.ins().smax(from, lower);
                stop = self.b.ins().smin(stop, upper);
            }
            // Nothing before the start, nothing after the end, whatever the interior is.
            from = self.b.ins().smin(from, to);
            stop = self.b.ins().smax(stop, from);
            self.one_by_one(start, from, cursors)?;
        }
        // What is known of the length says which loops never turn.
        let known = if cut.block.is_none() && lanes.interior.is_empty() {
            self.nest.extents[lanes.axis].as_const()
        } else {
            None
        };
        let mut left = known;
        for turn in lanes.turns() {
            let step = (turn.width * turn.copies) as i64;
            if left.is_some_and(|n| n < step) {
                continue;
            }
            let end = self.whole_turns(from, stop, step);
            self.in_lanes(turn, from, end, cursors)?;
            from = end;
            left = left.map(|n| n % step);
        }
        if left == Some(0) { Ok(()) } else { self.one_by_one(from, to, cursors) }
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

    fn one_by_one(&mut self, from: Value, to: Value, cursors: [&[Cursor]; 2]) -> Result<(), LowerError> {
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
