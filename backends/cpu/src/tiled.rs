//! tiled - tiled regions while kernels are made: what their members are told, and the kernel that calls them.

use nnc_ir::{
    constant::{Constant, Payload},
    dtype::DType,
    extent::Extent,
};
use rustc_hash::FxHashMap;

use crate::{
    choice::Choices,
    entry::{self, Callee, FuncId, Functions, Slots},
    frame::{Frame, PointerSlot},
    kernel::{Kernel, Pace},
    plan::{BufferId, Plan, Step, TiledStep, Turns},
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
        let (amounts, operands) = match member {
            Step::Nest(nest) => (Amounts::of_nest(&nest.form), &nest.operands),
            Step::Rows(rows) => (Amounts::of_rows(&rows.form), &rows.operands),
            _ => return None,
        };
        Some((amounts, operands.iter().map(inner).collect()))
    });
    Amounts::of_tiled(members.collect())
}

/// Number of a kernel.
fn kernel(step: &Step) -> Option<usize> {
    step.member().map(|member| member.kernel)
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
                let region = tiled.region();
                let parts = region.parts(plan, tiled.elements).unwrap_or_default();
                let members = region.steps.iter().zip(parts);
                regions.parts.extend(members.filter_map(|(step, part)| Some((kernel(step)?, part))));
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
        let region = step.region();
        let made: Vec<&Made> =
            region.steps.iter().map(|step| self.made.get(&kernel(step)?)).collect::<Option<_>>()?;
        let widths = region.widths()?;
        let found = region.turns(self.plan, &|number, _| made.get(number)?.pace, step.elements)?;
        let table = frame.add_pointer();
        packed.push((numbers(&found, &widths)?, table));
        let member = |number: usize| entry::tiled::Member {
            function: FuncId(0),
            inner: step
                .inner
                .get(number)
                .map(|&b| (slots.buffer(self.plan, b), found.room(number) * widths[number])),
        };
        let members = (0..region.steps.len()).map(member).collect();
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
