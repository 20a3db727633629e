//! tiled - tiled regions while kernels are made: how large the parts of members are, and the kernel that calls them.

use nnc_ir::{
    constant::{Constant, Payload},
    dtype::DType,
    extent::{Extent, product},
};
use rustc_hash::FxHashMap;

use crate::{
    choice::Choices,
    entry::{self, Callee, FuncId, Functions, Slots},
    frame::{Frame, PointerSlot},
    kernel::{Kernel, Pace},
    plan::{BufferId, Plan, Span, Step, TiledStep, reads},
    turns::{Member, Turns, parts, turns},
    work::Amounts,
};

/// What a region must know of a member's kernel.
struct Made {
    pace: Option<Pace>,
    items: Extent,
    item_cost: Extent,
    scratch_bytes: Extent,
}

/// What all members do; what passes between them is no traffic.
pub(crate) fn amounts(step: &TiledStep, plan: &Plan) -> Amounts {
    let inner = |b: &BufferId| step.inner.contains(&plan.resolve(*b));
    let members = step.members.steps.iter().filter_map(|member| {
        let amounts = match member {
            Step::Nest(nest) => Amounts::of_nest(&nest.form),
            Step::Rows(rows) => Amounts::of_rows(&rows.form),
            _ => return None,
        };
        Some((amounts, operands(member).iter().map(inner).collect()))
    });
    Amounts::of_tiled(members.collect())
}

/// Elements of a step's result, and bytes of each.
fn size(step: &Step) -> Option<(i64, i64)> {
    let form = step.member()?.form?;
    Some((product(&form.space).as_const()?, i64::try_from(form.results[0].bytes()).ok()?))
}

/// Operands of a kernel.
fn operands(step: &Step) -> &[BufferId] {
    step.member().map_or(&[], |member| member.operands)
}

/// Number of a kernel.
fn kernel(step: &Step) -> Option<usize> {
    step.member().map(|member| member.kernel)
}

/// A region of steps.
#[derive(Clone, Copy)]
pub(crate) struct Region<'a> {
    /// Its kernels.
    pub(crate) steps: &'a [&'a Step],
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
                let found = reads(step, walk, span)?.into_iter().filter_map(|(operand, span)| {
                    let buffer = plan.resolve(*operands(step).get(operand)?);
                    Some((inner.iter().position(|&b| b == buffer)?, span))
                });
                Some(found.collect())
            };
            Some(Member { pace: pace(number, total)?, total, reads: Box::new(read) })
        };
        self.steps.iter().zip(self.walks).enumerate().map(of).collect()
    }

    /// How many elements each member should compute in a turn in which the last computes `elements`.
    fn parts(&self, plan: &'a Plan, elements: i64) -> Option<Vec<i64>> {
        parts(&self.members(plan, &|_, total| whole(total))?, elements)
    }
}

fn whole(total: i64) -> Option<Pace> {
    (total > 0).then_some(Pace { segment: total, block: total, items: 1 })
}

/// Bytes that a worker has for what is between kernels that run by turns; `None` if they cannot: a later turn would need what
/// an earlier one needed no more, or a turn more than half of all that is between.
pub(crate) fn scratch_bytes(plan: &Plan, region: &Region<'_>, elements: i64) -> Option<i64> {
    let parts = region.parts(plan, elements)?;
    let pace =
        |number: usize, total: i64| Some(Pace { block: parts[number].clamp(1, total), ..whole(total)? });
    let found = turns(&region.members(plan, &pace)?, elements)?;
    let (mut all, mut most) = (0i64, 0i64);
    for (number, step) in region.steps.iter().enumerate().take(region.inner.len()) {
        let (total, width) = size(step)?;
        all = all.checked_add(total.checked_mul(width)?)?;
        most += found.room(number) * width;
    }
    (found.turns.len() > 1 && 2 * most <= all).then_some(most)
}

/// The regions of a program while its kernels are made.
pub(crate) struct Regions<'a> {
    plan: &'a Plan,
    /// How many elements of its result an item of a member should compute at most, by number of the kernel.
    parts: FxHashMap<usize, i64>,
    /// Members that have been made.
    made: FxHashMap<usize, Made>,
    /// Regions that have been made, by number of the kernel.
    tiled: Vec<(usize, &'a TiledStep, entry::tiled::Region)>,
}

impl<'a> Regions<'a> {
    /// Those of a plan.
    pub(crate) fn new(plan: &'a Plan) -> Self {
        let mut regions =
            Regions { plan, parts: FxHashMap::default(), made: FxHashMap::default(), tiled: Vec::new() };
        plan.for_each_step(&mut |step| {
            if let Step::Tiled(tiled) = step {
                let steps: Vec<&Step> = tiled.members.steps.iter().collect();
                let region = Region { steps: &steps, inner: &tiled.inner, walks: &tiled.walks };
                let parts = region.parts(plan, tiled.elements).unwrap_or_default();
                regions
                    .parts
                    .extend(steps.iter().zip(parts).filter_map(|(step, part)| Some((kernel(step)?, part))));
            }
        });
        regions
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Whether a kernel is a member of one.
    pub(crate) fn has(&self, kernel: usize) -> bool {
        self.parts.contains_key(&kernel)
    }

    /// What is decided for a kernel before it is lowered.
    pub(crate) fn choices(&self, kernel: usize) -> Choices {
        self.parts.get(&kernel).map_or_else(Choices::default, |&part| Choices::in_parts(part))
    }

    /// Notes a kernel that has been made.
    pub(crate) fn note(&mut self, number: usize, kernel: &Kernel) {
        if self.has(number) {
            let Kernel { pace, items, item_cost, scratch_bytes, .. } = kernel;
            let (items, item_cost, scratch_bytes) = (items.clone(), item_cost.clone(), scratch_bytes.clone());
            self.made.insert(number, Made { pace: *pace, items, item_cost, scratch_bytes });
        }
    }

    /// What calls the kernel of a region whose members have been made, and the scratch memory of a worker. `None` if they do not
    /// run by turns, which the plan has seen to.
    pub(crate) fn lower(
        &mut self,
        (number, name): (usize, String),
        step: &'a TiledStep,
        slots: &Slots,
        frame: &mut Frame,
        packed: &mut Vec<(Constant, PointerSlot)>,
    ) -> Option<(Callee, Extent)> {
        let steps: Vec<&Step> = step.members.steps.iter().collect();
        let made: Vec<&Made> =
            steps.iter().map(|step| self.made.get(&kernel(step)?)).collect::<Option<_>>()?;
        let widths: Vec<i64> = steps.iter().map(|step| Some(size(step)?.1)).collect::<Option<_>>()?;
        let region = Region { steps: &steps, inner: &step.inner, walks: &step.walks };
        let found = turns(&region.members(self.plan, &|number, _| made.get(number)?.pace)?, step.elements)?;
        let table = frame.add_pointer();
        packed.push((numbers(&found, &widths)?, table));
        let member = |number: usize| entry::tiled::Member {
            function: FuncId(0),
            inner: step
                .inner
                .get(number)
                .map(|&b| (slots.buffer(self.plan, b), found.room(number) * widths[number])),
        };
        let members = (0..steps.len()).map(member).collect();
        let region = entry::tiled::Region { members, table, slots: frame.slots() };
        let most = made.iter().fold(Extent::ZERO, |most, m| most.max_with(&m.scratch_bytes));
        let cost = made.iter().fold(Extent::ZERO, |sum, m| &sum + &(&m.items * &m.item_cost));
        let items = Extent::Const(i64::try_from(found.turns.len()).ok()?);
        let scratch = &most + &Extent::Const(region.scratch_bytes());
        self.tiled.push((number, step, region));
        let item_cost = cost.floor_div(&items);
        Some((
            Callee { name, function: FuncId(0), arguments: None, items, item_cost, may_fault: false },
            scratch,
        ))
    }

    /// Writes the kernels of regions, now that those of their members have functions.
    pub(crate) fn emit(self, functions: &mut Functions, callees: &mut [Callee]) {
        for (number, step, mut region) in self.tiled {
            let called = step.members.steps.iter().filter_map(|m| Some(callees[kernel(m)?].function));
            region.members.iter_mut().zip(called).for_each(|(member, f)| member.function = f);
            callees[number].function = region.emit(functions, &callees[number].name);
        }
    }
}

/// The table that the kernel reads.
fn numbers(found: &Turns, widths: &[i64]) -> Option<Constant> {
    let mut numbers: Vec<i64> = Vec::new();
    for turn in &found.turns {
        for (member, width) in turn.iter().zip(widths) {
            let bytes = [member.fresh_from, member.from, member.to].map(|element| element * width);
            numbers.extend([member.fresh, member.least, member.end]);
            numbers.extend(bytes);
        }
    }
    let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    Constant::new(DType::I64, &[i64::try_from(numbers.len()).ok()?], Payload::Inline(bytes.into()))
}
