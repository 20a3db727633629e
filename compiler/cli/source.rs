//! source - what a path on the command line is: a model, an artefact, a text, a folder of inputs.

use std::{fs::File, io::Read, path::Path};

use nnc::{
    CompiledModel, Compiler, Failure, Options, Tensor, io,
    ir::{Module, diag::Diagnostic},
    runtime::{Signature, artefact},
};

use super::{args::ErrorFormat, output};

/// Loads an artefact, or compiles a model. Warnings are printed.
pub(crate) fn load_or_compile(
    path: &Path,
    options: Options,
    format: ErrorFormat,
) -> Result<CompiledModel, Failure> {
    if is_artefact(path) {
        return CompiledModel::load(path);
    }
    let model = Compiler::new(options).compile_file(path)?;
    output::diagnostics(model.warnings(), format);
    Ok(model)
}

/// Whether the file begins as an artefact does. One that cannot be read is reported by whoever reads it whole.
pub(crate) fn is_artefact(path: &Path) -> bool {
    let mut head = Vec::new();
    // Opening a FIFO waits for a writer.
    if let Some(file) = path.is_file().then(|| File::open(path).ok()).flatten() {
        let _ = file.take(64).read_to_end(&mut head);
    }
    artefact::is_artefact(&head)
}

/// The module of an ONNX file or of `.nnir` text.
pub(crate) fn load_module(path: &Path, options: &Options, format: ErrorFormat) -> Result<Module, Failure> {
    if path.extension().is_some_and(|e| e == "nnir") {
        let text = std::fs::read_to_string(path)
            .map_err(|e| Failure::single(601, format!("cannot read '{}': {e}", path.display())))?;
        return nnc::ir::text::parse(&text, &|_| None).map_err(|e| unreadable(path, &e.to_string()));
    }
    let imported = Compiler::new(options.clone()).import_file(path)?;
    output::diagnostics(&imported.warnings, format);
    Ok(imported.module)
}

fn unreadable(path: &Path, why: &str) -> Failure {
    let problem = Diagnostic::error(16, format!("'{}': {why}", path.display()));
    Failure::Model(vec![match why.contains("no constant") {
        true => {
            problem.help("the text names large weights by digest and does not hold them: give the ONNX model")
        }
        false => problem,
    }])
}

/// The inputs in a folder, or made-up ones.
pub(crate) fn inputs_or_sample(dir: Option<&Path>, model: &CompiledModel) -> Result<Vec<Tensor>, Failure> {
    match dir {
        Some(dir) => read_inputs_dir(dir, model.signature()),
        None => nnc::sample::sample_inputs(model.program()),
    }
}

/// The inputs in `dir`, in the program's order: `NAME.npy`, `NAME.pb`, `N.npy`, or `input_N.pb`.
pub(crate) fn read_inputs_dir(dir: &Path, signature: &Signature) -> Result<Vec<Tensor>, Failure> {
    let find = |(i, name): (usize, &String)| {
        let file_name = file_name_of(name);
        let candidates = [
            format!("{file_name}.npy"),
            format!("{file_name}.pb"),
            format!("{i}.npy"),
            format!("input_{i}.pb"),
        ];
        let path = candidates.iter().map(|c| dir.join(c)).find(|p| p.is_file());
        let path = path.ok_or_else(|| {
            let message = format!("'{}' has no file for input '{name}'", dir.display());
            Failure::Model(vec![
                Diagnostic::error(801, message).help(format!("add one of {}", candidates.join(", "))),
            ])
        })?;
        io::read_tensor(&path)
    };
    signature.inputs.iter().map(|p| &p.name).enumerate().map(find).collect()
}

/// A name as a file name: what a path would take as a separator becomes `_`.
pub(crate) fn file_name_of(name: &str) -> String {
    name.chars().map(|c| if c == '/' || c == '\\' || c == ':' || c.is_control() { '_' } else { c }).collect()
}
