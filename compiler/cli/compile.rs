//! compile - `nnc compile`: an ONNX model to an artefact or a text.

use std::{fs, path::Path};

use nnc::{
    Compiler, Failure, Lowered, Options, cpu::CompileOptions, passes::pass::PassReport, runtime::artefact,
};

use super::{
    Outcome,
    args::{CompileArgs, Emit, ErrorFormat},
    output::{self, say, tell},
};

pub(crate) fn run(args: &CompileArgs, format: ErrorFormat) -> Outcome {
    let options = Options {
        name: args.name.clone(),
        triple: args.triple.clone(),
        watch_passes: args.dump_ir.is_some(),
        ..args.options.to_options()
    };
    let compiler = Compiler::new(options);
    let imported = compiler.import_file(&args.model)?;
    output::diagnostics(&imported.warnings, format);
    let lowered = compiler.optimize(imported.module)?;
    if args.time_passes || args.verbose {
        print_reports(&lowered.reports);
    }
    if let Some(dir) = &args.dump_ir {
        dump(dir, &lowered)?;
    }
    let extension = match args.emit {
        Emit::Nnc => "nnc",
        Emit::Ir => "nnir",
        Emit::Clif => "clif",
        Emit::Asm => "s",
    };
    let path = args.output.clone().unwrap_or_else(|| args.model.with_extension(extension));
    match args.emit {
        Emit::Ir => write(&path, nnc::ir::text::print(&lowered.module).as_bytes())?,
        Emit::Clif => {
            let options = CompileOptions { emit_clif: true, ..CompileOptions::default() };
            let text = compiler.generate_with(&lowered.module, options)?.clif;
            write(&path, text.unwrap_or_default().as_bytes())?;
        }
        Emit::Asm => {
            let options = CompileOptions { emit_asm: true, ..CompileOptions::default() };
            let text = compiler.generate_with(&lowered.module, options)?.asm;
            write(&path, text.unwrap_or_default().as_bytes())?;
        }
        Emit::Nnc => {
            artefact::write(&compiler.generate(&lowered.module)?.image, &path)?;
        }
    }
    say!("{}", path.display());
    Ok(0)
}

fn print_reports(reports: &[PassReport]) {
    tell!("{:<20} {:>9} {:>7} {:>7} {:>10}", "pass", "rewrites", "before", "after", "time");
    for r in reports {
        let ms = r.time.as_secs_f64() * 1e3;
        tell!(
            "{:<20} {:>9} {:>7} {:>7} {ms:>7.2} ms",
            r.name,
            r.rewrites.len(),
            r.cost.0.nodes,
            r.cost.1.nodes
        );
    }
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
