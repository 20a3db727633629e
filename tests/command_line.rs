//! command_line - what `nnc` ends with when arguments and input files are odd.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use nnc_kit::proto::{Message, graph, model, node, value};

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/mnist_cnn_dynamo/model.onnx");
const INPUTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/mnist_cnn_dynamo/test_data_set_0");
const SYMBOLIC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/ppocr_cls/model.onnx");

fn nnc(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nnc")).args(args).output().unwrap()
}

/// Runs `nnc`, which must end with `status` and say `says` on standard error.
fn ends(args: &[&str], status: i32, says: &str) {
    let output = nnc(args);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(status), "{args:?}: {text}");
    assert!(text.contains(says), "{args:?} does not say `{says}`: {text}");
}

fn temporary(name: &str, bytes: &[u8]) -> PathBuf {
    let path = std::env::temp_dir().join(format!("nnc-line-{}-{name}", std::process::id()));
    fs::write(&path, bytes).unwrap();
    path
}

/// A `.npy` file with this header and nothing behind it.
fn npy(descr: &str, order: &str, shape: &str) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes
}

#[test]
fn odd_npy_files_are_refused() {
    let huge = "extents are too large";
    let short = "failed to fill";
    for (i, (descr, order, shape, says)) in [
        ("<f4", "False", "(1, 1, 9999999999, 9999999999)", huge),
        ("<f4", "False", "(18446744073709551615, 2)", huge),
        ("<f4", "False", "(0, 9223372036854775807, 9223372036854775807, 3)", huge),
        ("<f4", "False", "(1, 1, 28, 28)", short),
        ("<f4", "True", "(1, 1, 28, 28)", "Fortran order"),
        ("<c8", "False", "(1, 1, 28, 28)", "c8"),
    ]
    .into_iter()
    .enumerate()
    {
        let path = temporary(&format!("{i}.npy"), &npy(descr, order, shape));
        let input = format!("input={}", path.display());
        ends(&["run", MODEL, "--input", &input], 6, says);
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn odd_arguments_are_refused() {
    ends(&["bench", MODEL, "--inputs", INPUTS, "--seconds", "1e300"], 2, "--seconds");
    ends(&["bench", MODEL, "--inputs", INPUTS, "--seconds", "nan"], 2, "--seconds");
    ends(&["run", MODEL, "--inputs", INPUTS, "--max-memory", "100"], 5, "E0501");
    ends(&["run", "no/such/model.onnx", "--inputs", INPUTS], 3, "E0001");
    ends(&["opt", MODEL, "--passes", "fuse"], 4, "reach-canonical");
    ends(&["check", MODEL, "--dim", "batch=2"], 0, "W0236");
    ends(&["check", SYMBOLIC, "--dim", "x.0=2"], 0, "");
    ends(&["check", SYMBOLIC, "--shape", "x=1,3,48"], 3, "rank 4");
    ends(&["compile", MODEL, "--triple", "not-a-triple"], 4, "E0407");
}

/// Choices are measured where that is asked for, kept, and used in another program than without them.
#[test]
fn choices_are_measured_and_kept() {
    let path = temporary("choices.tsv", b"");
    let file = path.display().to_string();
    let out = temporary("choices.nnc", b"");
    let program = out.display().to_string();
    let compile = |more: &[&str]| {
        let output = nnc(&[&["compile", MODEL, "-o", &program], more].concat());
        assert!(output.status.success(), "{output:?}");
        (fs::read(&out).unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (_, said) = compile(&["--tuning", &file, "--tune", "--tune-seconds", "0.2"]);
    assert!(said.contains("tune: ") && said.contains("programs"), "{said}");
    assert!(fs::read_to_string(&path).unwrap().starts_with("# nnc tuning"));
    assert_eq!(compile(&["--tuning", &file]).0, compile(&["--tuning", &file]).0);
    // An entry of another version is kept, noted and not used.
    fs::write(&path, "0.0.0\t*\tsome kernel\trows=2\n").unwrap();
    let (stale, said) = compile(&["--tuning", &file]);
    assert!(said.contains("W0604") && said.contains("1 tuning entries"), "{said}");
    assert_eq!(stale, compile(&[]).0);
    compile(&["--tuning", &file, "--tune", "--tune-seconds", "0"]);
    assert!(fs::read_to_string(&path).unwrap().contains("some kernel\trows=2"));
    fs::remove_file(&path).unwrap();
    ends(&["run", MODEL, "--inputs", INPUTS, "--tuning", &file], 6, "E0601");
    fs::write(&path, "0.0.0\t*\tkernel\n0.0.0\t*\tkernel\thours=1\n").unwrap();
    ends(
        &["bench", MODEL, "--inputs", INPUTS, "--tuning", &file],
        6,
        "line 2: nothing is decided by the name 'hours'",
    );
    ends(&["run", MODEL, "--inputs", INPUTS, "--tuning", &file, "--tune"], 6, "E0604");
    ends(&["run", MODEL, "--inputs", INPUTS, "--tune"], 2, "--tuning");
    fs::remove_file(path).unwrap();
    fs::remove_file(out).unwrap();
}

#[test]
fn an_artefact_is_no_onnx_model() {
    let path = temporary("m.nnc", b"");
    let text = path.display().to_string();
    assert!(nnc(&["compile", MODEL, "-o", &text]).status.success());
    ends(&["check", &text], 3, "compiled .nnc");
    fs::remove_file(path).unwrap();
}

/// `nnc inspect m.onnx | head -1`: no reader is left when the rest is written.
#[test]
fn a_reader_that_goes_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_nnc"))
        .args(["opt", MODEL])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// A few bytes of model may not ask for terabytes of constants.
#[test]
fn a_repeated_element_has_a_limit() {
    let shape = [1_000_000i64, 1_000_000].iter().flat_map(|d| d.to_le_bytes()).collect::<Vec<_>>();
    let dims = Message::new().int(1, 2).int(2, 7).text(8, "s").bytes(9, &shape);
    let node = node("ConstantOfShape", "fill", &["s"], &["y"]);
    let bytes = model(&graph(&[node], &[dims], &[], &[value("y", &[1_000_000, 1_000_000])])).0;
    let path = temporary("fill.onnx", &bytes);
    ends(&["check", &path.display().to_string()], 5, "'fill'");
    fs::remove_file(path).unwrap();
}

/// Constants that shape arithmetic makes are never spelt out, however large the shape is.
#[test]
fn a_huge_shape_is_compiled_or_refused() {
    let output = nnc(&["check", SYMBOLIC, "--shape", "x=1,3,1000000,1000000"]);
    assert!(matches!(output.status.code(), Some(0 | 5)), "{output:?}");
}

/// A text that names its weights by digest, as a dump of a model does, says so when it is read alone.
#[test]
fn a_text_without_its_weights_says_so() {
    let path = temporary("m.nnir", b"");
    let text = path.display().to_string();
    assert!(nnc(&["compile", MODEL, "--emit", "ir", "-o", &text]).status.success());
    ends(&["opt", &text], 3, "by digest");
    fs::remove_file(path).unwrap();
}

/// Two roundings to `f16`, of which `widen-half` keeps one.
const HALVES: &str = r#"nnir 1
phase imported
module (%0 "x" : f16[64]) {
  %1 = mul %0, %0 : f16[64] loc("square")
  %2 = mul %1, %0 : f16[64] loc("cube")
  %3 = exp %2 : f16[64] loc("exp")
  return %3 "y"
}
"#;

#[test]
fn bisection_names_the_rewrite_at_which_results_part() {
    let path = temporary("halves.nnir", HALVES.as_bytes());
    let path = path.display().to_string();
    let passes = "--passes=widen-half,reach-canonical";
    let agree = nnc(&["opt", &path, passes, "--bisect", "--rel-max", "0.01"]);
    let said = String::from_utf8_lossy(&agree.stdout);
    assert_eq!(agree.status.code(), Some(0), "{said}");
    assert!(said.contains("results agree after all"), "{said}");
    let part = nnc(&["opt", &path, passes, "--bisect", "--rel-max", "0"]);
    let said = String::from_utf8_lossy(&part.stdout);
    assert_eq!(part.status.code(), Some(1), "{said}");
    // Widening the first product changes nothing: it is rounded before it is read.
    for line in ["results part at rewrite 2", "pass    widen-half (run 1)", "rule    widen", "nodes   cube"] {
        assert!(said.contains(line), "no `{line}` in: {said}");
    }
}

#[test]
fn compile_says_what_each_pass_did() {
    let out = temporary("said.nnc", b"").display().to_string();
    let verbose = nnc(&["compile", MODEL, "-v", "-o", &out]);
    let said = String::from_utf8_lossy(&verbose.stderr);
    for word in ["rewrites", "kernels", "MFLOP", "fuse", "bytes of arena"] {
        assert!(said.contains(word), "no `{word}` in: {said}");
    }
    let line = nnc(&["compile", MODEL, "--json", "-o", &out]).stdout;
    let report: serde_json::Value = serde_json::from_slice(&line).unwrap();
    let passes = report["passes"].as_array().unwrap();
    let fuse = passes.iter().find(|p| p["pass"] == "fuse").unwrap();
    assert!(fuse["kernels"][0].as_i64() > fuse["kernels"][1].as_i64(), "{fuse}");
    assert!(fuse["rules"].as_object().is_some_and(|rules| !rules.is_empty()), "{fuse}");
    assert!(report["program"]["kernels"].as_i64() > Some(0), "{report}");
}

#[test]
fn explain_follows_a_node() {
    let all = nnc(&["explain", MODEL, "--pass", "fuse"]);
    let said = String::from_utf8_lossy(&all.stdout).into_owned();
    let node =
        said.lines().find_map(|l| l.trim().split([',', ':']).next().filter(|_| l.starts_with("  "))).unwrap();
    let one = nnc(&["explain", MODEL, "--node", node]);
    let said = String::from_utf8_lossy(&one.stdout);
    assert!(said.contains("fuse: ") && said.contains(node), "{node}: {said}");
    assert!(nnc(&["explain", MODEL, "--node", "no such node"]).stdout.is_empty());
}

#[test]
fn a_profile_names_kernels_and_writes_a_trace() {
    let trace = temporary("trace.json", b"");
    let args =
        ["profile", MODEL, "--inputs", INPUTS, "--seconds", "0.05", "--threads", "1", "--json", "--trace"];
    let output = nnc(&[&args[..], &[trace.to_str().unwrap()]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let kernels = report["kernels"].as_array().unwrap();
    // Small kernels are seen, too.
    let compiled = nnc(&["inspect", MODEL, "--json"]);
    let inspected: serde_json::Value = serde_json::from_slice(&compiled.stdout).unwrap();
    assert_eq!(kernels.len(), inspected["kernels"].as_array().unwrap().len());
    assert!(report["machine"]["gflops"].as_f64().unwrap() > 0.1);
    for kernel in kernels {
        assert!(!kernel["nodes"].as_array().unwrap().is_empty(), "{kernel}");
        assert!(kernel["ms"].as_f64().unwrap() > 0.0 && kernel["bytes"].as_f64().unwrap() > 0.0, "{kernel}");
    }
    // Two convolutions and two products: 9.03 MFLOP by hand.
    let flops = report["flops"].as_f64().unwrap();
    assert!((9.0e6..9.4e6).contains(&flops), "{flops}");
    let trace: serde_json::Value = serde_json::from_slice(&fs::read(&trace).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    assert!(events.iter().filter(|e| e["ph"] == "X" && e["tid"] == 0).count() >= kernels.len());
}

#[test]
fn the_cache_gives_the_same_program_and_replaces_damaged_ones() {
    let folder = std::env::temp_dir().join(format!("nnc-line-{}-cache", std::process::id()));
    let cache = folder.to_str().unwrap();
    let out = temporary("cached.nnc", b"");
    let compile = |more: &[&str]| {
        let args = ["compile", MODEL, "--cache", cache, "-o", out.to_str().unwrap()];
        let output = nnc(&[&args[..], more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        fs::read(&out).unwrap()
    };
    let cached = || {
        let output = nnc(&["bench", MODEL, "--inputs", INPUTS, "--calls", "1", "--json", "--cache", cache]);
        let figures: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        figures["cached"].as_bool().unwrap()
    };
    let first = compile(&[]);
    assert!(cached());
    assert_eq!(first, compile(&[]));
    assert_ne!(first, compile(&["-O0"]));
    let entries: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(entries.len(), 2);
    for entry in &entries {
        let mut bytes = fs::read(entry).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(entry, bytes).unwrap();
    }
    assert!(!cached(), "a damaged program was taken");
    assert!(cached());
    let shown = nnc(&["cache", "show", "--cache", cache]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("has 2 programs"), "{shown:?}");
    assert!(nnc(&["cache", "clear", "--cache", cache]).status.success());
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    fs::remove_dir(&folder).unwrap();
}
