//! job - a kernel that is to be lowered: what it is made of, and where its buffers are.

use nnc_ir::{extent::Extent, form::Class, graph::Module};

use crate::{
    choice::{self, Choices},
    entry::{Shifted, Slots},
    frame::PointerSlot,
    kernel::{Kernel, LowerCx, NestRequest, OperandRef, Placement},
    lower::{self, LowerError, rows::RowsRequest, scatter::ScatterRequest},
    options::CompileOptions,
    plan::{Block, BufferId, BufferKind, GroupsStep, NestStep, Plan, RowsStep, ScatterStep, Step, TiledStep},
    tiled,
    weights::Constants,
    work::Amounts,
};

/// A kernel that is to be lowered.
pub(crate) enum Job<'a> {
    /// Of a nest.
    Nest(&'a NestStep),
    /// Of a product and the nest that joins groups of its columns.
    Groups(&'a GroupsStep),
    /// Of a row nest.
    Rows(&'a RowsStep),
    /// That writes at computed places.
    Scatter(&'a ScatterStep),
    /// That calls others by turns.
    Tiled(&'a TiledStep),
}

impl Job<'_> {
    /// What it reads, by number.
    pub(crate) fn operands(&self) -> Vec<BufferId> {
        match self {
            Job::Nest(step) => step.operands.clone(),
            Job::Groups(step) => step.operands(),
            Job::Rows(step) => step.operands.clone(),
            Job::Scatter(step) => step.operands.clone(),
            // Those of its members are theirs.
            Job::Tiled(_) => Vec::new(),
        }
    }

    /// What one call of it does.
    pub(crate) fn amounts(&self, plan: &Plan) -> Amounts {
        match self {
            Job::Nest(step) => Amounts::of_nest(&step.form),
            Job::Groups(step) => {
                let (product, finish) = (&step.product, &step.finish);
                Amounts::of_groups(&product.form, &finish.form, product.operands.len(), step.read)
            }
            Job::Rows(step) => Amounts::of_rows(&step.form),
            Job::Scatter(step) => Amounts::of_scatter(&step.form, &step.ty),
            Job::Tiled(step) => tiled::amounts(step, plan),
        }
    }

    /// What it is for, and the numbers of its nodes.
    pub(crate) fn what(&self) -> (&str, &[u32]) {
        match self {
            Job::Nest(step) => (&step.what, &step.nodes),
            Job::Groups(step) => (&step.what, &step.nodes),
            Job::Rows(step) => (&step.what, &step.nodes),
            Job::Scatter(step) => (&step.what, &step.nodes),
            Job::Tiled(step) => (&step.what, &step.nodes),
        }
    }
}

/// What kernels are lowered from, beside constants.
pub(crate) struct Sources<'a> {
    /// The module.
    pub(crate) module: &'a Module,
    /// Its plan.
    pub(crate) plan: &'a Plan,
    /// Where things are in the frame.
    pub(crate) slots: &'a Slots,
    /// What the caller asks for.
    pub(crate) options: &'a CompileOptions,
}

/// The kernel, with its description where there is a tuning or choices are noted; `shifted` gains the slots of addresses
/// that it needs beside those of buffers.
///
/// # Errors
/// The target lacks an instruction.
pub(crate) fn lower(
    work: &Job<'_>,
    name: String,
    sources: &Sources<'_>,
    constants: &Constants,
    cx: &mut LowerCx<'_>,
    shifted: &mut Vec<Shifted>,
) -> Result<(Kernel, Option<String>), LowerError> {
    let buffers = Buffers { plan: sources.plan, slots: sources.slots, constants };
    let kernel = match work {
        Job::Nest(step) => {
            let (results, placement) = buffers.placed_results(step, cx, shifted);
            let request = NestRequest {
                name,
                form: step.form.clone(),
                operands: step.operands_by(|buffer| buffers.operand(buffer)),
                results,
                placement,
                fault_node: first(&step.nodes),
            };
            return lower_nest(&request, step.form.class(), sources.options, cx);
        }
        Job::Groups(step) => {
            let nest = |step: &NestStep, name: String| NestRequest {
                name,
                form: step.form.clone(),
                operands: buffers.operands(&step.operands),
                results: buffers.results(&step.results),
                placement: step.placement.clone(),
                fault_node: first(&step.nodes),
            };
            let (product, finish) = (nest(&step.product, name), nest(&step.finish, String::new()));
            let pair = lower::Pair { product: &product, finish: &finish, read: step.read };
            let counter = step.counter.map(|c| sources.slots.counter_slot(c));
            lower::lower_pair(&pair, counter, cx)?
        }
        Job::Rows(step) => {
            let request = RowsRequest {
                name,
                form: step.form.clone(),
                operands: buffers.operands(&step.operands),
                results: buffers.results(&step.results),
                fault_node: first(&step.nodes),
            };
            lower::rows::lower_rows(&request, cx)?
        }
        Job::Scatter(step) => {
            let request = ScatterRequest {
                name,
                form: step.form.clone(),
                operands: buffers.operands(&step.operands),
                result: buffers.slot(step.result),
                ty: step.ty.clone(),
                fault_node: first(&step.nodes),
            };
            lower::scatter::lower_scatter(&request, cx)?
        }
        Job::Tiled(_) => return Err(LowerError::Target("a region without its members")),
    };
    Ok((kernel, None))
}

/// Lowers a nest by what a tuning says of it. One that is done in turns with others has its choices from these.
fn lower_nest(
    request: &NestRequest,
    class: Class,
    options: &CompileOptions,
    cx: &mut LowerCx<'_>,
) -> Result<(Kernel, Option<String>), LowerError> {
    if cx.choices.part().is_some() {
        return Ok((lower::lower_nest(request, cx)?, None));
    }
    let decides = options.record_choices || !options.tuning.is_empty();
    let key = (decides && class == Class::Contraction).then(|| choice::key(request, cx.filtering.most));
    let given = key.as_ref().and_then(|key| options.tuning.get(key));
    cx.choices = Choices::new(given, options.record_choices);
    Ok((lower::lower_nest(request, cx)?, key))
}

/// The node that faults name.
fn first(nodes: &[u32]) -> i64 {
    nodes.first().map_or(-1, |&n| i64::from(n))
}

/// What lowering is told of buffers.
struct Buffers<'a> {
    plan: &'a Plan,
    slots: &'a Slots,
    constants: &'a Constants,
}

impl Buffers<'_> {
    fn slot(&self, buffer: BufferId) -> PointerSlot {
        self.slots.buffer(self.plan, buffer)
    }

    fn operand(&self, buffer: BufferId) -> OperandRef {
        let constant = match self.plan.buffer(buffer).kind {
            BufferKind::Constant(c) => Some(self.constants.get(c).clone()),
            _ => None,
        };
        OperandRef { pointer: self.slot(buffer), constant, range: None }
    }

    fn operands(&self, buffers: &[BufferId]) -> Vec<OperandRef> {
        buffers.iter().map(|&b| self.operand(b)).collect()
    }

    fn results(&self, buffers: &[BufferId]) -> Vec<PointerSlot> {
        buffers.iter().map(|&b| self.slot(b)).collect()
    }

    /// The results of a nest and how they lie there. One that begins somewhere within its buffer has a slot for that address,
    /// where the buffer stays at one place.
    fn placed_results(
        &self,
        step: &NestStep,
        cx: &mut LowerCx<'_>,
        shifted: &mut Vec<Shifted>,
    ) -> (Vec<PointerSlot>, Vec<Option<Placement>>) {
        let mut one = |k: usize, result: BufferId| {
            let base = self.slot(result);
            match &step.placement[k] {
                Some(place) if !place.offset.is(0) && self.slots.is_settled(self.plan, result) => {
                    let slot = cx.frame.add_pointer();
                    let bytes = place.offset.scale(step.form.results[k].bytes() as i64);
                    shifted.push(Shifted { slot, from: base, bytes });
                    (slot, Some(Placement { offset: Extent::ZERO, strides: place.strides.clone() }))
                }
                place => (base, place.clone()),
            }
        };
        step.results.iter().enumerate().map(|(k, &result)| one(k, result)).unzip()
    }
}

/// Puts kernels at their numbers, and reports buffers that something else than a kernel reads.
pub(crate) fn collect<'a>(block: &'a Block, work: &mut [Option<Job<'a>>], reads: &mut dyn FnMut(BufferId)) {
    for step in &block.steps {
        match step {
            Step::Nest(step) => work[step.kernel] = Some(Job::Nest(step)),
            Step::Groups(step) => work[step.kernel] = Some(Job::Groups(step)),
            Step::Rows(step) => work[step.kernel] = Some(Job::Rows(step)),
            Step::Scatter(step) => work[step.kernel] = Some(Job::Scatter(step)),
            Step::Tiled(step) => {
                collect(&step.members, work, reads);
                work[step.kernel] = Some(Job::Tiled(step));
            }
            Step::Copy { from, .. } | Step::ReadExtents { from, .. } => reads(*from),
            Step::Extern(step) => step.operands.iter().for_each(|(b, ..)| reads(*b)),
            Step::If(step) => {
                reads(step.condition);
                collect(&step.then, work, reads);
                collect(&step.otherwise, work, reads);
            }
            Step::Loop(step) => {
                [step.trips, step.condition, step.condition_result].into_iter().for_each(&mut *reads);
                step.carried.iter().for_each(|c| reads(c.initial));
                collect(&step.body, work, reads);
            }
            Step::Scan(step) => {
                step.carried.iter().for_each(|c| reads(c.initial));
                step.scanned.iter().for_each(|s| reads(s.whole));
                collect(&step.body, work, reads);
            }
            Step::Ensure { .. } | Step::StoreExtents { .. } | Step::Define(_) => {}
        }
    }
}
