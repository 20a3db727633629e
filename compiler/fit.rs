//! fit - brings the arena of a module below a limit, by what the backend's plan says it takes.

use nnc_cpu::{CompileOptions, PlanReport};
use nnc_ir::{Module, diag::Diagnostic};
use nnc_passes::cost::{self, Cost};

use crate::{Compiler, Failure, Lowered, compiler::target_facts};

/// Code of an arena that cannot be made small enough.
const TOO_LARGE: u16 = 508;

/// The pass that computes values again.
const RECOMPUTE: &str = "recompute";

/// The pass estimates what the plan needs; where it was wrong, it is asked for less, so many times.
const ROUNDS: usize = 12;

/// What a limit of memory took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryReport {
    /// Bytes that were allowed.
    pub limit: i64,
    /// Bytes of the arena.
    pub arena_bytes: i64,
    /// Bytes of the arena with nothing computed again.
    pub arena_bytes_before: i64,
    /// Sum of the sizes of all intermediates.
    pub intermediate_bytes: i64,
    /// Most bytes that are in use at one time.
    pub peak_live_bytes: i64,
    /// ONNX nodes of what is computed again, an entry each time.
    pub recomputed: Vec<String>,
    /// Scalar operations that this adds to a run.
    pub extra_flops: i64,
    /// Cycles that this adds to a run, by the cost model.
    pub extra_cycles: i64,
    /// Cycles of a run without, by the cost model.
    pub cycles: i64,
}

impl MemoryReport {
    /// What a program records of it.
    #[must_use]
    pub fn notes(&self) -> Vec<(String, String)> {
        let notes = [
            ("max_memory", self.limit.to_string()),
            ("recomputed", self.recomputed.join(", ")),
            ("extra_cycles", format!("{} more than {}", self.extra_cycles, self.cycles)),
        ];
        notes.map(|(key, text)| (key.to_owned(), text)).to_vec()
    }
}

/// Runs the passes, and computes again what it takes for an arena of at most `limit` bytes.
pub(crate) fn optimize(
    compiler: &Compiler,
    module: Module,
    names: &[&str],
    limit: i64,
) -> Result<Lowered, Failure> {
    // What comes after sees what is computed again or in parts.
    let place = names.iter().position(|n| *n == RECOMPUTE).unwrap_or(names.len());
    let (earlier, later) = (&names[..place], &names[(place + 1).min(names.len())..]);
    let mut lowered = compiler.run_passes_in(module, earlier, usize::MAX, None)?;
    let target = compiler.target()?;
    let options = compiler.of_backend(&target, CompileOptions::default());
    let plan = |module: &Module| -> Result<PlanReport, Failure> {
        Ok(nnc_cpu::plan_memory(module, &target, &options)?)
    };
    let mut report = plan(&lowered.module)?;
    if !report.symbolic_arena.is_empty() {
        let message = "the arena depends on symbols, so that no limit can be held for all sizes";
        return Err(Failure::Model(vec![
            Diagnostic::error(TOO_LARGE, message)
                .help(format!("pin them with --dim: {}", symbols(&lowered.module).join(", "))),
        ]));
    }
    let before = (cost::of_module(&lowered.module), report.arena_bytes);
    let mut least = (report.arena_bytes, before.0, 0);
    let mut wanted = limit;
    let mut recomputed = Vec::new();
    let rounds = if names.contains(&RECOMPUTE) { ROUNDS } else { 0 };
    for _ in 0..rounds {
        if report.arena_bytes <= limit || wanted < 0 {
            break;
        }
        let next = compiler.run_passes_in(lowered.module.clone(), &[RECOMPUTE], usize::MAX, Some(wanted))?;
        let changed = next.reports.iter().any(|r| !r.rewrites.is_empty());
        lowered.reports.extend(next.reports);
        if changed {
            let rewrites = lowered.reports.last().into_iter().flat_map(|r| &r.rewrites);
            recomputed.extend(rewrites.map(|r| r.loc.join("+")));
            lowered.module = next.module;
            report = plan(&lowered.module)?;
            if report.arena_bytes < least.0 {
                least = (report.arena_bytes, cost::of_module(&lowered.module), recomputed.len());
            }
        }
        // A pass that did nothing estimates less than the plan takes.
        let excess = (report.arena_bytes - limit).max(limit / 32).max(1);
        wanted = if changed { wanted.min(limit) } else { wanted - excess };
        if changed && report.arena_bytes > limit {
            wanted -= excess;
        }
    }
    let target = target_facts(&compiler.target()?);
    let cycles = |c: Cost| c.cycles(&target);
    if report.arena_bytes > limit {
        let (bytes, cost, times) = least;
        let more = cycles(cost) - cycles(before.0);
        let message = format!(
            "an arena of {limit} bytes is not enough: the least that was reached is {bytes}, {} without computing \
             anything again or in parts",
            before.1
        );
        return Err(Failure::Model(vec![Diagnostic::error(TOO_LARGE, message).help(format!(
            "allow {bytes} bytes: {times} values are computed again or in parts then, for {more} cycles more than {}",
            cycles(before.0)
        ))]));
    }
    let finished = compiler.run_passes_in(lowered.module.clone(), later, usize::MAX, None)?;
    let finished_report = plan(&finished.module)?;
    if finished_report.arena_bytes <= limit {
        lowered.module = finished.module;
        lowered.reports.extend(finished.reports);
        report = finished_report;
    }
    let after = cost::of_module(&lowered.module);
    lowered.memory = Some(MemoryReport {
        limit,
        arena_bytes: report.arena_bytes,
        arena_bytes_before: before.1,
        intermediate_bytes: report.intermediate_bytes,
        peak_live_bytes: report.peak_live_bytes,
        recomputed,
        extra_flops: after.flops - before.0.flops,
        extra_cycles: cycles(after) - cycles(before.0),
        cycles: cycles(before.0),
    });
    Ok(lowered)
}

/// Names of the symbols that inputs decide.
fn symbols(module: &Module) -> Vec<String> {
    use nnc_ir::extent::SymbolOrigin;
    let inputs = module.symbols.iter().filter(|(_, s)| s.origin != SymbolOrigin::Data);
    inputs.map(|(_, s)| s.name.to_string()).collect()
}
