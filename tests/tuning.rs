//! tuning - other choices give other code and the same results; measured choices are kept, read back and used.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{collections::BTreeSet, time::Duration};

use nnc::{
    Compiler, Failure, Options, Session, SessionOptions, TensorView, TuningFile,
    cpu::{
        CompileOptions, Compiled,
        choice::{Choice, Decided, Given, Knob, Tuning},
    },
    ir::{
        Module,
        constant::Constant,
        dtype::{DType, Scalar},
        extent::Extent,
        graph::{ValueId, loc},
        ops::{Conv, MatMul, Op, Relu},
        types::TensorType,
    },
    runtime::{Program, artefact},
    sample::sample_inputs,
    tune::{TuneOptions, tune},
};

fn extents(shape: &[i64]) -> Vec<Extent> {
    shape.iter().map(|&e| Extent::Const(e)).collect()
}

fn weights(shape: &[i64]) -> Constant {
    let n: i64 = shape.iter().product();
    let scalars: Vec<Scalar> = (0..n).map(|i| Scalar::f32(((i * 7) % 13) as f32 / 64.0 - 0.1)).collect();
    Constant::from_scalars(DType::F32, shape, &scalars)
}

/// Convolutions of constant and of other weights, products with constants, and of two inputs.
fn net() -> Module {
    let mut m = Module::new();
    let input = |m: &mut Module, name: &str, shape: &[i64]| {
        m.add_input(name, TensorType::new(DType::F32, extents(shape)))
    };
    let x = input(&mut m, "x", &[1, 32, 20, 20]);
    let w = input(&mut m, "w", &[32, 32, 3, 3]);
    let (a, b) = (input(&mut m, "a", &[70, 256]), input(&mut m, "b", &[256, 96]));
    let body = m.body();
    let op = |m: &mut Module, op: Op, operands: &[ValueId]| {
        m.append(body, op, operands, &[], &loc("t")).unwrap()[0]
    };
    let conv = |m: &mut Module, x: ValueId, w: ValueId| {
        let conv = Conv {
            groups: 1,
            strides: vec![1; 2],
            dilations: vec![1; 2],
            pads_before: vec![1; 2],
            spatial: extents(&[20, 20]),
        };
        let y = op(m, conv.into(), &[x, w]);
        op(m, Relu {}.into(), &[y])
    };
    let mut y = x;
    for _ in 0..2 {
        let w = m.append_constant(body, weights(&[32, 32, 3, 3]), &loc("w"));
        y = conv(&mut m, y, w);
    }
    let z = conv(&mut m, x, w);
    let c = m.append_constant(body, weights(&[96, 80]), &loc("c"));
    let product = op(&mut m, MatMul {}.into(), &[a, b]);
    let product = op(&mut m, MatMul {}.into(), &[product, c]);
    m.set_outputs(&[("y".to_owned(), y), ("z".to_owned(), z), ("p".to_owned(), product)]);
    m
}

fn compiler(without: &[&str]) -> Compiler {
    let without = without.iter().map(|name| (*name).to_owned()).collect();
    Compiler::new(Options { without, ..Options::default() })
}

fn generate(compiler: &Compiler, module: &Module, tuning: Tuning) -> Compiled {
    let options = CompileOptions { tuning, record_choices: true, ..CompileOptions::default() };
    compiler.generate_with(module, options).unwrap()
}

/// The bytes of all outputs, in two threads.
fn run(compiled: Compiled) -> Vec<Vec<u8>> {
    let program = Program::load(compiled.image).unwrap();
    let inputs = sample_inputs(&program).unwrap();
    let views: Vec<TensorView<'_>> = inputs.iter().map(|t| t.view()).collect();
    let options = SessionOptions { threads: 2, ..SessionOptions::host() };
    let outputs = program.run(&mut Session::new(&options), &views).unwrap();
    outputs.iter().map(|t| t.bytes().to_vec()).collect()
}

fn given(decided: &Decided, knob: Knob, choice: Choice) -> Tuning {
    [(decided.key.clone(), Given([(knob, choice)].into()))].into()
}

/// Each choice in each place: it is taken, and what is computed is the same but for minimal filtering, and but for weights that a
/// kernel transforms, of however many channels at a time.
fn every_choice_computes_the_same(without: &[&str]) -> BTreeSet<Knob> {
    let compiler = compiler(without);
    let module = compiler.optimize(net()).unwrap().module;
    let first = generate(&compiler, &module, Tuning::new());
    let (decided, code) = (first.decided.clone(), first.image.code.clone());
    let want = run(first);
    let mut seen = BTreeSet::new();
    for kernel in &decided {
        for decision in kernel.decisions.iter().filter(|d| d.knob != Knob::Winograd) {
            let mut transformed = None;
            for &choice in &decision.others {
                let what =
                    format!("{}={choice} instead of {} in {}", decision.knob, decision.taken, kernel.key);
                let other = generate(&compiler, &module, given(kernel, decision.knob, choice));
                let mine = other.decided.iter().find(|d| d.key == kernel.key).unwrap();
                assert!(
                    mine.decisions.iter().any(|d| (d.knob, d.taken) == (decision.knob, choice)),
                    "{what}"
                );
                assert!(other.image.code != code, "{what}: the same code");
                match decision.knob {
                    Knob::Filters => {
                        let got = run(other);
                        assert!(*transformed.get_or_insert_with(|| got.clone()) == got, "{what}");
                    }
                    _ => assert!(run(other) == want, "{what}"),
                }
                seen.insert(decision.knob);
            }
        }
    }
    seen
}

#[test]
fn other_choices_give_other_code_and_the_same_results() {
    let mut seen = every_choice_computes_the_same(&[]);
    seen.extend(every_choice_computes_the_same(&["winograd"]));
    let always = [Knob::Copy, Knob::Rows, Knob::Panels];
    assert!(always.iter().all(|knob| seen.contains(knob)), "{seen:?}");
    #[cfg(target_arch = "x86_64")]
    if nnc::runtime::host_features().contains(&"avx2") {
        let wide = [Knob::Tile, Knob::Squares, Knob::Filters];
        assert!(wide.iter().all(|knob| seen.contains(knob)), "{seen:?}");
    }
}

/// Where minimal filtering is chosen away, results are those of a program that may not have it.
#[test]
fn minimal_filtering_is_a_choice() {
    let compiler = compiler(&[]);
    let module = compiler.optimize(net()).unwrap().module;
    let first = generate(&compiler, &module, Tuning::new());
    let mut tuning = Tuning::new();
    for kernel in &first.decided {
        if kernel.decisions[0].knob == Knob::Winograd {
            tuning.extend(given(kernel, Knob::Winograd, Choice::Number(0)));
        }
    }
    assert!(!tuning.is_empty());
    let plain = self::compiler(&["winograd"]);
    let plain = run(generate(&plain, &module, Tuning::new()));
    assert!(run(generate(&compiler, &module, tuning)) == plain);
}

/// A file that takes another choice of each kernel's last decision.
fn other_file(processor: &str) -> TuningFile {
    let compiler = compiler(&[]);
    let module = compiler.optimize(net()).unwrap().module;
    let mut file = TuningFile::default();
    for kernel in generate(&compiler, &module, Tuning::new()).decided {
        let decision = kernel.decisions.iter().rfind(|d| !d.others.is_empty()).unwrap();
        let given = Given([(decision.knob, decision.others[0])].into());
        file.set(processor, &kernel.key, Some(given));
    }
    file
}

fn bytes(image: &nnc::runtime::Image, name: &str) -> Vec<u8> {
    let path = std::env::temp_dir().join(format!("nnc-tuning-{}-{name}.nnc", std::process::id()));
    artefact::write(image, &path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    bytes
}

#[test]
fn a_tuning_file_decides_the_bytes_of_a_program() {
    let file = other_file("*");
    assert!(file.len() >= 3, "{file}");
    let made = |tuning: Option<TuningFile>, name: &str| {
        let compiler = Compiler::new(Options { tuning, ..Options::default() });
        let lowered = compiler.optimize(net()).unwrap();
        let compiled = compiler.generate(&lowered.module).unwrap();
        assert_eq!(compiled.report.tuned.len() >= 3, name != "plain");
        bytes(&compiled.image, name)
    };
    let read = TuningFile::parse(&file.to_string(), "t").unwrap();
    let (a, b) = (made(Some(file), "a"), made(Some(read), "b"));
    assert!(a == b, "the same file gives the same bytes");
    let plain = made(None, "plain");
    assert!(a != plain, "choices give other code");
    // Entries of other processors change nothing.
    let elsewhere = TuningFile::parse(&other_file("abacus").to_string(), "t").unwrap();
    assert!(made(Some(elsewhere), "plain") == plain);
}

#[test]
fn a_choice_that_a_kernel_does_not_have_is_refused() {
    let mut file = TuningFile::default();
    let compiler = compiler(&[]);
    let module = compiler.optimize(net()).unwrap().module;
    let kernel = generate(&compiler, &module, Tuning::new()).decided[0].key.clone();
    file.set("*", &kernel, Some("rows=9999999".parse().unwrap()));
    let compiler = Compiler::new(Options { tuning: Some(file), ..Options::default() });
    let Err(Failure::Model(problems)) = compiler.generate(&module) else { panic!("must be refused") };
    assert_eq!(problems[0].code.0, 416, "{}", problems[0]);
    assert!(problems[0].message.contains("rows=9999999") && problems[0].message.contains(&kernel));
}

#[test]
fn measuring_gives_entries_that_compile() {
    let compiler = compiler(&[]);
    let module = compiler.optimize(net()).unwrap().module;
    let session = SessionOptions { threads: 1, ..SessionOptions::host() };
    let mut told = 0;
    let options = TuneOptions { limit: Duration::from_millis(200), session };
    let report = tune(&compiler, &module, &|p| sample_inputs(p), &options, &mut |_| told += 1).unwrap();
    assert!(report.kernels.len() >= 3 && report.programs >= 2 && told >= 1, "{report:?}");
    assert!(report.cut, "there is more to try than time");
    let mut file = TuningFile::default();
    let processor = compiler.processor().unwrap();
    for tuned in &report.tuned {
        assert!(report.kernels.contains(&tuned.kernel));
        assert!(tuned.seconds[1] < tuned.seconds[0], "{tuned:?}");
        file.set(&processor, &tuned.kernel, Some(tuned.given.clone()));
    }
    let compiler = Compiler::new(Options { tuning: Some(file), ..Options::default() });
    compiler.generate(&module).unwrap();
}
