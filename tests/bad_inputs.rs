//! bad_inputs - files that are wrong get their code, their exit status and their node, and never a panic.
//!
//! `tests/bad-inputs.toml` lists them; here they are made, and given to the command line.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use nnc::{Compiler, Options};
use nnc_kit::{
    proto::{FLOAT, Message, external, graph, head, model, node, opset, relu, tensor, value},
    table::{self, Row},
};
use support::{models, on_all_cores};

/// A folder of its own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("nnc-bad-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Another test's folder if it is not there any more.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn nnc(args: &[&str], path: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nnc")).args(args).arg(path).output().unwrap()
}

/// What is wrong with how the command line ended.
fn judge(row: &Row, output: &Output) -> Result<(), String> {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let short: String = text.chars().take(600).collect();
    let status = row.number("status").unwrap() as i32;
    if output.status.code() != Some(status) {
        return Err(format!("ends with {:?}, not {status}: {short}", output.status.code()));
    }
    if text.contains("panicked") || text.contains('\x1b') || text.contains('\0') {
        return Err(format!("panics, or prints control characters: {short}"));
    }
    let first = text.split('[').nth(1).and_then(|t| t.split(']').next()).unwrap_or("nothing");
    let codes = row.texts("code");
    let warning = codes.iter().any(|c| c.starts_with('W'));
    let said =
        if warning { codes.iter().any(|c| text.contains(&format!("[{c}]"))) } else { codes.contains(&first) };
    if !said {
        return Err(format!("says {first} first, not {codes:?}: {short}"));
    }
    if let Some(node) = row.text("node").filter(|n| !text.contains(&format!("'{n}'"))) {
        return Err(format!("does not name node '{node}': {short}"));
    }
    match row.texts("says").into_iter().find(|s| !text.contains(s)) {
        Some(missing) => Err(format!("does not say `{missing}`: {short}")),
        None => Ok(()),
    }
}

#[test]
fn inputs_of_the_list_get_their_codes() {
    let list =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad-inputs.toml")).unwrap();
    let rows = table::rows(&list).unwrap();
    assert!(rows.len() > 70);
    let results = on_all_cores(&rows, |row| {
        let folder = Folder::new(row.text("row").unwrap());
        match make(row, &folder.0)? {
            Some(path) => judge(row, &nnc(&["check"], &path)),
            None => {
                println!("NOT TESTED on this system: {}", row.text("what").unwrap());
                Ok(())
            }
        }
    });
    let wrong: Vec<String> = rows
        .iter()
        .zip(results)
        .filter_map(|(row, r)| {
            Some(format!("row {} ({}): {}", row.text("row")?, row.text("what")?, r.err()?))
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

/// Makes what a row describes in `folder`, and gives its path; `None` where the system cannot.
fn make(row: &Row, folder: &Path) -> Result<Option<PathBuf>, String> {
    let path = folder.join("m.onnx");
    let bytes = if let Some(text) = row.text("text") {
        text.as_bytes().to_vec()
    } else if let Some(hex) = row.text("hex") {
        from_hex(hex)
    } else if row.text("make").is_none() {
        surroundings(folder)?;
        let entries: Vec<(&str, &str)> =
            row.texts("external").iter().filter_map(|e| e.split_once('=')).collect();
        model(&with_tensors(&[external("W", &[2, 3], &entries)])).0
    } else {
        let what = row.text("make").unwrap();
        match what {
            "absent" => return Ok(Some(folder.join("no/such/model.onnx"))),
            "directory" => return Ok(Some(folder.to_owned())),
            "device" => return Ok(Some("/dev/null".into())),
            "fifo" => {
                let made = Command::new("mkfifo").arg(&path).status().is_ok_and(|s| s.success());
                return Ok(made.then_some(path));
            }
            "hole" => {
                fs::File::create(&path).and_then(|f| f.set_len(3 << 30)).map_err(|e| e.to_string())?;
                return Ok(Some(path));
            }
            "data twice" | "overlap" | "external attribute" => surroundings(folder)?,
            _ => {}
        }
        build(what).ok_or_else(|| format!("nobody knows how to make `{what}`"))?.0
    };
    fs::write(&path, bytes).map_err(|e| e.to_string())?;
    Ok(Some(path))
}

fn from_hex(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    digits.chunks(2).map(|d| d[0] << 4 | d[1]).collect()
}

/// What external data may refer to.
fn surroundings(folder: &Path) -> Result<(), String> {
    let bytes: Vec<u8> = (0..100).collect();
    let make = || {
        fs::create_dir_all(folder.join("sub"))?;
        for name in ["w.bin", "sub/w.bin", "hard.bin"] {
            fs::write(folder.join(name), &bytes)?;
        }
        fs::hard_link(folder.join("hard.bin"), folder.join("hard2.bin"))?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::symlink;
            symlink("w.bin", folder.join("link.bin"))?;
            symlink("sub", folder.join("linked"))?;
            symlink("loop", folder.join("loop"))?;
            Command::new("mkfifo").arg(folder.join("fifo")).status()?;
        }
        Ok::<_, std::io::Error>(())
    };
    make().map_err(|e| e.to_string())
}

/// `y = x + W` with `W` among the tensors.
fn with_tensors(tensors: &[Message]) -> Message {
    graph(&[node("Add", "add", &["x", "W"], &["y"])], tensors, &[value("x", &[2, 3])], &[value("y", &[2, 3])])
}

/// `y = relu(x)` with a tensor or a node that is odd.
fn with_tensor(tensor: &Message) -> Message {
    model(&relu().message(5, tensor))
}

fn with_name(name: &[u8]) -> Message {
    let node = node("Relu", "", &["x"], &["y"]).bytes(3, name);
    model(&graph(&[node], &[], &[value("x", &[2])], &[value("y", &[2])]))
}

fn build(what: &str) -> Option<Message> {
    let (first, rest) = what.split_once(' ').unwrap_or((what, ""));
    Some(match (first, rest) {
        ("long", "node") => model(&Message::new().raw(&[0x0a, 0x05, 0x22])),
        ("last", "node gone") => model(&graph(
            &[node("Relu", "relu", &["x"], &["a"])],
            &[],
            &[value("x", &[2])],
            &[value("y", &[2])],
        )),
        ("graph", hex) => model(&Message(from_hex(hex))),
        ("ir_version", "as text") => Message::new().text(1, "8").message(7, &relu()),
        ("ir_version", n) => {
            Message::new().int(1, n.parse().ok()?).message(8, &opset("", 17)).message(7, &relu())
        }
        ("many", "nodes") => model(&Message([0x0a, 0x00].repeat(5_000_000))),
        ("many", "dims") => {
            let dims = vec![1u8; 10_000_000];
            with_tensor(&Message::new().bytes(1, &dims).int(2, FLOAT).text(8, "big"))
        }
        // g of an attribute of a node; elem_type of an optional.
        ("deep", "graphs") => model(&nested(10_000, &[0x32, 0x2a, 0x0a])),
        ("deep", "types") => {
            let odd = Message::new().text(1, "v").message(2, &nested(5_000, &[0x0a, 0x4a]));
            model(&relu().message(13, &odd))
        }
        ("no", "graph") => head(),
        ("two", "graphs") => model(&relu()).message(7, &relu()),
        ("no", "opset") => Message::new().int(1, 8).message(7, &relu()),
        ("opset", n) => Message::new().int(1, 8).message(8, &opset("", n.parse().ok()?)).message(7, &relu()),
        ("two", "opsets") => model(&relu()).message(8, &opset("ai.onnx", 13)),
        ("name", hex) => with_name(&from_hex(hex)),
        ("odd", "name") => {
            let odd = node("Foo", "esc\x1b[31m\n\0\u{202e}", &["x"], &["y"]);
            model(&graph(&[odd], &[], &[value("x", &[2])], &[value("y", &[2])]))
        }
        ("long", "name") => with_name(&vec![b'n'; 100_000_000]),
        ("garbage", "") => model(&relu()).raw(b"PK\x03\x04zipzip"),
        ("data_type", n) => with_tensor(&Message::new().int(1, 1).int(2, n.parse().ok()?).text(8, "v")),
        ("attribute", "type 77") => {
            let odd =
                node("Relu", "relu", &["x"], &["y"]).message(5, &Message::new().text(1, "a").int(20, 77));
            model(&graph(&[odd], &[], &[value("x", &[2])], &[value("y", &[2])]))
        }
        ("data", "twice") => {
            let entry = Message::new().text(1, "location").text(2, "w.bin");
            model(&with_tensors(&[tensor("W", &[2, 3], &[0.0; 6]).message(13, &entry).int(14, 1)]))
        }
        ("overlap", "") => model(&with_tensors(&[
            external("V", &[2, 3], &[("location", "w.bin"), ("offset", "0"), ("length", "24")]),
            external("W", &[2, 3], &[("location", "w.bin"), ("offset", "20"), ("length", "24")]),
        ])),
        ("external", "attribute") => {
            let tensor = external("W", &[2, 3], &[("location", "../secret")]);
            let attribute = Message::new().text(1, "value").message(5, &tensor).int(20, 4);
            let constant = node("Constant", "constant", &[], &["y"]).message(5, &attribute);
            model(&graph(&[constant], &[], &[], &[value("y", &[2, 3])]))
        }
        ("several", "in the graph") => {
            let nodes = [
                node("Relu", "first", &["x"], &["a"]),
                node("Relu", "second", &["nowhere"], &["b"]),
                node("Relu", "third", &["x"], &["a"]),
                node("Relu", "fourth", &["elsewhere"], &["y"]),
            ];
            model(&graph(&nodes, &[], &[value("x", &[2])], &[value("y", &[2])]))
        }
        ("several", "operators") => {
            let axis = Message::new().text(1, "axis").int(3, 7).int(20, 2);
            let nodes = [
                node("Foo", "first", &["x"], &["a"]),
                node("Baz", "second", &["x"], &["b"]).text(7, "com.example"),
                node("Bar", "third", &["x"], &["c"]),
                node("Softmax", "fourth", &["x"], &["y"]).message(5, &axis),
            ];
            let graph = graph(&nodes, &[], &[value("x", &[2])], &[value("y", &[2])]);
            head().message(8, &opset("com.example", 1)).message(7, &graph)
        }
        _ => return None,
    })
}

/// `levels` messages, each the only content of the one around it; `tags` from the inside out.
fn nested(levels: usize, tags: &[u8]) -> Message {
    // Written back to front: prepending would be quadratic.
    let mut reversed: Vec<u8> = Vec::new();
    for _ in 0..levels {
        for &tag in tags {
            let length = Message::new().varint(reversed.len() as u64).0;
            reversed.extend(length.iter().rev());
            reversed.push(tag);
        }
    }
    reversed.reverse();
    Message(reversed)
}

/// Ten models of others, as far as they are there: fixtures first.
fn real_models() -> Vec<PathBuf> {
    let fixtures = ["mnist_cnn_dynamo", "mnist_cnn_external", "mtcnn_pnet", "ppocr_cls", "mbconv", "vit"];
    let mut paths: Vec<PathBuf> = fixtures.iter().map(|f| models().join(f).join("model.onnx")).collect();
    let fetched =
        ["mtcnn_rnet", "silero_vad_seq", "slovorez_fp16", "mtcnn_onet", "oww_melspec", "oww_hey_jarvis"];
    paths.extend(fetched.iter().map(|f| models().join(format!("cache/{f}.onnx"))).filter(|p| p.is_file()));
    paths.truncate(10);
    paths
}

/// Every prefix is refused with a code, or is a model by itself; none makes the compiler panic.
#[test]
fn truncated_models_are_refused_at_200_lengths_each() {
    let models = real_models();
    assert!(models.len() >= 6);
    let cuts: Vec<(usize, usize)> = (0..models.len()).flat_map(|m| (0..200).map(move |i| (m, i))).collect();
    let bytes: Vec<Vec<u8>> = models.iter().map(|p| fs::read(p).unwrap()).collect();
    let results = on_all_cores(&cuts, |&(m, i)| {
        // All lengths up to 100, then evenly, the last one byte short.
        let n = bytes[m].len();
        let length = if i < 100 { i } else { n - 1 - (199 - i) * (n - 101) / 100 };
        let failure = match Compiler::new(Options::default()).import_bytes(bytes[m][..length].to_vec()) {
            Ok(_) => return Ok("a model by itself".to_owned()),
            Err(failure) => failure,
        };
        let status = failure.exit_status();
        let code = failure.diagnostics().iter().find(|d| d.is_error()).map_or(0, |d| d.code.0);
        if matches!(status, 3..=5) && code > 0 {
            return Ok(format!("E{code:04}"));
        }
        Err(format!("{} cut at {length}: exit status {status}, {failure}", models[m].display()))
    });
    let wrong: Vec<&String> = results.iter().filter_map(|r| r.as_ref().err()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let codes: BTreeSet<&String> = results.iter().filter_map(|r| r.as_ref().ok()).collect();
    println!("{} models, {} cuts: {codes:?}", models.len(), cuts.len());
}

#[test]
fn a_wrong_command_line_is_a_status_of_its_own() {
    let run = |args: &[&str]| Command::new(env!("CARGO_BIN_EXE_nnc")).args(args).output().unwrap();
    assert_eq!(run(&["frobnicate"]).status.code(), Some(2));
    assert_eq!(run(&["compile"]).status.code(), Some(2));
    assert_eq!(run(&["--help"]).status.code(), Some(0));
    assert_eq!(run(&["run", "--help"]).status.code(), Some(0));
}

#[test]
fn problems_are_objects_for_programs_to_read() {
    let folder = Folder::new("json");
    let path = folder.0.join("m.onnx");
    fs::write(&path, build("several operators").unwrap().0).unwrap();
    let output = nnc(&["--error-format", "json", "check"], &path);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let problems: Vec<&str> = text.lines().collect();
    assert!(problems.len() >= 4, "{text}");
    for field in ["\"code\":", "\"message\":", "\"node\":", "\"help\":"] {
        assert!(problems.iter().all(|p| p.starts_with('{') && p.contains(field)), "{field}: {text}");
    }
}
