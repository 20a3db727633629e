//! model - an ONNX model as the importer reads it: owned structs, checked, with weights left where they lie.

use nnc_ir::diag::{Diagnostic, NodeLoc};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Bytes of one file, shared by all tensors whose payload lies in it.
pub type Buffer = Arc<Vec<u8>>;

/// A decoded model.
#[derive(Clone, Debug)]
pub struct Model {
    /// Version of the file format.
    pub ir_version: i64,
    /// Name and version of the tool that wrote the file.
    pub producer: String,
    /// Operator set versions by domain; the default domain is `""`.
    pub opsets: BTreeMap<String, i64>,
    /// Free-form properties, in the file's order.
    pub metadata: Vec<(String, String)>,
    /// Model-local functions; none are left once calls are expanded.
    pub functions: Vec<Function>,
    /// The main graph.
    pub graph: Graph,
    /// What was odd but not wrong.
    pub warnings: Vec<Diagnostic>,
}

/// A graph: the main one, or the body of an `If`, `Loop` or `Scan`.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// Name, which may be empty.
    pub name: String,
    /// Inputs that are not initializers.
    pub inputs: Vec<ValueInfo>,
    /// Outputs; types are as declared, which may be wrong.
    pub outputs: Vec<ValueInfo>,
    /// Declared types of inner values.
    pub value_info: Vec<ValueInfo>,
    /// Constants by name, sparse ones made dense.
    pub initializers: Vec<Tensor>,
    /// Initializers the file also lists as inputs: defaults a caller might have overridden. They are constants here.
    pub overridable: Vec<String>,
    /// Nodes in topological order.
    pub nodes: Vec<Node>,
}

/// One application of an operator.
#[derive(Clone, Debug, Default)]
pub struct Node {
    /// Position in its graph as the file has it; for a node of an expanded function that of the call.
    pub index: usize,
    /// Name, which may be empty.
    pub name: String,
    /// Operator.
    pub op_type: String,
    /// Domain of the operator; the default domain is `""`.
    pub domain: String,
    /// Which of several functions of this name is called; usually empty.
    pub overload: String,
    /// Version of the domain's operator set that gives the node its meaning; 0 if the domain is not imported.
    pub opset: i64,
    /// Names of operands; `""` is an optional one left out.
    pub inputs: Vec<String>,
    /// Names of results; `""` is one that nobody wants.
    pub outputs: Vec<String>,
    /// Attributes in the file's order, each name once.
    pub attributes: Vec<Attribute>,
}

/// A named attribute.
#[derive(Clone, Debug)]
pub struct Attribute {
    /// Name.
    pub name: String,
    /// Value, of the type the file declares.
    pub value: AttrValue,
}

/// Value of an attribute.
#[derive(Clone, Debug)]
pub enum AttrValue {
    /// FLOAT
    Float(f32),
    /// INT
    Int(i64),
    /// STRING, not always text
    Str(Vec<u8>),
    /// TENSOR
    Tensor(Tensor),
    /// GRAPH
    Graph(Box<Graph>),
    /// SPARSE_TENSOR, made dense
    SparseTensor(Tensor),
    /// TYPE_PROTO
    Type(ValueType),
    /// FLOATS
    Floats(Vec<f32>),
    /// INTS
    Ints(Vec<i64>),
    /// STRINGS
    Strings(Vec<Vec<u8>>),
    /// TENSORS
    Tensors(Vec<Tensor>),
    /// GRAPHS
    Graphs(Vec<Graph>),
    /// SPARSE_TENSORS, made dense
    SparseTensors(Vec<Tensor>),
    /// TYPE_PROTOS
    Types(Vec<ValueType>),
    /// Attribute of the function around it (only inside functions).
    Ref(String),
}

/// A model-local function.
#[derive(Clone, Debug)]
pub struct Function {
    /// Domain; the default domain is `""`.
    pub domain: String,
    /// Name.
    pub name: String,
    /// Tells functions of one name apart; usually empty.
    pub overload: String,
    /// Names of parameters.
    pub inputs: Vec<String>,
    /// Names of results.
    pub outputs: Vec<String>,
    /// Attributes without a default.
    pub attributes: Vec<String>,
    /// Attributes with a default.
    pub defaults: Vec<Attribute>,
    /// Operator set versions by domain.
    pub opsets: BTreeMap<String, i64>,
    /// Body, in topological order.
    pub nodes: Vec<Node>,
}

/// A value with its declared type.
#[derive(Clone, Debug)]
pub struct ValueInfo {
    /// Name.
    pub name: String,
    /// Declared type, which subgraph inputs may lack.
    pub ty: Option<ValueType>,
}

/// Type of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueType {
    /// A tensor; without a shape even its rank is unknown.
    Tensor {
        /// Element type.
        elem: OnnxType,
        /// Extents, outermost first.
        shape: Option<Vec<Dim>>,
    },
    /// A sparse tensor.
    Sparse {
        /// Element type.
        elem: OnnxType,
        /// Extents, outermost first.
        shape: Option<Vec<Dim>>,
    },
    /// A sequence.
    Sequence(Box<ValueType>),
    /// A map.
    Map {
        /// Key type.
        key: OnnxType,
        /// Value type.
        value: Box<ValueType>,
    },
    /// A value or nothing.
    Optional(Box<ValueType>),
}

/// Declared extent of an axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dim {
    /// Known.
    Value(i64),
    /// A symbol, equal wherever it is used in the model.
    Param(String),
    /// Not declared.
    Unknown,
}

/// A constant tensor.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// Name, empty in attributes.
    pub name: String,
    /// Element type.
    pub dtype: OnnxType,
    /// Extents, each at least 0, with a product that fits.
    pub dims: Vec<i64>,
    /// Elements in row-major order.
    pub data: TensorData,
}

/// Where the elements of a tensor are. Numbers are little-endian, of exactly [`Tensor::n_bytes`] bytes; elements of fewer
/// than 8 bits are packed, the first one in the lowest bits. Booleans are 0 or 1.
#[derive(Clone, Debug)]
pub enum TensorData {
    /// A range of the model file or of a file of external data; not aligned.
    Range {
        /// The whole file.
        buffer: Buffer,
        /// First byte.
        offset: usize,
        /// Bytes.
        len: usize,
    },
    /// Bytes of its own.
    Inline(Arc<Vec<u8>>),
    /// Elements of a string tensor.
    Strings(Arc<Vec<Vec<u8>>>),
}

/// Element types of ONNX.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "named as in onnx.proto")]
pub enum OnnxType {
    Float = 1,
    Uint8 = 2,
    Int8 = 3,
    Uint16 = 4,
    Int16 = 5,
    Int32 = 6,
    Int64 = 7,
    String = 8,
    Bool = 9,
    Float16 = 10,
    Double = 11,
    Uint32 = 12,
    Uint64 = 13,
    Complex64 = 14,
    Complex128 = 15,
    Bfloat16 = 16,
    Float8E4m3fn = 17,
    Float8E4m3fnuz = 18,
    Float8E5m2 = 19,
    Float8E5m2fnuz = 20,
    Uint4 = 21,
    Int4 = 22,
    Float4E2m1 = 23,
    Float8E8m0 = 24,
    Uint2 = 25,
    Int2 = 26,
}

impl OnnxType {
    /// Every type, in the order of their numbers.
    pub const ALL: [Self; 26] = [
        Self::Float,
        Self::Uint8,
        Self::Int8,
        Self::Uint16,
        Self::Int16,
        Self::Int32,
        Self::Int64,
        Self::String,
        Self::Bool,
        Self::Float16,
        Self::Double,
        Self::Uint32,
        Self::Uint64,
        Self::Complex64,
        Self::Complex128,
        Self::Bfloat16,
        Self::Float8E4m3fn,
        Self::Float8E4m3fnuz,
        Self::Float8E5m2,
        Self::Float8E5m2fnuz,
        Self::Uint4,
        Self::Int4,
        Self::Float4E2m1,
        Self::Float8E8m0,
        Self::Uint2,
        Self::Int2,
    ];

    /// Type of a number of `TensorProto.DataType`.
    #[must_use]
    pub fn from_number(number: i64) -> Option<Self> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        Self::ALL.get(index).copied()
    }

    /// Bits of an element; `None` for strings.
    #[must_use]
    pub fn bits(self) -> Option<usize> {
        match self {
            Self::String => None,
            Self::Uint2 | Self::Int2 => Some(2),
            Self::Uint4 | Self::Int4 | Self::Float4E2m1 => Some(4),
            Self::Uint8
            | Self::Int8
            | Self::Bool
            | Self::Float8E4m3fn
            | Self::Float8E4m3fnuz
            | Self::Float8E5m2
            | Self::Float8E5m2fnuz
            | Self::Float8E8m0 => Some(8),
            Self::Uint16 | Self::Int16 | Self::Float16 | Self::Bfloat16 => Some(16),
            Self::Float | Self::Int32 | Self::Uint32 => Some(32),
            Self::Int64 | Self::Uint64 | Self::Double | Self::Complex64 => Some(64),
            Self::Complex128 => Some(128),
        }
    }

    /// Bytes of `n` elements; `None` for strings or if they do not fit `usize`.
    #[must_use]
    pub fn bytes_of(self, n: usize) -> Option<usize> {
        match self.bits()? {
            bits if bits < 8 => Some(n.div_ceil(8 / bits)),
            bits => n.checked_mul(bits / 8),
        }
    }

    /// Short name, `f32`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Float => "f32",
            Self::Uint8 => "u8",
            Self::Int8 => "i8",
            Self::Uint16 => "u16",
            Self::Int16 => "i16",
            Self::Int32 => "i32",
            Self::Int64 => "i64",
            Self::String => "string",
            Self::Bool => "bool",
            Self::Float16 => "f16",
            Self::Double => "f64",
            Self::Uint32 => "u32",
            Self::Uint64 => "u64",
            Self::Complex64 => "c64",
            Self::Complex128 => "c128",
            Self::Bfloat16 => "bf16",
            Self::Float8E4m3fn => "f8e4m3fn",
            Self::Float8E4m3fnuz => "f8e4m3fnuz",
            Self::Float8E5m2 => "f8e5m2",
            Self::Float8E5m2fnuz => "f8e5m2fnuz",
            Self::Uint4 => "u4",
            Self::Int4 => "i4",
            Self::Float4E2m1 => "f4e2m1",
            Self::Float8E8m0 => "f8e8m0",
            Self::Uint2 => "u2",
            Self::Int2 => "i2",
        }
    }
}

impl fmt::Display for OnnxType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Tensor {
    /// Number of elements.
    #[must_use]
    pub fn n_elements(&self) -> usize {
        self.dims.iter().map(|&d| usize::try_from(d).unwrap_or(0)).product()
    }

    /// Number of bytes; 0 for strings.
    #[must_use]
    pub fn n_bytes(&self) -> usize {
        self.dtype.bytes_of(self.n_elements()).unwrap_or(0)
    }

    /// Elements as little-endian bytes; none for strings.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match &self.data {
            TensorData::Range { buffer, offset, len } => &buffer[*offset..*offset + *len],
            TensorData::Inline(bytes) => bytes,
            TensorData::Strings(_) => &[],
        }
    }

    /// Elements of an integer or boolean tensor of at least 8 bits, widened; `None` for other types.
    /// `u64` values above `i64::MAX` wrap.
    #[must_use]
    pub fn to_i64s(&self) -> Option<Vec<i64>> {
        let bytes = self.bytes();
        Some(match self.dtype {
            OnnxType::Int64 => elements(bytes, i64::from_le_bytes),
            OnnxType::Uint64 => elements(bytes, |b| u64::from_le_bytes(b) as i64),
            OnnxType::Int32 => elements(bytes, |b| i64::from(i32::from_le_bytes(b))),
            OnnxType::Uint32 => elements(bytes, |b| i64::from(u32::from_le_bytes(b))),
            OnnxType::Int16 => elements(bytes, |b| i64::from(i16::from_le_bytes(b))),
            OnnxType::Uint16 => elements(bytes, |b| i64::from(u16::from_le_bytes(b))),
            OnnxType::Int8 => elements(bytes, |b| i64::from(i8::from_le_bytes(b))),
            OnnxType::Uint8 | OnnxType::Bool => elements(bytes, |[b]| i64::from(b)),
            _ => return None,
        })
    }

    /// Elements of an `f32` tensor; `None` for other types.
    #[must_use]
    pub fn to_f32s(&self) -> Option<Vec<f32>> {
        (self.dtype == OnnxType::Float).then(|| elements(self.bytes(), f32::from_le_bytes))
    }
}

/// Reads consecutive elements of `N` bytes.
fn elements<T, const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|&chunk| read(chunk)).collect()
}

impl Function {
    /// The function as diagnostics name it, `domain:name`.
    #[must_use]
    pub fn label(&self) -> String {
        match self.overload.as_str() {
            "" => format!("{}:{}", self.domain, self.name),
            overload => format!("{}:{}:{overload}", self.domain, self.name),
        }
    }
}

impl Node {
    /// The attribute `name`.
    #[must_use]
    pub fn attr(&self, name: &str) -> Option<&AttrValue> {
        self.attributes.iter().find(|a| a.name == name).map(|a| &a.value)
    }

    /// The node as diagnostics name it.
    #[must_use]
    pub fn loc(&self) -> NodeLoc {
        let op = match self.domain.as_str() {
            "" => self.op_type.clone(),
            domain => format!("{domain}.{}", self.op_type),
        };
        NodeLoc { index: self.index, name: self.name.clone(), op, opset: self.opset }
    }

    /// Bodies among the attributes, to change them.
    pub fn graphs_mut(&mut self) -> impl Iterator<Item = &mut Graph> {
        self.attributes.iter_mut().flat_map(|a| match &mut a.value {
            AttrValue::Graph(graph) => std::slice::from_mut(&mut **graph),
            AttrValue::Graphs(graphs) => graphs.as_mut_slice(),
            _ => &mut [],
        })
    }

    /// Bodies among the attributes, with the attribute's name.
    pub fn graphs(&self) -> impl Iterator<Item = (&str, &Graph)> {
        self.attributes.iter().flat_map(|a| {
            let graphs = match &a.value {
                AttrValue::Graph(graph) => std::slice::from_ref(&**graph),
                AttrValue::Graphs(graphs) => graphs.as_slice(),
                _ => &[],
            };
            graphs.iter().map(|g| (a.name.as_str(), g))
        })
    }
}

/// Step from a graph to the body in an attribute of one of its nodes, in the path that diagnostics give.
#[must_use]
pub fn body_step(node: &NodeLoc, attribute: &str) -> String {
    if node.name.is_empty() {
        format!("{}_{}.{attribute}", node.op, node.index)
    } else {
        format!("{}.{attribute}", node.name)
    }
}

impl AttrValue {
    /// Type as onnx.proto names it.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Float(_) => "FLOAT",
            Self::Int(_) => "INT",
            Self::Str(_) => "STRING",
            Self::Tensor(_) => "TENSOR",
            Self::Graph(_) => "GRAPH",
            Self::SparseTensor(_) => "SPARSE_TENSOR",
            Self::Type(_) => "TYPE_PROTO",
            Self::Floats(_) => "FLOATS",
            Self::Ints(_) => "INTS",
            Self::Strings(_) => "STRINGS",
            Self::Tensors(_) => "TENSORS",
            Self::Graphs(_) => "GRAPHS",
            Self::SparseTensors(_) => "SPARSE_TENSORS",
            Self::Types(_) => "TYPE_PROTOS",
            Self::Ref(_) => "reference",
        }
    }
}
