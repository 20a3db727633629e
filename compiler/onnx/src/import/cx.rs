//! cx - what the import of one node works with: its operands, its place, and the module it adds to.

use std::cell::RefCell;

use nnc_ir::{
    constant::Constant,
    diag::Diagnostic,
    dtype::DType,
    extent::Extent,
    graph::{Module, Provenance, RegionId, ValueId},
    types::TensorType,
};

use super::{
    Importer, Outcome, Problem,
    scope::Scope,
    value::{Binding, Imported},
};
use crate::model::Node;

/// The import of one node. Attributes: `attrs.rs`; making nodes: `emit.rs`; shapes: `shape.rs`.
pub(crate) struct OpCx<'a> {
    pub(crate) importer: &'a mut Importer,
    pub(crate) node: &'a Node,
    /// Names around the node, for the bodies of control flow.
    pub(crate) scope: &'a Scope<'a>,
    /// Path of the graph, for diagnostics.
    pub(crate) path: &'a str,
    /// Where nodes go.
    pub(crate) region: RegionId,
    pub(crate) loc: Provenance,
    pub(crate) inputs: Vec<Option<Binding>>,
    pub(super) attrs_read: RefCell<Vec<String>>,
}

/// One result.
pub(crate) fn one(value: impl Into<Binding>) -> Outcome {
    Ok(vec![value.into()])
}

impl<'a> OpCx<'a> {
    /// The module so far.
    pub(crate) fn module(&self) -> &Module {
        &self.importer.module
    }

    /// Opset version that gives the node its meaning.
    pub(crate) fn opset(&self) -> i64 {
        self.node.opset
    }

    /// Operator, for messages.
    pub(crate) fn op(&self) -> &'a str {
        &self.node.op_type
    }

    /// An error of this node, without its place, which the importer adds.
    pub(crate) fn error<T>(&self, code: u16, message: impl Into<String>) -> Result<T, Problem> {
        Err(Box::new(Diagnostic::error(code, message)))
    }

    /// The node needs something nnc does not have.
    pub(crate) fn unsupported<T>(&self, message: impl Into<String>) -> Result<T, Problem> {
        self.error(405, message)
    }

    /// A warning about this node.
    pub(crate) fn warn(&mut self, code: u16, message: impl Into<String>) {
        let warning = Diagnostic::warning(code, message).at_node(self.node.loc()).in_graph(self.path);
        self.importer.problems.push(warning);
    }

    /// The tensor that another operator's function gave.
    pub(crate) fn only(&self, results: Vec<Binding>) -> Result<ValueId, Problem> {
        match results.as_slice() {
            [Binding::Tensor(value), ..] => Ok(value.id),
            _ => self.error(210, format!("{} gives no tensor", self.op())),
        }
    }

    /// Number of operands the node lists, empty ones included.
    pub(crate) fn n_inputs(&self) -> usize {
        self.inputs.len()
    }

    /// Number of results the node lists.
    pub(crate) fn n_outputs(&self) -> usize {
        self.node.outputs.len()
    }

    /// Whether result `i` has a name.
    pub(crate) fn wants(&self, i: usize) -> bool {
        self.node.outputs.get(i).is_some_and(|name| !name.is_empty())
    }

    /// What operand `i` stands for; `None` if it is left out.
    pub(crate) fn binding(&self, i: usize) -> Option<&Binding> {
        self.inputs.get(i)?.as_ref()
    }

    /// Tensor operand `i`.
    pub(crate) fn input(&self, i: usize) -> Result<Imported, Problem> {
        match self.optional(i)? {
            Some(value) => Ok(value),
            None => self.error(203, format!("input {i} of {} is required but empty", self.op())),
        }
    }

    /// Tensor operand `i`, if it is there.
    pub(crate) fn optional(&self, i: usize) -> Result<Option<Imported>, Problem> {
        match self.binding(i) {
            None => Ok(None),
            Some(Binding::Tensor(value)) => Ok(Some(value.clone())),
            Some(Binding::Sequence(_)) => {
                self.error(210, format!("input {i} of {} is a sequence, needs a tensor", self.op()))
            }
            Some(Binding::Nothing) => {
                self.error(210, format!("input {i} of {} is an optional without a value", self.op()))
            }
            Some(Binding::Poison) => self.error(203, format!("input {i} of {} has no value", self.op())),
        }
    }

    /// The value of tensor operand `i`.
    pub(crate) fn value(&self, i: usize) -> Result<ValueId, Problem> {
        Ok(self.input(i)?.id)
    }

    /// The value of tensor operand `i`, if it is there.
    pub(crate) fn optional_value(&self, i: usize) -> Result<Option<ValueId>, Problem> {
        Ok(self.optional(i)?.map(|v| v.id))
    }

    /// Every tensor operand, none of which may be left out.
    pub(crate) fn all_inputs(&self) -> Result<Vec<Imported>, Problem> {
        (0..self.n_inputs()).map(|i| self.input(i)).collect()
    }

    /// Elements of sequence operand `i`.
    pub(crate) fn sequence(&self, i: usize) -> Result<Vec<Imported>, Problem> {
        match self.binding(i) {
            Some(Binding::Sequence(values)) => Ok(values.clone()),
            _ => self.error(210, format!("input {i} of {} is no sequence", self.op())),
        }
    }

    /// Integers of operand `i`, which must be known when compiling; `None` if it is left out.
    pub(crate) fn optional_ints(&self, i: usize) -> Result<Option<Vec<i64>>, Problem> {
        let Some(value) = self.optional(i)? else { return Ok(None) };
        match self.ints_of(&value) {
            Some(ints) => Ok(Some(ints)),
            None => self.unsupported(format!(
                "input {i} of {} is decided by data; it must be known when compiling",
                self.op()
            )),
        }
    }

    /// Elements of an integer tensor of any rank, if they are constants.
    pub(crate) fn ints_of(&self, value: &Imported) -> Option<Vec<i64>> {
        value.ints().or_else(|| self.constant(value.id)?.as_i64s())
    }

    /// The constant that a value is.
    pub(crate) fn constant(&self, value: ValueId) -> Option<&Constant> {
        self.module().as_constant(value)
    }

    /// Elements of a constant float tensor, widened.
    pub(crate) fn floats_of(&self, value: ValueId) -> Option<Vec<f64>> {
        self.constant(value)?.scalars().into_iter().map(nnc_ir::dtype::Scalar::as_f64).collect()
    }

    /// Type of a value.
    pub(crate) fn ty(&self, value: ValueId) -> &TensorType {
        self.module().ty(value)
    }
    /// Element type of a value.
    pub(crate) fn dtype(&self, value: ValueId) -> DType {
        self.ty(value).dtype
    }
    /// Extents of a value.
    pub(crate) fn shape(&self, value: ValueId) -> Vec<Extent> {
        self.ty(value).shape.clone()
    }
    /// Number of axes of a value.
    pub(crate) fn rank(&self, value: ValueId) -> usize {
        self.ty(value).rank()
    }

    /// Checks that all values have one element type (E0209), and gives it.
    pub(crate) fn same_dtype(&self, values: &[ValueId]) -> Result<DType, Problem> {
        let first = self.dtype(values[0]);
        match values.iter().map(|&v| self.dtype(v)).find(|&d| d != first) {
            Some(other) => self.error(209, format!("{} joins {first} and {other}", self.op())),
            None => Ok(first),
        }
    }

    /// Checks the element type of operand `i` (E0210): `holds` says whether it will do, `what` which do.
    pub(crate) fn need_dtype(
        &self,
        i: usize,
        value: ValueId,
        what: &str,
        holds: bool,
    ) -> Result<(), Problem> {
        if holds {
            return Ok(());
        }
        let dtype = self.dtype(value);
        self.error(210, format!("input {i} of {} has {dtype} elements, needs {what}", self.op()))
    }

    /// Checks that operand `i` has float elements (E0210).
    pub(crate) fn need_float(&self, i: usize, value: ValueId) -> Result<(), Problem> {
        self.need_dtype(i, value, "floats", self.dtype(value).is_float())
    }

    /// Checks the number of axes of operand `i` (E0212).
    pub(crate) fn need_rank(&self, i: usize, value: ValueId, rank: usize) -> Result<(), Problem> {
        let has = self.rank(value);
        if has == rank {
            return Ok(());
        }
        let name = self.node.inputs.get(i).map_or("", String::as_str);
        self.error(212, format!("input {i} '{name}' has rank {has}, {} needs rank {rank}", self.op()))
    }

    /// Checks that operand `i` has at least so many axes (E0212).
    pub(crate) fn need_min_rank(&self, i: usize, value: ValueId, rank: usize) -> Result<(), Problem> {
        let has = self.rank(value);
        if has >= rank {
            return Ok(());
        }
        let name = self.node.inputs.get(i).map_or("", String::as_str);
        self.error(212, format!("input {i} '{name}' has rank {has}, {} needs rank {rank} or more", self.op()))
    }

    /// An axis given as an attribute or operand, negative ones counted from the end (E0211).
    pub(crate) fn axis(&self, axis: i64, rank: usize) -> Result<usize, Problem> {
        let n = i64::try_from(rank).unwrap_or(i64::MAX);
        let at = if axis < 0 { axis.checked_add(n) } else { Some(axis) };
        match at.filter(|&a| (0..n).contains(&a)).and_then(|a| usize::try_from(a).ok()) {
            Some(axis) => Ok(axis),
            None if rank == 0 => self.error(211, format!("axis {axis} of a scalar")),
            None => self.error(211, format!("axis {axis} not in [-{rank}, {}]", rank - 1)),
        }
    }

    /// Distinct axes in ascending order (E0211).
    pub(crate) fn axes(&self, axes: &[i64], rank: usize) -> Result<Vec<usize>, Problem> {
        let mut out = axes.iter().map(|&a| self.axis(a, rank)).collect::<Result<Vec<_>, _>>()?;
        out.sort_unstable();
        if out.windows(2).any(|w| w[0] == w[1]) {
            return self.error(211, format!("axes {axes:?} name one axis twice"));
        }
        Ok(out)
    }
}
