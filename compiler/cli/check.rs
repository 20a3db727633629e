//! check - `nnc check`: every problem of a model at once.

use nnc::Compiler;

use super::{
    Outcome,
    args::{CheckArgs, ErrorFormat},
    output::{self, say},
};

pub(crate) fn run(args: &CheckArgs, format: ErrorFormat) -> Outcome {
    let compiler = Compiler::new(args.options.to_options()?);
    let imported = compiler.import_file(&args.model)?;
    output::diagnostics(&imported.warnings, format);
    let lowered = compiler.optimize(imported.module)?;
    output::diagnostics(&lowered.warnings, format);
    match compiler.generate(&lowered.module) {
        Ok(_) => {
            say!(
                "{}: ok, {} warnings",
                args.model.display(),
                imported.warnings.len() + lowered.warnings.len()
            );
            Ok(0)
        }
        Err(failure) => Err(failure),
    }
}
