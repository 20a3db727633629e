//! compile - a module to a program: plan, kernels, entries, link.

use nnc_ir::{
    constant::Constant, definitions::bare_symbol, diag::Diagnostic, entity::EntityId, extent::Extent,
    graph::Module,
};
use nnc_runtime::{Dim, Entries, Image, Port, Signature, Work, externs::Extern};

use crate::{
    choice::Decided,
    elem_type::elem_type,
    entry::{self, Callee, FuncId, Functions, Inlined, Program, Shifted, Slots},
    frame::{Frame, PointerSlot, offset},
    job::{self, Job, Sources, collect},
    kernel::{Kernel, LowerCx},
    link::{self, Code, Place, Unit},
    listing, lower,
    options::CompileOptions,
    plan::{self, Bounds, BufferId, BufferKind, Plan, PlanReport, Step},
    share::{self, Lowered, Use},
    target::Target,
    tiled::Regions,
    weights::{self, ConstantId, Constants},
    wide::WideTiles,
    work::Amounts,
};

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
    finish(module, plan::build(module, target.wide, options)?, target, options)
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
    let plan = plan::build(&module, target.wide, options)?;
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
        shifted: &kernels.shifted,
        inlined: &kernels.inlined,
        scratch_bytes: kernels.scratch_bytes.clone(),
        trace: options.trace,
    };
    let (ids, homes) = entry::emit(&program, &mut frame, &mut functions);
    for (kernel, home) in homes {
        kernels.callees[kernel].function = home;
    }
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
        kernels: kernel_table(&kernels, &blob.places),
        nodes: plan.node_names.clone(),
        externs: externs(&plan),
        notes: options.notes.clone(),
        weights,
        code: blob.code.clone(),
    };
    let report = PlanReport {
        kernels: image.kernels.len(),
        inlined: kernels.inlined.count(),
        code_bytes: image.code.len(),
        weight_bytes: image.weights.total_bytes(),
        plain_products: kernels.plain,
        tuned: kernels.tuned,
        ..report(&plan, &slots)
    };
    image.notes.extend(report.notes());
    let clif = options.emit_clif.then(|| listing::clif(&functions));
    let asm = options.emit_asm.then(|| listing::asm(&functions, &tiles, &blob));
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
    /// Addresses within buffers.
    shifted: Vec<Shifted>,
    /// Those that are no functions of their own.
    inlined: Inlined,
    scratch_bytes: Extent,
    /// Contractions that are done by plain loops, and why.
    plain: Vec<(String, &'static str)>,
    /// Kernels with decisions of the tuning, and these.
    tuned: Vec<(String, String)>,
    /// What was decided, if asked for.
    decided: Vec<Decided>,
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
            shifted: Vec::new(),
            inlined: Inlined::default(),
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
        let mut lowered = Vec::with_capacity(plan.kernels);
        let constant = |&operand: &BufferId| match plan.buffer(operand).kind {
            BufferKind::Constant(c) => Some(c),
            _ => None,
        };
        let mut readers = vec![0usize; constants.len()];
        for work in work.iter().flatten() {
            work.operands().iter().filter_map(constant).for_each(|c| readers[c.0] += 1);
        }
        let mut regions = Regions::new(plan);
        for (number, work) in work.iter().flatten().enumerate() {
            let (what, nodes) = work.what();
            let mut problem = |what: String| {
                let names: Vec<&str> = nodes.iter().map(|&n| &*plan.node_names[n as usize]).collect();
                problems.push(Diagnostic::error(410, format!("nodes {}: {what}", names.join(", "))));
            };
            let name = kernel_name(number, what);
            if let Job::Tiled(step) = work {
                let Some((callee, scratch_bytes)) =
                    regions.lower((number, name), step, slots, frame, &mut out.packed)
                else {
                    problem("its kernels do not run by turns".into());
                    continue;
                };
                out.scratch_bytes = out.scratch_bytes.max_with(&scratch_bytes);
                out.add(callee, nodes, &work.amounts(plan));
                lowered.push(None);
                continue;
            }
            let (isa, mut made) = (&*target.isa, Vec::new());
            let (filtering, choices) = (plan.filtering, regions.choices(number));
            let mut cx = LowerCx { isa, frame, packed: &mut made, tiles, filtering, choices };
            let (kernel, key) = match job::lower(work, name, sources, constants, &mut cx, &mut out.shifted) {
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
            let read = share::frame_loads(&kernel.function);
            for operand in work.operands() {
                let at = offset(slots.buffer(plan, operand).0);
                if let Some(c) = constant(&operand) {
                    // One whose address nobody reads, since it was packed, need not be stored.
                    out.constants[c.0] |= read.as_ref().is_none_or(|read| read.iter().any(|(_, r)| *r == at));
                    readers[c.0] -= 1;
                    if readers[c.0] == 0 && !out.constants[c.0] {
                        constants.release(c);
                    }
                }
            }
            for (weight, slot) in made {
                match weight.make() {
                    Ok(constant) => out.packed.push((constant, slot)),
                    Err(e) => problems.push(Diagnostic::error(e.code(), e.message())),
                }
            }
            regions.note(number, &kernel);
            let Kernel { function, name, items, item_cost, may_fault, scheduled, plain, .. } = kernel;
            out.plain.extend(plain.map(|why| (name.clone(), why)));
            // A region calls its members with a frame, not with arguments.
            let may_share = !regions.has(number) && !entry::is_small(&items, &item_cost);
            lowered.push(Some(Lowered { name: name.clone(), function, optimise: !scheduled, may_share }));
            let function = FuncId(0);
            let callee = Callee { name, function, arguments: None, items, item_cost, may_fault };
            out.add(callee, nodes, &work.amounts(plan));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let sizes = out.callees.iter().map(|c| (&c.items, &c.item_cost));
        let inlines = !options.trace && regions.is_empty() && Inlined::pays(sizes);
        out.add_functions(lowered, functions, inlines);
        regions.emit(functions, &mut out.callees);
        Ok(out)
    }

    /// Adds what calls a kernel.
    fn add(&mut self, callee: Callee, nodes: &[u32], amounts: &Amounts) {
        self.callees.push(callee);
        self.nodes.push(nodes.to_vec());
        self.work.push(amounts.formulas());
    }

    /// Adds the functions of kernels that are called, each once.
    fn add_functions(&mut self, lowered: Vec<Option<Lowered>>, functions: &mut Functions, inlines: bool) {
        let (mut called, mut kept) = (Vec::new(), Vec::new());
        for (number, (kernel, callee)) in lowered.into_iter().zip(&mut self.callees).enumerate() {
            let Some(kernel) = kernel else { continue };
            if !(inlines && self.inlined.add(number, &kernel, &callee.items, &callee.item_cost)) {
                called.push(callee);
                kept.push(kernel);
            }
        }
        let (kept, uses) = share::share(kept);
        let ids: Vec<FuncId> =
            kept.into_iter().map(|f| functions.add_kernel(f.name, f.function, f.optimise)).collect();
        for (callee, Use { function, arguments }) in called.into_iter().zip(uses) {
            (callee.function, callee.arguments) = (ids[function], arguments);
        }
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
        Port { name: name.to_owned(), elem: elem_type(ty.dtype), dims: ty.shape.iter().map(dim).collect() }
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

fn kernel_table(kernels: &Kernels, places: &[Place]) -> Vec<nnc_runtime::Kernel> {
    let row = |((callee, nodes), work): ((&Callee, &Vec<u32>), &Work)| {
        let place = places[callee.function.0];
        nnc_runtime::Kernel {
            name: callee.name.clone(),
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
pub fn plan_memory(
    module: &Module,
    target: &Target,
    options: &CompileOptions,
) -> Result<PlanReport, Vec<Diagnostic>> {
    let plan = plan::build(module, target.wide, options)?;
    let slots = Slots::new(module, &plan, &mut Frame::new());
    Ok(report(&plan, &slots))
}

/// What was decided about memory.
fn report(plan: &Plan, slots: &Slots) -> PlanReport {
    let mut report = PlanReport { kernels: plan.kernels, apart: plan.apart.clone(), ..PlanReport::default() };
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
        Step::Tiled(tiled) => report.tiled.push(kernel_name(tiled.kernel, &tiled.what)),
        Step::Copy { from, to, .. } => report.copies += usize::from(plan.resolve(*from) != plan.resolve(*to)),
        _ => {}
    });
    report
}
