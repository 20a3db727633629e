//! manager - runs passes by name: verifies after each, checks what it reports, records what it did.

use std::time::Instant;

use nnc_ir::{Module, hash::content_hash, text, verify::verify};

use crate::pass::{Bug, Changed, PassCx, PassInfo, PassReport};

/// What to record while passes run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watch {
    /// Keep the text after each pass.
    pub text: bool,
    /// Keep a diff of the text for each pass.
    pub diff: bool,
}

/// Runs one pass.
///
/// # Errors
/// [`Bug`]: an unknown name, a pass that needs a later phase, invalid IR after a pass, or a wrong report of change.
pub fn run_pass(
    module: &mut Module,
    name: &str,
    cx: &mut PassCx<'_>,
    watch: Watch,
) -> Result<PassReport, Bug> {
    let bug = |message: String| Bug { pass: name.to_owned(), message };
    let pass = crate::find(name).ok_or_else(|| bug("no pass has this name".into()))?;
    if module.phase < pass.needs {
        return Err(bug(format!("needs phase {:?}, the module is {:?}", pass.needs, module.phase)));
    }
    let before = Before::of(module, watch);
    let start = Instant::now();
    let changed = (pass.run)(module, cx)?;
    let time = start.elapsed();
    check(module, pass, changed, &before)?;
    let text = (watch.text || watch.diff).then(|| text::print(module));
    let diff = match (&before.text, &text) {
        (Some(old), Some(new)) if old != new => Some(diff(old, new)),
        _ => None,
    };
    Ok(PassReport {
        name: pass.name,
        changed: changed.0,
        nodes: (before.nodes, count_nodes(module)),
        time,
        diff,
        text: if watch.text { text } else { None },
        misses: std::mem::take(&mut cx.misses),
    })
}

/// Facts of a module before a pass.
struct Before {
    nodes: usize,
    hash: [u8; 32],
    text: Option<String>,
}

impl Before {
    fn of(module: &Module, watch: Watch) -> Self {
        Self {
            nodes: count_nodes(module),
            hash: content_hash(module),
            text: watch.diff.then(|| text::print(module)),
        }
    }
}

fn check(module: &Module, pass: &PassInfo, changed: Changed, before: &Before) -> Result<(), Bug> {
    let bug = |message: String| Bug { pass: pass.name.to_owned(), message };
    if let Err(violations) = verify(module) {
        let first: Vec<String> = violations.iter().take(3).map(ToString::to_string).collect();
        return Err(bug(format!("left an invalid module: {}", first.join("; "))));
    }
    let really = content_hash(module) != before.hash;
    if really != (changed != Changed(0)) {
        return Err(bug(format!(
            "reports {} rewrites, the module {}",
            changed.0,
            if really { "changed" } else { "did not change" }
        )));
    }
    Ok(())
}

/// Nodes in every region that is reachable.
#[must_use]
pub fn count_nodes(module: &Module) -> usize {
    module.nested_regions(module.body()).into_iter().map(|r| module.region(r).nodes.len()).sum()
}

/// Unified diff of two texts.
#[must_use]
pub fn diff(old: &str, new: &str) -> String {
    similar::TextDiff::from_lines(old, new).unified_diff().context_radius(2).to_string()
}
