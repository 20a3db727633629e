//! memory - sharing memory changes no bit of any result, and takes less of it.
//!
//! `NNC_SEEDS` chooses other programs, as for `generated`.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use nnc::{
    Compiler, OptLevel, Options,
    cpu::{CompileOptions, Compiled},
    ir::{Module, dtype::DType, eval::Tensor},
    runtime::Program,
};
use nnc_kit::generate::{Case, generate};
use support::on_all_cores;

fn seeds() -> Vec<u64> {
    match std::env::var("NNC_SEEDS") {
        Ok(text) => text.split(',').map(|t| t.parse().unwrap()).collect(),
        Err(_) => (1000..1300).collect(),
    }
}

/// Fails with all the seeds that fail, and gives what the others gave.
fn for_seeds<R: Send>(test: impl Fn(&Case) -> Result<R, String> + Sync) -> Vec<R> {
    let seeds = seeds();
    let results =
        on_all_cores(&seeds, |&seed| test(&generate(seed)).map_err(|e| format!("seed {seed}: {e}")));
    let (passed, failed): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    let failed: Vec<String> = failed.into_iter().filter_map(Result::err).collect();
    assert!(failed.is_empty(), "{} of {} fail:\n{}", failed.len(), seeds.len(), failed.join("\n"));
    passed.into_iter().filter_map(Result::ok).collect()
}

fn compile(module: &Module, level: OptLevel, options: CompileOptions) -> Result<Compiled, String> {
    let compiler = Compiler::new(Options { level, ..Options::default() });
    let lowered = compiler.optimize(module.clone()).map_err(|e| e.to_string())?;
    compiler.generate_with(&lowered.module, options).map_err(|e| e.to_string())
}

fn run(case: &Case, compiled: Compiled, threads: usize) -> Result<Vec<Vec<Tensor>>, String> {
    let program = Program::load(compiled.image).map_err(|e| e.to_string())?;
    let body = case.module.region(case.module.body());
    let outputs: Vec<DType> = body.results.iter().map(|&v| case.module.ty(v).dtype).collect();
    case.runs.iter().map(|inputs| support::run(&program, inputs, &outputs, threads)).collect()
}

#[test]
fn results_written_over_operands_are_the_same() {
    // Without passes there are more kernels that only one reads.
    let kernels =
        for_seeds(|case| Ok(sharing_keeps(case, OptLevel::O0)? + sharing_keeps(case, OptLevel::O2)?));
    let all: usize = kernels.iter().sum();
    println!("{all} kernels in place in {} programs", kernels.len());
    assert!(all >= 200 || kernels.len() < 300, "only {all} kernels were in place");
}

/// How many kernels of a program write over operands, after a comparison with one where none does.
fn sharing_keeps(case: &Case, level: OptLevel) -> Result<usize, String> {
    let keep = CompileOptions { keep_operands: true, ..CompileOptions::default() };
    let apart = compile(&case.module, level, keep)?;
    let shared = compile(&case.module, level, CompileOptions::default())?;
    let in_place = shared.report.in_place.len();
    let peaks = (shared.report.peak_live_bytes, apart.report.peak_live_bytes);
    if peaks.0 > peaks.1 {
        return Err(format!("{level:?}: {} bytes in use at once, {} without sharing", peaks.0, peaks.1));
    }
    let want = run(case, apart, 1)?;
    for threads in [1, 3] {
        let shared = compile(&case.module, level, CompileOptions::default())?;
        if run(case, shared, threads)? != want {
            return Err(format!("{level:?}: in place, {threads} threads give other bits"));
        }
    }
    Ok(in_place)
}
