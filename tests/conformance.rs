//! conformance - the cases that come with ONNX, through compiled code.
//!
//! `models/fetch_conformance.py` fetches them; without them nothing is tested, which a loud line says (and which fails if
//! `NNC_REQUIRE=1`). `models/conformance-skips.tsv` lists every case that does not pass, with its code and the reason. A
//! case that starts or stops passing, or fails with another code, without the list changing fails this test;
//! `NNC_UPDATE=1` writes the list anew. `NNC_CASE=text` runs the cases whose name contains it and prints what they say.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use nnc::{
    Compiler, Options, SessionOptions, Training,
    compare::Tolerance,
    verify::{Status, verify_case},
};
use support::{models, on_all_cores};

/// A case that does not pass: code (`-` if the results are wrong) and reason.
type Miss = (String, String);

const HEADER: &str = "# Cases of the ONNX suite that do not pass: case, code (- where results differ), reason. NNC_UPDATE=1 \
cargo test --test conformance writes this list.\n";

fn folders() -> Vec<PathBuf> {
    let root = std::env::var_os("NNC_CONFORMANCE").map_or(models().join("cache/conformance"), PathBuf::from);
    let Ok(categories) = fs::read_dir(&root) else { return Vec::new() };
    let cases = categories.filter_map(|c| fs::read_dir(c.ok()?.path()).ok()).flatten();
    let mut cases: Vec<PathBuf> = cases.filter_map(|c| Some(c.ok()?.path())).collect();
    cases.retain(|c| c.join("model.onnx").is_file());
    cases.sort();
    cases
}

fn name(case: &Path) -> String {
    let mut parts: Vec<String> =
        case.iter().rev().take(2).map(|p| p.to_string_lossy().into_owned()).collect();
    parts.reverse();
    parts.join("/")
}

/// Tolerances of ONNX's own runner.
fn tolerance(name: &str) -> Tolerance {
    let rtol = if name == "light/test_densenet121" { 2e-3 } else { 1e-3 };
    Tolerance::Elements { rtol, atol: 1e-7 }
}

fn run(case: &Path) -> Option<Miss> {
    let compiler = Compiler::new(Options { training: Training::Keep, ..Options::default() });
    let session = SessionOptions { threads: 1, ..SessionOptions::host() };
    let verdict = verify_case(case, &case.join("model.onnx"), &compiler, &session, tolerance(&name(case)));
    let code = if verdict.code == 0 { "-".to_owned() } else { format!("E{:04}", verdict.code) };
    // Folders differ from machine to machine.
    let reason = verdict.reason.replace(&*case.to_string_lossy(), "").replace('\t', " ");
    let reason: String = reason.chars().take(200).collect();
    (verdict.status != Status::Passed).then_some((code, reason))
}

#[test]
fn cases_that_do_not_pass_are_listed() {
    let chosen = std::env::var("NNC_CASE").ok();
    let mut cases = folders();
    if cases.is_empty() {
        assert!(std::env::var_os("NNC_REQUIRE").is_none(), "there are no conformance cases");
        println!("NOT TESTED: no conformance cases; run models/fetch_conformance.py");
        return;
    }
    cases.retain(|c| chosen.as_ref().is_none_or(|t| name(c).contains(t)));
    let results = on_all_cores(&cases, |case| Ok(run(case)));
    let misses: BTreeMap<String, Miss> = cases
        .iter()
        .zip(results)
        .filter_map(|(case, result)| {
            Some((name(case), result.unwrap_or_else(|e| Some(("E0999".into(), e)))?))
        })
        .collect();
    println!("{} of {} conformance cases pass", cases.len() - misses.len(), cases.len());
    if chosen.is_some() {
        misses.iter().for_each(|(case, (code, reason))| println!("{case}: {code} {reason}"));
        return;
    }
    let path = models().join("conformance-skips.tsv");
    if std::env::var_os("NNC_UPDATE").is_some() {
        let lines: Vec<String> =
            misses.iter().map(|(case, (code, reason))| format!("{case}\t{code}\t{reason}\n")).collect();
        fs::write(&path, format!("{HEADER}{}", lines.concat())).unwrap();
        return;
    }
    let listed = read_list(&fs::read_to_string(&path).unwrap());
    let mut wrong = Vec::new();
    for (case, (code, reason)) in &misses {
        match listed.get(case) {
            None => wrong.push(format!("{case} does not pass and is not listed: {code} {reason}")),
            Some(was) if was != code => {
                wrong.push(format!("{case} is listed with {was}, now {code}: {reason}"))
            }
            Some(_) => {}
        }
    }
    wrong.extend(
        listed.keys().filter(|c| !misses.contains_key(*c)).map(|c| format!("{c} passes and is listed")),
    );
    assert!(wrong.is_empty(), "{}\nNNC_UPDATE=1 writes the list anew", wrong.join("\n"));
}

fn read_list(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter(|l| !l.starts_with('#'));
    let fields = lines.filter_map(|l| {
        let mut fields = l.split('\t');
        Some((fields.next()?.to_owned(), fields.next()?.to_owned()))
    });
    fields.collect()
}
