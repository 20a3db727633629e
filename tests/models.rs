//! models - trained models of others against the outputs that ONNX Runtime gives.
//!
//! The fixtures in `models/` are always tested. The models that `models/fetch.toml` lists are tested where
//! `models/fetch.py` has fetched them and `models/reference` has inputs and outputs (`NNC_REFERENCE` names a folder with
//! more of these). What is not there is named, and skipped.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
};

use nnc::{
    Compiler, ElemType, Options, SessionOptions, Tensor,
    compare::Tolerance,
    ir::text,
    verify::{Status, Verdict, verify_case},
};
use nnc_kit::table::{self, Row};
use support::{models, on_all_cores};

fn list() -> Vec<Row> {
    table::rows(&fs::read_to_string(models().join("fetch.toml")).unwrap()).unwrap()
}

/// The model file and the folder with its test data, if both are there.
fn paths(name: &str) -> Option<(PathBuf, PathBuf)> {
    let fixture = models().join(name);
    if fixture.join("model.onnx").is_file() {
        return Some((fixture.join("model.onnx"), fixture));
    }
    let model = models().join("cache").join(format!("{name}.onnx"));
    let more = std::env::var_os("NNC_REFERENCE").map(PathBuf::from);
    let places = [Some(models().join("reference")), more];
    let data = places.into_iter().flatten().map(|p| p.join(name)).find(|p| p.is_dir())?;
    model.is_file().then_some((model, data))
}

fn verdict(cpu: &str, model: &Path, data: &Path, rel_max: f64) -> Verdict {
    let session = SessionOptions { threads: 1, ..SessionOptions::host() };
    verify_case(
        data,
        model,
        &Compiler::new(Options { cpu: cpu.into(), ..Options::default() }),
        &session,
        Tolerance::RelMax(rel_max),
    )
}

/// What is wrong with a verdict, given the code that the model must end with, if any.
fn judge(verdict: &Verdict, expect: Option<&str>) -> Result<(), String> {
    let code = format!("E{:04}", verdict.code);
    match (verdict.status, expect) {
        (Status::Passed, None) => Ok(()),
        (Status::Unsupported, Some(expected)) if code == expected => Ok(()),
        (Status::Passed, Some(expected)) => Err(format!("passes, {expected} was expected")),
        _ => Err(format!("{code} {}", verdict.reason)),
    }
}

/// For the least of machines: no wide code, and on x86-64 no multiply-adds.
#[test]
fn fixtures_give_it_without_wide_code() {
    let fixtures =
        ["mbconv", "mnist_cnn_dynamo", "mtcnn_pnet", "ppocr_cls", "vit"].map(|name| models().join(name));
    let results = on_all_cores(&fixtures, |folder| {
        judge(&verdict("generic", &folder.join("model.onnx"), folder, 1e-4), None)
    });
    for (folder, result) in fixtures.iter().zip(results) {
        assert_eq!(result, Ok(()), "{}", folder.display());
    }
}

#[test]
fn models_give_what_onnx_runtime_gives() {
    let (mut rows, mut absent) = (Vec::new(), Vec::new());
    for row in list() {
        match paths(row.text("name").unwrap()) {
            Some(paths) => rows.push((row, paths)),
            None => absent.push(row.text("name").unwrap().to_owned()),
        }
    }
    let results = on_all_cores(&rows, |(row, (model, data))| {
        let bound = row.number("rel_max").unwrap();
        let verdict = verdict("native", model, data, bound);
        judge(&verdict, row.text("expect"))?;
        Ok(verdict.rel_max)
    });
    let mut wrong = Vec::new();
    for ((row, _), result) in rows.iter().zip(results) {
        let name = row.text("name").unwrap();
        match result {
            Ok(rel_max) if rel_max.is_finite() => println!("{name}: within {rel_max:.1e}"),
            Ok(_) => println!("{name}: {} as expected", row.text("expect").unwrap()),
            Err(e) => wrong.push(format!("{name}: {e}")),
        }
    }
    if !absent.is_empty() {
        println!("NOT TESTED (models/fetch.py fetches them): {}", absent.join(", "));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(
        rows.iter().filter(|(r, _)| r.is("fixture")).count() >= 4,
        "the fixtures are part of the repository"
    );
}

#[test]
fn dumps_of_models_are_read_back_as_they_are() {
    let found: Vec<(String, PathBuf)> = list()
        .iter()
        .map(|row| row.text("name").unwrap().to_owned())
        .chain(["mbconv".into(), "vit".into()])
        .filter_map(|name| Some((name.clone(), paths(&name)?.0)))
        .collect();
    let results = on_all_cores(&found, |(_, model)| {
        let compiler = Compiler::new(Options::default());
        let Ok(imported) = compiler.import_file(model) else { return Ok(()) };
        let lowered = compiler.optimize(imported.module.clone()).map_err(|e| e.to_string())?;
        for module in [&imported.module, &lowered.module] {
            let printed = text::print(module);
            let constants = text::collect_constants(module);
            let read =
                text::parse(&printed, &|digest| constants.get(digest).cloned()).map_err(|e| e.to_string())?;
            if text::print(&read) != printed {
                return Err("what was read prints differently".into());
            }
        }
        Ok(())
    });
    let wrong: Vec<String> = found
        .iter()
        .zip(results)
        .filter_map(|((name, _), r)| Some(format!("{name}: {}", r.err()?)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Bytes of an IDX file after its header of `axes` extents.
fn idx(name: &str, axes: usize) -> Vec<u8> {
    let bytes = fs::read(models().join("data").join(name)).unwrap();
    bytes[4 + 4 * axes..].to_vec()
}

/// How many of the 200 images of a data set a model tells right, in batches of 1, 7 and 96.
fn right(model: &str, data: &str) -> usize {
    let (images, labels) = (idx(&format!("{data}-images.idx"), 3), idx(&format!("{data}-labels.idx"), 1));
    let model =
        Compiler::new(Options::default()).compile_file(models().join(model).join("model.onnx")).unwrap();
    let pixels: Vec<f32> = images.iter().map(|&p| f32::from(p) / 255.0).collect();
    let mut right = 0;
    let mut at = 0;
    for batch in [1, 7, 96, 96] {
        let dims = [batch as i64, 1, 28, 28];
        let input = Tensor::from_slice(&dims, &pixels[at * 784..(at + batch) * 784]).unwrap();
        let logits = model.run(&[input]).unwrap();
        assert_eq!((logits[0].elem(), logits[0].dims()), (ElemType::F32, &[batch as i64, 10][..]));
        for (row, &label) in logits[0].as_slice::<f32>().unwrap().chunks(10).zip(&labels[at..]) {
            let best = (0..10).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap();
            right += usize::from(best == usize::from(label));
        }
        at += batch;
    }
    assert_eq!(at, 200);
    right
}

/// As many as with ONNX Runtime 1.31.1.
#[test]
fn classifiers_are_as_right_as_with_onnx_runtime() {
    assert_eq!(right("mbconv", "fashion"), 185);
    assert_eq!(right("mbconv_bn", "fashion"), 185);
    assert_eq!(right("vit", "mnist"), 196);
}

#[test]
fn trained_fixtures_give_what_onnx_runtime_gives() {
    for name in ["mbconv", "vit"] {
        let folder = models().join(name);
        judge(&verdict("native", &folder.join("model.onnx"), &folder, 1e-5), None)
            .unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}
