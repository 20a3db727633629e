//! passes - every pass does to the example in its header what the header says, and to the texts in `tests/ir` what they say.
//!
//! The header of a pass has two blocks ` ```nnir `: a module before it and the same after it. A text in `tests/ir/PASS` is a
//! module with comments: `// CHECK: text` must occur in the module after the pass, in this order; `// CHECK-NOT: text` must
//! not occur; `// MISS: text` must occur in a reason that the pass gives for leaving something alone. What the pass changes
//! is a snapshot. `// RULE name: fires` names each rule that fires, and no other; `// RULE name: holds back because ...`
//! says of a rule that does not fire why it must not. Every rule has a text of either kind.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use nnc::{
    Compiler, Lowered, OptLevel, Options,
    ir::{Module, text},
    passes::PASSES,
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(text: &str) -> Module {
    text::parse(text, &|_| None).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

fn apply(pass: &str, module: Module) -> Lowered {
    // Only `recompute` looks at the limit.
    let max_memory = Some(600);
    let compiler =
        Compiler::new(Options { level: OptLevel::O3, watch_passes: true, max_memory, ..Options::default() });
    compiler.run_passes(module, &[pass]).unwrap_or_else(|e| panic!("{pass}: {e}"))
}

/// The blocks ` ```nnir ` of a file's header.
fn examples(source: &str) -> Vec<String> {
    let header: Vec<&str> = source.lines().map_while(|l| l.strip_prefix("//!")).collect();
    let mut blocks = Vec::new();
    let mut block: Option<String> = None;
    for line in header {
        let line = line.strip_prefix(' ').unwrap_or(line);
        match (&mut block, line.trim()) {
            (None, "```nnir") => block = Some(String::new()),
            (Some(_), "```") => blocks.extend(block.take()),
            (Some(text), _) => *text += &format!("{line}\n"),
            (None, _) => {}
        }
    }
    blocks
}

#[test]
fn examples_in_headers_are_true() {
    for pass in PASSES {
        let path = root().join("passes/src").join(format!("{}.rs", pass.name.replace('-', "_")));
        let source = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let blocks = examples(&source);
        let [before, after] = &blocks[..] else {
            panic!("{}: {} examples, not two", pass.name, blocks.len())
        };
        let module = read(before);
        assert_eq!(text::print(&module), *before, "{}: the example is not as it would be printed", pass.name);
        let got = text::print(&apply(pass.name, module).module);
        assert!(got == *after, "{}: the example becomes\n{got}", pass.name);
    }
}

fn texts(pass: &str) -> Vec<PathBuf> {
    let folder = root().join("tests/ir").join(pass);
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().map(|e| e.unwrap().path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "nnir"));
    paths.sort();
    paths
}

/// What stands behind `// KEY: ` in the lines of a text.
fn said<'t>(source: &'t str, key: &str) -> Vec<&'t str> {
    let prefix = format!("// {key}: ");
    source.lines().filter_map(|l| l.trim().strip_prefix(&prefix)).map(str::trim).collect()
}

#[test]
fn texts_become_what_they_say() {
    let mut wrong = Vec::new();
    for pass in PASSES {
        for path in texts(pass.name) {
            let source = fs::read_to_string(&path).unwrap();
            let lowered = apply(pass.name, read(&source));
            let after = text::print(&lowered.module);
            let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
            let mut complain = |what: String| wrong.push(format!("{}/{stem}: {what}\n{after}", pass.name));
            let mut rest = &after[..];
            for wanted in said(&source, "CHECK") {
                match rest.split_once(wanted) {
                    Some((_, after)) => rest = after,
                    None => complain(format!("no `{wanted}`")),
                }
            }
            for unwanted in said(&source, "CHECK-NOT").into_iter().filter(|u| after.contains(u)) {
                complain(format!("has `{unwanted}`"));
            }
            let reasons: Vec<&str> =
                lowered.reports.iter().flat_map(|r| &r.misses).map(|m| m.reason.as_str()).collect();
            for wanted in said(&source, "MISS") {
                if !reasons.iter().any(|r| r.contains(wanted)) {
                    complain(format!("no reason like `{wanted}` among {reasons:?}"));
                }
            }
            let diff: String = lowered.reports.iter().filter_map(|r| r.diff.clone()).collect();
            let shown = if diff.is_empty() { "(unchanged)\n".to_owned() } else { diff };
            insta::with_settings!({ snapshot_path => "../snapshots", prepend_module_to_snapshot => false, omit_expression => true }, {
                insta::assert_snapshot!(format!("{}-{stem}", pass.name), shown);
            });
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_pass_has_a_text_that_changes_and_one_where_it_holds_back() {
    for pass in PASSES {
        let changes = |p: &PathBuf| {
            let lowered = apply(pass.name, read(&fs::read_to_string(p).unwrap()));
            lowered.reports.iter().any(|r| r.diff.is_some())
        };
        let holds_back = |p: &PathBuf| {
            let source = fs::read_to_string(p).unwrap();
            !said(&source, "MISS").is_empty() || !said(&source, "CHECK-NOT").is_empty() || !changes(p)
        };
        let texts = texts(pass.name);
        assert!(texts.iter().any(changes), "{}: no text that it changes", pass.name);
        // A declaration holds back from nothing.
        assert!(
            pass.name == "reach-canonical" || texts.iter().any(holds_back),
            "{}: no text where it holds back",
            pass.name
        );
    }
    let known: Vec<&str> = PASSES.iter().map(|p| p.name).collect();
    for folder in fs::read_dir(root().join("tests/ir")).unwrap() {
        let name = folder.unwrap().file_name().to_string_lossy().into_owned();
        assert!(known.contains(&name.as_str()), "tests/ir/{name}: no pass has this name");
    }
}

/// What the lines `// RULE name: ...` of a text say: the rule, and whether it fires.
fn verdicts(source: &str, place: &str) -> Vec<(String, bool)> {
    let one = |line: &str| match line.split_once(": ") {
        Some((rule, "fires")) => (rule.to_owned(), true),
        Some((rule, why)) if why.starts_with("holds back because ") => (rule.to_owned(), false),
        _ => panic!("{place}: `RULE {line}` says neither `fires` nor `holds back because ...`"),
    };
    source.lines().filter_map(|l| l.strip_prefix("// RULE ")).map(one).collect()
}

#[test]
fn every_rule_has_a_text_where_it_fires_and_one_where_it_holds_back() {
    let mut wrong = Vec::new();
    for pass in PASSES {
        let mut shown: BTreeSet<(String, bool)> = BTreeSet::new();
        for path in texts(pass.name) {
            let source = fs::read_to_string(&path).unwrap();
            let place = format!("{}/{}", pass.name, path.file_stem().unwrap().to_string_lossy());
            let verdicts = verdicts(&source, &place);
            if verdicts.is_empty() && !pass.rules.is_empty() {
                wrong.push(format!("{place}: no line says what a rule does to it"));
            }
            for (rule, _) in verdicts.iter().filter(|(r, _)| pass.rules.iter().all(|known| known.name != r)) {
                wrong.push(format!("{place}: {} has no rule '{rule}'", pass.name));
            }
            let lowered = apply(pass.name, read(&source));
            let fired: BTreeSet<&str> =
                lowered.reports.iter().flat_map(|r| &r.rewrites).map(|r| r.rule).collect();
            for rule in &fired {
                if !verdicts.contains(&((*rule).to_owned(), true)) {
                    wrong.push(format!("{place}: '{rule}' fires, and no line says so"));
                }
            }
            for (rule, fires) in &verdicts {
                if fired.contains(rule.as_str()) != *fires {
                    wrong.push(format!(
                        "{place}: '{rule}' {}",
                        if *fires { "does not fire" } else { "fires" }
                    ));
                }
            }
            shown.extend(verdicts);
        }
        for rule in pass.rules {
            for (fires, what) in [(true, "fires"), (false, "holds back")] {
                if !shown.contains(&(rule.name.to_owned(), fires)) {
                    wrong.push(format!("{}: no text where '{}' {what}", pass.name, rule.name));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
