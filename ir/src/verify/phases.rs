//! phases - V14 and V15: what phases and fusions forbid.

use super::{Forms, Report, Rule, for_each_node};
use crate::{
    form::Form,
    graph::{Module, Phase, RegionId},
    ops::{Fusion, OpStruct},
};

pub(super) fn check(module: &Module, forms: &Forms, report: &mut Report) {
    for_each_node(module, &mut |_, id| {
        let node = module.node(id);
        if Fusion::from_op(&node.op).is_some() {
            for &region in &node.regions {
                fusion_body(module, forms, region, report);
            }
        }
        if !form_is_allowed(forms.get(id), module.phase) {
            let message = format!("{} is composite in phase {:?}", node.op.mnemonic(), module.phase);
            report.add(Rule::Composite, &node.loc, message);
        }
    });
}

/// V14.
pub(super) fn form_is_allowed(form: &Form, phase: Phase) -> bool {
    phase < Phase::Canonical || !matches!(form, Form::Composite)
}

/// V15.
fn fusion_body(module: &Module, forms: &Forms, region: RegionId, report: &mut Report) {
    for &id in &module.region(region).nodes {
        let node = module.node(id);
        let fits = match forms.get(id) {
            Form::Loops(_)
            | Form::View
            | Form::Concat { .. }
            | Form::Scatter(_)
            | Form::Constant
            | Form::Extents(_) => true,
            Form::ReadExtents(_) | Form::Region | Form::Composite | Form::Extern(_) => false,
        };
        if !fits {
            report.add(Rule::FusionBodies, &node.loc, format!("a fusion holds {}", node.op.mnemonic()));
        }
    }
}
