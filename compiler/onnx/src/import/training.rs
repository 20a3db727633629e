//! training - forms of training as one node: what they are for inference and, where that can be computed, as written.

use nnc_ir::{
    graph::{RegionId, ValueId},
    ops::{Training, TrainingKind},
};

use super::{Outcome, Problem, cx::OpCx, value::Binding};

/// Makes the results of the node from its operands, as for any other node.
pub(crate) type Make = fn(&mut OpCx<'_>) -> Outcome;

impl OpCx<'_> {
    /// Appends the node. `learns` says of each result whether only training has it.
    pub(crate) fn training_form(
        &mut self,
        kind: TrainingKind,
        learns: &[bool],
        inference: Make,
        written: Option<Make>,
    ) -> Outcome {
        let mut operands = Vec::new();
        for i in 0..self.n_inputs() {
            operands.extend(self.optional_value(i)?);
        }
        let mut regions = vec![self.region_of(inference)?];
        if let Some(written) = written {
            regions.push(self.region_of(written)?);
        }
        let wanted: Vec<usize> = (0..self.n_outputs()).filter(|&i| self.wants(i)).collect();
        let learns = wanted.iter().map(|&i| learns.get(i).copied().unwrap_or(true)).collect();
        let values = self.emit_with_regions(Training { kind, learns }, &operands, &regions)?;
        let mut results = vec![Binding::Poison; self.n_outputs()];
        for (i, value) in wanted.into_iter().zip(values) {
            results[i] = value.into();
        }
        Ok(results)
    }

    /// A region that gives the wanted results, with a parameter for each operand.
    fn region_of(&mut self, make: Make) -> Result<RegionId, Problem> {
        let region = self.importer.module.add_region();
        let outside = self.inputs.clone();
        for binding in self.inputs.iter_mut().flatten() {
            if let Binding::Tensor(value) = binding {
                let ty = self.importer.module.ty(value.id).clone();
                value.id = self.importer.module.add_param(region, ty);
            }
        }
        let made = self.within(region, make)?;
        self.inputs = outside;
        let mut results: Vec<ValueId> = Vec::with_capacity(made.len());
        for i in (0..self.n_outputs()).filter(|&i| self.wants(i)) {
            match made.get(i) {
                Some(Binding::Tensor(value)) => results.push(value.id),
                _ => return self.error(202, format!("{} has no output {i} here", self.op())),
            }
        }
        self.importer.module.set_results(region, results);
        Ok(region)
    }
}
