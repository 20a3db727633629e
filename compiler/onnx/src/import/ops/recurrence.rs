//! recurrence - makes `scan` nodes: a body that runs once a step.

use nnc_ir::{extent::Extent, graph::ValueId, ops};

use crate::import::{Problem, cx::OpCx};

/// What a recurrence reads.
pub(crate) struct Recurrence<'v> {
    /// Values that each step passes to the next.
    pub(crate) carried: &'v [ValueId],
    /// Values of which each step reads one slice along the leading axis.
    pub(crate) scanned: &'v [ValueId],
    /// Values that every step reads.
    pub(crate) captures: &'v [ValueId],
    /// Number of steps.
    pub(crate) steps: Extent,
    /// Steps go from the end of the axis to its start; stacked results are filled likewise.
    pub(crate) reversed: bool,
}

/// What one step gives.
pub(crate) struct Step {
    /// For the next step.
    pub(crate) carried: Vec<ValueId>,
    /// Slices of the stacked results.
    pub(crate) stacked: Vec<ValueId>,
}

impl Recurrence<'_> {
    /// Makes the node; `body` gets the carried values, the slices and the captures. Gives carried values at the end, then
    /// stacked results.
    pub(crate) fn emit<'b>(
        self,
        cx: &mut OpCx<'b>,
        body: impl FnOnce(&mut OpCx<'b>, &[ValueId], &[ValueId], &[ValueId]) -> Result<Step, Problem>,
    ) -> Result<Vec<ValueId>, Problem> {
        let region = cx.importer.module.add_region();
        let param = |cx: &mut OpCx<'b>, value: ValueId, is_slice: bool| {
            let ty = cx.ty(value).clone();
            let ty = if is_slice { ty.with_shape(&ty.shape[1..]) } else { ty };
            cx.importer.module.add_param(region, ty)
        };
        let carried: Vec<ValueId> = self.carried.iter().map(|&v| param(cx, v, false)).collect();
        let slices: Vec<ValueId> = self.scanned.iter().map(|&v| param(cx, v, true)).collect();
        let captures: Vec<ValueId> = self.captures.iter().map(|&v| param(cx, v, false)).collect();
        let outside = std::mem::replace(&mut cx.region, region);
        let step = body(cx, &carried, &slices, &captures);
        cx.region = outside;
        let step = step?;
        let op = ops::Scan {
            carried: self.carried.len(),
            steps: self.steps,
            reversed_inputs: vec![self.reversed; self.scanned.len()],
            reversed_outputs: vec![self.reversed; step.stacked.len()],
        };
        let results = [step.carried, step.stacked].concat();
        let operands = [self.carried, self.scanned, self.captures].concat();
        let loc = cx.loc.clone();
        let module = &mut cx.importer.module;
        module.set_results(region, results);
        match module.append(outside, op, &operands, &[region], &loc) {
            Ok(results) => Ok(results),
            Err(why) => cx.error(212, why),
        }
    }
}
