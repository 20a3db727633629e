//! opt - `nnc opt`: passes by name, for people who read or write them.

use nnc::{
    Compiler, Options,
    passes::{PASSES, pipeline::pipeline},
};

use super::{
    Outcome,
    args::{ErrorFormat, OptArgs, OptEmit},
    output::{self, say},
    source,
};

pub(crate) fn run(args: &OptArgs, format: ErrorFormat) -> Outcome {
    if args.list_passes {
        for pass in PASSES {
            say!(
                "{:<18} {:<10} {:<12} {}",
                pass.name,
                format!("{:?}", pass.needs),
                pass.exactness,
                pass.help.trim()
            );
        }
        return Ok(0);
    }
    let Some(path) = &args.model else { return Ok(2) };
    let options = Options { watch_passes: args.emit == OptEmit::Diff, ..args.options.to_options() };
    let module = source::load_module(path, &options, format)?;
    let names: Vec<&str> = match &args.passes {
        Some(names) => names.iter().map(String::as_str).filter(|n| !n.is_empty()).collect(),
        None => pipeline(options.level),
    };
    let lowered = Compiler::new(options).run_passes(module, &names)?;
    match args.emit {
        OptEmit::Ir => output::write(&nnc::ir::text::print(&lowered.module)),
        OptEmit::Diff => {
            for report in &lowered.reports {
                say!("# {}: {} rewrites", report.name, report.rewrites.len());
                output::write(report.diff.as_deref().unwrap_or_default());
            }
        }
    }
    Ok(0)
}
