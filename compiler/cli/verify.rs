//! verify - `nnc verify`: ONNX test folders.

use std::{
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use nnc::{
    Compiler, Failure, SessionOptions,
    compare::Tolerance,
    verify::{Status, Verdict, verify_case},
};
use serde_json::json;

use super::{Outcome, args::VerifyArgs, output::say};

pub(crate) fn run(args: &VerifyArgs) -> Outcome {
    let tolerance = match args.rel_max {
        Some(r) => Tolerance::RelMax(r),
        None => Tolerance::Elements { rtol: args.rtol, atol: args.atol },
    };
    let cases: Vec<(PathBuf, PathBuf)> =
        args.dirs.iter().map(|dir| (dir.clone(), model_of(dir, args.models.as_deref()))).collect();
    let compiler = Compiler::new(args.options.to_options_as_written()?);
    let verdicts = verify_all(&compiler, &cases, args, tolerance);
    for ((dir, _), verdict) in cases.iter().zip(&verdicts) {
        print_verdict(dir, verdict, args.verbose);
    }
    let count = |status: Status| verdicts.iter().filter(|v| v.status == status).count();
    let (passed, failed, unsupported) =
        (count(Status::Passed), count(Status::Failed), count(Status::Unsupported));
    say!("{passed} passed, {failed} failed, {unsupported} unsupported");
    if let Some(path) = &args.json {
        write_json(path, &cases, &verdicts)?;
    }
    Ok(match (failed, unsupported) {
        (0, 0) => 0,
        (0, _) => 4,
        _ => 1,
    })
}

fn model_of(dir: &Path, models: Option<&Path>) -> PathBuf {
    match (models, dir.file_name()) {
        (Some(models), Some(name)) => models.join(format!("{}.onnx", name.to_string_lossy())),
        _ => dir.join("model.onnx"),
    }
}

/// One verdict a case, in order. Cases run side by side, each on one thread, unless threads are asked for.
fn verify_all(
    compiler: &Compiler,
    cases: &[(PathBuf, PathBuf)],
    args: &VerifyArgs,
    tolerance: Tolerance,
) -> Vec<Verdict> {
    let host = args.session.to_options();
    let (threads, workers) =
        if args.session.threads.is_some() { (host.threads, 1) } else { (1, host.threads) };
    let session = SessionOptions { threads, ..host };
    let next = AtomicUsize::new(0);
    let slots: Vec<Mutex<Option<Verdict>>> = cases.iter().map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some((i, (dir, model))) = {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    cases.get(i).map(|case| (i, case))
                } {
                    let verdict = verify_case(dir, model, compiler, &session, tolerance);
                    *slots[i].lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(verdict);
                }
            });
        }
    });
    let verdict =
        |slot: Mutex<Option<Verdict>>| slot.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    slots.into_iter().map(|s| verdict(s).expect("every case was run")).collect()
}

fn print_verdict(dir: &Path, verdict: &Verdict, verbose: bool) {
    let word = match verdict.status {
        Status::Passed if !verbose => return,
        Status::Passed => "passed",
        Status::Failed => "FAILED",
        Status::Unsupported => "unsupported",
    };
    let code = if verdict.code == 0 { String::new() } else { format!(" E{:04}", verdict.code) };
    let figure =
        if verdict.rel_max.is_finite() { format!(" rel {:.2e}", verdict.rel_max) } else { String::new() };
    say!("{word}{code} {}:{figure} {}", dir.display(), verdict.reason);
}

fn write_json(path: &Path, cases: &[(PathBuf, PathBuf)], verdicts: &[Verdict]) -> Result<(), Failure> {
    let rows: Vec<_> = cases
        .iter()
        .zip(verdicts)
        .map(|((dir, _), v)| {
            let status = match v.status {
                Status::Passed => "passed",
                Status::Failed => "failed",
                Status::Unsupported => "unsupported",
            };
            json!({ "case": dir, "status": status, "code": v.code, "reason": v.reason, "rel_max": v.rel_max })
        })
        .collect();
    std::fs::write(path, format!("{:#}\n", serde_json::Value::Array(rows)))
        .map_err(|e| Failure::single(602, format!("cannot write '{}': {e}", path.display())))
}
