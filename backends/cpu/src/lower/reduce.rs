//! reduce - the loops over reduction axes, and how values join.
//!
//! Along a reduction axis in lanes there are several vectors of accumulators. They are joined in an order that the code
//! fixes: vectors pairwise, then lanes pairwise, then what came before, then the elements that fill no vector. So a
//! result does not depend on threads. Long sums along other axes are taken block by block.

use cranelift_codegen::ir::{InstBuilder, Value, condcodes::FloatCC, types::I64};
use nnc_ir::{
    dtype::{DType, Scalar},
    form::Combine,
    program::Binary,
};

use super::{
    LowerError,
    levels::INNER,
    nest::Emitter,
    place::Cursor,
    scalar,
    schedule::{Lanes, Schedule},
    vector::{self, Val},
};

/// Elements of a block of a long sum.
const SUM_BLOCK: i64 = 32;

/// What joins two values of the body, unless a position is sought.
fn joins(combine: Combine) -> Option<Binary> {
    match combine {
        Combine::Sum => Some(Binary::Add),
        Combine::Product => Some(Binary::Mul),
        Combine::Max => Some(Binary::Max),
        Combine::Min => Some(Binary::Min),
        Combine::ArgMax { .. } | Combine::ArgMin { .. } => None,
    }
}

impl Emitter<'_, '_> {
    /// Accumulators at the end of the reduction, one for each of the vectors at once.
    pub(super) fn reduction(&mut self, combine: Combine, loads: &[Cursor]) -> Result<Vec<Val>, LowerError> {
        let dtype = self.body_dtype();
        let identity = match combine {
            Combine::Sum => Scalar::zero(dtype),
            Combine::Product => Scalar::int(dtype, 1),
            Combine::Max | Combine::ArgMax { .. } => Scalar::lowest(dtype),
            Combine::Min | Combine::ArgMin { .. } => Scalar::highest(dtype),
        };
        if joins(combine).is_some() {
            let accs = self.identities(identity);
            let accs = self.axis_of_reduction(0, combine, loads, accs)?;
            let wrap = |v: Value| if self.lanes.is_some() { Val::Lanes(v) } else { Val::One(v) };
            return Ok(accs.into_iter().map(wrap).collect());
        }
        // The best element, its position, the current position.
        let (best, zero) = (scalar::constant(self.b, identity), self.b.ins().iconst(I64, 0));
        let accs = self.axis_of_reduction(0, combine, loads, vec![best, zero, zero])?;
        Ok(vec![Val::One(accs[1])])
    }

    fn body_dtype(&self) -> DType {
        let body = &self.nest.body;
        body.dtype(body.results[0])
    }

    fn identities(&mut self, identity: Scalar) -> Vec<Value> {
        let one = match &self.lanes {
            Some(_) => vector::constant(self.b, identity),
            None => scalar::constant(self.b, identity),
        };
        vec![one; self.copies()]
    }

    /// Reduction axes from number `depth` on.
    fn axis_of_reduction(
        &mut self,
        depth: usize,
        combine: Combine,
        loads: &[Cursor],
        accs: Vec<Value>,
    ) -> Result<Vec<Value>, LowerError> {
        let nest = self.nest;
        if depth == nest.reductions() {
            let values = self.program(&nest.body, &[])?;
            return Ok(self.join(combine, &accs, &values));
        }
        let axis = nest.space + depth;
        if matches!(self.schedule, Schedule::Space(lanes) if depth >= lanes.unroll_from) {
            return self.unrolled(depth, combine, loads, accs);
        }
        let start = self.b.ins().iconst(I64, 0);
        let end = self.extent(&nest.extents[axis]);
        match self.schedule.clone() {
            Schedule::Reduce(lanes) if lanes.axis == axis => {
                self.lanes_of_reduction(lanes, combine, loads, accs[0], end)
            }
            _ if self.sums_in_blocks(depth, combine) => {
                self.blocks_of_reduction(depth, combine, loads, &accs, (start, end))
            }
            _ => self.turns_of_reduction(depth, combine, loads, &accs, (start, end, 1)),
        }
    }

    /// Whether an axis is long enough that its sum is taken block by block.
    fn sums_in_blocks(&self, depth: usize, combine: Combine) -> bool {
        let nest = self.nest;
        let long = nest.extents[nest.space + depth].as_const().is_none_or(|n| n > 2 * SUM_BLOCK);
        combine == Combine::Sum && self.body_dtype().is_float() && depth + 1 == nest.reductions() && long
    }

    /// The last axis in blocks, each summed from zero and then added: the rounding errors of n additions grow with
    /// n / block + block instead of n (Higham 2002, s. 4.2).
    fn blocks_of_reduction(
        &mut self,
        depth: usize,
        combine: Combine,
        loads: &[Cursor],
        accs: &[Value],
        (start, end): (Value, Value),
    ) -> Result<Vec<Value>, LowerError> {
        let dtype = self.body_dtype();
        self.counted(start, end, SUM_BLOCK, accs, |e, from, accs| {
            let stop = e.b.ins().iadd_imm_s(from, SUM_BLOCK);
            let stop = e.b.ins().smin(stop, end);
            let zeros = e.identities(Scalar::zero(dtype));
            let sums = e.turns_of_reduction(depth, combine, loads, &zeros, (from, stop, 1))?;
            let add = |(&acc, &sum): (&Value, &Value)| match &e.lanes {
                Some(_) => vector::binary(e.b, Binary::Add, dtype, acc, sum),
                None => scalar::binary(e.b, Binary::Add, dtype, acc, sum),
            };
            Ok(accs.iter().zip(&sums).map(add).collect())
        })
    }

    fn turns_of_reduction(
        &mut self,
        depth: usize,
        combine: Combine,
        loads: &[Cursor],
        accs: &[Value],
        span: (Value, Value, i64),
    ) -> Result<Vec<Value>, LowerError> {
        let axis = self.nest.space + depth;
        self.axis_loop(axis, span, [loads, &[]], accs, |e, [loads, _], accs| {
            let loads = e.enter(INNER + 1 + depth, loads);
            e.axis_of_reduction(depth + 1, combine, &loads, accs.to_vec())
        })
    }

    /// A short axis of known length, without a loop.
    fn unrolled(
        &mut self,
        depth: usize,
        combine: Combine,
        loads: &[Cursor],
        mut accs: Vec<Value>,
    ) -> Result<Vec<Value>, LowerError> {
        let axis = self.nest.space + depth;
        let length = self.nest.extents[axis].as_const().expect("only known lengths are unrolled");
        for at in 0..length {
            self.axes[axis] = Some(self.b.ins().iconst(I64, at));
            let loads = self.move_to(axis, at, loads);
            let loads = self.enter(INNER + 1 + depth, loads);
            accs = self.axis_of_reduction(depth + 1, combine, &loads, accs)?;
        }
        self.axes[axis] = None;
        Ok(accs)
    }

    /// The last axis, in lanes as far as whole vectors go.
    fn lanes_of_reduction(
        &mut self,
        lanes: Lanes,
        combine: Combine,
        loads: &[Cursor],
        acc: Value,
        end: Value,
    ) -> Result<Vec<Value>, LowerError> {
        let nest = self.nest;
        let (axis, depth) = (lanes.axis, nest.reductions() - 1);
        let dtype = self.body_dtype();
        let op = joins(combine).expect("positions are not sought in lanes");
        let identity = match combine {
            Combine::Product => Scalar::int(dtype, 1),
            Combine::Max => Scalar::lowest(dtype),
            Combine::Min => Scalar::highest(dtype),
            _ => Scalar::zero(dtype),
        };
        if let Some(all) = self.stream_fold(combine, loads, end)? {
            return Ok(vec![scalar::binary(self.b, op, dtype, acc, all)]);
        }
        let mut left = nest.extents[axis].as_const();
        let mut from = self.b.ins().iconst(I64, 0);
        let mut vectors: Vec<Value> = Vec::new();
        for turn in lanes.turns() {
            let step = (turn.width * turn.copies) as i64;
            if left.is_some_and(|n| n < step) {
                continue;
            }
            left = left.map(|n| n % step);
            let stop = self.whole_turns(from, end, step);
            self.lanes = Some(turn);
            if vectors.is_empty() {
                vectors = self.identities(identity);
            }
            vectors = self.turns_of_reduction(depth, combine, loads, &vectors, (from, stop, step))?;
            while vectors.len() > 1 {
                let pairs = vectors.chunks(2);
                vectors = pairs.map(|p| vector::binary(self.b, op, dtype, p[0], p[1])).collect();
            }
            self.lanes = None;
            from = stop;
        }
        let [a, b, c, d] = [0, 1, 2, 3].map(|lane| vector::extract(self.b, dtype, vectors[0], lane));
        let (ab, cd) = (scalar::binary(self.b, op, dtype, a, b), scalar::binary(self.b, op, dtype, c, d));
        let all = scalar::binary(self.b, op, dtype, ab, cd);
        let acc = scalar::binary(self.b, op, dtype, acc, all);
        if left == Some(0) {
            return Ok(vec![acc]);
        }
        self.turns_of_reduction(depth, combine, loads, &[acc], (from, end, 1))
    }

    /// Joins what the body gives to the accumulators.
    fn join(&mut self, combine: Combine, accs: &[Value], values: &[Vec<Val>]) -> Vec<Value> {
        let dtype = self.body_dtype();
        let Some(op) = joins(combine) else {
            let Val::One(value) = values[0][0] else { unreachable!("positions are not sought in lanes") };
            let better = self.better(dtype, combine, accs[0], value);
            let best = self.b.ins().select(better, value, accs[0]);
            let place = self.b.ins().select(better, accs[2], accs[1]);
            let next = self.b.ins().iadd_imm_s(accs[2], 1);
            return vec![best, place, next];
        };
        let join_one = |(&acc, value): (&Value, &Vec<Val>)| match (value[0], self.lanes.is_some()) {
            (Val::One(x), false) => scalar::binary(self.b, op, dtype, acc, x),
            (value, _) => {
                let x = vector::spread(self.b, dtype, value);
                vector::binary(self.b, op, dtype, acc, x)
            }
        };
        accs.iter().zip(values).map(join_one).collect()
    }

    /// Whether `value` takes the place of `best`; NaN is the best there is.
    fn better(&mut self, dtype: DType, combine: Combine, best: Value, value: Value) -> Value {
        let (greatest, last) = match combine {
            Combine::ArgMin { last } => (false, last),
            Combine::ArgMax { last } => (true, last),
            _ => unreachable!("only positions are chosen"),
        };
        let (lesser, greater) = if greatest { (best, value) } else { (value, best) };
        let op = if last { Binary::Le } else { Binary::Lt };
        let better = scalar::binary(self.b, op, dtype, lesser, greater);
        if !dtype.is_float() {
            return better;
        }
        let nan = self.b.ins().fcmp(FloatCC::Unordered, value, value);
        let takes = if last {
            nan
        } else {
            let best_is_number = self.b.ins().fcmp(FloatCC::Ordered, best, best);
            self.b.ins().band(nan, best_is_number)
        };
        self.b.ins().bor(better, takes)
    }
}
