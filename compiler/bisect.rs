//! bisect - which rewrite makes two runs part: the same module with fewer and with more rewrites.
//!
//! A run with `n` rewrites stops every optional pass once `n` rewrites have been made in all. Of the numbers between one
//! that agrees with the run without rewrites and one that does not, halving finds two neighbours: the rewrite between
//! them is the one.

use nnc_ir::Module;
use nnc_passes::{pass::Rewrite, pipeline::REQUIRED};
use nnc_runtime::{Program, Session, SessionOptions, Tensor};

use crate::{
    Compiler, Failure, Lowered,
    compare::{Tolerance, compare},
};

/// The rewrite at which runs part.
#[derive(Clone, Debug)]
pub struct Parting {
    /// Which one, counted from 1 over all optional passes.
    pub number: usize,
    /// The rewrite with its pass, and how often that had run before; unknown if the pass fails.
    pub made: Option<Made>,
    /// How the run with it differs.
    pub how: String,
    /// The module without it, and with it unless the pass fails. Later rewrites of optional passes are in neither.
    pub modules: (Module, Option<Module>),
}

/// A rewrite with its pass.
#[derive(Clone, Debug)]
pub struct Made {
    /// Name of the pass.
    pub pass: &'static str,
    /// How often the pass had run before.
    pub runs: usize,
    /// The rewrite.
    pub rewrite: Rewrite,
}

/// What a bisection found.
#[derive(Clone, Debug)]
pub enum Bisection {
    /// The run with all rewrites agrees.
    Agree {
        /// How many there are.
        rewrites: usize,
    },
    /// It does not.
    Part(Box<Parting>),
}

/// Finds the rewrite at which a run of `module` after passes `names` parts from one without optional rewrites.
///
/// # Errors
/// The module does not compile or run even without rewrites.
pub fn bisect(
    compiler: &Compiler,
    module: &Module,
    names: &[&str],
    inputs: impl FnOnce(&Program) -> Result<Vec<Tensor>, Failure>,
    tolerance: Tolerance,
) -> Result<Bisection, Failure> {
    let lower = |fuel: usize| compiler.run_passes_within(module.clone(), names, fuel);
    let plain = load(compiler, &lower(0)?)?;
    let inputs = inputs(&plain)?;
    let want = run(&plain, &inputs)?;
    // A pass that fails has made fewer rewrites than any module has.
    let rewrites = lower(usize::MAX).map_or(1 << 24, |lowered| optional(&lowered).count());
    let parts = |fuel: usize| -> Option<String> {
        let got = lower(fuel).and_then(|lowered| run(&load(compiler, &lowered)?, &inputs));
        match got {
            Ok(got) => difference(&got, &want, tolerance),
            Err(failure) => Some(failure.to_string()),
        }
    };
    let Some(mut how) = parts(rewrites) else { return Ok(Bisection::Agree { rewrites }) };
    let (mut good, mut bad) = (0, rewrites);
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        match parts(middle) {
            Some(difference) => (bad, how) = (middle, difference),
            None => good = middle,
        }
    }
    let (before, after) = (lower(good)?, lower(bad).ok());
    let made = after.as_ref().and_then(|after| optional(after).nth(bad - 1));
    let modules = (before.module, after.map(|after| after.module));
    Ok(Bisection::Part(Box::new(Parting { number: bad, made, how, modules })))
}

/// The rewrites of optional passes, in order.
fn optional(lowered: &Lowered) -> impl Iterator<Item = Made> + '_ {
    let reports = lowered.reports.iter().enumerate().filter(|(_, r)| !REQUIRED.contains(&r.name));
    reports.flat_map(|(at, report)| {
        let runs = lowered.reports[..at].iter().filter(|r| r.name == report.name).count();
        let made = move |rewrite: &Rewrite| Made { pass: report.name, runs, rewrite: rewrite.clone() };
        report.rewrites.iter().map(made)
    })
}

fn load(compiler: &Compiler, lowered: &Lowered) -> Result<Program, Failure> {
    Ok(Program::load(compiler.generate(&lowered.module)?.image)?)
}

fn run(program: &Program, inputs: &[Tensor]) -> Result<Vec<Tensor>, Failure> {
    let views: Vec<_> = inputs.iter().map(Tensor::view).collect();
    Ok(program.run(&mut Session::new(&SessionOptions::host()), &views)?)
}

/// How the outputs differ, if they do.
fn difference(got: &[Tensor], want: &[Tensor], tolerance: Tolerance) -> Option<String> {
    if got.len() != want.len() {
        return Some(format!("{} outputs became {}", want.len(), got.len()));
    }
    got.iter().zip(want).enumerate().find_map(|(i, (got, want))| match compare(got, want, tolerance) {
        Ok(d) if d.wrong == 0 => None,
        Ok(d) => Some(format!(
            "output {i}: {} of {} elements differ, the most by {:e} ({:e} of the greatest)",
            d.wrong,
            want.dims().iter().product::<i64>(),
            d.max_abs,
            d.rel_max
        )),
        Err(e) => Some(format!("output {i}: {e}")),
    })
}
