//! leave_one_out - every pass that may be left out can be: models compile without it and give the same.
//!
//! By default on the fixtures and those fetched models that are at most [`SMALL_BYTES`] long; with
//! `NNC_LEAVE_ONE_OUT=all` on every model that is there (a minute with `--release`).
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use nnc::{
    Compiler, OptLevel, Options, SessionOptions,
    compare::Tolerance,
    passes::pipeline::{REQUIRED, pipeline},
    verify::{Status, verify_case},
};
use nnc_kit::table;
use support::{models, on_all_cores};

/// Models up to this length are tested by default.
const SMALL_BYTES: u64 = 700_000;

struct Model {
    name: String,
    file: PathBuf,
    data: PathBuf,
    rel_max: f64,
}

/// Fixtures and fetched models with test data; those that nnc cannot compile are left out.
fn found() -> Vec<Model> {
    let all = std::env::var("NNC_LEAVE_ONE_OUT").is_ok_and(|v| v == "all");
    let more = std::env::var_os("NNC_REFERENCE").map(PathBuf::from);
    let mut found = Vec::new();
    for row in table::rows(&fs::read_to_string(models().join("fetch.toml")).unwrap()).unwrap() {
        let (name, rel_max) = (row.text("name").unwrap(), row.number("rel_max").unwrap());
        let fixture = models().join(name);
        let file = models().join("cache").join(format!("{name}.onnx"));
        let places = [Some(models().join("reference")), more.clone()];
        let data = places.into_iter().flatten().map(|p| p.join(name)).find(|p| p.is_dir());
        let (file, data) = match (fixture.join("model.onnx").is_file(), data) {
            (true, _) => (fixture.join("model.onnx"), fixture),
            (false, Some(data)) if file.is_file() => (file, data),
            _ => continue,
        };
        let short = fs::metadata(&file).unwrap().len() <= SMALL_BYTES;
        if row.text("expect").is_none() && (all || short) {
            found.push(Model { name: name.to_owned(), file, data, rel_max });
        }
    }
    for name in ["mbconv", "vit"] {
        let data = models().join(name);
        found.push(Model { name: name.into(), file: data.join("model.onnx"), data, rel_max: 1e-5 });
    }
    found
}

fn agrees(model: &Model, options: Options) -> Result<(), String> {
    let session = SessionOptions { threads: 1, ..SessionOptions::host() };
    // Bounds of models are ten times the difference between two orders of their sums, for the pipeline as it is; without a
    // pass the order is a third one, and roundings stay that it would have saved (`f16` without widen-half).
    let tolerance = Tolerance::RelMax(3.0 * model.rel_max);
    let (data, file): (&Path, &Path) = (&model.data, &model.file);
    let verdict = verify_case(data, file, &Compiler::new(options), &session, tolerance);
    if verdict.status == Status::Passed { Ok(()) } else { Err(verdict.reason) }
}

#[test]
fn every_optional_pass_can_be_left_out() {
    let models = found();
    let names: BTreeSet<&str> =
        pipeline(OptLevel::O2).into_iter().filter(|n| !REQUIRED.contains(n)).collect();
    let work: Vec<(&Model, &str)> =
        models.iter().flat_map(|m| names.iter().map(move |&name| (m, name))).collect();
    let results = on_all_cores(&work, |(model, name)| {
        agrees(model, Options { without: vec![(*name).to_owned()], ..Options::default() })
    });
    let wrong = work
        .iter()
        .zip(results)
        .filter_map(|((m, n), r)| Some(format!("{} without {n}: {}", m.name, r.err()?)));
    let wrong: Vec<String> = wrong.collect();
    println!("{} models, {} passes", models.len(), names.len());
    assert!(models.len() >= 5, "the fixtures are part of the repository");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_must_run_cannot_be_left_out() {
    for name in [REQUIRED[0], "no-such-pass"] {
        let compiler = Compiler::new(Options { without: vec![name.to_owned()], ..Options::default() });
        let refused = compiler.compile_file(models().join("mbconv/model.onnx")).err().map(|e| e.to_string());
        assert!(refused.is_some_and(|e| e.contains("E0413")), "{name}");
    }
}
