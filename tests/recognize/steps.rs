//! steps - small ONNX models, written as lists of nodes.
//!
//! What a node reads and no other gives is an input or a constant of a name that is known here: inputs `x: f32[2,4,8]`,
//! `q, k, v: f32[1,2,3,4]`, tables `f32[1,3,2]` and `image: f32[1,8,2,3]`; numbers by what they are. The result is `y`.

use nnc_kit::proto::{Message, graph, node, opset, tensor, value};

/// An attribute of a node.
pub(crate) enum Attr {
    Int(i64),
    Float(f32),
    Text(&'static str),
    Ints(&'static [i64]),
}

/// A node of an ONNX graph: operator, inputs, output, attributes.
pub(crate) type Step = (&'static str, &'static [&'static str], &'static str, &'static [(&'static str, Attr)]);

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

/// The model of these nodes, as bytes of its file.
pub(crate) fn model(steps: &[Step]) -> Vec<u8> {
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
