//! reach-canonical - declares the module canonical after checking that it is.
//!
//! ```nnir
//! nnir 1
//! phase imported
//! module (%0 "x" : f32[2]) {
//!   return %0 "y"
//! }
//! ```
//! becomes
//! ```nnir
//! nnir 1
//! phase canonical
//! module (%0 "x" : f32[2]) {
//!   return %0 "y"
//! }
//! ```
//!
//! Canonical means: no composite operation is left. Exact.

use nnc_ir::{Module, form::Form, graph::Phase};

use crate::pass::{Bug, PassCx, Rule};

pub(crate) const RULES: &[&Rule] = &[];

pub(crate) fn run(module: &mut Module, _: &mut PassCx<'_>) -> Result<(), Bug> {
    for region in module.nested_regions(module.body()) {
        for &node in &module.region(region).nodes {
            if module.form(node) == Form::Composite {
                let message = format!("composite `{}` is left", module.node(node).op.mnemonic());
                return Err(Bug { pass: "reach-canonical".into(), message });
            }
        }
    }
    module.phase = module.phase.max(Phase::Canonical);
    Ok(())
}
