//! compiler - from an ONNX file to a program that runs.

use std::{
    path::Path,
    sync::Mutex,
    time::{Duration, Instant},
};

use nnc_cpu::{CompileOptions, Compiled, Target};
use nnc_ir::{Module, constant::Constant, diag::Diagnostic, form::LoopForm};
use nnc_onnx::{
    import::{ImportOptions, import},
    load::{LoadOptions, load_bytes, load_file},
    model::Model,
};
use nnc_passes::{
    manager::{PassManager, Watch},
    pass::{PassCx, PassInfo, PassReport, Tiles},
    pipeline::{REQUIRED, STRIP, allows, pipeline},
    target::TargetDesc,
};
use nnc_runtime::{
    Image, Program, Session, SessionOptions, Signature, Tensor, TensorView, TensorViewMut, artefact,
};

use crate::{
    Cache, Failure, OptLevel, Options, Training,
    consts::Evaluator,
    fit::{self, MemoryReport},
    options::WINOGRAD,
    repeated, training,
};

/// Compiles models.
#[derive(Clone, Debug)]
pub struct Compiler {
    options: Options,
}

/// A module as imported.
pub struct Imported {
    /// The module.
    pub module: Module,
    /// What was odd but not wrong.
    pub warnings: Vec<Diagnostic>,
}

/// A program, not loaded.
pub struct Made {
    /// The program.
    pub image: Image,
    /// What was odd but not wrong in the model, and what the user should know of the program.
    pub warnings: Vec<Diagnostic>,
    /// Whether it was in the cache.
    pub cached: bool,
}

/// A module after all passes.
pub struct Lowered {
    /// The module.
    pub module: Module,
    /// What each pass did, in order.
    pub reports: Vec<PassReport>,
    /// What the user should know of it.
    pub warnings: Vec<Diagnostic>,
    /// What a limit of memory took, if there was one.
    pub memory: Option<MemoryReport>,
}

impl Compiler {
    /// A compiler with these options.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options }
    }

    /// The options.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Imports an ONNX file; external data is looked for in its folder.
    ///
    /// # Errors
    /// Every problem of the model.
    pub fn import_file(&self, path: impl AsRef<Path>) -> Result<Imported, Failure> {
        self.import_model(&load_file(path.as_ref(), &LoadOptions::default())?)
    }

    /// Imports the bytes of an ONNX file without external data.
    ///
    /// # Errors
    /// Every problem of the model.
    pub fn import_bytes(&self, bytes: Vec<u8>) -> Result<Imported, Failure> {
        self.import_model(&load_bytes(bytes, None, &LoadOptions::default())?)
    }

    fn import_model(&self, model: &Model) -> Result<Imported, Failure> {
        let options = ImportOptions {
            dims: self.options.dims.iter().cloned().collect(),
            shapes: self.options.shapes.iter().cloned().collect(),
            ..ImportOptions::as_declared()
        };
        let (module, mut warnings) = import(model, &options)?;
        if let Some(file) = &self.options.tuning {
            warnings.extend(file.stale(&self.target()?.processor()));
        }
        Ok(Imported { module, warnings })
    }

    /// Runs the passes of the options' level, but for those that the options leave out.
    ///
    /// # Errors
    /// [`Failure::Bug`] if a pass breaks the module; E0413 if one that is left out does not exist or cannot be; E0508 if
    /// the arena cannot be made as small as the options ask.
    pub fn optimize(&self, module: Module) -> Result<Lowered, Failure> {
        let without = &self.options.without;
        if let Some(name) = without.iter().find(|n| *n != WINOGRAD && nnc_passes::find(n).is_none()) {
            return Err(no_pass(name));
        }
        if let Some(name) = without.iter().find(|n| REQUIRED.contains(&n.as_str())) {
            return Err(Failure::single(413, format!("pass '{name}' cannot be left out")));
        }
        let mut names = pipeline(self.options.level);
        names.retain(|name| without.iter().all(|left_out| left_out != name));
        match self.options.max_memory {
            Some(limit) => fit::optimize(self, module, &names, limit),
            None => self.run_passes(module, &names),
        }
    }

    /// Runs passes by name, as far as the options' level allows them.
    ///
    /// # Errors
    /// As [`Compiler::optimize`]; E0413 for a name that no pass has, E0414 for a pass that needs a later phase, E0415 for
    /// training forms that nothing computes as they are written.
    pub fn run_passes(&self, module: Module, names: &[&str]) -> Result<Lowered, Failure> {
        self.run_passes_within(module, names, usize::MAX)
    }

    /// Likewise, with at most `fuel` rewrites, those of required passes and of strip-training not counted: for bisection.
    ///
    /// # Errors
    /// As [`Compiler::run_passes`].
    pub fn run_passes_within(&self, module: Module, names: &[&str], fuel: usize) -> Result<Lowered, Failure> {
        self.run_passes_in(module, names, fuel, self.options.max_memory)
    }

    /// Likewise, with so many bytes for intermediates.
    pub(crate) fn run_passes_in(
        &self,
        mut module: Module,
        names: &[&str],
        mut fuel: usize,
        max_memory: Option<i64>,
    ) -> Result<Lowered, Failure> {
        let evaluator = Evaluator::new();
        let target = target_facts(&self.target()?);
        let mut cx = PassCx::new(&evaluator, &target);
        cx.max_memory = max_memory;
        cx.tiles = &CpuTiles;
        let Options { watch_passes, watch_costs, .. } = self.options;
        let watch = Watch { text: watch_passes, diff: watch_passes, costs: watch_costs };
        let mut manager = PassManager::new(&module, watch);
        let (mut reports, mut warnings) = (Vec::new(), Vec::new());
        for name in names {
            let pass = nnc_passes::find(name).ok_or_else(|| no_pass(name))?;
            if module.phase < pass.needs {
                return Err(too_early(pass));
            }
            let wanted = *name != STRIP || self.options.training == Training::Strip;
            if !wanted || !allows(self.options.level, pass) {
                continue;
            }
            if *name == training::FORBIDS {
                training::check(&module)?;
            }
            let required = REQUIRED.contains(name) || *name == STRIP;
            cx.fuel = if required { usize::MAX } else { fuel };
            let report = manager.run(&mut module, name, &mut cx)?;
            fuel -= if required { 0 } else { report.rewrites.len().min(fuel) };
            warnings.extend(training::warning(&report));
            reports.push(report);
        }
        Ok(Lowered { module, reports, warnings, memory: None })
    }

    /// Generates machine code for a module after all passes.
    ///
    /// # Errors
    /// What the backend does not support.
    pub fn generate(&self, module: &Module) -> Result<Compiled, Failure> {
        self.generate_with(module, CompileOptions::default())
    }

    /// Likewise, with what else the backend should give.
    ///
    /// # Errors
    /// As [`Compiler::generate`].
    pub fn generate_with(&self, module: &Module, options: CompileOptions) -> Result<Compiled, Failure> {
        let target = self.target()?;
        repeated::check(module).map_err(|d| vec![*d])?;
        Ok(nnc_cpu::compile(module, &target, &self.of_backend(&target, options))?)
    }

    /// Likewise, for a module that nobody needs afterwards: its weights are freed as they are packed.
    ///
    /// # Errors
    /// As [`Compiler::generate`].
    pub fn generate_owned(&self, module: Module, options: CompileOptions) -> Result<Compiled, Failure> {
        let target = self.target()?;
        repeated::check(&module).map_err(|d| vec![*d])?;
        Ok(nnc_cpu::compile_owned(module, &target, &self.of_backend(&target, options))?)
    }

    /// What the backend should give, with what the options say of it.
    pub(crate) fn of_backend(&self, target: &Target, options: CompileOptions) -> CompileOptions {
        let Options { name, trace, level, without, winograd, .. } = &self.options;
        let may = *level >= OptLevel::O2 && !without.iter().any(|name| name == WINOGRAD);
        let winograd = may.then_some(*winograd);
        let tuning = match &self.options.tuning {
            Some(file) => file.tuning(&target.processor()),
            None => options.tuning,
        };
        CompileOptions { name: name.clone(), trace: *trace, winograd, tuning, ..options }
    }

    /// What measurements on this machine hold for, with the options' instruction set: see [`TuningFile`](crate::TuningFile).
    ///
    /// # Errors
    /// E0407 for a target that is not known.
    pub fn processor(&self) -> Result<String, Failure> {
        Ok(self.target()?.processor())
    }

    pub(crate) fn target(&self) -> Result<Target, Failure> {
        let (cpu, triple) = (&self.options.cpu, self.options.triple.as_deref());
        Ok(Target::new(cpu, triple, self.options.verify_code).map_err(|d| vec![*d])?)
    }

    /// Compiles an ONNX file and loads the program.
    ///
    /// # Errors
    /// Every problem of the model.
    pub fn compile_file(&self, path: impl AsRef<Path>) -> Result<CompiledModel, Failure> {
        let start = Instant::now();
        self.finish(self.import_file(path)?, start)
    }

    /// Compiles the bytes of an ONNX file and loads the program.
    ///
    /// # Errors
    /// Every problem of the model.
    pub fn compile_bytes(&self, bytes: Vec<u8>) -> Result<CompiledModel, Failure> {
        let start = Instant::now();
        self.finish(self.import_bytes(bytes)?, start)
    }

    fn finish(&self, imported: Imported, start: Instant) -> Result<CompiledModel, Failure> {
        let Made { image, warnings, cached } = self.make(imported)?;
        let program = Program::load(image)?;
        Ok(CompiledModel { program, warnings, cached, time: start.elapsed(), session: Mutex::new(None) })
    }

    /// The program of an imported module: that of the cache, if there is a cache and it has it, else a new one, which the
    /// cache then keeps.
    ///
    /// # Errors
    /// As [`Compiler::optimize`] and [`Compiler::generate`].
    pub fn make(&self, imported: Imported) -> Result<Made, Failure> {
        let Imported { module, mut warnings } = imported;
        let cache = match &self.options.cache {
            Some(folder) => Some((Cache::new(folder), Cache::key(&module, &self.target()?, &self.options))),
            None => None,
        };
        if let Some(image) = cache.as_ref().and_then(|(cache, key)| cache.get(key)) {
            return Ok(Made { image, warnings, cached: true });
        }
        let lowered = self.optimize(module)?;
        let notes = lowered.memory.as_ref().map(MemoryReport::notes).unwrap_or_default();
        let options = CompileOptions { notes, ..CompileOptions::default() };
        let mut image = self.generate_owned(lowered.module, options)?.image;
        // What is said of a program would be lost with it.
        if let (Some((cache, key)), true) = (&cache, lowered.warnings.is_empty()) {
            cache.put(key, &mut image);
        }
        warnings.extend(lowered.warnings);
        Ok(Made { image, warnings, cached: false })
    }
}

/// What the passes may know of the processor.
pub(crate) fn target_facts(target: &Target) -> TargetDesc {
    let number = |x: usize| i64::try_from(x).unwrap_or(i64::MAX);
    let desc = &target.desc;
    TargetDesc {
        vector_bytes: number(desc.vector_bytes),
        vector_registers: number(desc.vector_registers),
        cache_bytes: [desc.l1_bytes, desc.l2_bytes, desc.l3_bytes].map(number),
        ..TargetDesc::GENERIC
    }
}

/// What tiles of the CPU backend do.
struct CpuTiles;

impl Tiles for CpuTiles {
    fn refusal(&self, form: &LoopForm, constant: &dyn Fn(usize) -> Option<Constant>) -> Option<&'static str> {
        nnc_cpu::lower::refusal(form, constant)
    }
}

fn no_pass(name: &str) -> Failure {
    Failure::single(413, format!("no pass is called '{name}'; see nnc opt --list-passes"))
}

fn too_early(pass: &PassInfo) -> Failure {
    let message = format!("pass '{}' needs phase {:?}", pass.name, pass.needs).to_lowercase();
    Failure::Model(vec![
        Diagnostic::error(414, message).help(format!("put reach-canonical before {}", pass.name)),
    ])
}

/// A program ready to run. Shared between threads, each run takes a session; [`CompiledModel::run`] keeps one.
pub struct CompiledModel {
    program: Program,
    warnings: Vec<Diagnostic>,
    cached: bool,
    time: Duration,
    session: Mutex<Option<Session>>,
}

impl CompiledModel {
    /// Loads an artefact.
    ///
    /// # Errors
    /// E07 for what is wrong with it.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, Failure> {
        let start = Instant::now();
        let image = artefact::read(path.as_ref(), nnc_runtime::default_max_memory())?;
        let program = Program::load(image)?;
        let (warnings, cached, session) = (Vec::new(), false, Mutex::new(None));
        Ok(Self { program, warnings, cached, time: start.elapsed(), session })
    }

    /// Writes the artefact, whole or not at all, and gives its bytes.
    ///
    /// # Errors
    /// E06 if it cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<u64, Failure> {
        Ok(artefact::write(self.program.image(), path.as_ref())?)
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Inputs, outputs and symbols.
    #[must_use]
    pub fn signature(&self) -> &Signature {
        self.program.signature()
    }

    /// What was odd but not wrong in the model.
    #[must_use]
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }

    /// Whether the program was in the cache.
    #[must_use]
    pub fn is_cached(&self) -> bool {
        self.cached
    }

    /// Time from the file to the loaded program.
    #[must_use]
    pub fn compile_time(&self) -> Duration {
        self.time
    }

    /// Inputs given by name, in the program's order.
    ///
    /// # Errors
    /// E0801 for a missing, unknown or repeated name.
    pub fn arrange(&self, named: Vec<(&str, Tensor)>) -> Result<Vec<Tensor>, Failure> {
        let views: Vec<(&str, TensorView<'_>)> = named.iter().map(|(n, t)| (*n, t.view())).collect();
        let views = self.signature().arrange(&views)?;
        Ok(views.iter().map(TensorView::to_tensor).collect::<nnc_runtime::Result<_>>()?)
    }

    /// Runs once. Calls from several threads take turns; give each its own session to run them together.
    ///
    /// # Errors
    /// E08 for inputs that do not fit, E05 for a run over the memory limit.
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Failure> {
        // A run that panicked leaves a session that the next one can use: it holds no state between runs.
        let mut kept = self.session.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let session = kept.get_or_insert_with(|| Session::new(&SessionOptions::host()));
        self.run_in(session, inputs)
    }

    /// Runs once in a session of the caller's.
    ///
    /// # Errors
    /// As [`CompiledModel::run`].
    pub fn run_in(&self, session: &mut Session, inputs: &[Tensor]) -> Result<Vec<Tensor>, Failure> {
        let views: Vec<TensorView<'_>> = inputs.iter().map(Tensor::view).collect();
        Ok(self.program.run(session, &views)?)
    }

    /// Runs once into the caller's buffers; allocates nothing after the first run of a static model.
    ///
    /// # Errors
    /// As [`CompiledModel::run`].
    pub fn run_into(
        &self,
        session: &mut Session,
        inputs: &[TensorView<'_>],
        outputs: &mut [TensorViewMut<'_>],
    ) -> Result<(), Failure> {
        Ok(self.program.run_into(session, inputs, outputs)?)
    }
}
