//! recognize - what is spelt in primitives becomes what ONNX's own operator is imported as; patterns of real models counted.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write,
    path::Path,
};

use nnc::{
    Compiler, OptLevel, Options,
    ir::{
        Module,
        graph::{Def, RegionId, ValueId},
        ops::{ConstantOp, Op, OpStruct},
    },
    passes::recognized,
};
use nnc_kit::proto::{Message, graph, node, opset, tensor, value};
use support::models;

/// A module written from its outputs, so that neither names nor the order of independent nodes matter.
struct Writer<'m> {
    module: &'m Module,
    names: HashMap<ValueId, usize>,
    text: String,
}

impl Writer<'_> {
    fn region(&mut self, region: RegionId) {
        let region = self.module.region(region);
        for &v in &region.results {
            let name = self.value(v);
            writeln!(self.text, "gives {name}").unwrap();
        }
    }

    fn value(&mut self, value: ValueId) -> usize {
        if let Some(&name) = self.names.get(&value) {
            return name;
        }
        let (line, results) = match self.module.value(value).def {
            Def::Param(_, at) => (format!("parameter {at}"), vec![value]),
            Def::Result(node, _) => {
                let node = self.module.node(node);
                let operands: Vec<usize> = node.operands.iter().map(|&v| self.value(v)).collect();
                for &region in &node.regions {
                    self.region(region);
                }
                let op = match ConstantOp::from_op(&node.op) {
                    Some(c) => format!("constant {}", c.value.short_digest()),
                    None => format!("{:?}", node.op),
                };
                (format!("{op} {operands:?}"), node.results.clone())
            }
        };
        for &v in &results {
            let name = self.names.len();
            self.names.insert(v, name);
            writeln!(self.text, "{name} : {} = {line}", self.module.ty(v)).unwrap();
        }
        self.names[&value]
    }
}

fn written(module: &Module) -> String {
    let mut writer = Writer { module, names: HashMap::new(), text: String::new() };
    writer.region(module.body());
    writer.text
}

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

/// An attribute of a node.
enum Attr {
    Int(i64),
    Float(f32),
    Text(&'static str),
    Ints(&'static [i64]),
}

/// A node of an ONNX graph: operator, inputs, output, attributes.
type Step = (&'static str, &'static [&'static str], &'static str, &'static [(&'static str, Attr)]);

fn attribute((name, attr): &(&'static str, Attr)) -> Message {
    let message = Message::new().text(1, name);
    match attr {
        Attr::Float(x) => message.key(2, 5).raw(&x.to_le_bytes()).int(20, 1),
        Attr::Int(i) => message.int(3, *i).int(20, 2),
        Attr::Text(s) => message.bytes(4, s.as_bytes()).int(20, 3),
        Attr::Ints(v) => v.iter().fold(message, |m, i| m.int(8, *i)).int(20, 7),
    }
}

/// Numbers that spellings are written with: a scalar each.
const NUMBERS: &[(&str, f32)] = &[
    ("0", 0.0),
    ("0.044715", 0.044_715),
    ("0.125", 0.125),
    ("0.5", 0.5),
    ("1", 1.0),
    ("2", 2.0),
    ("3", 3.0),
    ("6", 6.0),
    ("1e-5", 1e-5),
    ("sqrt2", std::f32::consts::SQRT_2),
    ("rsqrt2", std::f32::consts::FRAC_1_SQRT_2),
    ("sqrt2/pi", 0.797_884_6),
];

/// What an ONNX model is after the front passes, written: `y` of inputs `x: f32[2,4,8]`, `q, k, v: f32[1,2,3,4]`, tables `f32[1,3,2]` and `image: f32[1,8,2,3]`.
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

fn model(steps: &[Step]) -> Vec<u8> {
    let nodes: Vec<Message> = steps
        .iter()
        .map(|(op, inputs, output, attributes)| {
            attributes.iter().fold(node(op, output, inputs, &[output]), |n, a| n.message(5, &attribute(a)))
        })
        .collect();
    let read = |name: &str| steps.iter().any(|(_, inputs, ..)| inputs.contains(&name));
    let mut constants: Vec<Message> =
        NUMBERS.iter().filter(|(n, _)| read(n)).map(|(n, x)| tensor(n, &[], &[*x])).collect();
    let row: Vec<f32> = (0..8u8).map(|i| 0.5 + f32::from(i) / 8.0).collect();
    constants.extend(["scale", "bias"].into_iter().filter(|n| read(n)).map(|n| tensor(n, &[8], &row)));
    for (name, of) in [("channel scale", &row), ("channel bias", &row)] {
        if read(name) {
            constants.push(tensor(name, &[8, 1, 1], of));
        }
    }
    for (name, x) in [("ones", 1.0), ("zeros", 0.0)] {
        if read(name) {
            constants.push(tensor(name, &[4], &[x; 4]));
        }
    }
    for (name, ints) in [
        ("last", &[-1i64][..]),
        ("blocks", &[1, 2, 2, 2, 2, 3]),
        ("wide", &[1, 2, 4, 6]),
        ("all", &[2, 4, 8]),
        ("zero", &[0]),
        ("one", &[1]),
        ("two", &[2]),
        ("four", &[4]),
        ("groups", &[0, 4, -1]),
        ("flat groups", &[4, -1]),
        ("whole", &[1, 8, 2, 3]),
    ] {
        if read(name) {
            let raw: Vec<u8> = ints.iter().flat_map(|i| i.to_le_bytes()).collect();
            let ints = i64::try_from(ints.len()).unwrap();
            constants.push(Message::new().int(1, ints).int(2, 7).text(8, name).bytes(9, &raw));
        }
    }
    let shapes: &[(&str, &[i64])] = &[
        ("x", &[2, 4, 8]),
        ("q", &[1, 2, 3, 4]),
        ("k", &[1, 2, 3, 4]),
        ("v", &[1, 2, 3, 4]),
        ("image", &[1, 8, 2, 3]),
        ("cosines", &[1, 3, 2]),
        ("sines", &[1, 3, 2]),
    ];
    let inputs: Vec<Message> = shapes.iter().filter(|(n, _)| read(n)).map(|(n, s)| value(n, s)).collect();
    let output =
        Message::new().text(1, "y").message(2, &Message::new().message(1, &Message::new().int(1, 1)));
    let graph = graph(&nodes, &constants, &inputs, &[output]);
    let model = Message::new().int(1, 10).message(8, &opset("", 24)).message(7, &graph);
    model.0
}

use Attr::{Float, Int, Ints, Text};

/// ONNX's own operator, and spellings of it.
const SPELLINGS: &[(&[Step], &[&[Step]])] = &[
    (
        &[("HardSwish", &["x"], "y", &[])],
        &[
            &[
                ("Add", &["x", "3"], "a", &[]),
                ("Clip", &["a", "0", "6"], "b", &[]),
                ("Mul", &["x", "b"], "c", &[]),
                ("Div", &["c", "6"], "y", &[]),
            ],
            &[("HardSigmoid", &["x"], "a", &[("alpha", Float(1.0 / 6.0))]), ("Mul", &["a", "x"], "y", &[])],
        ],
    ),
    (
        &[("HardSigmoid", &["x"], "y", &[("alpha", Float(1.0 / 6.0))])],
        &[&[
            ("Add", &["3", "x"], "a", &[]),
            ("Clip", &["a", "0", "6"], "b", &[]),
            ("Div", &["b", "6"], "y", &[]),
        ]],
    ),
    (
        &[("Sigmoid", &["x"], "y", &[])],
        &[&[
            ("Neg", &["x"], "a", &[]),
            ("Exp", &["a"], "b", &[]),
            ("Add", &["1", "b"], "c", &[]),
            ("Reciprocal", &["c"], "y", &[]),
        ]],
    ),
    (
        &[("Swish", &["x"], "y", &[])],
        &[
            &[("Sigmoid", &["x"], "a", &[]), ("Mul", &["a", "x"], "y", &[])],
            &[
                ("Neg", &["x"], "a", &[]),
                ("Exp", &["a"], "b", &[]),
                ("Add", &["1", "b"], "c", &[]),
                ("Div", &["x", "c"], "y", &[]),
            ],
        ],
    ),
    (
        &[("Softplus", &["x"], "y", &[])],
        &[&[("Exp", &["x"], "a", &[]), ("Add", &["a", "1"], "b", &[]), ("Log", &["b"], "y", &[])]],
    ),
    (
        &[("Mish", &["x"], "y", &[])],
        &[&[
            ("Exp", &["x"], "a", &[]),
            ("Add", &["a", "1"], "b", &[]),
            ("Log", &["b"], "c", &[]),
            ("Tanh", &["c"], "d", &[]),
            ("Mul", &["d", "x"], "y", &[]),
        ]],
    ),
    (
        &[("Gelu", &["x"], "y", &[])],
        &[
            &[
                ("Div", &["x", "sqrt2"], "a", &[]),
                ("Erf", &["a"], "b", &[]),
                ("Add", &["b", "1"], "c", &[]),
                ("Mul", &["x", "c"], "d", &[]),
                ("Mul", &["d", "0.5"], "y", &[]),
            ],
            &[
                ("Mul", &["rsqrt2", "x"], "a", &[]),
                ("Erf", &["a"], "b", &[]),
                ("Add", &["1", "b"], "c", &[]),
                ("Mul", &["0.5", "x"], "d", &[]),
                ("Mul", &["c", "d"], "y", &[]),
            ],
        ],
    ),
    (
        &[("Gelu", &["x"], "y", &[("approximate", Text("tanh"))])],
        &[
            &[
                ("Pow", &["x", "3"], "a", &[]),
                ("Mul", &["a", "0.044715"], "b", &[]),
                ("Add", &["x", "b"], "c", &[]),
                ("Mul", &["sqrt2/pi", "c"], "d", &[]),
                ("Tanh", &["d"], "e", &[]),
                ("Add", &["e", "1"], "f", &[]),
                ("Mul", &["x", "f"], "g", &[]),
                ("Mul", &["g", "0.5"], "y", &[]),
            ],
            &[
                ("Mul", &["0.044715", "x"], "a", &[]),
                ("Mul", &["a", "x"], "b", &[]),
                ("Add", &["1", "b"], "c", &[]),
                ("Mul", &["sqrt2/pi", "x"], "d", &[]),
                ("Mul", &["c", "d"], "e", &[]),
                ("Tanh", &["e"], "f", &[]),
                ("Add", &["1", "f"], "g", &[]),
                ("Mul", &["0.5", "g"], "h", &[]),
                ("Mul", &["x", "h"], "y", &[]),
            ],
        ],
    ),
    (
        &[("LayerNormalization", &["x", "scale", "bias"], "y", &[])],
        &[
            &[
                ("ReduceMean", &["x", "last"], "a", &[]),
                ("Sub", &["x", "a"], "b", &[]),
                ("Pow", &["b", "2"], "c", &[]),
                ("ReduceMean", &["c", "last"], "d", &[]),
                ("Add", &["d", "1e-5"], "e", &[]),
                ("Sqrt", &["e"], "f", &[]),
                ("Div", &["b", "f"], "g", &[]),
                ("Mul", &["scale", "g"], "h", &[]),
                ("Add", &["h", "bias"], "y", &[]),
            ],
            &[
                ("ReduceSum", &["x", "last"], "a0", &[]),
                ("Mul", &["a0", "0.125"], "a", &[]),
                ("Mul", &["x", "x"], "c", &[]),
                ("ReduceMean", &["c", "last"], "d", &[]),
                ("Mul", &["a", "a"], "d0", &[]),
                ("Sub", &["d", "d0"], "d1", &[]),
                ("Add", &["d1", "1e-5"], "e", &[]),
                ("Sqrt", &["e"], "f", &[]),
                ("Reciprocal", &["f"], "g", &[]),
                ("Mul", &["g", "scale"], "h", &[]),
                ("Sub", &["x", "a"], "b", &[]),
                ("Mul", &["b", "h"], "i", &[]),
                ("Add", &["i", "bias"], "y", &[]),
            ],
        ],
    ),
    (
        &[("GroupNormalization", &["image", "scale", "bias"], "y", &[("num_groups", Int(4))])],
        &[
            // As PyTorch exports it.
            &[
                ("Reshape", &["image", "groups"], "a", &[]),
                ("InstanceNormalization", &["a", "ones", "zeros"], "b", &[]),
                ("Reshape", &["b", "whole"], "c", &[]),
                ("Mul", &["c", "channel scale"], "d", &[]),
                ("Add", &["d", "channel bias"], "y", &[]),
            ],
            &[
                ("Reshape", &["image", "flat groups"], "a", &[]),
                ("ReduceMean", &["a", "last"], "b", &[]),
                ("Sub", &["a", "b"], "c", &[]),
                ("Mul", &["c", "c"], "d", &[]),
                ("ReduceMean", &["d", "last"], "e", &[]),
                ("Add", &["e", "1e-5"], "f", &[]),
                ("Sqrt", &["f"], "g", &[]),
                ("Div", &["c", "g"], "h", &[]),
                ("Reshape", &["h", "whole"], "i", &[]),
                ("Mul", &["i", "channel scale"], "j", &[]),
                ("Add", &["j", "channel bias"], "y", &[]),
            ],
        ],
    ),
    (
        &[("RMSNormalization", &["x", "scale"], "y", &[])],
        &[&[
            ("Pow", &["x", "2"], "a", &[]),
            ("ReduceMean", &["a", "last"], "b", &[]),
            ("Add", &["b", "1e-5"], "c", &[]),
            ("Sqrt", &["c"], "d", &[]),
            ("Div", &["x", "d"], "e", &[]),
            ("Mul", &["scale", "e"], "y", &[]),
        ]],
    ),
    (
        &[("Softmax", &["x"], "y", &[])],
        &[
            &[
                ("Exp", &["x"], "a", &[]),
                ("ReduceSum", &["a", "last"], "b", &[]),
                ("Div", &["a", "b"], "y", &[]),
            ],
            &[
                ("ReduceMax", &["x", "last"], "a", &[]),
                ("Sub", &["x", "a"], "b", &[]),
                ("Exp", &["b"], "c", &[]),
                ("ReduceSum", &["c", "last"], "d", &[]),
                ("Reciprocal", &["d"], "e", &[]),
                ("Mul", &["c", "e"], "y", &[]),
            ],
        ],
    ),
    (
        &[("LogSoftmax", &["x"], "y", &[])],
        &[
            &[("Softmax", &["x"], "a", &[]), ("Log", &["a"], "y", &[])],
            &[("ReduceLogSumExp", &["x", "last"], "a", &[]), ("Sub", &["x", "a"], "y", &[])],
        ],
    ),
    (
        &[("Attention", &["q", "k", "v"], "y", &[])],
        &[&[
            ("Transpose", &["k"], "kt", &[("perm", Ints(&[0, 1, 3, 2]))]),
            ("MatMul", &["q", "kt"], "a", &[]),
            ("Div", &["a", "2"], "b", &[]),
            ("Softmax", &["b"], "c", &[]),
            ("MatMul", &["c", "v"], "y", &[]),
        ]],
    ),
    (
        &[("RotaryEmbedding", &["q", "cosines", "sines"], "y", &[])],
        &[
            &[
                ("Unsqueeze", &["cosines", "one"], "c", &[]),
                ("Unsqueeze", &["sines", "one"], "s", &[]),
                ("Slice", &["q", "zero", "two", "last"], "a", &[]),
                ("Slice", &["q", "two", "four", "last"], "b", &[]),
                ("Mul", &["c", "a"], "ca", &[]),
                ("Mul", &["s", "b"], "sb", &[]),
                ("Sub", &["ca", "sb"], "real", &[]),
                ("Mul", &["s", "a"], "sa", &[]),
                ("Mul", &["b", "c"], "bc", &[]),
                ("Add", &["bc", "sa"], "imaginary", &[]),
                ("Concat", &["real", "imaginary"], "y", &[("axis", Int(-1))]),
            ],
            // As Hugging Face's models spell it.
            &[
                ("Concat", &["cosines", "cosines"], "cc", &[("axis", Int(-1))]),
                ("Concat", &["sines", "sines"], "ss", &[("axis", Int(-1))]),
                ("Unsqueeze", &["cc", "one"], "c", &[]),
                ("Unsqueeze", &["ss", "one"], "s", &[]),
                ("Mul", &["q", "c"], "qc", &[]),
                ("Slice", &["q", "zero", "two", "last"], "a", &[]),
                ("Slice", &["q", "two", "four", "last"], "b", &[]),
                ("Neg", &["b"], "n", &[]),
                ("Concat", &["n", "a"], "r", &[("axis", Int(-1))]),
                ("Mul", &["r", "s"], "rs", &[]),
                ("Add", &["qc", "rs"], "y", &[]),
            ],
        ],
    ),
    (
        &[("ReduceMean", &["x", "last"], "y", &[])],
        &[&[("ReduceSum", &["x", "last"], "a", &[]), ("Mul", &["a", "0.125"], "y", &[])]],
    ),
    (
        &[("LpNormalization", &["x"], "y", &[])],
        &[
            &[("ReduceL2", &["x", "last"], "a", &[]), ("Div", &["x", "a"], "y", &[])],
            &[
                ("Mul", &["x", "x"], "a", &[]),
                ("ReduceSum", &["a", "last"], "b", &[]),
                ("Sqrt", &["b"], "c", &[]),
                ("Div", &["x", "c"], "y", &[]),
            ],
        ],
    ),
    (
        &[("DepthToSpace", &["image"], "y", &[("blocksize", Int(2))])],
        &[&[
            ("Reshape", &["image", "blocks"], "a", &[]),
            ("Transpose", &["a"], "b", &[("perm", Ints(&[0, 3, 4, 1, 5, 2]))]),
            ("Reshape", &["b", "wide"], "y", &[]),
        ]],
    ),
];

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

/// Group normalization and the activation behind it, as they stand in diffusion models.
const GROUP_NORM_SILU: &[Step] = &[
    ("Reshape", &["image", "groups"], "a", &[]),
    ("InstanceNormalization", &["a", "ones", "zeros"], "b", &[]),
    ("Reshape", &["b", "whole"], "c", &[]),
    ("Mul", &["c", "channel scale"], "d", &[]),
    ("Add", &["d", "channel bias"], "e", &[]),
    ("Sigmoid", &["e"], "f", &[]),
    ("Mul", &["e", "f"], "y", &[]),
];

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
