//! manager - runs passes by name: verifies after each that changed something, checks what it reports, records what it did.

use std::time::Instant;

use nnc_ir::{
    Module,
    graph::Phase,
    hash::change_hash,
    text,
    verify::{Violation, verify},
};

use crate::{
    cost::{self, Cost},
    pass::{Bug, PassCx, PassInfo, PassReport, Rewrite},
};

/// What to record while passes run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watch {
    /// Keep the text after each pass.
    pub text: bool,
    /// Keep a diff of the text for each pass.
    pub diff: bool,
    /// Keep what the module costs before and after each pass.
    pub costs: bool,
}

/// Runs one pass.
///
/// # Errors
/// [`Bug`]: an unknown name, a pass that needs a later phase, invalid IR after a pass, a change that no rewrite accounts
/// for, or a rewrite without a change.
pub fn run_pass(
    module: &mut Module,
    name: &str,
    cx: &mut PassCx<'_>,
    watch: Watch,
) -> Result<PassReport, Bug> {
    PassManager::new(module, watch).run(module, name, cx)
}

/// Runs passes one after another. What is known of the module after one is known before the next.
pub struct PassManager {
    watch: Watch,
    facts: Facts,
    /// Whether the module has been verified as it is.
    verified: bool,
}

impl PassManager {
    /// A manager for a module, which nobody else may change between passes.
    #[must_use]
    pub fn new(module: &Module, watch: Watch) -> Self {
        Self { watch, facts: Facts::of(module, watch), verified: false }
    }

    /// Runs one pass.
    ///
    /// # Errors
    /// As [`run_pass`].
    pub fn run(&mut self, module: &mut Module, name: &str, cx: &mut PassCx<'_>) -> Result<PassReport, Bug> {
        let bug = |message: String| Bug { pass: name.to_owned(), message };
        let pass = crate::find(name).ok_or_else(|| bug("no pass has this name".into()))?;
        if module.phase < pass.needs {
            return Err(bug(format!("needs phase {:?}, the module is {:?}", pass.needs, module.phase)));
        }
        let start = Instant::now();
        (pass.run)(module, cx)?;
        module.release_constants();
        let time = start.elapsed();
        let rewrites = std::mem::take(&mut cx.rewrites);
        let after = Facts::of(module, self.watch);
        let before = std::mem::replace(&mut self.facts, after);
        let after = &self.facts;
        if after.hash != before.hash || !self.verified {
            verify(module).map_err(|violations| bug(invalid(&violations)))?;
            self.verified = true;
        }
        check(pass, &rewrites, &before, after)?;
        let diff = match (&before.text, &after.text) {
            (Some(old), Some(new)) if self.watch.diff && old != new => Some(diff(old, new)),
            _ => None,
        };
        Ok(PassReport {
            name: pass.name,
            rewrites,
            nodes: (before.nodes, after.nodes),
            cost: before.cost.zip(after.cost),
            time,
            diff,
            text: if self.watch.text { after.text.clone() } else { None },
            misses: std::mem::take(&mut cx.misses),
        })
    }
}

/// What is known of a module between two passes.
struct Facts {
    nodes: usize,
    cost: Option<Cost>,
    phase: Phase,
    hash: u64,
    text: Option<String>,
}

impl Facts {
    fn of(module: &Module, watch: Watch) -> Self {
        Self {
            nodes: cost::count_nodes(module),
            cost: watch.costs.then(|| cost::of_module(module)),
            phase: module.phase,
            hash: change_hash(module),
            text: (watch.diff || watch.text).then(|| text::print(module)),
        }
    }
}

fn invalid(violations: &[Violation]) -> String {
    let first: Vec<String> = violations.iter().take(3).map(ToString::to_string).collect();
    format!("left an invalid module: {}", first.join("; "))
}

fn check(pass: &PassInfo, rewrites: &[Rewrite], before: &Facts, after: &Facts) -> Result<(), Bug> {
    let bug = |message: String| Bug { pass: pass.name.to_owned(), message };
    let changed = after.hash != before.hash;
    let told = !rewrites.is_empty() || after.phase != before.phase;
    if changed != told {
        return Err(bug(format!(
            "reports {} rewrites, the module {}",
            rewrites.len(),
            if changed { "changed" } else { "did not change" }
        )));
    }
    if let Some(stray) = rewrites.iter().find(|r| pass.rules.iter().all(|rule| rule.name != r.rule)) {
        return Err(bug(format!("applied rule '{}', which is none of its own", stray.rule)));
    }
    Ok(())
}

/// Unified diff of two texts.
#[must_use]
pub fn diff(old: &str, new: &str) -> String {
    similar::TextDiff::from_lines(old, new).unified_diff().context_radius(2).to_string()
}
