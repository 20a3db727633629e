//! attribute - AttributeProto to a typed value: its declared type and the field in use must agree.

use crate::decode::Decoder;
use crate::model::{AttrValue, Attribute, Graph, Tensor, ValueType};
use nnc_ir::diag::Diagnostic;
use onnx_protobuf as pb;
use pb::attribute_proto::AttributeType as Type;

impl Decoder<'_> {
    /// Checks and converts an attribute. `None` if there was an error, which has been reported.
    pub(crate) fn attribute(&mut self, a: pb::AttributeProto) -> Option<Attribute> {
        let name = a.name.clone();
        if !a.ref_attr_name.is_empty() {
            if self.in_function {
                return Some(Attribute { name, value: AttrValue::Ref(a.ref_attr_name) });
            }
            let message = format!("attribute '{name}' refers to '{}' outside of a function", a.ref_attr_name);
            self.report(Diagnostic::error(116, message));
            return None;
        }
        let declared = a.type_.value();
        let Ok(ty) = a.type_.enum_value() else {
            let message = format!("unknown attribute type {declared} in attribute '{name}'");
            self.report(Diagnostic::error(17, message));
            return None;
        };
        let used = fields_in_use(&a);
        let ty = match (ty, used.as_slice()) {
            // Files of IR version 1 had no type.
            (Type::UNDEFINED, [(only, _)]) => *only,
            (Type::UNDEFINED, _) => {
                self.report(Diagnostic::error(205, format!("attribute '{name}' has no type")));
                return None;
            }
            (ty, _) => ty,
        };
        if let Some((_, field)) = used.iter().find(|(used, _)| *used != ty) {
            let message = format!("attribute '{name}' is {ty:?}, but field {field} holds its value");
            self.report(Diagnostic::error(205, message));
            return None;
        }
        let value = self.attribute_value(ty, a, &name)?;
        Some(Attribute { name, value })
    }

    fn attribute_value(&mut self, ty: Type, a: pb::AttributeProto, name: &str) -> Option<AttrValue> {
        Some(match ty {
            Type::UNDEFINED => return None,
            Type::FLOAT => AttrValue::Float(a.f),
            Type::INT => AttrValue::Int(a.i),
            Type::STRING => AttrValue::Str(a.s),
            Type::FLOATS => AttrValue::Floats(a.floats),
            Type::INTS => AttrValue::Ints(a.ints),
            Type::STRINGS => AttrValue::Strings(a.strings),
            Type::TENSOR => {
                let t = self.present(a.t.into_option(), "TENSOR", "t", name)?;
                AttrValue::Tensor(self.tensor(t)?)
            }
            Type::GRAPH => {
                let g = self.present(a.g.into_option(), "GRAPH", "g", name)?;
                AttrValue::Graph(Box::new(self.body(name, g)))
            }
            Type::SPARSE_TENSOR => {
                let s =
                    self.present(a.sparse_tensor.into_option(), "SPARSE_TENSOR", "sparse_tensor", name)?;
                AttrValue::SparseTensor(self.sparse(s)?)
            }
            Type::TYPE_PROTO => {
                let t = self.present(a.tp.into_option(), "TYPE_PROTO", "tp", name)?;
                AttrValue::Type(self.value_type(t, name)?)
            }
            Type::TENSORS => {
                let tensors: Option<Vec<Tensor>> = a.tensors.into_iter().map(|t| self.tensor(t)).collect();
                AttrValue::Tensors(tensors?)
            }
            Type::GRAPHS => {
                let graphs: Vec<Graph> = a.graphs.into_iter().map(|g| self.body(name, g)).collect();
                AttrValue::Graphs(graphs)
            }
            Type::SPARSE_TENSORS => {
                let tensors: Option<Vec<Tensor>> =
                    a.sparse_tensors.into_iter().map(|s| self.sparse(s)).collect();
                AttrValue::SparseTensors(tensors?)
            }
            Type::TYPE_PROTOS => {
                let types: Option<Vec<ValueType>> =
                    a.type_protos.into_iter().map(|t| self.value_type(t, name)).collect();
                AttrValue::Types(types?)
            }
        })
    }

    /// A message field that the declared type needs.
    fn present<T>(&mut self, field: Option<T>, ty: &str, field_name: &str, name: &str) -> Option<T> {
        if field.is_none() {
            let message = format!("attribute '{name}' says {ty}, field {field_name} is absent");
            self.report(Diagnostic::error(206, message));
        }
        field
    }
}

/// The fields that hold something, with the type that belongs to each. A scalar zero cannot be told from an absent one.
fn fields_in_use(a: &pb::AttributeProto) -> Vec<(Type, &'static str)> {
    let fields = [
        (Type::FLOAT, "f", a.f.to_bits() != 0),
        (Type::INT, "i", a.i != 0),
        (Type::STRING, "s", !a.s.is_empty()),
        (Type::TENSOR, "t", a.t.is_some()),
        (Type::GRAPH, "g", a.g.is_some()),
        (Type::SPARSE_TENSOR, "sparse_tensor", a.sparse_tensor.is_some()),
        (Type::TYPE_PROTO, "tp", a.tp.is_some()),
        (Type::FLOATS, "floats", !a.floats.is_empty()),
        (Type::INTS, "ints", !a.ints.is_empty()),
        (Type::STRINGS, "strings", !a.strings.is_empty()),
        (Type::TENSORS, "tensors", !a.tensors.is_empty()),
        (Type::GRAPHS, "graphs", !a.graphs.is_empty()),
        (Type::SPARSE_TENSORS, "sparse_tensors", !a.sparse_tensors.is_empty()),
        (Type::TYPE_PROTOS, "type_protos", !a.type_protos.is_empty()),
    ];
    fields.into_iter().filter(|(_, _, used)| *used).map(|(ty, name, _)| (ty, name)).collect()
}
