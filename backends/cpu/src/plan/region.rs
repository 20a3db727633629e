//! region - kernels that are to run by turns: how much each does in a turn, and what is between them.

use nnc_ir::extent::product;

use super::{
    BufferId, Plan, Span, Step, reads,
    turns::{self, Member, Turns, parts},
};
use crate::kernel::Pace;

/// A region of steps.
#[derive(Clone)]
pub(crate) struct Region<'a> {
    /// Its kernels.
    pub(crate) steps: Vec<&'a Step>,
    /// Results of all but the last.
    pub(crate) inner: &'a [BufferId],
    /// For each the axes of its result in the order in which it goes through them.
    pub(crate) walks: &'a [Vec<usize>],
}

impl<'a> Region<'a> {
    /// Its members, with the paces that `pace` gives.
    fn members(&self, plan: &'a Plan, pace: &dyn Fn(usize, i64) -> Option<Pace>) -> Option<Vec<Member<'a>>> {
        let inner = self.inner;
        let of = |(number, (&step, walk)): (usize, (&&'a Step, &'a Vec<usize>))| {
            let total = size(step)?.0;
            let read = move |span: Span| {
                let operands = step.member()?.operands;
                let found = reads(step, walk, span)?.into_iter().filter_map(|(operand, span)| {
                    let buffer = plan.resolve(*operands.get(operand)?);
                    Some((inner.iter().position(|&b| b == buffer)?, span))
                });
                Some(found.collect())
            };
            Some(Member { pace: pace(number, total)?, total, reads: Box::new(read) })
        };
        self.steps.iter().zip(self.walks).enumerate().map(of).collect()
    }

    /// How many elements each member should compute in a turn in which the last computes `elements`.
    pub(crate) fn parts(&self, plan: &'a Plan, elements: i64) -> Option<Vec<i64>> {
        parts(&self.members(plan, &|_, total| whole(total))?, elements)
    }

    /// The turns of members with the paces that `pace` gives by number and elements.
    pub(crate) fn turns(
        &self,
        plan: &'a Plan,
        pace: &dyn Fn(usize, i64) -> Option<Pace>,
        elements: i64,
    ) -> Option<Turns> {
        turns::turns(&self.members(plan, pace)?, elements)
    }

    /// Bytes of an element of each result.
    pub(crate) fn widths(&self) -> Option<Vec<i64>> {
        self.steps.iter().map(|step| Some(size(step)?.1)).collect()
    }

    /// Bytes that a worker has for what is between the kernels; `None` if they cannot run by turns: a later turn would need
    /// what an earlier one needed no more, or a turn more than half of all that is between.
    pub(crate) fn scratch_bytes(&self, plan: &'a Plan, elements: i64) -> Option<i64> {
        let parts = self.parts(plan, elements)?;
        let pace =
            |number: usize, total: i64| Some(Pace { block: parts[number].clamp(1, total), ..whole(total)? });
        let found = self.turns(plan, &pace, elements)?;
        let (mut all, mut most) = (0i64, 0i64);
        for (number, step) in self.steps.iter().enumerate().take(self.inner.len()) {
            let (total, width) = size(step)?;
            all = all.checked_add(total.checked_mul(width)?)?;
            most += found.room(number) * width;
        }
        (found.turns.len() > 1 && 2 * most <= all).then_some(most)
    }
}

fn whole(total: i64) -> Option<Pace> {
    (total > 0).then_some(Pace { segment: total, block: total, items: 1 })
}

/// Elements of a step's result, and bytes of each.
fn size(step: &Step) -> Option<(i64, i64)> {
    let form = step.member()?.form?;
    Some((product(&form.space).as_const()?, i64::try_from(form.results[0].bytes()).ok()?))
}
