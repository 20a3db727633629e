//! training - a form that belongs to training, and what it is for inference.
//!
//! Operands are bound to the parameters of the region that is taken. Regions: for inference, and then, where it can be
//! computed, as written (batch statistics, a loss). Live dropout, optimizers and gradients have no region as written.
//!
//! * (C1) one region or two, whose parameters are the operands
//! * (C2) the regions give results of the same types
//! * (C3) one flag a result
//!
//! Composite: `strip-training` puts the region for inference in its place, `expand-training` the one as written.

use super::{InferCx, OpDef, control};
use crate::{form::Form, types::TensorType};

/// Which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrainingKind {
    /// BatchNormalization by the statistics of the batch, which also updates running ones.
    BatchNorm,
    /// Dropout that drops.
    Dropout,
    /// A loss against labels.
    Loss,
    /// A step of an optimizer.
    Optimizer,
    /// Derivatives. Its region only says of which types they are, and is never taken.
    Gradient,
}
attr_enum! { TrainingKind {
    BatchNorm = "batch_norm", Dropout = "dropout", Loss = "loss", Optimizer = "optimizer", Gradient = "gradient"
} }

attrs! {
    /// See the module header.
    Training {
        /// Which form.
        kind: TrainingKind,
        /// For each result whether only training has it: a running statistic, a mask, a loss, an updated weight.
        learns: Vec<bool>,
    }
}

impl OpDef for Training {
    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
        let ([inference] | [inference, _]) = cx.regions else {
            return Err(format!("training (C1): has {} regions, needs 1 or 2", cx.regions.len()));
        };
        for region in cx.regions {
            control::check_carried("training (C1)", "operands", cx.operands, &region.params)?;
            control::check_carried("training (C2)", "results", &region.results, &inference.results)?;
        }
        if self.learns.len() != inference.results.len() {
            let (flags, results) = (self.learns.len(), inference.results.len());
            return Err(format!("training (C3): {flags} flags for {results} results"));
        }
        Ok(inference.results.iter().map(|&t| t.clone()).collect())
    }
    fn form(&self, _: &[&TensorType], _: &[&TensorType]) -> Form {
        Form::Composite
    }
}
