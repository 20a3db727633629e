//! proto - writes protobuf messages field by field, right or wrong, for tests.
#![allow(dead_code, missing_docs, unreachable_pub, reason = "each test file uses a part of it")]

use nnc_ir::diag::Diagnostic;
use nnc_onnx::load::{LoadOptions, load_bytes};
use nnc_onnx::model::Model;

/// Bytes of a message under construction.
#[derive(Clone, Default)]
pub struct Msg(pub Vec<u8>);

/// A new message.
pub fn msg() -> Msg {
    Msg::default()
}

/// Bytes of a varint.
pub fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

impl Msg {
    fn tag(mut self, field: u64, wire_type: u64) -> Self {
        self.0.extend(varint(field << 3 | wire_type));
        self
    }

    /// Any bytes, as they are.
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    pub fn int(self, field: u64, value: i64) -> Self {
        self.tag(field, 0).raw(&varint(value as u64))
    }

    pub fn float(self, field: u64, value: f32) -> Self {
        self.tag(field, 5).raw(&value.to_le_bytes())
    }

    pub fn bytes(self, field: u64, bytes: &[u8]) -> Self {
        self.tag(field, 2).raw(&varint(bytes.len() as u64)).raw(bytes)
    }

    pub fn str(self, field: u64, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }

    pub fn msg(self, field: u64, inner: Msg) -> Self {
        self.bytes(field, &inner.0)
    }

    /// Packed varints.
    pub fn ints(self, field: u64, values: &[i64]) -> Self {
        let packed: Vec<u8> = values.iter().flat_map(|&v| varint(v as u64)).collect();
        self.bytes(field, &packed)
    }

    /// Packed floats.
    pub fn floats(self, field: u64, values: &[f32]) -> Self {
        let packed: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.bytes(field, &packed)
    }

    /// The same change for each item.
    pub fn each<T>(self, items: impl IntoIterator<Item = T>, change: impl Fn(Self, T) -> Self) -> Self {
        items.into_iter().fold(self, change)
    }
}

/// TypeProto of a tensor.
pub fn tensor_type(elem: i64, dims: &[i64]) -> Msg {
    let shape = msg().each(dims, |m, &d| m.msg(1, msg().int(1, d)));
    msg().msg(1, msg().int(1, elem).msg(2, shape))
}

/// ValueInfoProto of an f32 tensor `[2, 3]`.
pub fn value(name: &str) -> Msg {
    msg().str(1, name).msg(2, tensor_type(1, &[2, 3]))
}

/// NodeProto.
pub fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> Msg {
    msg().each(inputs, |m, n| m.str(1, n)).each(outputs, |m, n| m.str(2, n)).str(4, op)
}

/// AttributeProto with a graph.
pub fn graph_attribute(name: &str, graph: Msg) -> Msg {
    msg().str(1, name).msg(6, graph).int(20, 5)
}

/// TensorProto header without data.
pub fn tensor_header(name: &str, data_type: i64, dims: &[i64]) -> Msg {
    msg().ints(1, dims).int(2, data_type).str(8, name)
}

/// TensorProto of f32 zeros in raw_data.
pub fn zeros(name: &str, dims: &[i64]) -> Msg {
    let n: i64 = dims.iter().product();
    tensor_header(name, 1, dims).bytes(9, &vec![0; 4 * usize::try_from(n).expect("a size")])
}

/// GraphProto with nodes, f32 `[2, 3]` inputs and outputs.
pub fn graph(nodes: &[Msg], inputs: &[&str], outputs: &[&str]) -> Msg {
    msg()
        .each(nodes, |m, n| m.msg(1, n.clone()))
        .str(2, "g")
        .each(inputs, |m, n| m.msg(11, value(n)))
        .each(outputs, |m, n| m.msg(12, value(n)))
}

/// OperatorSetIdProto.
pub fn opset(domain: &str, version: i64) -> Msg {
    msg().str(1, domain).int(2, version)
}

/// ModelProto of IR version 8 and opset 17, in the order in which writers put it.
pub fn model(graph: Msg) -> Msg {
    msg().int(1, 8).str(2, "test").msg(7, graph).msg(8, opset("", 17))
}

/// The smallest model with a weight: `y = x + w`.
pub fn tiny_graph() -> Msg {
    graph(&[node("Add", &["x", "w"], &["y"]).str(3, "add")], &["x"], &["y"]).msg(5, zeros("w", &[2, 3]))
}

/// Loads from memory with the default options.
pub fn load(bytes: &[u8]) -> Result<Model, Vec<Diagnostic>> {
    load_bytes(bytes.to_vec(), None, &LoadOptions::default())
}

/// Codes as printed: `E0101` or `W0104`.
pub fn codes(diagnostics: &[Diagnostic]) -> Vec<String> {
    let letter = |d: &Diagnostic| if d.is_error() { 'E' } else { 'W' };
    diagnostics.iter().map(|d| format!("{}{:04}", letter(d), d.code.0)).collect()
}

/// One bad model and the first lines of what is said about it.
pub struct Case {
    /// What is wrong.
    pub what: &'static str,
    /// The model.
    pub bytes: Vec<u8>,
    /// Part of the message as printed, without place and cure.
    pub says: &'static str,
}

/// Checks each case; its problem may be one of several.
pub fn check(cases: Vec<Case>) {
    for Case { what, bytes, says } in cases {
        let Err(problems) = load(&bytes) else { panic!("{what}: loads") };
        let printed: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert!(printed.iter().any(|p| p.contains(says)), "{what}: want {says}\ngot {}", printed.join("\n"));
        assert!(problems.iter().any(Diagnostic::is_error), "{what}: no error among {printed:?}");
    }
}

/// A case.
pub fn case(what: &'static str, model: Msg, says: &'static str) -> Case {
    Case { what, bytes: model.0, says }
}
