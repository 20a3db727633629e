//! opt - `nnc opt`: passes by name, for people who read or write them.

use nnc::{
    Compiler, Options,
    bisect::{Bisection, bisect as search},
    compare::Tolerance,
    ir::{Module, diag::escape, text},
    passes::{PASSES, manager::diff, pipeline::pipeline},
    sample::sample_inputs,
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
    let options = Options { watch_passes: args.emit == OptEmit::Diff, ..args.options.to_options()? };
    let module = source::load_module(path, &options, format)?;
    let names: Vec<&str> = match &args.passes {
        Some(names) => names.iter().map(String::as_str).filter(|n| !n.is_empty()).collect(),
        None => pipeline(options.level),
    };
    if args.bisect {
        return bisect(args, &Compiler::new(options), &module, &names);
    }
    let lowered = Compiler::new(options).run_passes(module, &names)?;
    output::diagnostics(&lowered.warnings, format);
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

/// Names the rewrite at which results part, and shows what it does.
fn bisect(args: &OptArgs, compiler: &Compiler, module: &Module, names: &[&str]) -> Outcome {
    let inputs = |program: &nnc::runtime::Program| match &args.inputs {
        Some(dir) => source::read_inputs_dir(dir, program.signature()),
        None => sample_inputs(program),
    };
    let parting = match search(compiler, module, names, inputs, Tolerance::RelMax(args.rel_max))? {
        Bisection::Agree { rewrites } => {
            say!("results agree after all {rewrites} rewrites");
            return Ok(0);
        }
        Bisection::Part(parting) => parting,
    };
    say!("results part at rewrite {}: {}", parting.number, parting.how);
    let (before, after) = &parting.modules;
    match (&parting.made, after) {
        (Some(made), Some(after)) => {
            let onnx: Vec<&str> = made.rewrite.loc.iter().map(AsRef::as_ref).collect();
            say!("pass    {} (run {})", made.pass, made.runs + 1);
            say!("rule    {}", made.rewrite.rule);
            say!("nodes   {}", escape(&onnx.join(", ")));
            output::write(&diff(&text::print(before), &text::print(after)));
        }
        _ => say!("the pass fails with it"),
    }
    Ok(1)
}
