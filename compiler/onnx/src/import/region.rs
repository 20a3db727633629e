//! region - nested graphs as regions: what they read from outside comes in through parameters.

use std::collections::BTreeSet;

use nnc_ir::{
    diag::Diagnostic,
    extent::{Atom, Extent, SymbolOrigin},
    graph::{Module, RegionId, ValueId},
    ops::Op,
};

use super::{
    Problem,
    cx::OpCx,
    scope::Scope,
    value::{Binding, Imported},
};
use crate::model::{Graph, body_step};

/// Names that a graph reads from outside, in the order of their first use.
pub(crate) fn free_names(graph: &Graph) -> Vec<&str> {
    let mut bound: BTreeSet<&str> = graph.inputs.iter().map(|i| i.name.as_str()).collect();
    bound.extend(graph.initializers.iter().map(|t| t.name.as_str()));
    let mut free = Vec::new();
    let mut seen = BTreeSet::new();
    let mut read = |name, bound: &BTreeSet<&str>| {
        if !str::is_empty(name) && !bound.contains(name) && seen.insert(name) {
            free.push(name);
        }
    };
    for node in &graph.nodes {
        node.inputs.iter().for_each(|name| read(name.as_str(), &bound));
        for (_, body) in node.graphs() {
            free_names(body).into_iter().for_each(|name| read(name, &bound));
        }
        bound.extend(node.outputs.iter().map(String::as_str));
    }
    graph.outputs.iter().for_each(|o| read(o.name.as_str(), &bound));
    free
}

/// The values that nested graphs read from outside, under the names they have there.
pub(crate) struct Captures {
    names: Vec<(String, Binding)>,
}

impl OpCx<'_> {
    /// What `graphs` read from around the node.
    pub(crate) fn captures(&mut self, graphs: &[&Graph]) -> Captures {
        let mut names: Vec<(String, Binding)> = Vec::new();
        for name in graphs.iter().flat_map(|g| free_names(g)) {
            if names.iter().any(|(n, _)| n == name) {
                continue;
            }
            if let Some(binding) = self.scope.lookup(&mut self.importer.module, name, &self.loc) {
                names.push((name.to_owned(), binding));
            }
        }
        Captures { names }
    }

    /// Adds parameters for captures to `region`, whose names go to `scope`. Constants and extents are made anew inside.
    pub(crate) fn enter_captures(&mut self, captures: &Captures, scope: &Scope<'_>) -> Result<(), Problem> {
        for (name, binding) in &captures.names {
            match binding {
                Binding::Tensor(value) => {
                    if let Some(constant) = self.constant(value.id) {
                        scope.bind_constant(name, constant.clone());
                    } else {
                        let inner = self.enter(value, scope.region)?;
                        scope.bind(name, inner);
                    }
                }
                Binding::Sequence(values) => {
                    let inner = values.iter().map(|v| self.enter(v, scope.region));
                    scope.bind(name, Binding::Sequence(inner.collect::<Result<_, _>>()?));
                }
                Binding::Nothing | Binding::Poison => scope.bind(name, binding.clone()),
            }
        }
        Ok(())
    }

    fn enter(&mut self, value: &Imported, region: RegionId) -> Result<Imported, Problem> {
        if let Some(known) = &value.known {
            let ty = self.ty(value.id).clone();
            return self.within(region, |cx| cx.extents_of_shape(known.clone(), ty.dtype, &ty.shape));
        }
        let ty = self.ty(value.id).clone();
        Ok(self.importer.module.add_param(region, ty).into())
    }

    /// The operands that belong to the parameters of [`OpCx::enter_captures`].
    pub(crate) fn capture_operands(&self, captures: &Captures) -> Vec<ValueId> {
        let is_operand = |v: &&Imported| v.known.is_none();
        let mut operands = Vec::new();
        for (_, binding) in &captures.names {
            match binding {
                Binding::Tensor(value) if self.constant(value.id).is_none() => {
                    operands.extend(Some(value).filter(is_operand).map(|v| v.id));
                }
                Binding::Sequence(values) => operands.extend(values.iter().filter(is_operand).map(|v| v.id)),
                Binding::Tensor(_) | Binding::Nothing | Binding::Poison => {}
            }
        }
        operands
    }

    /// Runs `make` with `region` as the place where nodes go.
    pub(crate) fn within<T>(&mut self, region: RegionId, make: impl FnOnce(&mut Self) -> T) -> T {
        let around = std::mem::replace(&mut self.region, region);
        let made = make(self);
        self.region = around;
        made
    }

    /// Imports a nested graph into the region of `scope`, where its inputs are bound already, and gives its outputs.
    ///
    /// `None`: something in it was refused, and has been reported.
    pub(crate) fn nested(
        &mut self,
        attribute: &str,
        graph: &Graph,
        scope: &Scope<'_>,
    ) -> Result<Option<Vec<Binding>>, Problem> {
        let path = format!("{}/{}", self.path, body_step(&self.node.loc(), attribute));
        let before = self.importer.problems.n_errors() + self.importer.missing.len();
        self.importer.initializers(graph, scope, &path);
        self.importer.graph(graph, scope, &path);
        let mut outputs = Vec::with_capacity(graph.outputs.len());
        for info in &graph.outputs {
            match scope.lookup(&mut self.importer.module, &info.name, &self.loc) {
                Some(Binding::Poison) => return Ok(None),
                Some(binding) => outputs.push(binding),
                None => {
                    let message = format!("graph output '{}' is never produced", info.name);
                    return Err(Box::new(Diagnostic::error(102, message)));
                }
            }
        }
        let clean = self.importer.problems.n_errors() + self.importer.missing.len() == before;
        Ok(clean.then_some(outputs))
    }

    /// Appends a node with regions.
    pub(crate) fn emit_with_regions(
        &mut self,
        op: impl Into<Op>,
        operands: &[ValueId],
        regions: &[RegionId],
    ) -> Result<Vec<ValueId>, Problem> {
        let (region, loc) = (self.region, self.loc.clone());
        match self.importer.module.append(region, op, operands, regions, &loc) {
            Ok(results) => Ok(results),
            Err(why) => self.error(212, why),
        }
    }
}

/// Whether an extent is known before the run.
pub(crate) fn known_before_run(module: &Module, extent: &Extent) -> bool {
    let mut known = true;
    extent.for_each_symbol(&mut |s| known &= module.symbols[s].origin != SymbolOrigin::Data);
    known
}

/// An extent over symbols known before the run that `extent` never exceeds, if one is to be had.
pub(crate) fn upper_bound(module: &Module, extent: &Extent) -> Option<Extent> {
    if known_before_run(module, extent) {
        return Some(extent.clone());
    }
    let Extent::Expr(polynomial) = extent else { return Some(extent.clone()) };
    // It grows with every symbol, so that bounds may stand for symbols.
    let rises =
        |t: &nnc_ir::extent::Term| t.coefficient > 0 && t.atoms.iter().all(|a| matches!(a, Atom::Symbol(_)));
    let bounded = std::cell::Cell::new(polynomial.terms.iter().all(rises));
    let bound = extent.substitute(&|s| match &module.symbols[s] {
        symbol if symbol.origin != SymbolOrigin::Data => Extent::symbol(s),
        symbol => symbol.bound.clone().unwrap_or_else(|| {
            bounded.set(false);
            Extent::ZERO
        }),
    });
    bounded.get().then_some(bound)
}
