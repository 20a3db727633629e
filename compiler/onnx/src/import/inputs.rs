//! inputs - graph inputs and initializers: named dimensions become symbols, weights stay where they lie.

use std::collections::BTreeSet;

use nnc_ir::{
    constant::Constant,
    diag::Diagnostic,
    extent::{Extent, Symbol, SymbolOrigin},
    types::TensorType,
};

use super::{Importer, Problem, constant, scope::Scope, shape::MAX_EXTENT, value::Binding};
use crate::model::{Dim, Graph, OnnxType, ValueInfo, ValueType};

impl Importer {
    /// Enters the inputs and initializers of the main graph.
    pub(super) fn inputs(&mut self, graph: &Graph, scope: &Scope<'_>) {
        let given = self.options.shapes.keys().chain(self.options.constants.keys());
        for name in given.filter(|name| !graph.inputs.iter().any(|i| i.name == **name)) {
            let message = format!("a shape or value is given for '{name}', which is no input");
            self.problems.push(Diagnostic::error(236, message));
        }
        self.unknown_dims(graph);
        self.initializers(graph, scope, "main");
        let constants = self.options.constants.clone();
        let (fixed, open): (Vec<_>, Vec<_>) =
            graph.inputs.iter().partition(|info| constants.contains_key(&info.name));
        for info in fixed {
            let constant = constants[&info.name].clone();
            match self.fix(info, &constant) {
                Ok(()) => scope.bind_constant(&info.name, constant),
                Err(problem) => self.refuse(info, scope, problem),
            }
        }
        // Shapes the user gives bind names before other inputs use them.
        let types: Vec<_> = open.iter().enumerate().map(|(at, info)| self.declared(at, info)).collect();
        for (info, ty) in open.into_iter().zip(types) {
            match ty {
                Ok(ty) => {
                    let value = self.module.add_input(&info.name, ty);
                    scope.bind(&info.name, value);
                }
                Err(problem) => self.refuse(info, scope, problem),
            }
        }
    }

    /// Warns of pinned dimensions that no input has: most likely a misspelt name.
    fn unknown_dims(&mut self, graph: &Graph) {
        let mut known = BTreeSet::new();
        for info in &graph.inputs {
            let Some(ValueType::Tensor { shape: Some(dims), .. }) = &info.ty else { continue };
            for (axis, dim) in dims.iter().enumerate().filter(|(_, d)| !matches!(d, Dim::Value(_))) {
                known.insert(label_of(&info.name, axis, dim));
            }
        }
        for name in self.options.dims.keys().filter(|name| !known.contains(*name)) {
            let names: Vec<&str> = known.iter().map(String::as_str).collect();
            let help = match names.len() {
                0 => "all dimensions of its inputs are numbers".to_owned(),
                _ => format!("the dimensions are {}", names.join(", ")),
            };
            let message = format!("no input has a dimension '{name}'");
            self.problems.push(Diagnostic::warning(236, message).help(help));
        }
    }

    fn refuse(&mut self, info: &ValueInfo, scope: &Scope<'_>, problem: Problem) {
        scope.bind(&info.name, Binding::Poison);
        self.problems.push(problem.tensor(info.name.clone()));
    }

    /// Checks the value given for an input against its declared type, and binds the names of its dimensions.
    fn fix(&mut self, info: &ValueInfo, constant: &Constant) -> Result<(), Problem> {
        let Some(ValueType::Tensor { elem, shape }) = &info.ty else { return Ok(()) };
        let fits = |dims: &Vec<Dim>| {
            let same = |(d, have): (&Dim, &i64)| !matches!(d, Dim::Value(d) if d != have);
            dims.len() == constant.dims().len() && dims.iter().zip(constant.dims()).all(same)
        };
        if constant::dtype(*elem)? != constant.dtype() || !shape.as_ref().is_none_or(fits) {
            let message = format!("input '{}' is given as {}", info.name, constant.ty());
            return Err(Box::new(Diagnostic::error(236, message)));
        }
        for (dim, &have) in shape.iter().flatten().zip(constant.dims()) {
            if let Dim::Param(label) = dim
                && is_name(label)
            {
                self.dims.entry(label.clone()).or_insert(Extent::Const(have));
            }
        }
        Ok(())
    }

    /// Enters the initializers of a graph.
    pub(super) fn initializers(&mut self, graph: &Graph, scope: &Scope<'_>, path: &str) {
        for tensor in &graph.initializers {
            match constant::constant(tensor) {
                Ok(constant) => scope.bind_constant(&tensor.name, constant),
                Err(problem) => {
                    scope.bind(&tensor.name, Binding::Poison);
                    self.problems.push(problem.in_graph(path));
                }
            }
        }
    }

    fn declared(&mut self, at: usize, info: &ValueInfo) -> Result<TensorType, Problem> {
        let name = &info.name;
        let fail = |code, message: String| Err(Box::new(Diagnostic::error(code, message)));
        let given = self.options.shapes.get(name).cloned();
        let (elem, dims) = match &info.ty {
            Some(ValueType::Tensor { elem, shape }) => (*elem, shape.as_deref()),
            Some(other) => {
                return fail(405, format!("input '{name}' is {}; inputs are tensors", kind(other)));
            }
            None => return fail(118, format!("input '{name}' has no type")),
        };
        let dtype = constant::dtype(elem)?;
        let shape = match (dims, given) {
            (None, None) => {
                let help = format!("say it with --shape {name}=1,3,224,224 (for a scalar: --shape {name}=)");
                let message = format!("input '{name}' has no shape");
                return Err(Box::new(Diagnostic::error(118, message).help(help)));
            }
            (None, Some(given)) => given.into_iter().map(Extent::Const).collect(),
            (Some(dims), Some(given)) if dims.len() != given.len() => {
                return fail(236, format!("input '{name}' has rank {}, given shape {given:?}", dims.len()));
            }
            (Some(dims), given) => {
                let mut shape = Vec::with_capacity(dims.len());
                for (axis, dim) in dims.iter().enumerate() {
                    shape.push(self.extent(at, name, axis, dim, given.as_ref().map(|g| g[axis]))?);
                }
                shape
            }
        };
        if let Some(bad) = shape.iter().filter_map(Extent::as_const).find(|d| !(0..=MAX_EXTENT).contains(d)) {
            return fail(237, format!("input '{name}' has an axis of extent {bad}"));
        }
        Ok(TensorType::new(dtype, shape))
    }

    fn extent(
        &mut self,
        input: usize,
        name: &str,
        axis: usize,
        dim: &Dim,
        given: Option<i64>,
    ) -> Result<Extent, Problem> {
        let clash = |what: &str, one: i64, other: i64| {
            let message = format!("dimension {what} is {one}, but input '{name}' makes it {other}");
            Err(Box::new(Diagnostic::error(236, message)))
        };
        let label = label_of(name, axis, dim);
        if let Dim::Value(d) = dim {
            return match given {
                Some(g) if g != *d => clash(&label, *d, g),
                _ => Ok(Extent::Const(*d)),
            };
        }
        match (self.dims.get(&label).cloned(), given) {
            (Some(Extent::Const(have)), Some(g)) if have != g => clash(&label, have, g),
            (Some(Extent::Expr(_)), Some(g)) => {
                let message = format!(
                    "dimension '{label}' of input '{name}' is given as {g}, but an input before it leaves it open"
                );
                Err(Box::new(Diagnostic::error(236, message).help(format!("say --dim {label}={g}"))))
            }
            (Some(extent), _) => Ok(extent),
            (None, given) => {
                let extent = given.map_or_else(|| self.input_symbol(&label, input, axis), Extent::Const);
                self.dims.insert(label, extent.clone());
                Ok(extent)
            }
        }
    }

    fn input_symbol(&mut self, name: &str, input: usize, axis: usize) -> Extent {
        let origin = SymbolOrigin::Input { input, axis };
        let symbol = Symbol { name: name.to_owned(), min: 0, max: MAX_EXTENT, origin, bound: None };
        Extent::symbol(self.module.symbols.push(symbol))
    }

    /// Compares what a model declares about an inner value with what was inferred (E0201, W0201).
    pub(super) fn check_declared(&mut self, info: &ValueInfo, binding: &Binding, path: &str) {
        let (Some(ValueType::Tensor { elem, shape }), Binding::Tensor(value)) = (&info.ty, binding) else {
            return;
        };
        let inferred = self.module.ty(value.id).clone();
        let small = matches!(elem, OnnxType::Int4 | OnnxType::Uint4 | OnnxType::Int2 | OnnxType::Uint2);
        match constant::dtype(*elem) {
            Ok(dtype) if dtype != inferred.dtype && !small => {
                let message = format!("value '{}' declared {dtype}, inferred {}", info.name, inferred.dtype);
                self.problems.push(self.placed(Diagnostic::error(201, message), value.id, path));
            }
            _ => {}
        }
        let Some(dims) = shape else { return };
        let clashes = |(dim, extent): (&Dim, &Extent)| match (dim, extent.as_const()) {
            (Dim::Value(d), Some(e)) => *d != e,
            _ => false,
        };
        if dims.len() != inferred.rank() || dims.iter().zip(&inferred.shape).any(clashes) {
            let declared: Vec<String> = dims.iter().map(dim_text).collect();
            let message =
                format!("value '{}' declared [{}], inferred {inferred}", info.name, declared.join(","));
            self.problems.push(self.placed(Diagnostic::warning(201, message), value.id, path));
        }
    }

    fn placed(&self, d: Diagnostic, value: nnc_ir::graph::ValueId, path: &str) -> Diagnostic {
        let d = d.in_graph(path);
        match self.module.def_node(value).and_then(|n| self.module.node(n).loc.first().cloned()) {
            Some(name) => d.note(format!("made by '{name}'")),
            None => d,
        }
    }
}

/// What a dimension of an input is called: its own name, or by the input's.
fn label_of(input: &str, axis: usize, dim: &Dim) -> String {
    match dim {
        Dim::Param(label) if is_name(label) => label.clone(),
        _ => format!("{input}.{axis}"),
    }
}

/// Whether a dimension's label names one extent. Exporters also write `?`, `-1` and the like for an unknown one, several
/// times in one shape.
fn is_name(label: &str) -> bool {
    label.parse::<f64>().is_err() && label.contains(char::is_alphanumeric)
}

fn dim_text(dim: &Dim) -> String {
    match dim {
        Dim::Value(d) => d.to_string(),
        Dim::Param(name) if !name.is_empty() => name.clone(),
        Dim::Param(_) | Dim::Unknown => "?".to_owned(),
    }
}

fn kind(ty: &ValueType) -> &'static str {
    match ty {
        ValueType::Tensor { .. } => "a tensor",
        ValueType::Sparse { .. } => "a sparse tensor",
        ValueType::Sequence(_) => "a sequence",
        ValueType::Map { .. } => "a map",
        ValueType::Optional(_) => "an optional",
    }
}
