//! proto - ONNX files for tests, written field by field: valid ones, and ones no encoder would write.
//!
//! A [`Message`] is the bytes of a protobuf message under way. Field numbers are those of `onnx.proto`.

/// A protobuf message under way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message(pub Vec<u8>);

impl Message {
    /// An empty message.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
    /// Appends bytes as they are.
    #[must_use]
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }
    /// Appends a variable-length integer.
    #[must_use]
    pub fn varint(mut self, mut x: u64) -> Self {
        while x >= 0x80 {
            self.0.push(x as u8 | 0x80);
            x >>= 7;
        }
        self.0.push(x as u8);
        self
    }
    /// Appends the key of a field.
    #[must_use]
    pub fn key(self, field: u64, wire_type: u64) -> Self {
        self.varint(field << 3 | wire_type)
    }
    /// Appends an integer field.
    #[must_use]
    pub fn int(self, field: u64, x: i64) -> Self {
        self.key(field, 0).varint(x.cast_unsigned())
    }
    /// Appends a field of bytes.
    #[must_use]
    pub fn bytes(self, field: u64, bytes: &[u8]) -> Self {
        self.key(field, 2).varint(bytes.len() as u64).raw(bytes)
    }
    /// Appends a field of text.
    #[must_use]
    pub fn text(self, field: u64, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }
    /// Appends a message in a field.
    #[must_use]
    pub fn message(self, field: u64, message: &Message) -> Self {
        self.bytes(field, &message.0)
    }
}

/// Element type `FLOAT` of `TensorProto`.
pub const FLOAT: i64 = 1;
/// Element type `INT64` of `TensorProto`.
pub const INT64: i64 = 7;
/// Element type `BOOL` of `TensorProto`.
pub const BOOL: i64 = 9;

/// A `ModelProto` of IR version 8 that imports opset 17 of the default domain.
#[must_use]
pub fn model(graph: &Message) -> Message {
    head().message(7, graph)
}

/// The fields of [`model`] before its graph.
#[must_use]
pub fn head() -> Message {
    Message::new().int(1, 8).message(8, &opset("", 17))
}

/// An `OperatorSetIdProto`.
#[must_use]
pub fn opset(domain: &str, version: i64) -> Message {
    Message::new().text(1, domain).int(2, version)
}

/// A `ValueInfoProto` of floats.
#[must_use]
pub fn value(name: &str, dims: &[i64]) -> Message {
    typed_value(name, FLOAT, dims)
}

/// A `ValueInfoProto` of elements of type `elem`.
#[must_use]
pub fn typed_value(name: &str, elem: i64, dims: &[i64]) -> Message {
    let shape = dims.iter().fold(Message::new(), |shape, &d| shape.message(1, &Message::new().int(1, d)));
    let tensor = Message::new().int(1, elem).message(2, &shape);
    Message::new().text(1, name).message(2, &Message::new().message(1, &tensor))
}

/// An `AttributeProto` of an integer; field 5 of a node.
#[must_use]
pub fn int_attribute(name: &str, x: i64) -> Message {
    Message::new().text(1, name).int(3, x).int(20, 2)
}

/// An `AttributeProto` of a text; field 5 of a node.
#[must_use]
pub fn text_attribute(name: &str, x: &str) -> Message {
    Message::new().text(1, name).text(4, x).int(20, 3)
}

/// A `TensorProto` of one boolean, without axes.
#[must_use]
pub fn flag(name: &str, x: bool) -> Message {
    Message::new().int(2, BOOL).text(8, name).bytes(9, &[u8::from(x)])
}

/// A `NodeProto` without attributes.
#[must_use]
pub fn node(op: &str, name: &str, inputs: &[&str], outputs: &[&str]) -> Message {
    let node = inputs.iter().fold(Message::new(), |node, input| node.text(1, input));
    let node = outputs.iter().fold(node, |node, output| node.text(2, output));
    node.text(3, name).text(4, op)
}

/// A `TensorProto` of floats with raw data.
#[must_use]
pub fn tensor(name: &str, dims: &[i64], elements: &[f32]) -> Message {
    let raw: Vec<u8> = elements.iter().flat_map(|x| x.to_le_bytes()).collect();
    let dims = dims.iter().fold(Message::new(), |t, &d| t.int(1, d));
    dims.int(2, FLOAT).text(8, name).bytes(9, &raw)
}

/// A `TensorProto` whose data stand in another file.
#[must_use]
pub fn external(name: &str, dims: &[i64], entries: &[(&str, &str)]) -> Message {
    let dims = dims.iter().fold(Message::new(), |t, &d| t.int(1, d));
    let tensor = dims.int(2, FLOAT).text(8, name);
    let entry =
        |t: Message, (key, value): &(&str, &str)| t.message(13, &Message::new().text(1, key).text(2, value));
    entries.iter().fold(tensor, entry).int(14, 1)
}

/// A `GraphProto` of these parts.
#[must_use]
pub fn graph(
    nodes: &[Message],
    initializers: &[Message],
    inputs: &[Message],
    outputs: &[Message],
) -> Message {
    let graph = nodes.iter().fold(Message::new(), |g, n| g.message(1, n)).text(2, "main");
    let graph = initializers.iter().fold(graph, |g, t| g.message(5, t));
    let graph = inputs.iter().fold(graph, |g, v| g.message(11, v));
    outputs.iter().fold(graph, |g, v| g.message(12, v))
}

/// A valid graph: `y = relu(x)` for two floats.
#[must_use]
pub fn relu() -> Message {
    graph(&[node("Relu", "relu", &["x"], &["y"])], &[], &[value("x", &[2])], &[value("y", &[2])])
}
