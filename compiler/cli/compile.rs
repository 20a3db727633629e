//! compile - `nnc compile`: an ONNX model to an artefact or a text.

use std::{
    fs,
    path::{Path, PathBuf},
};

use nnc::{
    Compiler, Failure, Imported, Lowered, MemoryReport, Options, SessionOptions,
    cpu::{CompileOptions, PlanReport},
    runtime::artefact,
};
use serde_json::{Value, json};

use super::{
    Outcome,
    args::{CompileArgs, Emit, ErrorFormat},
    output::{self, say, tell},
    report,
    tune::{self, Inputs},
};

pub(crate) fn run(args: &CompileArgs, format: ErrorFormat) -> Outcome {
    let options = Options {
        name: args.name.clone(),
        triple: args.triple.clone(),
        max_memory: args.max_memory,
        watch_passes: args.dump_ir.is_some(),
        watch_costs: args.verbose || args.json,
        ..args.options.to_tuned_options(&args.tune)?
    };
    let path = args.options.tuning.path.as_deref();
    let with = (SessionOptions::host(), &nnc::sample::sample_inputs as Inputs<'_>);
    let options = tune::measured((&args.tune, path), options, &args.model, with, format)?;
    let compiler = Compiler::new(options);
    let imported = compiler.import_file(&args.model)?;
    output::diagnostics(&imported.warnings, format);
    let plain =
        args.emit == Emit::Nnc && !args.json && !args.verbose && !args.time_passes && args.dump_ir.is_none();
    if plain {
        return artefact_only(args, &compiler, imported, format);
    }
    let lowered = compiler.optimize(imported.module)?;
    output::diagnostics(&lowered.warnings, format);
    if args.time_passes || args.verbose {
        report::table(&lowered.reports);
        for line in lowered.reports.iter().flat_map(nnc::removed) {
            tell!("removed: {line}");
        }
    }
    if let Some(dir) = &args.dump_ir {
        dump(dir, &lowered)?;
    }
    let path = output_path(args);
    let generate = |options: CompileOptions| compiler.generate_with(&lowered.module, options);
    let notes = lowered.memory.as_ref().map(MemoryReport::notes).unwrap_or_default();
    let plain = CompileOptions { notes, ..CompileOptions::default() };
    let compiled = match args.emit {
        Emit::Ir => None,
        Emit::Clif => Some(generate(CompileOptions { emit_clif: true, ..plain })?),
        Emit::Asm => Some(generate(CompileOptions { emit_asm: true, ..plain })?),
        Emit::Nnc => Some(generate(plain)?),
    };
    match (&compiled, args.emit) {
        (Some(c), Emit::Clif) => write(&path, c.clif.as_deref().unwrap_or_default().as_bytes())?,
        (Some(c), Emit::Asm) => write(&path, c.asm.as_deref().unwrap_or_default().as_bytes())?,
        (Some(c), _) => {
            artefact::write(&c.image, &path)?;
        }
        (None, _) => write(&path, nnc::ir::text::print(&lowered.module).as_bytes())?,
    }
    if args.verbose
        && let Some(c) = &compiled
    {
        summary(&c.report);
        if let Some(memory) = &lowered.memory {
            limited(memory);
        }
    }
    if args.json {
        let made = compiled.as_ref().map(|c| made(&c.report));
        let memory = lowered.memory.as_ref().map(memory);
        let passes = report::to_json(&lowered.reports);
        say!("{}", json!({ "output": path, "passes": passes, "program": made, "memory": memory }));
    } else {
        say!("{}", path.display());
    }
    Ok(0)
}

fn output_path(args: &CompileArgs) -> PathBuf {
    let extension = match args.emit {
        Emit::Nnc => "nnc",
        Emit::Ir => "nnir",
        Emit::Clif => "clif",
        Emit::Asm => "s",
    };
    args.output.clone().unwrap_or_else(|| args.model.with_extension(extension))
}

/// The program and nothing else: from the cache, if it is there.
fn artefact_only(
    args: &CompileArgs,
    compiler: &Compiler,
    imported: Imported,
    format: ErrorFormat,
) -> Outcome {
    // Those of the import have been printed.
    let made = compiler.make(Imported { warnings: Vec::new(), ..imported })?;
    output::diagnostics(&made.warnings, format);
    let path = output_path(args);
    artefact::write(&made.image, &path)?;
    say!("{}", path.display());
    Ok(0)
}

/// What was made, on standard error.
fn summary(report: &PlanReport) {
    tell!(
        "{} kernels, {} bytes of code, {} of weights",
        report.kernels,
        report.code_bytes,
        report.weight_bytes
    );
    let more = if report.symbolic_arena.is_empty() { "" } else { ", and more that symbols decide" };
    tell!(
        "{} bytes of arena for {} bytes of intermediates{more}",
        report.arena_bytes,
        report.intermediate_bytes
    );
}

/// What the limit of memory took, on standard error.
fn limited(report: &MemoryReport) {
    tell!(
        "{} bytes were allowed: {} values computed again, {} flops and {} cycles more than {}; {} bytes without that",
        report.limit,
        report.recomputed.len(),
        report.extra_flops,
        report.extra_cycles,
        report.cycles,
        report.arena_bytes_before
    );
}

fn memory(report: &MemoryReport) -> Value {
    json!({
        "limit": report.limit,
        "arena_bytes": report.arena_bytes,
        "arena_bytes_before": report.arena_bytes_before,
        "intermediate_bytes": report.intermediate_bytes,
        "peak_live_bytes": report.peak_live_bytes,
        "recomputed": report.recomputed,
        "extra_flops": report.extra_flops,
        "extra_cycles": report.extra_cycles,
        "cycles": report.cycles,
    })
}

fn made(report: &PlanReport) -> Value {
    json!({
        "kernels": report.kernels,
        "code_bytes": report.code_bytes,
        "weight_bytes": report.weight_bytes,
        "arena_bytes": report.arena_bytes,
        "symbolic_arena": report.symbolic_arena,
        "intermediate_bytes": report.intermediate_bytes,
        "peak_live_bytes": report.peak_live_bytes,
        "in_place": report.in_place,
        "channels_last": report.channels_last,
        "copies": report.copies,
    })
}

/// One `.nnir` and, where something changed, one diff a pass.
fn dump(dir: &Path, lowered: &Lowered) -> Result<(), Failure> {
    fs::create_dir_all(dir)
        .map_err(|e| Failure::single(602, format!("cannot make '{}': {e}", dir.display())))?;
    for (i, report) in lowered.reports.iter().enumerate() {
        let base = format!("{i:02}-{}", report.name);
        if let Some(text) = &report.text {
            write(&dir.join(format!("{base}.nnir")), text.as_bytes())?;
        }
        if let Some(diff) = &report.diff {
            write(&dir.join(format!("{base}.diff")), diff.as_bytes())?;
        }
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    fs::write(path, bytes)
        .map_err(|e| Failure::single(602, format!("cannot write '{}': {e}", path.display())))
}
