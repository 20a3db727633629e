//! recognize - what is spelt in primitives becomes what ONNX's own operator is imported as; patterns of real models counted.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod spellings;
mod steps;
#[path = "../support/mod.rs"]
mod support;
mod written;

use std::{collections::BTreeMap, path::Path};

use nnc::{
    Compiler, OptLevel, Options,
    ir::{Module, ops::Op},
    passes::recognized,
};
use spellings::{GROUP_NORM_SILU, SPELLINGS};
use steps::{Step, model};
use support::models;
use written::written;

fn compiler() -> Compiler {
    Compiler::new(Options { level: OptLevel::O2, ..Options::default() })
}

fn optimized(path: &Path) -> Module {
    let compiler = compiler();
    let imported = compiler.import_file(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    compiler.optimize(imported.module).unwrap().module
}

#[test]
fn one_network_exported_with_and_without_layer_normalization_is_one_graph() {
    let [spelt, own] = ["vit", "vit_op17"].map(|name| optimized(&models().join(name).join("model.onnx")));
    assert_eq!(written(&spelt), written(&own));
}

/// What a module is up to and with `recognize`.
const FRONT: &[&str] = &[
    "simplify-shapes",
    "fold-constants",
    "canonicalize",
    "eliminate-common",
    "recognize",
    "fold-constants",
    "canonicalize",
    "eliminate-common",
    "eliminate-dead",
];

/// What a model is after the front passes, as text.
fn front(steps: &[Step]) -> String {
    let imported = compiler().import_bytes(model(steps)).unwrap_or_else(|e| panic!("{}: {e}", steps[0].0));
    written(&compiler().run_passes(imported.module, FRONT).unwrap().module)
}

/// How many kernels the steps become.
fn kernels(steps: &[Step]) -> usize {
    let imported = compiler().import_bytes(model(steps)).unwrap_or_else(|e| panic!("{}: {e}", steps[0].0));
    let module = compiler().optimize(imported.module).unwrap().module;
    let nodes = &module.region(module.body()).nodes;
    nodes.iter().filter(|&&n| !matches!(module.node(n).op, Op::ConstantOp(_) | Op::Reshape(_))).count()
}

#[test]
fn spellings_become_what_the_operator_is() {
    let mut wrong = Vec::new();
    for (own, spellings) in SPELLINGS {
        let want = front(own);
        for (i, steps) in spellings.iter().enumerate() {
            let got = front(steps);
            if got != want {
                wrong.push(format!("{}, spelling {i}, becomes\n{got}rather than\n{want}", own[0].0));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn patterns_are_one_kernel_with_what_follows() {
    let rotary: &[Step] = &[("RotaryEmbedding", &["q", "cosines", "sines"], "y", &[])];
    for (name, steps) in [("group norm and SiLU", GROUP_NORM_SILU), ("rotary embedding", rotary)] {
        assert_eq!(kernels(steps), 1, "{name}");
    }
}

/// Patterns of fetched models, as their ONNX files say; each hard swish has a hard sigmoid in it.
const COUNTS: &[(&str, &[(&str, usize)])] = &[
    ("minilm_l3", &[("layer-norm", 7), ("gelu-erf", 3), ("softmax", 3), ("attention", 3)]),
    ("minilm_l6_int8", &[("layer-norm", 13), ("gelu-erf", 6), ("softmax", 6)]),
    ("magika", &[("layer-norm", 2), ("gelu-tanh", 2), ("softmax", 1)]),
    (
        "ppocrv4_rec",
        &[
            ("layer-norm", 5),
            ("softmax", 3),
            ("attention", 2),
            ("silu", 7),
            ("hard-swish", 28),
            ("hard-sigmoid", 30),
        ],
    ),
    (
        "ppocrv5_rec",
        &[
            ("layer-norm", 5),
            ("softmax", 3),
            ("attention", 2),
            ("silu", 7),
            ("hard-swish", 28),
            ("hard-sigmoid", 30),
        ],
    ),
    ("ppocrv4_det", &[("hard-swish", 24), ("hard-sigmoid", 34), ("sigmoid", 1)]),
    ("ppocrv5_det", &[("hard-swish", 24), ("hard-sigmoid", 34), ("sigmoid", 1)]),
    ("ppocr_cls", &[("hard-swish", 18), ("hard-sigmoid", 27), ("softmax", 1)]),
    ("pp_lcnet_orientation", &[("hard-swish", 28), ("hard-sigmoid", 30), ("softmax", 1)]),
    ("oww_hey_jarvis", &[("layer-norm", 4), ("sigmoid", 2)]),
    ("yolox_char_det", &[("sigmoid", 80), ("silu", 74)]),
    ("silero_vad_ifless", &[("lstm-cell", 2), ("sigmoid", 8)]),
];

#[test]
fn patterns_of_real_models_are_all_there() {
    let mut wrong = Vec::new();
    for (name, counts) in COUNTS {
        let path = models().join("cache").join(format!("{name}.onnx"));
        if !path.is_file() {
            println!("{name} is not there");
            continue;
        }
        let imported = compiler().import_file(&path).unwrap();
        let module = compiler().run_passes(imported.module, FRONT).unwrap().module;
        let mut found: BTreeMap<&str, usize> = BTreeMap::new();
        recognized(&module).iter().for_each(|r| *found.entry(r.name).or_default() += 1);
        println!("{name}: {found:?}");
        for (pattern, n) in *counts {
            let has = found.get(pattern).copied().unwrap_or(0);
            if has != *n {
                wrong.push(format!("{name}: {has} x {pattern}, not {n}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
