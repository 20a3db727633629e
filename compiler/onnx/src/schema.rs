//! schema - the messages of onnx.proto as the scanner knows them: field numbers, names and kinds.

use onnx_protobuf as pb;
use std::mem::size_of;

/// A message type of onnx.proto.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Msg {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    Sparse,
    Segment,
    Entry,
    ValueInfo,
    Type,
    TypeTensor,
    TypeSequence,
    TypeMap,
    TypeOptional,
    TypeSparse,
    Shape,
    Dimension,
    Opset,
    Function,
}

/// What a field holds and what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One varint of 64 bits.
    Int,
    /// One varint of 32 bits.
    Int32,
    /// Varints of 64 bits, packed or not.
    Ints,
    /// Varints of 32 bits, packed or not.
    Ints32,
    /// One four-byte value.
    Float,
    /// Four-byte values, packed or not.
    Floats,
    /// Eight-byte values, packed or not.
    Doubles,
    /// UTF-8 text that names something: of limited length.
    Name,
    /// UTF-8 text.
    Text,
    /// Any bytes.
    Bytes,
    /// The payload of a tensor: stays where it is in the file.
    Payload,
    /// A message to descend into.
    Message(Msg),
    /// A field the compiler has no use for: checked for its length, then dropped.
    Unused,
}

/// One row of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    pub(crate) number: u32,
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) repeated: bool,
}

const fn one(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, repeated: false }
}

const fn many(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, repeated: true }
}

const MODEL: &[Field] = &[
    one(1, "ir_version", Kind::Int),
    many(8, "opset_import", Kind::Message(Msg::Opset)),
    one(2, "producer_name", Kind::Name),
    one(3, "producer_version", Kind::Name),
    one(4, "domain", Kind::Name),
    one(5, "model_version", Kind::Int),
    one(6, "doc_string", Kind::Unused),
    one(7, "graph", Kind::Message(Msg::Graph)),
    many(14, "metadata_props", Kind::Message(Msg::Entry)),
    many(20, "training_info", Kind::Unused),
    many(25, "functions", Kind::Message(Msg::Function)),
    many(26, "configuration", Kind::Unused),
];

const GRAPH: &[Field] = &[
    many(1, "node", Kind::Message(Msg::Node)),
    one(2, "name", Kind::Name),
    many(5, "initializer", Kind::Message(Msg::Tensor)),
    one(10, "doc_string", Kind::Unused),
    many(11, "input", Kind::Message(Msg::ValueInfo)),
    many(12, "output", Kind::Message(Msg::ValueInfo)),
    many(13, "value_info", Kind::Message(Msg::ValueInfo)),
    many(14, "quantization_annotation", Kind::Unused),
    many(15, "sparse_initializer", Kind::Message(Msg::Sparse)),
    many(16, "metadata_props", Kind::Unused),
];

const NODE: &[Field] = &[
    many(1, "input", Kind::Name),
    many(2, "output", Kind::Name),
    one(3, "name", Kind::Name),
    one(4, "op_type", Kind::Name),
    many(5, "attribute", Kind::Message(Msg::Attribute)),
    one(6, "doc_string", Kind::Unused),
    one(7, "domain", Kind::Name),
    one(8, "overload", Kind::Name),
    many(9, "metadata_props", Kind::Unused),
    many(10, "device_configurations", Kind::Unused),
];

const ATTRIBUTE: &[Field] = &[
    one(1, "name", Kind::Name),
    one(2, "f", Kind::Float),
    one(3, "i", Kind::Int),
    one(4, "s", Kind::Bytes),
    one(5, "t", Kind::Message(Msg::Tensor)),
    one(6, "g", Kind::Message(Msg::Graph)),
    many(7, "floats", Kind::Floats),
    many(8, "ints", Kind::Ints),
    many(9, "strings", Kind::Bytes),
    many(10, "tensors", Kind::Message(Msg::Tensor)),
    many(11, "graphs", Kind::Message(Msg::Graph)),
    one(13, "doc_string", Kind::Unused),
    one(14, "tp", Kind::Message(Msg::Type)),
    many(15, "type_protos", Kind::Message(Msg::Type)),
    one(20, "type", Kind::Int32),
    one(21, "ref_attr_name", Kind::Name),
    one(22, "sparse_tensor", Kind::Message(Msg::Sparse)),
    many(23, "sparse_tensors", Kind::Message(Msg::Sparse)),
];

const TENSOR: &[Field] = &[
    many(1, "dims", Kind::Ints),
    one(2, "data_type", Kind::Int32),
    one(3, "segment", Kind::Message(Msg::Segment)),
    many(4, "float_data", Kind::Floats),
    many(5, "int32_data", Kind::Ints32),
    many(6, "string_data", Kind::Bytes),
    many(7, "int64_data", Kind::Ints),
    one(8, "name", Kind::Name),
    one(9, "raw_data", Kind::Payload),
    many(10, "double_data", Kind::Doubles),
    many(11, "uint64_data", Kind::Ints),
    one(12, "doc_string", Kind::Unused),
    many(13, "external_data", Kind::Message(Msg::Entry)),
    one(14, "data_location", Kind::Int32),
    many(16, "metadata_props", Kind::Unused),
];

const SPARSE: &[Field] = &[
    one(1, "values", Kind::Message(Msg::Tensor)),
    one(2, "indices", Kind::Message(Msg::Tensor)),
    many(3, "dims", Kind::Ints),
];

const SEGMENT: &[Field] = &[one(1, "begin", Kind::Int), one(2, "end", Kind::Int)];

const ENTRY: &[Field] = &[one(1, "key", Kind::Text), one(2, "value", Kind::Text)];

const VALUE_INFO: &[Field] = &[
    one(1, "name", Kind::Name),
    one(2, "type", Kind::Message(Msg::Type)),
    one(3, "doc_string", Kind::Unused),
    many(4, "metadata_props", Kind::Unused),
];

const TYPE: &[Field] = &[
    one(1, "tensor_type", Kind::Message(Msg::TypeTensor)),
    one(4, "sequence_type", Kind::Message(Msg::TypeSequence)),
    one(5, "map_type", Kind::Message(Msg::TypeMap)),
    one(6, "denotation", Kind::Unused),
    one(7, "opaque_type", Kind::Unused),
    one(8, "sparse_tensor_type", Kind::Message(Msg::TypeSparse)),
    one(9, "optional_type", Kind::Message(Msg::TypeOptional)),
];

const TYPE_TENSOR: &[Field] = &[one(1, "elem_type", Kind::Int32), one(2, "shape", Kind::Message(Msg::Shape))];

const TYPE_ELEMENT: &[Field] = &[one(1, "elem_type", Kind::Message(Msg::Type))];

const TYPE_MAP: &[Field] = &[one(1, "key_type", Kind::Int32), one(2, "value_type", Kind::Message(Msg::Type))];

const SHAPE: &[Field] = &[many(1, "dim", Kind::Message(Msg::Dimension))];

const DIMENSION: &[Field] =
    &[one(1, "dim_value", Kind::Int), one(2, "dim_param", Kind::Name), one(3, "denotation", Kind::Unused)];

const OPSET: &[Field] = &[one(1, "domain", Kind::Name), one(2, "version", Kind::Int)];

const FUNCTION: &[Field] = &[
    one(1, "name", Kind::Name),
    many(4, "input", Kind::Name),
    many(5, "output", Kind::Name),
    many(6, "attribute", Kind::Name),
    many(7, "node", Kind::Message(Msg::Node)),
    one(8, "doc_string", Kind::Unused),
    many(9, "opset_import", Kind::Message(Msg::Opset)),
    one(10, "domain", Kind::Name),
    many(11, "attribute_proto", Kind::Message(Msg::Attribute)),
    many(12, "value_info", Kind::Message(Msg::ValueInfo)),
    one(13, "overload", Kind::Name),
    many(14, "metadata_props", Kind::Unused),
];

impl Msg {
    /// Name in onnx.proto.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Model => "ModelProto",
            Self::Graph => "GraphProto",
            Self::Node => "NodeProto",
            Self::Attribute => "AttributeProto",
            Self::Tensor => "TensorProto",
            Self::Sparse => "SparseTensorProto",
            Self::Segment => "Segment",
            Self::Entry => "StringStringEntryProto",
            Self::ValueInfo => "ValueInfoProto",
            Self::Type => "TypeProto",
            Self::TypeTensor => "TypeProto.Tensor",
            Self::TypeSequence => "TypeProto.Sequence",
            Self::TypeMap => "TypeProto.Map",
            Self::TypeOptional => "TypeProto.Optional",
            Self::TypeSparse => "TypeProto.SparseTensor",
            Self::Shape => "TensorShapeProto",
            Self::Dimension => "TensorShapeProto.Dimension",
            Self::Opset => "OperatorSetIdProto",
            Self::Function => "FunctionProto",
        }
    }

    /// The rows of this message.
    pub(crate) fn fields(self) -> &'static [Field] {
        match self {
            Self::Model => MODEL,
            Self::Graph => GRAPH,
            Self::Node => NODE,
            Self::Attribute => ATTRIBUTE,
            Self::Tensor => TENSOR,
            Self::Sparse => SPARSE,
            Self::Segment => SEGMENT,
            Self::Entry => ENTRY,
            Self::ValueInfo => VALUE_INFO,
            Self::Type => TYPE,
            Self::TypeTensor | Self::TypeSparse => TYPE_TENSOR,
            Self::TypeSequence | Self::TypeOptional => TYPE_ELEMENT,
            Self::TypeMap => TYPE_MAP,
            Self::Shape => SHAPE,
            Self::Dimension => DIMENSION,
            Self::Opset => OPSET,
            Self::Function => FUNCTION,
        }
    }

    /// Bytes of the struct a message is decoded into: two bytes of file can ask for hundreds of them.
    pub(crate) fn decoded_bytes(self) -> usize {
        match self {
            Self::Model => size_of::<pb::ModelProto>(),
            Self::Graph => size_of::<pb::GraphProto>(),
            Self::Node => size_of::<pb::NodeProto>(),
            Self::Attribute => size_of::<pb::AttributeProto>(),
            Self::Tensor => size_of::<pb::TensorProto>(),
            Self::Sparse => size_of::<pb::SparseTensorProto>(),
            Self::Segment => size_of::<pb::tensor_proto::Segment>(),
            Self::Entry => size_of::<pb::StringStringEntryProto>(),
            Self::ValueInfo => size_of::<pb::ValueInfoProto>(),
            Self::Type => size_of::<pb::TypeProto>(),
            Self::TypeTensor => size_of::<pb::type_proto::Tensor>(),
            Self::TypeSequence => size_of::<pb::type_proto::Sequence>(),
            Self::TypeMap => size_of::<pb::type_proto::Map>(),
            Self::TypeOptional => size_of::<pb::type_proto::Optional>(),
            Self::TypeSparse => size_of::<pb::type_proto::SparseTensor>(),
            Self::Shape => size_of::<pb::TensorShapeProto>(),
            Self::Dimension => size_of::<pb::tensor_shape_proto::Dimension>(),
            Self::Opset => size_of::<pb::OperatorSetIdProto>(),
            Self::Function => size_of::<pb::FunctionProto>(),
        }
    }
}

impl Kind {
    /// Wire types a writer may use, the usual one first; none for a field that is not looked at.
    pub(crate) fn wire_types(self) -> &'static [super::wire::WireType] {
        use super::wire::WireType::{Bytes, Fixed32, Fixed64, Varint};
        match self {
            Self::Int | Self::Int32 => &[Varint],
            Self::Ints | Self::Ints32 => &[Bytes, Varint],
            Self::Float => &[Fixed32],
            Self::Floats => &[Bytes, Fixed32],
            Self::Doubles => &[Bytes, Fixed64],
            Self::Name | Self::Text | Self::Bytes | Self::Payload | Self::Message(_) | Self::Unused => {
                &[Bytes]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_numbered_once_and_fit_the_counters() {
        for msg in [Msg::Model, Msg::Graph, Msg::Node, Msg::Attribute, Msg::Tensor, Msg::Function, Msg::Type]
        {
            let mut numbers: Vec<u32> = msg.fields().iter().map(|f| f.number).collect();
            numbers.sort_unstable();
            numbers.dedup();
            assert_eq!(numbers.len(), msg.fields().len(), "{}", msg.name());
            assert!(numbers.len() <= crate::scan::MAX_FIELDS);
        }
    }
}
