//! arch - the shape of the house: which crate sees which, where unsafe code may be, what pages and files say of each other.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// What each crate may depend on of nnc itself (ARCHITECTURE.md, "Dependency direction").
const MAY_SEE: &[(&str, &[&str])] = &[
    ("backends/runtime", &[]),
    ("ir", &[]),
    ("backends/tile", &[]),
    ("backends/x86", &["nnc-tile"]),
    ("passes", &["nnc-ir"]),
    ("compiler/onnx", &["nnc-ir"]),
    ("backends/cpu", &["nnc-ir", "nnc-tile", "nnc-x86", "nnc-runtime"]),
    ("tests/kit", &["nnc-ir"]),
    (".", &["nnc-ir", "nnc-onnx", "nnc-passes", "nnc-cpu", "nnc-tile", "nnc-runtime"]),
];

/// Crates of others that only one crate may depend on.
const KNOWN_TO_ONE: &[(&str, &[&str])] = &[
    ("cranelift", &["backends/cpu"]),
    ("protobuf", &["compiler/onnx", "tests/kit"]),
    ("onnx-protobuf", &["compiler/onnx", "tests/kit"]),
    ("prost", &["backends/runtime"]),
    ("memmap2", &["backends/runtime"]),
    ("clap", &["."]),
    ("egg", &["passes"]),
    ("iced-x86", &["backends/x86"]),
];

/// The files that may hold unsafe code.
const UNSAFE: &[&str] = &[
    "backends/runtime/src/abi.rs",
    "backends/runtime/src/allocator.rs",
    "backends/runtime/src/arena.rs",
    "backends/runtime/src/code.rs",
    "backends/runtime/src/externs/view.rs",
    "backends/runtime/src/probe.rs",
    "backends/runtime/src/program.rs",
    "backends/runtime/src/threads.rs",
    "backends/runtime/src/weights.rs",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Every Rust source of the workspace, relative to its root.
fn sources() -> Vec<String> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> =
        ["compiler", "ir", "passes", "backends", "tests"].iter().map(|f| root().join(f)).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path.strip_prefix(root()).unwrap().to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    assert!(found.len() > 100, "the sources are elsewhere");
    found
}

/// Whether a source is a test, or part of one.
fn is_test(path: &str) -> bool {
    path.starts_with("tests/")
        || path.contains("/tests/")
        || path.ends_with("/tests.rs")
        || path.contains("/benches/")
}

/// A source without the modules of unit tests at its end.
fn without_tests(source: &str) -> &str {
    source.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or(source)
}

/// Names in the tables of a manifest that start with `dependencies`.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut inside = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside =
                line == "[dependencies]" || line.starts_with("[target.") && line.ends_with(".dependencies]");
        } else if inside
            && !line.starts_with('#')
            && let Some((name, _)) = line.split_once('=')
        {
            names.push(name.trim().trim_end_matches(".workspace").to_owned());
        }
    }
    names
}

#[test]
fn crates_see_what_they_may() {
    for (folder, allowed) in MAY_SEE {
        let names = dependencies(&read(&format!("{folder}/Cargo.toml")));
        for name in names.iter().filter(|n| n.starts_with("nnc-")) {
            assert!(allowed.contains(&name.as_str()), "{folder} depends on {name}");
        }
        for (known, folders) in KNOWN_TO_ONE {
            let depends =
                names.iter().any(|n| n == known || (*known == "cranelift" && n.starts_with("cranelift-")));
            assert!(!depends || folders.contains(folder), "{folder} depends on {known}");
        }
    }
    // Every member is listed here.
    let workspace = read("Cargo.toml");
    let members = workspace.split_once("members = [").unwrap().1.split_once(']').unwrap().0;
    for member in members.split('"').skip(1).step_by(2) {
        assert!(MAY_SEE.iter().any(|(folder, _)| folder == &member), "{member} is not in MAY_SEE");
    }
}

/// A source without comments and texts, near enough to find words of code.
fn code(source: &str) -> String {
    let line = |l: &str| {
        let l = l.split("//").next().unwrap_or("");
        let mut outside = true;
        let mut kept = String::new();
        for part in l.split('"') {
            if outside {
                kept += part;
            }
            outside = !outside;
        }
        kept
    };
    source.lines().map(|l| line(l) + "\n").collect()
}

#[test]
fn unsafe_code_is_where_it_may_be() {
    let mut found = BTreeSet::new();
    for path in sources() {
        let words = code(&read(&path));
        let is_unsafe = words.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == "unsafe");
        if is_unsafe && !is_test(&path) {
            found.insert(path);
        }
    }
    let unlisted: Vec<&String> = found.iter().filter(|p| !UNSAFE.contains(&p.as_str())).collect();
    assert!(unlisted.is_empty(), "unsafe code in {unlisted:?}");
    let idle: Vec<&&str> = UNSAFE.iter().filter(|p| !found.contains(**p)).collect();
    assert!(idle.is_empty(), "no unsafe code in {idle:?}: take it off the list");
    for library in [
        "compiler/lib.rs",
        "compiler/onnx/src/lib.rs",
        "ir/src/lib.rs",
        "passes/src/lib.rs",
        "backends/cpu/src/lib.rs",
        "backends/tile/src/lib.rs",
        "tests/kit/src/lib.rs",
    ] {
        assert!(read(library).contains("#![forbid(unsafe_code)]"), "{library} does not forbid unsafe code");
    }
}

#[test]
fn every_file_says_what_it_is() {
    for path in sources() {
        let source = read(&path);
        let first = source.lines().next().unwrap_or("");
        let (name, what) = first.strip_prefix("//! ").and_then(|l| l.split_once(" - ")).unwrap_or_default();
        assert!(
            !name.is_empty() && !what.is_empty(),
            "{path}: line 1 is `{first}`, not `//! name - what it is`"
        );
    }
}

#[test]
fn paths_that_pages_name_exist() {
    for page in
        ["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md"].iter().filter(|p| root().join(p).is_file())
    {
        let text = read(page);
        for quoted in text.split('`').skip(1).step_by(2) {
            let is_path =
                quoted.contains('/') && !quoted.contains([' ', '*', '<', '{', '$', ':', '\n', '=', '(']);
            let starts = [
                "compiler",
                "ir",
                "passes",
                "backends",
                "tests",
                "docs",
                "models",
                "snapshots",
                "benches",
                ".ci",
            ];
            let ours = starts.iter().any(|s| quoted.split('/').next() == Some(s));
            let pattern =
                quoted.contains("NAME") || quoted.contains("PASS") || quoted.starts_with("models/cache");
            assert!(!is_path || !ours || pattern || root().join(quoted).exists(), "{page} names {quoted}");
        }
    }
}

/// Operations are compared as Rust types; their spelling is the business of the table and of text.
#[test]
fn operations_are_not_told_by_their_names() {
    let table = read("ir/src/ops/mod.rs");
    let mnemonics: BTreeSet<&str> = table
        .lines()
        .filter(|l| l.contains(" in ") && l.contains('=') && l.trim_end().ends_with(';'))
        .filter_map(|l| l.split('"').nth(1))
        .filter(|m| m.contains('_'))
        .collect();
    assert!(mnemonics.len() > 10, "{mnemonics:?}");
    let allowed = ["ir/src/ops/", "ir/src/text/", "ir/src/eval/externs/", "backends/runtime/src/externs/"];
    for path in sources().into_iter().filter(|p| !is_test(p) && !allowed.iter().any(|a| p.starts_with(a))) {
        let source = read(&path);
        for line in without_tests(&source).lines().filter(|l| !l.trim_start().starts_with("//")) {
            for text in line.split('"').skip(1).step_by(2) {
                assert!(!mnemonics.contains(text), "{path} spells the operation `{text}`: {}", line.trim());
            }
        }
    }
}

/// Problem codes in a source: the first argument of whatever makes a diagnostic.
fn codes(source: &str) -> BTreeSet<u16> {
    let makers = [
        "cx.error(",
        "Diagnostic::error(",
        "Diagnostic::warning(",
        "Error::new(",
        "EvalError::new(",
        "Failure::single(",
        "refuse(",
        "self.error(",
        "self.warn(",
        "cx.warn(",
    ];
    let mut found = BTreeSet::new();
    for maker in makers {
        for (_, rest) in source.match_indices(maker).map(|(at, _)| source.split_at(at + maker.len())) {
            let number: String = rest.trim_start().chars().take_while(char::is_ascii_digit).collect();
            let follows = rest.trim_start()[number.len()..].starts_with(',');
            found.extend(number.parse::<u16>().ok().filter(|_| follows));
        }
    }
    found
}

#[test]
fn every_problem_code_is_on_its_page() {
    let page = read("docs/errors.md");
    let listed: BTreeSet<u16> =
        page.lines().filter_map(|l| l.strip_prefix("| E")?.split(' ').next()?.parse().ok()).collect();
    let mut used: BTreeMap<u16, String> = BTreeMap::new();
    for path in sources().into_iter().filter(|p| !is_test(p)) {
        let source = read(&path);
        used.extend(codes(without_tests(&source)).into_iter().map(|code| (code, path.clone())));
    }
    let unlisted: Vec<_> = used.iter().filter(|(code, _)| !listed.contains(code)).collect();
    assert!(unlisted.is_empty(), "not in docs/errors.md: {unlisted:?}");
    assert!(used.len() > 60, "codes are made in another way now: {used:?}");
}

/// Words for which the glossary has another, in names of code.
#[test]
fn names_keep_to_the_glossary() {
    let banned = [
        ("layer_norm_layer", ""),
        ("initializer", "compiler/onnx/"),
        ("interpreter", ""),
        ("subgraph", "compiler/onnx/"),
        ("prepack", ""),
        ("post_op", ""),
    ];
    for path in sources().into_iter().filter(|p| !is_test(p)) {
        let source = read(&path);
        let code = code(&source).to_lowercase();
        for (word, home) in banned {
            let here = !home.is_empty() && (path.starts_with(home) || path.starts_with("compiler/"));
            assert!(here || !code.contains(word), "{path} says `{word}`: see docs/glossary.md");
        }
    }
}

/// The layers of the backend, from the top down: a file may see those below its own (ARCHITECTURE.md, "The CPU backend").
const LAYERS: &[&str] = &["compile", "job", "tiled", "entry", "plan", "lower", "tile"];

/// The first names after `crate::` in a source's `use` declarations.
fn used_of_crate(source: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for part in source.split("use crate::").skip(1) {
        let declaration: String = part.split(';').next().unwrap().split_whitespace().collect();
        let Some(list) = declaration.strip_prefix('{') else {
            used.extend(declaration.split("::").next().map(str::to_owned));
            continue;
        };
        let (mut depth, mut item) = (0, String::new());
        for c in list.chars() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    used.extend(item.split("::").next().map(str::to_owned));
                    item.clear();
                    continue;
                }
                _ => {}
            }
            item.push(c);
        }
        used.extend(item.trim_end_matches('}').split("::").next().map(str::to_owned));
    }
    used
}

#[test]
fn layers_of_the_backend_see_what_is_below() {
    for path in sources().into_iter().filter(|p| !is_test(p)) {
        let Some(inside) = path.strip_prefix("backends/cpu/src/") else { continue };
        let layer = inside.split(['/', '.']).next().unwrap();
        let Some(at) = LAYERS.iter().position(|l| *l == layer) else { continue };
        let source = read(&path);
        let used = used_of_crate(&code(without_tests(&source)));
        let above: Vec<&&str> = LAYERS[..at].iter().filter(|l| used.contains(**l)).collect();
        assert!(above.is_empty(), "{path} uses {above:?}, which is above it");
    }
}
