//! tune - `--tune`: measures the kernels of a model and puts what is faster into the tuning file.

use std::{
    io::{IsTerminal, stderr},
    path::Path,
};

use nnc::{
    Compiler, Failure, Options, SessionOptions, Tensor, TuningFile,
    runtime::Program,
    tune::{TuneOptions, TuneReport, tune},
};

use super::{
    args::{ErrorFormat, TuneArgs},
    output::{self, tell},
};

/// Inputs to measure with.
pub(crate) type Inputs<'a> = &'a dyn Fn(&Program) -> Result<Vec<Tensor>, Failure>;

/// The options, with what is measured for a model if that is asked for.
pub(crate) fn measured(
    (args, path): (&TuneArgs, Option<&Path>),
    options: Options,
    model: &Path,
    (session, inputs): (SessionOptions, Inputs<'_>),
    format: ErrorFormat,
) -> Result<Options, Failure> {
    let Some(path) = path.filter(|_| args.tune) else { return Ok(options) };
    let mut file = options.tuning.clone().unwrap_or_default();
    let plain = Options { tuning: None, cache: None, ..options.clone() };
    let compiler = Compiler::new(plain);
    let imported = compiler.import_file(model)?;
    output::diagnostics(&imported.warnings, format);
    let lowered = compiler.optimize(imported.module)?;
    let watched = stderr().is_terminal();
    let mut progress = |what: &str| {
        if watched {
            tell!("tune: {what}");
        }
    };
    let how = TuneOptions { limit: args.tune_seconds, session };
    let report = tune(&compiler, &lowered.module, inputs, &how, &mut progress)?;
    let processor = compiler.processor()?;
    for kernel in &report.kernels {
        file.set(&processor, kernel, None);
    }
    for tuned in &report.tuned {
        file.set(&processor, &tuned.kernel, Some(tuned.given.clone()));
    }
    file.write(path)?;
    summary(path, &file, &report);
    Ok(Options { tuning: Some(file), ..options })
}

/// What was found, on standard error.
fn summary(path: &Path, file: &TuningFile, report: &TuneReport) {
    for tuned in &report.tuned {
        let [before, after] = tuned.seconds.map(|s| s * 1e6);
        tell!("tune: {before:.1} us, now {after:.1} us by {}: {}", tuned.given, tuned.kernel);
    }
    let gained: f64 = report.tuned.iter().map(|t| t.seconds[0] - t.seconds[1]).sum();
    tell!(
        "tune: {} of {} kernels another way, {:.1} us less; {} programs{}; {} entries in {}",
        report.tuned.len(),
        report.kernels.len(),
        gained * 1e6,
        report.programs,
        if report.cut { ", and the time was up before all was tried" } else { "" },
        file.len(),
        path.display()
    );
}
