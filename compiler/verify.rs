//! verify - runs the cases of ONNX test folders and compares.
//!
//! A folder holds `model.onnx` and `test_data_set_*/{input,output}_*.pb`; files belong to inputs and outputs by position.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use nnc_runtime::{Session, SessionOptions, Tensor};

use crate::{
    CompiledModel, Compiler, Failure,
    compare::{Difference, Tolerance, compare},
    io::read_tensor,
};

/// What became of a case.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// How it ended.
    pub status: Status,
    /// Why it did not pass, in one line.
    pub reason: String,
    /// Diagnostic code behind it, 0 if none.
    pub code: u16,
    /// Greatest relative difference over all outputs of all data sets.
    pub rel_max: f64,
}

/// How a case ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// All outputs of all data sets are within the tolerance.
    Passed,
    /// Something is wrong.
    Failed,
    /// The model needs what nnc does not have (E04).
    Unsupported,
}

/// Runs every data set of a case. A panic fails the case and nothing else.
#[must_use]
pub fn verify_case(
    dir: &Path,
    model: &Path,
    compiler: &Compiler,
    session: &SessionOptions,
    tolerance: Tolerance,
) -> Verdict {
    let run = || verify_data_sets(dir, model, compiler, session, tolerance);
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok((rel_max, wrong))) => {
            let status = if wrong.is_some() { Status::Failed } else { Status::Passed };
            Verdict { status, reason: wrong.unwrap_or_default(), code: 0, rel_max }
        }
        Ok(Err(failure)) => of_failure(&failure),
        Err(_) => Verdict {
            status: Status::Failed,
            reason: "this is a bug in nnc: it panicked".into(),
            code: 999,
            rel_max: f64::INFINITY,
        },
    }
}

fn of_failure(failure: &Failure) -> Verdict {
    let problems = failure.diagnostics();
    let first = problems.iter().find(|d| d.is_error()).or(problems.first());
    let reason = first.map_or_else(|| failure.to_string(), ToString::to_string);
    let reason = reason.lines().collect::<Vec<_>>().join(" ");
    let status = if failure.exit_status() == 4 { Status::Unsupported } else { Status::Failed };
    Verdict { status, reason, code: first.map_or(0, |d| d.code.0), rel_max: f64::INFINITY }
}

/// Greatest relative difference, and the first thing that is wrong.
fn verify_data_sets(
    dir: &Path,
    model: &Path,
    compiler: &Compiler,
    session: &SessionOptions,
    tolerance: Tolerance,
) -> Result<(f64, Option<String>), Failure> {
    let program = compiler.compile_file(model)?;
    let mut session = Session::new(session);
    let (mut rel_max, mut wrong) = (0.0f64, None);
    let sets = data_sets(dir)?;
    for set in &sets {
        let want = read_numbered(set, "output")?;
        let inputs = read_numbered(set, "input")?;
        let got = program.run_in(&mut session, &inputs)?;
        for (i, result) in compare_all(&program, &got, &want, tolerance).into_iter().enumerate() {
            let name = program.signature().outputs.get(i).map_or("?", |p| &p.name);
            match result {
                Ok(d) => {
                    rel_max = rel_max.max(d.rel_max);
                    if d.wrong > 0 {
                        let text = format!(
                            "output '{name}': {} elements differ, by {:.3e} at most ({:.3e} relative)",
                            d.wrong, d.max_abs, d.rel_max
                        );
                        wrong.get_or_insert(text);
                    }
                }
                Err(what) => {
                    rel_max = f64::INFINITY;
                    wrong.get_or_insert(format!("output '{name}' {what}"));
                }
            }
        }
    }
    Ok((rel_max, wrong))
}

fn compare_all(
    program: &CompiledModel,
    got: &[Tensor],
    want: &[Tensor],
    tolerance: Tolerance,
) -> Vec<Result<Difference, String>> {
    if got.len() != want.len() {
        let outputs = program.signature().outputs.len();
        return vec![Err(format!("and others: {outputs} outputs, expected {}", want.len()))];
    }
    got.iter().zip(want).map(|(g, w)| compare(g, w, tolerance)).collect()
}

fn data_sets(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = fs::read_dir(dir)
        .map_err(|e| Failure::single(601, format!("cannot read '{}': {e}", dir.display())))?;
    let mut sets: Vec<PathBuf> = entries
        .filter_map(|e| Some(e.ok()?.path()))
        .filter(|p| {
            p.is_dir() && p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("test_data_set_"))
        })
        .collect();
    sets.sort();
    if sets.is_empty() {
        return Err(Failure::single(601, format!("'{}' has no test_data_set_*", dir.display())));
    }
    Ok(sets)
}

/// `input_0.pb`, `input_1.pb` ... as far as they go.
fn read_numbered(set: &Path, prefix: &str) -> Result<Vec<Tensor>, Failure> {
    let paths = (0..).map(|i| set.join(format!("{prefix}_{i}.pb")));
    paths.take_while(|p| p.is_file()).map(|p| read_tensor(&p)).collect()
}
