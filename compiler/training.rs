//! training - what the user hears of training forms: those that were taken out, and those that nothing computes.

use nnc_ir::{
    Module,
    diag::{Diagnostic, escape},
    ops::{OpStruct, Training, TrainingKind},
};
use nnc_passes::{
    pass::{PassReport, Rewrite},
    pipeline::STRIP,
};

use crate::Failure;

/// The pass before which every training form must have become something else.
pub(crate) const FORBIDS: &str = "reach-canonical";

/// What rules of the strip pass take out, as a reader calls it: one, several.
const KINDS: &[(&str, &str, &str)] = &[
    ("strip-batch-norm", "batch normalization", "batch normalizations"),
    ("strip-dropout", "dropout", "dropouts"),
    ("strip-loss", "loss", "losses"),
    ("strip-optimizer", "optimizer", "optimizers"),
    ("strip-gradient", "gradient", "gradients"),
];

/// Most names that a warning spells out.
const NAMES: usize = 8;

fn names<'r>(report: &'r PassReport, rules: &[&str]) -> Vec<&'r str> {
    let of_rule = |r: &&Rewrite| rules.contains(&r.rule);
    report.rewrites.iter().filter(of_rule).flat_map(|r| r.loc.iter().map(AsRef::as_ref)).collect()
}

/// W0415: what the strip pass has taken out, if anything.
pub(crate) fn warning(report: &PassReport) -> Option<Diagnostic> {
    if report.name != STRIP || report.rewrites.is_empty() {
        return None;
    }
    let mut parts = Vec::new();
    for (rule, one, several) in KINDS {
        match report.rewrites.iter().filter(|r| r.rule == *rule).count() {
            0 => {}
            1 => parts.push(format!("1 {one}")),
            n => parts.push(format!("{n} {several}")),
        }
    }
    for (what, rules) in [
        ("output", &["drop-training-output", "drop-checkpoint-output"][..]),
        ("input", &["drop-training-input"][..]),
    ] {
        let mut names = names(report, rules);
        let more = names.len().saturating_sub(NAMES);
        let s = if names.len() == 1 { "" } else { "s" };
        names.truncate(NAMES);
        let quoted: Vec<String> = names.iter().map(|n| format!("'{}'", escape(n))).collect();
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        if !quoted.is_empty() {
            parts.push(format!("{what}{s} {}{rest}", quoted.join(", ")));
        }
    }
    let message = format!("compiled for inference; of training was taken out: {}", parts.join("; "));
    Some(Diagnostic::warning(415, message).help("--training keep compiles the model as it is written"))
}

/// What the strip pass has taken out, one line each: kind and ONNX name.
#[must_use]
pub fn removed(report: &PassReport) -> Vec<String> {
    if report.name != STRIP {
        return Vec::new();
    }
    let line = |r: &Rewrite| {
        let kind = KINDS.iter().find(|(rule, ..)| *rule == r.rule).map(|(_, one, _)| *one);
        let what = kind.or(match r.rule {
            "drop-training-output" | "drop-checkpoint-output" => Some("output"),
            "drop-training-input" => Some("input"),
            _ => None,
        })?;
        Some(format!("{what} {}", escape(&r.loc.join(", "))))
    };
    report.rewrites.iter().filter_map(line).collect()
}

/// Refuses a module with training forms that have no region as written (E0415), each with its name.
pub(crate) fn check(module: &Module) -> Result<(), Failure> {
    let mut problems = Vec::new();
    for region in module.nested_regions(module.body()) {
        for &id in &module.region(region).nodes {
            let node = module.node(id);
            let Some(form) = Training::from_op(&node.op).filter(|_| node.regions.len() < 2) else { continue };
            let what = match form.kind {
                TrainingKind::Dropout => "Dropout in training mode is random",
                TrainingKind::Gradient => "nnc computes no gradients",
                _ => "nnc trains no weights",
            };
            let problem = Diagnostic::error(415, format!("{what}: '{}'", escape(&node.loc.join(", "))));
            problems.push(match form.kind {
                TrainingKind::Optimizer | TrainingKind::Gradient => {
                    problem.help("--training strip drops it where an output for inference is left")
                }
                _ => problem.help("--training strip compiles the model for inference"),
            });
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Failure::Model(problems)) }
}
