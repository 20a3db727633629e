//! attrs - typed access to the attributes of a node: E0204 missing, E0205 of another type.

use super::{Problem, cx::OpCx};
use crate::model::{AttrValue, Graph, Tensor};

impl<'a> OpCx<'a> {
    /// The attribute `name`; noted as known to the operator.
    pub(crate) fn attr(&self, name: &str) -> Option<&'a AttrValue> {
        self.attrs_read.borrow_mut().push(name.to_owned());
        self.node.attr(name)
    }

    /// Attributes that the operator has and nnc needs not look at.
    pub(crate) fn skip_attrs(&self, names: &[&str]) {
        self.attrs_read.borrow_mut().extend(names.iter().map(|&n| n.to_owned()));
    }

    fn typed<T>(
        &self,
        name: &str,
        need: &str,
        read: impl FnOnce(&'a AttrValue) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let Some(value) = self.attr(name) else { return Ok(None) };
        match read(value) {
            Some(x) => Ok(Some(x)),
            None => self.error(205, format!("attribute '{name}' is {}, need {need}", value.type_name())),
        }
    }

    /// Gives the attribute's value, or E0204 if it is missing.
    pub(crate) fn required<T>(&self, name: &str, value: Option<T>) -> Result<T, Problem> {
        match value {
            Some(x) => Ok(x),
            None => self.error(204, format!("{} needs the attribute '{name}'", self.op())),
        }
    }

    /// An INT.
    pub(crate) fn int(&self, name: &str) -> Result<Option<i64>, Problem> {
        self.typed(name, "INT", |v| if let AttrValue::Int(x) = v { Some(*x) } else { None })
    }

    /// An INT, or `default`.
    pub(crate) fn int_or(&self, name: &str, default: i64) -> Result<i64, Problem> {
        Ok(self.int(name)?.unwrap_or(default))
    }

    /// An INT used as a truth value, or `default`.
    pub(crate) fn flag_or(&self, name: &str, default: bool) -> Result<bool, Problem> {
        Ok(self.int(name)?.map_or(default, |x| x != 0))
    }

    /// A FLOAT.
    pub(crate) fn float(&self, name: &str) -> Result<Option<f32>, Problem> {
        self.typed(name, "FLOAT", |v| if let AttrValue::Float(x) = v { Some(*x) } else { None })
    }

    /// A FLOAT, or `default`.
    pub(crate) fn float_or(&self, name: &str, default: f32) -> Result<f32, Problem> {
        Ok(self.float(name)?.unwrap_or(default))
    }

    /// INTS.
    pub(crate) fn ints(&self, name: &str) -> Result<Option<Vec<i64>>, Problem> {
        self.typed(name, "INTS", |v| if let AttrValue::Ints(x) = v { Some(x.clone()) } else { None })
    }

    /// FLOATS.
    pub(crate) fn floats(&self, name: &str) -> Result<Option<Vec<f32>>, Problem> {
        self.typed(name, "FLOATS", |v| if let AttrValue::Floats(x) = v { Some(x.clone()) } else { None })
    }

    /// A STRING; what is not UTF-8 in it is replaced.
    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, Problem> {
        self.typed(name, "STRING", |v| match v {
            AttrValue::Str(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            _ => None,
        })
    }

    /// A STRING, or `default`.
    pub(crate) fn text_or(&self, name: &str, default: &str) -> Result<String, Problem> {
        Ok(self.text(name)?.unwrap_or_else(|| default.to_owned()))
    }

    /// STRINGS.
    pub(crate) fn texts(&self, name: &str) -> Result<Option<Vec<String>>, Problem> {
        self.typed(name, "STRINGS", |v| match v {
            AttrValue::Strings(all) => {
                Some(all.iter().map(|s| String::from_utf8_lossy(s).into_owned()).collect())
            }
            _ => None,
        })
    }

    /// A TENSOR (or a sparse one, which has been made dense).
    pub(crate) fn tensor(&self, name: &str) -> Result<Option<&'a Tensor>, Problem> {
        self.typed(name, "TENSOR", |v| match v {
            AttrValue::Tensor(t) | AttrValue::SparseTensor(t) => Some(t),
            _ => None,
        })
    }

    /// A GRAPH.
    pub(crate) fn graph(&self, name: &str) -> Result<&'a Graph, Problem> {
        let graph = self.typed(name, "GRAPH", |v| match v {
            AttrValue::Graph(g) => Some(&**g),
            _ => None,
        })?;
        self.required(name, graph)
    }

    /// One of a few spellings, the first of which is the default (E0205 for another).
    pub(crate) fn choice(&self, name: &str, choices: &[&'static str]) -> Result<&'static str, Problem> {
        let text = self.text_or(name, choices[0])?;
        match choices.iter().find(|c| **c == text) {
            Some(choice) => Ok(choice),
            None => self.error(205, format!("attribute '{name}' is '{text}', need one of {choices:?}")),
        }
    }
}
