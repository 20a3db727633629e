//! module - evaluates modules, node by node, by the nodes' forms.

use std::rc::Rc;

use rustc_hash::FxHashMap;

use crate::{
    definitions::Definitions,
    entity::EntityId,
    eval::{
        control, copy,
        error::{Budget, EvalError, EvalLimits},
        externs, nest,
        symbols::Symbols,
        tensor::{Slot, Tensor},
    },
    form::Form,
    graph::{Module, NodeId, Region, RegionId, ValueId},
    types::TensorType,
};

/// Results of the module for `inputs`, in the order of its parameters.
///
/// # Errors
/// Inputs of the wrong types (E0801, E0802), violated constraints (E0236), limits (E0501), and what fails while running
/// (E0805, E0807, E0224).
pub fn evaluate(module: &Module, inputs: &[Tensor], limits: &EvalLimits) -> Result<Vec<Tensor>, EvalError> {
    let mut evaluator = Evaluator {
        module,
        symbols: Symbols::bind(module, inputs)?,
        definitions: Definitions::new(module),
        budget: Budget::new(limits),
        values: vec![None; module.value_count()],
        forms: FxHashMap::default(),
        last_reads: FxHashMap::default(),
    };
    let results = evaluator.region(module.body(), inputs.iter().map(Slot::of_tensor).collect())?;
    Ok(results.into_iter().map(Slot::into_tensor).collect())
}

/// An evaluation under way.
pub(super) struct Evaluator<'m> {
    pub(super) module: &'m Module,
    pub(super) symbols: Symbols<'m>,
    pub(super) definitions: Definitions,
    pub(super) budget: Budget,
    /// Values that are still read.
    values: Vec<Option<Slot>>,
    forms: FxHashMap<NodeId, Rc<Form>>,
    last_reads: FxHashMap<RegionId, Rc<LastReads>>,
}

/// For each node of a region the values nobody needs after it.
type LastReads = Vec<Vec<ValueId>>;

impl Evaluator<'_> {
    /// Results of a region with `args` bound to its parameters.
    pub(super) fn region(&mut self, region: RegionId, args: Vec<Slot>) -> Result<Vec<Slot>, EvalError> {
        let module = self.module;
        let Region { params, nodes, results } = module.region(region);
        self.symbols.forget(self.definitions.within(region));
        for (&param, arg) in params.iter().zip(args) {
            self.values[param.index()] = Some(arg);
        }
        let last_reads = self.last_reads(region);
        for (&node, dead) in nodes.iter().zip(&*last_reads) {
            self.node(node).map_err(|e| e.at(&module.node(node).loc))?;
            for value in dead {
                self.values[value.index()] = None;
            }
        }
        results.iter().map(|&v| self.value(v)).collect()
    }

    fn value(&self, value: ValueId) -> Result<Slot, EvalError> {
        let slot = self.values.get(value.index()).cloned().flatten();
        slot.ok_or_else(|| EvalError::bug(format!("{value:?} is read before it is defined")))
    }

    fn node(&mut self, id: NodeId) -> Result<(), EvalError> {
        let node = self.module.node(id);
        let operands: Vec<Slot> = node.operands.iter().map(|&v| self.value(v)).collect::<Result<_, _>>()?;
        let results = self.results(id, operands)?;
        if results.len() < node.results.len() {
            let message = format!("{} gives {} results", node.op.mnemonic(), results.len());
            return Err(EvalError::bug(message));
        }
        for (&value, slot) in node.results.iter().zip(results) {
            let dims = self.dims(self.module.ty(value))?;
            if dims != slot.dims || self.module.ty(value).dtype != slot.dtype {
                let (have, want) = (slot.dims, self.module.ty(value));
                return Err(EvalError::new(
                    236,
                    format!("{}: result is {have:?}, its type {want}", node.op.mnemonic()),
                ));
            }
            self.values[value.index()] = Some(slot);
        }
        Ok(())
    }

    fn results(&mut self, id: NodeId, operands: Vec<Slot>) -> Result<Vec<Slot>, EvalError> {
        let form = self.forms.entry(id).or_insert_with(|| Rc::new(self.module.form(id))).clone();
        let node = self.module.node(id);
        let symbols = &self.symbols;
        let extent = |e: &_| symbols.extent(e);
        match &*form {
            Form::Loops(form) => nest::evaluate(form, &operands, &extent, &mut self.budget),
            Form::View => {
                let dims = self.dims(self.module.ty(node.results[0]))?;
                let (have, want) = (operands[0].elements(), self.budget.elements(&dims, 1)?);
                if have != want {
                    return Err(EvalError::new(236, format!("{have} elements do not make {dims:?}")));
                }
                Ok(vec![operands[0].view(&dims)])
            }
            Form::Concat { axis } => Ok(vec![copy::concat(*axis, &operands, &mut self.budget)?]),
            Form::Scatter(form) => Ok(vec![copy::scatter(form, &operands, &extent, &mut self.budget)?]),
            Form::Constant => {
                let constant = self.module.as_constant(node.results[0]);
                let constant = constant.ok_or_else(|| EvalError::bug("a constant without a value"))?;
                Ok(vec![Slot::of_constant(constant)])
            }
            Form::Extents(extents) => {
                let values: Vec<i64> = extents.iter().map(extent).collect::<Result<_, _>>()?;
                let dims = self.dims(self.module.ty(node.results[0]))?;
                Ok(vec![Slot::i64s(&dims, &values)])
            }
            Form::ReadExtents(defined) => {
                for (&symbol, value) in defined.iter().zip(operands[0].as_i64s()) {
                    self.symbols.define(symbol, value, 224)?;
                }
                Ok(vec![])
            }
            Form::Extern(form) => {
                let results = externs::call(form, &operands)?;
                let defined = self.definitions.of_node(id);
                for &(result, axis, symbol) in form.defines.iter().filter(|d| defined.contains(&d.2)) {
                    let dim = results.get(result).and_then(|r| r.dims.get(axis));
                    let dim =
                        *dim.ok_or_else(|| EvalError::bug(format!("{}: no axis to define", form.name)))?;
                    self.symbols.define(symbol, dim, 236)?;
                }
                Ok(results)
            }
            Form::Region => control::evaluate(self, id, operands),
            Form::Composite => control::evaluate(self, id, operands),
        }
    }

    pub(super) fn dims(&self, ty: &TensorType) -> Result<Vec<i64>, EvalError> {
        ty.shape.iter().map(|e| self.symbols.extent(e)).collect()
    }

    fn last_reads(&mut self, region: RegionId) -> Rc<LastReads> {
        let module = self.module;
        let find = || {
            let region = module.region(region);
            let mut read_later = vec![false; module.value_count()];
            for value in &region.results {
                read_later[value.index()] = true;
            }
            let mut dead: LastReads = Vec::with_capacity(region.nodes.len());
            for &node in region.nodes.iter().rev() {
                let node = module.node(node);
                let mentioned = node.operands.iter().chain(&node.results);
                let mut last = Vec::new();
                for &value in mentioned {
                    if !std::mem::replace(&mut read_later[value.index()], true) {
                        last.push(value);
                    }
                }
                dead.push(last);
            }
            dead.reverse();
            Rc::new(dead)
        };
        self.last_reads.entry(region).or_insert_with(find).clone()
    }
}
