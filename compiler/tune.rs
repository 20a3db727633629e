//! tune - measures what lowering otherwise decides by estimates.
//!
//! Programs of the whole model are compared, so that each kernel is measured with the caches as the model leaves them. They
//! differ in one decision of each kernel: decision after decision, program after program has the next of what would do for
//! every kernel at once, and runs in turns with the best one so far. What is best in the end is measured once more against
//! what the cost model says, and only what is clearly faster then is kept.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use nnc_cpu::{
    CompileOptions,
    choice::{Choice, Decided, Given, Knob, Tuning},
};
use nnc_ir::Module;
use nnc_runtime::{Pool, Program, Session, SessionOptions, Tensor, TensorView, TensorViewMut};

use crate::{Compiler, Failure, Options};

/// Time that must be gained, in per mille: less is noise, or not worth an entry.
const MARGIN: f64 = 0.03;
/// Seconds that a kernel must take at least.
const SHORTEST: f64 = 1e-6;
/// Time for two programs by turns, and how many turns they have.
const SEARCH: (Duration, [usize; 2]) = (Duration::from_millis(300), [5, 40]);
/// Likewise at the end.
const CONFIRM: (Duration, [usize; 2]) = (Duration::from_millis(1500), [9, 80]);

/// How to tune.
#[derive(Clone, Debug)]
pub struct TuneOptions {
    /// Time after which nothing new is tried.
    pub limit: Duration,
    /// Threads and memory.
    pub session: SessionOptions,
}

/// A kernel that is faster another way.
#[derive(Clone, Debug, PartialEq)]
pub struct Tuned {
    /// Its description.
    pub kernel: String,
    /// What was chosen.
    pub given: Given,
    /// Seconds of the fastest run before and after.
    pub seconds: [f64; 2],
}

/// What tuning came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TuneReport {
    /// Every kernel that had something to decide, by its description.
    pub kernels: Vec<String>,
    /// Those that are faster another way.
    pub tuned: Vec<Tuned>,
    /// Programs that were made.
    pub programs: usize,
    /// Whether the time was up before all was tried.
    pub cut: bool,
}

/// Measures the kernels of a module after all passes, with the inputs that `inputs` gives for its program. `progress` is
/// told what is done next.
///
/// # Errors
/// What making or running a program ends with.
pub fn tune(
    compiler: &Compiler,
    module: &Module,
    inputs: &dyn Fn(&Program) -> Result<Vec<Tensor>, Failure>,
    options: &TuneOptions,
    progress: &mut dyn FnMut(&str),
) -> Result<TuneReport, Failure> {
    // Of kernels that nothing sees there are no times.
    let plain = Options { trace: true, tuning: None, ..compiler.options().clone() };
    let mut bench = Bench {
        compiler: Compiler::new(plain),
        module,
        pool: Arc::new(Pool::new(options.session.threads)),
        options,
        inputs: Vec::new(),
        programs: 0,
    };
    let default = bench.make(&Tuning::new())?;
    bench.inputs = inputs(&default.program)?;
    let start = Instant::now();
    let mut search =
        Search { best: Tuning::new(), current: default, until: start + options.limit, cut: false };
    let mut stage = 0;
    while search.stage(&mut bench, stage, progress)? {
        stage += 1;
    }
    let Search { mut best, mut current, cut, .. } = search;
    let mut default = bench.make(&Tuning::new())?;
    let kernels: Vec<String> = default.keys().into_iter().collect();
    let mut tuned = Vec::new();
    if !best.is_empty() {
        progress("measuring what was found once more");
        let times = bench.compare([&mut default, &mut current], CONFIRM)?;
        best.retain(|key, given| {
            let Some(times) = times.get(key) else { return false };
            let (least, quarter) = (times.least(), times.quarter());
            let faster = |[a, b]: [f64; 2]| b < a * (1.0 - MARGIN);
            let keep = faster(least) && faster(quarter);
            if keep {
                tuned.push(Tuned { kernel: key.clone(), given: given.clone(), seconds: least });
            }
            keep
        });
    }
    Ok(TuneReport { kernels, tuned, programs: bench.programs, cut })
}

/// What programs are made and measured with.
struct Bench<'a> {
    compiler: Compiler,
    module: &'a Module,
    pool: Arc<Pool>,
    options: &'a TuneOptions,
    inputs: Vec<Tensor>,
    programs: usize,
}

/// A program to measure.
struct Subject {
    program: Program,
    session: Session,
    outputs: Vec<Tensor>,
    decided: Vec<Decided>,
}

/// Seconds of a kernel in each run of two programs.
#[derive(Clone, Debug, Default)]
struct Times([Vec<f64>; 2]);

impl Subject {
    fn keys(&self) -> BTreeSet<String> {
        self.decided.iter().map(|d| d.key.clone()).collect()
    }

    /// Runs once; gives the seconds of each kernel that has something to decide, all of one description together.
    fn run(&mut self, inputs: &[Tensor]) -> Result<BTreeMap<&str, f64>, Failure> {
        let views: Vec<TensorView<'_>> = inputs.iter().map(Tensor::view).collect();
        if self.outputs.is_empty() {
            self.outputs = self.program.run(&mut self.session, &views)?;
        }
        let mut targets: Vec<TensorViewMut<'_>> = self.outputs.iter_mut().map(Tensor::view_mut).collect();
        self.session.start_profile();
        self.program.run_into(&mut self.session, &views, &mut targets)?;
        let mut of_kernel: BTreeMap<usize, f64> = BTreeMap::new();
        for span in self.session.stop_profile() {
            if let Some(kernel) = span.kernel {
                *of_kernel.entry(kernel).or_default() += span.time.as_secs_f64();
            }
        }
        let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
        for decided in &self.decided {
            *sums.entry(&decided.key).or_default() += of_kernel.get(&decided.kernel).copied().unwrap_or(0.0);
        }
        Ok(sums)
    }
}

impl Times {
    fn least(&self) -> [f64; 2] {
        [0, 1].map(|i| self.0[i].iter().copied().fold(f64::INFINITY, f64::min))
    }

    /// Times that a quarter of the runs stayed below: others may have been interrupted.
    fn quarter(&self) -> [f64; 2] {
        [0, 1].map(|i| {
            let mut sorted = self.0[i].clone();
            sorted.sort_by(f64::total_cmp);
            sorted.get(sorted.len() / 4).copied().unwrap_or(0.0)
        })
    }
}

impl Bench<'_> {
    fn make(&mut self, tuning: &Tuning) -> Result<Subject, Failure> {
        self.programs += 1;
        let options =
            CompileOptions { tuning: tuning.clone(), record_choices: true, ..CompileOptions::default() };
        let compiled = self.compiler.generate_with(self.module, options)?;
        let program = Program::load(compiled.image)?;
        let session = Session::with_pool(self.pool.clone(), &self.options.session);
        Ok(Subject { program, session, outputs: Vec::new(), decided: compiled.decided })
    }

    /// Runs two programs by turns, after one run of each that does not count.
    fn compare(
        &self,
        mut subjects: [&mut Subject; 2],
        (length, [least, most]): (Duration, [usize; 2]),
    ) -> Result<BTreeMap<String, Times>, Failure> {
        let mut times: BTreeMap<String, Times> = BTreeMap::new();
        let mut start = Instant::now();
        for turn in 0..=most {
            if turn > least && start.elapsed() > length {
                break;
            }
            for (i, subject) in subjects.iter_mut().enumerate() {
                for (key, seconds) in subject.run(&self.inputs)? {
                    if turn > 0 {
                        times.entry(key.to_owned()).or_default().0[i].push(seconds);
                    }
                }
            }
            if turn == 0 {
                start = Instant::now();
            }
        }
        Ok(times)
    }
}

/// The best so far.
struct Search {
    best: Tuning,
    current: Subject,
    until: Instant,
    cut: bool,
}

impl Search {
    /// Tries all that would do for decision number `stage` of every kernel; whether there was one to make.
    fn stage(
        &mut self,
        bench: &mut Bench<'_>,
        stage: usize,
        progress: &mut dyn FnMut(&str),
    ) -> Result<bool, Failure> {
        let mut open: BTreeMap<String, (Knob, Vec<Choice>)> = BTreeMap::new();
        for decided in &self.current.decided {
            if let Some(decision) = decided.decisions.get(stage) {
                open.insert(decided.key.clone(), (decision.knob, decision.others.clone()));
            }
        }
        let most = open.values().map(|(_, others)| others.len()).max().unwrap_or(0);
        let mut found: BTreeMap<String, (f64, Given)> = BTreeMap::new();
        for number in 0..most {
            if Instant::now() > self.until {
                self.cut = true;
                break;
            }
            let mut tuning = self.best.clone();
            let mut changed = Vec::new();
            for (key, (knob, others)) in &open {
                if let Some(&choice) = others.get(number) {
                    tuning.entry(key.clone()).or_default().0.insert(*knob, choice);
                    changed.push(key);
                }
            }
            let (kernels, decision) = (changed.len(), stage + 1);
            progress(&format!(
                "decision {decision}, {} of {most}: {kernels} kernels another way",
                number + 1
            ));
            let mut candidate = bench.make(&tuning)?;
            let times = bench.compare([&mut self.current, &mut candidate], SEARCH)?;
            for key in changed {
                let Some([before, after]) = times.get(key).map(Times::least) else { continue };
                let ratio = after / before;
                let better = found.get(key).is_none_or(|(other, _)| ratio < *other);
                if before >= SHORTEST && ratio < 1.0 - MARGIN && better {
                    found.insert(key.clone(), (ratio, tuning[key].clone()));
                }
            }
        }
        if !found.is_empty() {
            self.best.extend(found.into_iter().map(|(key, (_, given))| (key, given)));
            self.current = bench.make(&self.best)?;
        }
        Ok(!open.is_empty() && !self.cut)
    }
}
