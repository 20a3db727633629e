//! compile - a module to a program: plan, kernels, entries, link.

use cranelift_codegen::ir::{Function, InstructionData, Opcode, Value};
use nnc_ir::{
    constant::Constant, definitions::bare_symbol, diag::Diagnostic, entity::EntityId, extent::Extent,
    form::Class, graph::Module,
};
use nnc_runtime::{Dim, Entries, Image, Port, Signature, Work, externs::Extern};
use nnc_tile::winograd::Winograd;

use crate::{
    choice::{self, Choices, Decided, Tuning},
    emit,
    entry::{self, Callee, FuncId, Functions, Program, Slots},
    frame::{Frame, PointerSlot},
    kernel::{Kernel, LowerCx, NestRequest, OperandRef},
    link::{self, Code, Place, Unit},
    lower::{self, rows::RowsRequest, scatter::ScatterRequest},
    plan::{
        self, Block, Bounds, BufferId, BufferKind, NestStep, Plan, PlanReport, RowsStep, ScatterStep, Step,
    },
    target::Target,
    weights::{self, ConstantId, Constants},
    wide::WideTiles,
    work::Amounts,
};

/// What to compile besides the program.
#[derive(Clone, Debug, Default)]
pub struct CompileOptions {
    /// Name of the model, for reports.
    pub name: String,
    /// Whether to give the program as Cranelift IR.
    pub emit_clif: bool,
    /// Whether to give the program as assembly.
    pub emit_asm: bool,
    /// Facts to record in the program.
    pub notes: Vec<(String, String)>,
    /// Whether no result is written over an operand: for comparison.
    pub keep_operands: bool,
    /// Whether all tensors lie in the order of their axes: for comparison.
    pub keep_layouts: bool,
    /// Whether every kernel is called so that a profile sees it, also those that are not worth splitting.
    pub trace: bool,
    /// The largest squares by which convolutions may be done by minimal filtering, which rounds differently.
    pub winograd: Option<Winograd>,
    /// Decisions of kernels that are not to be the cost model's.
    pub tuning: Tuning,
    /// Whether to say what was decided for each kernel, and what else would do.
    pub record_choices: bool,
}

/// A compiled module.
#[derive(Debug)]
pub struct Compiled {
    /// The program, not loaded.
    pub image: Image,
    /// What was decided.
    pub report: PlanReport,
    /// Cranelift IR, if asked for.
    pub clif: Option<String>,
    /// Assembly, if asked for.
    pub asm: Option<String>,
    /// What was decided, if asked for: of kernels that had something to decide.
    pub decided: Vec<Decided>,
}

/// Compiles a module.
///
/// # Errors
/// E0410 for each node that this backend or target has no code for, E0501 when there is no memory for constants.
pub fn compile(
    module: &Module,
    target: &Target,
    options: &CompileOptions,
) -> Result<Compiled, Vec<Diagnostic>> {
    finish(module, plan::build(module, options)?, target, options)
}

/// Likewise, and lets go of each constant when all kernels that read it are made of other forms of it: packed weights
/// take the place of those they are made of.
///
/// # Errors
/// As [`compile`].
pub fn compile_owned(
    mut module: Module,
    target: &Target,
    options: &CompileOptions,
) -> Result<Compiled, Vec<Diagnostic>> {
    let plan = plan::build(&module, options)?;
    // The plan holds those that the program needs.
    module.forget_constants();
    finish(&module, plan, target, options)
}

fn finish(
    module: &Module,
    mut plan: Plan,
    target: &Target,
    options: &CompileOptions,
) -> Result<Compiled, Vec<Diagnostic>> {
    let mut frame = Frame::new();
    let slots = Slots::new(module, &plan, &mut frame);
    let mut functions = Functions::new(target.isa.frontend_config());
    let mut tiles = WideTiles::new(target.wide);
    let mut constants = std::mem::take(&mut plan.constants);
    let sources = Sources { module, plan: &plan, slots: &slots, options };
    let mut kernels =
        Kernels::lower(&sources, &mut constants, target, &mut frame, &mut functions, &mut tiles)?;
    plan.constants = constants;
    let packed = kernels.add_packed(&mut plan);
    let (weights, places) = weights::lay_out(&plan.constants, &kernels.constants)
        .map_err(|e| vec![Diagnostic::error(e.code(), e.message())])?;
    let program = Program {
        module,
        plan: &plan,
        slots: &slots,
        kernels: &kernels.callees,
        weights: &places,
        packed: &packed,
        scratch_bytes: kernels.scratch_bytes.clone(),
        trace: options.trace,
    };
    let ids = entry::emit(&program, &mut frame, &mut functions);
    let units: Option<Vec<Unit<'_>>> = (functions.list.iter())
        .map(|f| {
            let isa = if f.optimise { &*target.isa } else { &*target.entry_isa };
            Some(Unit { name: &f.name, code: Code::Clif { function: f.function.as_ref()?, isa } })
        })
        .collect();
    let mut units = units.ok_or_else(|| bug("a function was declared and not written"))?;
    let n_functions = units.len();
    if let Some(level) = tiles.level() {
        units.extend(tiles.list().map(|tile| Unit { name: "tile", code: Code::Tile { tile, level } }));
    }
    let blob = link::link(&units, n_functions, options.emit_asm).map_err(|what| bug(&what))?;
    let at = |id: FuncId| blob.places[id.0].offset as u64;
    let mut image = Image {
        name: options.name.clone(),
        target: nnc_runtime::Target { triple: target.triple.clone(), features: target.features.clone() },
        entries: Entries {
            bind: at(ids.bind),
            output_dims: at(ids.output_dims),
            workspace_bytes: at(ids.workspace_bytes),
            run: at(ids.run),
        },
        signature: signature(module),
        kernels: kernel_table(&kernels, &functions, &blob.places),
        nodes: plan.node_names.clone(),
        externs: externs(&plan),
        notes: options.notes.clone(),
        weights,
        code: blob.code.clone(),
    };
    let report = PlanReport {
        kernels: image.kernels.len(),
        code_bytes: image.code.len(),
        weight_bytes: image.weights.total_bytes(),
        plain_products: kernels.plain,
        tuned: kernels.tuned,
        ..report(&plan, &slots)
    };
    image.notes.extend(report.notes());
    let clif = options.emit_clif.then(|| emit::clif(&functions));
    let asm = options.emit_asm.then(|| emit::asm(&functions, &tiles, &blob));
    Ok(Compiled { image, report, clif, asm, decided: kernels.decided })
}

/// A failure that no model should be able to cause.
fn bug(what: &str) -> Vec<Diagnostic> {
    vec![Diagnostic::error(411, format!("no code for the target: {what}"))]
}

/// Kernels by number, and what they need.
struct Kernels {
    callees: Vec<Callee>,
    /// Numbers of the nodes of each.
    nodes: Vec<Vec<u32>>,
    /// What a call of each does.
    work: Vec<Work>,
    /// Which constants are read.
    constants: Vec<bool>,
    /// Constants made while lowering.
    packed: Vec<(Constant, PointerSlot)>,
    scratch_bytes: Extent,
    /// Contractions that are done by plain loops, and why.
    plain: Vec<(String, &'static str)>,
    /// Kernels with decisions of the tuning, and these.
    tuned: Vec<(String, String)>,
    /// What was decided, if asked for.
    decided: Vec<Decided>,
}

/// A kernel that is to be lowered.
enum Job<'a> {
    Nest(&'a NestStep),
    Rows(&'a RowsStep),
    Scatter(&'a ScatterStep),
}

impl Job<'_> {
    fn operands(&self) -> &[BufferId] {
        match self {
            Job::Nest(step) => &step.operands,
            Job::Rows(step) => &step.operands,
            Job::Scatter(step) => &step.operands,
        }
    }

    fn amounts(&self) -> Amounts {
        match self {
            Job::Nest(step) => Amounts::of_nest(&step.form),
            Job::Rows(step) => Amounts::of_rows(&step.form),
            Job::Scatter(step) => Amounts::of_scatter(&step.form, &step.ty),
        }
    }
}

impl Kernels {
    fn lower(
        sources: &Sources<'_>,
        constants: &mut Constants,
        target: &Target,
        frame: &mut Frame,
        functions: &mut Functions,
        tiles: &mut WideTiles,
    ) -> Result<Self, Vec<Diagnostic>> {
        let &Sources { module, plan, slots, options } = sources;
        let mut work: Vec<Option<Job<'_>>> = (0..plan.kernels).map(|_| None).collect();
        let mut copied = vec![false; plan.buffers.len()];
        collect(&plan.main, &mut work, &mut |buffer| copied[plan.resolve(buffer).0] = true);
        let mut out = Self {
            callees: Vec::new(),
            nodes: Vec::new(),
            work: Vec::new(),
            constants: vec![false; constants.len()],
            packed: Vec::new(),
            scratch_bytes: Extent::ZERO,
            plain: Vec::new(),
            tuned: Vec::new(),
            decided: Vec::new(),
        };
        for (i, buffer) in plan.buffers.iter().enumerate() {
            if let (BufferKind::Constant(c), true) = (buffer.kind, copied[i]) {
                out.constants[c.0] = true;
            }
        }
        let bounds = Bounds::new(&module.symbols);
        let mut problems = Vec::new();
        let constant = |&operand: &BufferId| match plan.buffer(operand).kind {
            BufferKind::Constant(c) => Some(c),
            _ => None,
        };
        let mut readers = vec![0usize; constants.len()];
        for work in work.iter().flatten() {
            work.operands().iter().filter_map(constant).for_each(|c| readers[c.0] += 1);
        }
        for (number, work) in work.iter().flatten().enumerate() {
            let (what, nodes) = match work {
                Job::Nest(step) => (&step.what, &step.nodes),
                Job::Rows(step) => (&step.what, &step.nodes),
                Job::Scatter(step) => (&step.what, &step.nodes),
            };
            let mut problem = |what: String| {
                let names: Vec<&str> = nodes.iter().map(|&n| &*plan.node_names[n as usize]).collect();
                problems.push(Diagnostic::error(410, format!("nodes {}: {what}", names.join(", "))));
            };
            let name = kernel_name(number, what);
            let (isa, packed) = (&*target.isa, &mut out.packed);
            let (winograd, choices) = (options.winograd, Choices::default());
            let mut cx = LowerCx { isa, frame, packed, tiles, winograd, choices };
            let (kernel, key) = match lower_one(work, name, sources, constants, &mut cx) {
                Ok(lowered) => lowered,
                Err(error) => {
                    problem(error.to_string());
                    continue;
                }
            };
            match bounds.at_most(&kernel.scratch_bytes) {
                Some(bytes) => out.scratch_bytes = out.scratch_bytes.max_with(&bytes),
                None => problem("data decide the size of its scratch memory, and it has no bound".into()),
            }
            if let Some(key) = key {
                let choices = cx.choices;
                if let Some((knob, choice)) = choices.refused() {
                    let what = format!("{knob}={choice} of the tuning is nothing that kernel '{key}' can do");
                    problems.push(Diagnostic::error(416, what).help("tune again with --tune"));
                }
                out.tuned.extend(options.tuning.get(&key).map(|g| (kernel.name.clone(), g.to_string())));
                let decisions = choices.made();
                if options.record_choices && !decisions.is_empty() {
                    out.decided.push(Decided { kernel: out.callees.len(), key, decisions });
                }
            }
            let read = frame_reads(&kernel.function);
            for operand in work.operands() {
                let at = entry::offset(slots.buffer(plan, *operand).0);
                if let Some(c) = constant(operand) {
                    out.constants[c.0] |= read.as_ref().is_none_or(|read| read.contains(&at));
                    readers[c.0] -= 1;
                    if readers[c.0] == 0 && !out.constants[c.0] {
                        constants.release(c);
                    }
                }
            }
            let Kernel { function, name, items, item_cost, may_fault, scheduled, plain, .. } = kernel;
            out.plain.extend(plain.map(|why| (name.clone(), why)));
            out.callees.push(Callee {
                function: functions.add_kernel(name, function, !scheduled),
                items,
                item_cost,
                may_fault,
            });
            out.nodes.push(nodes.clone());
            out.work.push(work.amounts().formulas());
        }
        if problems.is_empty() { Ok(out) } else { Err(problems) }
    }

    /// Adds the constants made while lowering to those of the plan.
    fn add_packed(&mut self, plan: &mut Plan) -> Vec<(PointerSlot, ConstantId)> {
        let mut out = Vec::with_capacity(self.packed.len());
        for (constant, slot) in self.packed.drain(..) {
            let id = plan.constants.add(&constant);
            self.constants.resize(plan.constants.len(), false);
            self.constants[id.0] = true;
            out.push((slot, id));
        }
        out
    }
}

fn kernel_name(number: usize, what: &str) -> String {
    format!("k{number:03}_{what}")
}

/// What kernels are lowered from, beside constants.
struct Sources<'a> {
    module: &'a Module,
    plan: &'a Plan,
    slots: &'a Slots,
    options: &'a CompileOptions,
}

/// Makes a kernel; gives its description as well where there is a tuning or choices are noted.
fn lower_one(
    work: &Job<'_>,
    name: String,
    &Sources { plan, slots, options, .. }: &Sources<'_>,
    constants: &Constants,
    cx: &mut LowerCx<'_>,
) -> Result<(Kernel, Option<String>), lower::LowerError> {
    let operand = |&buffer: &BufferId| OperandRef {
        pointer: slots.buffer(plan, buffer),
        constant: match plan.buffer(buffer).kind {
            BufferKind::Constant(c) => Some(constants.get(c).clone()),
            _ => None,
        },
    };
    let first = |nodes: &[u32]| nodes.first().map_or(-1, |&n| i64::from(n));
    match work {
        Job::Nest(step) => {
            let request = NestRequest {
                name,
                form: step.form.clone(),
                operands: step.operands.iter().map(operand).collect(),
                results: step.results.iter().map(|&b| slots.buffer(plan, b)).collect(),
                placement: step.placement.clone(),
                fault_node: first(&step.nodes),
            };
            let decides = options.record_choices || !options.tuning.is_empty();
            let key = (decides && step.form.class() == Class::Contraction)
                .then(|| choice::key(&request, cx.winograd));
            let given = key.as_ref().and_then(|key| options.tuning.get(key));
            cx.choices = Choices::new(given, options.record_choices);
            Ok((lower::lower_nest(&request, cx)?, key))
        }
        Job::Rows(step) => {
            let request = RowsRequest {
                name,
                form: step.form.clone(),
                operands: step.operands.iter().map(operand).collect(),
                results: step.results.iter().map(|&b| slots.buffer(plan, b)).collect(),
                fault_node: first(&step.nodes),
            };
            Ok((lower::rows::lower_rows(&request, cx)?, None))
        }
        Job::Scatter(step) => {
            let request = ScatterRequest {
                name,
                form: step.form.clone(),
                operands: step.operands.iter().map(operand).collect(),
                result: slots.buffer(plan, step.result),
                ty: step.ty.clone(),
                fault_node: first(&step.nodes),
            };
            Ok((lower::scatter::lower_scatter(&request, cx)?, None))
        }
    }
}

/// Puts kernels at their numbers, and reports buffers that something else than a kernel reads.
fn collect<'a>(block: &'a Block, work: &mut [Option<Job<'a>>], reads: &mut dyn FnMut(BufferId)) {
    for step in &block.steps {
        match step {
            Step::Nest(step) => work[step.kernel] = Some(Job::Nest(step)),
            Step::Rows(step) => work[step.kernel] = Some(Job::Rows(step)),
            Step::Scatter(step) => work[step.kernel] = Some(Job::Scatter(step)),
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

/// Byte offsets of the frame that a kernel reads, or `None` if it does more with the frame than that: a constant whose
/// address nobody reads (since it was packed) need not be stored.
fn frame_reads(function: &Function) -> Option<Vec<i32>> {
    let entry = function.layout.entry_block()?;
    let frame: Value = *function.dfg.block_params(entry).first()?;
    let mut offsets = Vec::new();
    for block in function.layout.blocks() {
        for inst in function.layout.block_insts(block) {
            if !function.dfg.inst_values(inst).any(|v| function.dfg.resolve_aliases(v) == frame) {
                continue;
            }
            match &function.dfg.insts[inst] {
                InstructionData::Load { opcode: Opcode::Load, offset, .. } => offsets.push((*offset).into()),
                _ => return None,
            }
        }
    }
    Some(offsets)
}

/// Inputs, outputs and symbols as callers see them.
fn signature(module: &Module) -> Signature {
    let region = module.region(module.body());
    let port = |name: &str, value| {
        let ty = module.ty(value);
        let dim = |e: &Extent| match (e, bare_symbol(e)) {
            (Extent::Const(c), _) => Dim::Fixed(*c),
            (_, Some(s)) => u32::try_from(s.index()).map_or(Dim::Derived, Dim::Symbol),
            _ => Dim::Derived,
        };
        Port {
            name: name.to_owned(),
            elem: plan::elem_type(ty.dtype),
            dims: ty.shape.iter().map(dim).collect(),
        }
    };
    let ports = |names: &[String], values: &[nnc_ir::graph::ValueId]| {
        names.iter().zip(values).map(|(name, &value)| port(name, value)).collect()
    };
    let symbol = |s: &nnc_ir::extent::Symbol| {
        let min = s.min.max(0);
        nnc_runtime::Symbol { name: s.name.clone(), min, max: s.max.max(min) }
    };
    Signature {
        inputs: ports(&module.input_names, &region.params),
        outputs: ports(&module.output_names, &region.results),
        symbols: module.symbols.iter().map(|(_, s)| symbol(s)).collect(),
    }
}

fn kernel_table(kernels: &Kernels, functions: &Functions, places: &[Place]) -> Vec<nnc_runtime::Kernel> {
    let row = |((callee, nodes), work): ((&Callee, &Vec<u32>), &Work)| {
        let place = places[callee.function.0];
        nnc_runtime::Kernel {
            name: functions.list[callee.function.0].name.clone(),
            offset: place.offset as u64,
            len: place.len as u64,
            nodes: nodes.clone(),
            work: work.clone(),
        }
    };
    kernels.callees.iter().zip(&kernels.nodes).zip(&kernels.work).map(row).collect()
}

/// The functions of the runtime that a program calls, each once.
fn externs(plan: &Plan) -> Vec<Extern> {
    let mut out = Vec::new();
    plan.for_each_step(&mut |step| {
        if let Step::Extern(step) = step {
            out.push(step.function);
        }
    });
    out.sort_unstable();
    out.dedup();
    out
}

/// The memory that the program of a module would have, without making the program.
///
/// # Errors
/// E0410 for each node that this backend has no code for.
pub fn plan_memory(module: &Module) -> Result<PlanReport, Vec<Diagnostic>> {
    let plan = plan::build(module, &CompileOptions::default())?;
    let slots = Slots::new(module, &plan, &mut Frame::new());
    Ok(report(&plan, &slots))
}

/// What was decided about memory.
fn report(plan: &Plan, slots: &Slots) -> PlanReport {
    let mut report = PlanReport { kernels: plan.kernels, ..PlanReport::default() };
    for area in &slots.packing.areas {
        match area.key.as_const() {
            Some(unit) => report.arena_bytes += unit * area.units,
            None => report.symbolic_arena.push(format!("{} * ({})", area.units, area.key)),
        }
    }
    report.buffers = slots.packing.places.len();
    report.dynamic_buffers = slots.dynamic_buffers();
    report.intermediate_bytes = plan.intermediate_bytes;
    report.peak_live_bytes = slots.peak_live_bytes;
    plan.for_each_step(&mut |step| match step {
        Step::Nest(nest) => {
            if nest.in_place {
                report.in_place.push(kernel_name(nest.kernel, &nest.what));
            }
            if nest.channels_last {
                report.channels_last.push(kernel_name(nest.kernel, &nest.what));
            }
            report.copies += usize::from(lower::concat::is_copy(&nest.form));
        }
        Step::Copy { from, to, .. } => report.copies += usize::from(plan.resolve(*from) != plan.resolve(*to)),
        _ => {}
    });
    report
}
