//! contract - products of the elements of two tensors, summed over the axes that the result does not name.
//!
//! Every axis has a label. Axes of one label run together (twice in one operand: its diagonal); a label that the result
//! does not have is summed over, in ascending order of labels.
//!
//! * (C1) one label an axis; those of the result are distinct and each is an operand's
//! * (C2) both operands have one element type, a number
//! * (C3) extents of one label are equal, or 1
//!
//! ONNX Einsum of two operands (the importer splits longer ones). `f16` and `bf16` accumulate in `f32`.

use super::{InferCx, OpDef, nest};
use crate::{
    extent::Extent,
    form::{Combine, Form, Ix, LoopForm},
    program::Program,
    types::TensorType,
};

attrs! {
    /// See the module header.
    Contract {
        /// Labels of the first operand's axes.
        lhs: Vec<usize>,
        /// Labels of the second operand's axes.
        rhs: Vec<usize>,
        /// Labels of the result's axes.
        result: Vec<usize>,
    }
}

impl Contract {
    /// The joint extent of a label.
    fn extent(&self, label: usize, operands: &[&TensorType]) -> Result<Extent, String> {
        let labels = self.lhs.iter().zip(&operands[0].shape).chain(self.rhs.iter().zip(&operands[1].shape));
        let mut joint: Option<Extent> = None;
        for (_, extent) in labels.filter(|(l, _)| **l == label) {
            joint = Some(match joint {
                None => extent.clone(),
                Some(have) => have
                    .broadcast(extent)
                    .ok_or_else(|| format!("contract (C3): label {label} is {have} and {extent}"))?,
            });
        }
        joint.ok_or_else(|| format!("contract (C1): no operand has label {label}"))
    }

    /// Labels that are summed over.
    fn summed(&self) -> Vec<usize> {
        let mut labels = [&self.lhs[..], &self.rhs].concat();
        labels.sort_unstable();
        labels.dedup();
        labels.retain(|l| !self.result.contains(l));
        labels
    }
}

impl OpDef for Contract {
    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
        let (lhs, rhs) = (cx.operands[0], cx.operands[1]);
        if self.lhs.len() != lhs.rank() || self.rhs.len() != rhs.rank() {
            return Err(format!("contract (C1): labels {:?} of {lhs}, {:?} of {rhs}", self.lhs, self.rhs));
        }
        if (1..self.result.len()).any(|i| self.result[..i].contains(&self.result[i])) {
            return Err(format!("contract (C1): labels {:?} of the result", self.result));
        }
        if lhs.dtype != rhs.dtype {
            return Err(format!("contract (C2): {lhs} by {rhs}"));
        }
        nest::Elements::Number.check("contract", lhs.dtype)?;
        for label in self.summed() {
            self.extent(label, cx.operands)?;
        }
        let shape = self.result.iter().map(|&l| self.extent(l, cx.operands));
        Ok(vec![lhs.with_shape(shape.collect::<Result<Vec<_>, _>>()?)])
    }

    fn form(&self, operands: &[&TensorType], results: &[&TensorType]) -> Form {
        let axes = [&self.result[..], &self.summed()].concat();
        let extents: Vec<Extent> = axes
            .iter()
            .map(|&l| self.extent(l, operands).expect("inference has joined the extents of every label"))
            .collect();
        let load = |operand: usize, labels: &[usize]| {
            let ty = operands[operand];
            let index = labels.iter().zip(&ty.shape).map(|(label, have)| {
                let axis = axes.iter().position(|l| l == label).expect("every label is an axis");
                if *have == extents[axis] { Ix::Axis(axis) } else { Ix::Axis(axis).bcast(have) }
            });
            nest::load(operand, ty, index.collect())
        };
        let loads = vec![load(0, &self.lhs), load(1, &self.rhs)];
        let dtype = operands[0].dtype;
        let body = nest::product_of_loads(dtype, dtype);
        let reduce = extents[self.result.len()..].to_vec();
        let is_sum = !reduce.is_empty();
        Form::Loops(LoopForm {
            space: results[0].shape.clone(),
            reduce,
            loads,
            body,
            combine: is_sum.then_some(Combine::Sum),
            finish: if is_sum { nest::accumulator(dtype) } else { Program::default() },
            results: vec![results[0].dtype],
        })
    }
}
