//! decode - slim protobuf to the owned structs of `model`, checking what needs no knowledge of operators.

use crate::external::ExternalFiles;
use crate::header;
use crate::limits::Limits;
use crate::model::{
    Buffer, Dim, Function, Graph, Model, Node, OnnxType, Tensor, TensorData, ValueInfo, ValueType, body_step,
};
use crate::problems::Problems;
use nnc_ir::diag::{Diagnostic, NodeLoc};
use onnx_protobuf as pb;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

/// What is needed to decode one file, and where in it the decoder is.
pub(crate) struct Decoder<'a> {
    pub(crate) buffer: Buffer,
    /// Payloads that are in buffers of their own, by where they begin in the file.
    pub(crate) large: BTreeMap<usize, Buffer>,
    pub(crate) payloads: Vec<Range<usize>>,
    pub(crate) external: ExternalFiles<'a>,
    pub(crate) limits: &'a Limits,
    pub(crate) problems: &'a mut Problems,
    /// Bytes of sparse tensors made dense so far.
    pub(crate) dense_bytes: usize,
    /// Path of the graph being decoded: `main`, then `node.attribute` for each body.
    graphs: Vec<String>,
    node: Option<NodeLoc>,
    /// Operator sets of the model or the function being decoded.
    opsets: BTreeMap<String, i64>,
    /// Inside of a function, where attributes may refer to its attributes.
    pub(crate) in_function: bool,
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(
        buffer: Buffer,
        payloads: Vec<Range<usize>>,
        external: ExternalFiles<'a>,
        limits: &'a Limits,
        problems: &'a mut Problems,
    ) -> Self {
        Self {
            buffer,
            large: BTreeMap::new(),
            payloads,
            external,
            limits,
            problems,
            dense_bytes: 0,
            graphs: Vec::new(),
            node: None,
            opsets: BTreeMap::new(),
            in_function: false,
        }
    }

    /// Adds a problem, with the graph and node being decoded.
    pub(crate) fn report(&mut self, mut diagnostic: Diagnostic) {
        if self.problems.is_full() {
            return self.problems.push(diagnostic);
        }
        if diagnostic.loc.graph.is_none() && !self.graphs.is_empty() {
            diagnostic.loc.graph = Some(self.graphs.join("/"));
        }
        if diagnostic.loc.node.is_none() {
            diagnostic.loc.node.clone_from(&self.node);
        }
        self.problems.push(diagnostic);
    }

    /// The whole model; errors are in `problems`.
    pub(crate) fn model(&mut self, m: pb::ModelProto) -> Option<Model> {
        header::check_ir_version(m.ir_version, self.problems);
        self.opsets = header::opsets(m.opset_import, "the model", self.problems);
        let Some(graph) = m.graph.into_option() else {
            self.report(Diagnostic::error(101, "model has no graph"));
            return None;
        };
        if self.opsets.is_empty() {
            self.no_default_opset();
        }
        self.graphs.push("main".to_owned());
        let graph = self.graph(graph);
        self.graphs.pop();
        let opsets = self.opsets.clone();
        let functions = m.functions.into_iter().map(|f| self.function(f)).collect();
        for overlap in self.external.overlaps() {
            self.report(overlap);
        }
        let producer = [m.producer_name, m.producer_version];
        Some(Model {
            ir_version: m.ir_version,
            producer: producer.join(" ").trim().to_owned(),
            opsets,
            metadata: m.metadata_props.into_iter().map(|e| (e.key, e.value)).collect(),
            functions,
            graph,
            warnings: Vec::new(),
        })
    }

    /// A graph; the caller has pushed its path.
    fn graph(&mut self, g: pb::GraphProto) -> Graph {
        let mut initializers: Vec<Tensor> = Vec::with_capacity(g.initializer.len());
        // A refused tensor still defines its name: its users are not to blame.
        for t in g.initializer {
            let name = t.name.clone();
            initializers.push(self.tensor(t).unwrap_or_else(|| nothing(name)));
        }
        for s in g.sparse_initializer {
            let name = s.values.as_ref().map_or_else(String::new, |v| v.name.clone());
            initializers.push(self.sparse(s).unwrap_or_else(|| nothing(name)));
        }
        let constant: BTreeSet<&str> = initializers.iter().map(|t| t.name.as_str()).collect();
        let (mut inputs, mut overridable) = (Vec::new(), Vec::new());
        for input in g.input {
            if constant.contains(input.name.as_str()) {
                overridable.push(input.name);
            } else {
                inputs.push(self.value_info(input));
            }
        }
        Graph {
            name: g.name,
            inputs,
            outputs: g.output.into_iter().map(|v| self.value_info(v)).collect(),
            value_info: g.value_info.into_iter().map(|v| self.value_info(v)).collect(),
            initializers,
            overridable,
            nodes: self.nodes(g.node),
        }
    }

    fn nodes(&mut self, nodes: Vec<pb::NodeProto>) -> Vec<Node> {
        nodes.into_iter().enumerate().map(|(index, n)| self.node(index, n)).collect()
    }

    /// Reports, once for the model and once for each function, that the default domain is used but not imported.
    fn no_default_opset(&mut self) {
        self.report(Diagnostic::error(12, "no opset_import for the default domain"));
        self.opsets.insert(String::new(), header::MAX_OPSET);
    }

    fn node(&mut self, index: usize, n: pb::NodeProto) -> Node {
        let domain = header::domain(n.domain);
        let opset = self.opsets.get(&domain).copied().unwrap_or(0);
        if domain.is_empty() && !self.opsets.contains_key("") {
            self.no_default_opset();
        }
        let mut node = Node {
            index,
            name: n.name,
            op_type: n.op_type,
            domain,
            overload: n.overload,
            opset,
            inputs: n.input,
            outputs: n.output,
            attributes: Vec::with_capacity(n.attribute.len()),
        };
        let outer = self.node.replace(node.loc());
        for a in n.attribute {
            if node.attributes.iter().any(|known| known.name == a.name) {
                self.report(Diagnostic::error(207, format!("attribute '{}' given twice", a.name)));
            } else {
                node.attributes.extend(self.attribute(a));
            }
        }
        self.node = outer;
        node
    }

    /// The body that attribute `attribute` of the current node holds.
    pub(crate) fn body(&mut self, attribute: &str, g: pb::GraphProto) -> Graph {
        let node = self.node.take();
        let step = node.as_ref().map_or_else(|| attribute.to_owned(), |n| body_step(n, attribute));
        self.graphs.push(step);
        let graph = self.graph(g);
        self.graphs.pop();
        self.node = node;
        graph
    }

    fn function(&mut self, f: pb::FunctionProto) -> Function {
        let domain = header::domain(f.domain);
        let place = format!("function {domain}:{}", f.name);
        self.opsets = header::opsets(f.opset_import, &place, self.problems);
        self.graphs.push(place);
        self.in_function = true;
        let mut defaults = Vec::with_capacity(f.attribute_proto.len());
        for a in f.attribute_proto {
            defaults.extend(self.attribute(a));
        }
        let function = Function {
            domain,
            name: f.name,
            overload: f.overload,
            inputs: f.input,
            outputs: f.output,
            attributes: f.attribute,
            defaults,
            opsets: self.opsets.clone(),
            nodes: self.nodes(f.node),
        };
        self.in_function = false;
        self.graphs.pop();
        function
    }

    fn value_info(&mut self, v: pb::ValueInfoProto) -> ValueInfo {
        let ty = v.type_.into_option().and_then(|t| self.value_type(t, &v.name));
        ValueInfo { name: v.name, ty }
    }

    /// A declared type; `None` if it says nothing or was refused, which has been reported.
    pub(crate) fn value_type(&mut self, t: pb::TypeProto, name: &str) -> Option<ValueType> {
        use pb::type_proto::Value;
        Some(match t.value? {
            Value::TensorType(t) => {
                let shape = t.shape.into_option().map(|s| self.shape(s, name));
                ValueType::Tensor { elem: self.element_type(t.elem_type, name)?, shape }
            }
            Value::SparseTensorType(t) => {
                let shape = t.shape.into_option().map(|s| self.shape(s, name));
                ValueType::Sparse { elem: self.element_type(t.elem_type, name)?, shape }
            }
            Value::SequenceType(t) => {
                ValueType::Sequence(Box::new(self.value_type(t.elem_type.into_option()?, name)?))
            }
            Value::OptionalType(t) => {
                ValueType::Optional(Box::new(self.value_type(t.elem_type.into_option()?, name)?))
            }
            Value::MapType(t) => ValueType::Map {
                key: self.element_type(t.key_type, name)?,
                value: Box::new(self.value_type(t.value_type.into_option()?, name)?),
            },
            _ => return None,
        })
    }

    fn element_type(&mut self, number: i32, name: &str) -> Option<OnnxType> {
        let ty = OnnxType::from_number(i64::from(number));
        // 0 is how some exporters say that they do not know.
        if ty.is_none() && number != 0 {
            self.report(Diagnostic::error(17, format!("unknown data_type {number} in type of '{name}'")));
        }
        ty
    }

    fn shape(&mut self, s: pb::TensorShapeProto, name: &str) -> Vec<Dim> {
        use pb::tensor_shape_proto::dimension::Value;
        let mut dims = Vec::with_capacity(s.dim.len());
        for (axis, d) in s.dim.into_iter().enumerate() {
            dims.push(match d.value {
                Some(Value::DimValue(-1)) => {
                    let message = format!("dim {axis} of '{name}' is -1, taken as unknown");
                    self.report(Diagnostic::warning(237, message));
                    Dim::Unknown
                }
                Some(Value::DimValue(d)) if !(0..=self.limits.extent).contains(&d) => {
                    let limit = self.limits.extent;
                    let message = format!("dim {axis} of '{name}' is {d}, not in 0..{limit}");
                    self.report(Diagnostic::error(237, message).tensor(name));
                    Dim::Unknown
                }
                Some(Value::DimValue(d)) => Dim::Value(d),
                Some(Value::DimParam(symbol)) if !symbol.is_empty() => Dim::Param(symbol),
                _ => Dim::Unknown,
            });
        }
        dims
    }
}

/// Stands for a refused tensor in a model that is refused as well.
fn nothing(name: String) -> Tensor {
    Tensor { name, dtype: OnnxType::Uint8, dims: vec![0], data: TensorData::Inline(Arc::default()) }
}
