//! output - what commands print: results on standard output, diagnostics on standard error as text or JSON.

use std::io::{ErrorKind, Write, stderr, stdout};

use nnc::{Failure, ir::diag::Diagnostic};
use serde_json::{Value, json};

use super::args::ErrorFormat;

/// Prints a line on standard output.
macro_rules! say {
    ($($arg:tt)*) => { $crate::cli::output::write(&format!("{}\n", format_args!($($arg)*))) };
}
pub(super) use say;

/// Prints a line on standard error, if there is one.
macro_rules! tell {
    ($($arg:tt)*) => { $crate::cli::output::complain(&format!("{}\n", format_args!($($arg)*))) };
}
pub(super) use tell;

/// Prints on standard output. A reader that has gone, as `head` does, ends the process without a word.
pub(super) fn write(text: &str) {
    let Err(error) = stdout().write_all(text.as_bytes()).and_then(|()| stdout().flush()) else { return };
    if error.kind() == ErrorKind::BrokenPipe {
        std::process::exit(0);
    }
    let failure = Failure::single(602, format!("cannot write to standard output: {error}"));
    complain(&format!("{failure}\n"));
    std::process::exit(i32::from(failure.exit_status()));
}

/// Prints on standard error; there is nobody to tell if that fails.
pub(super) fn complain(text: &str) {
    let _ = stderr().write_all(text.as_bytes());
}

/// Prints why a command did not work.
pub(crate) fn report(failure: &Failure, format: ErrorFormat) {
    match (format, failure) {
        (ErrorFormat::Json, _) => diagnostics(&failure.diagnostics(), format),
        (ErrorFormat::Text, Failure::Model(problems)) => diagnostics(problems, format),
        (ErrorFormat::Text, other) => tell!("{other}"),
    }
}

/// Prints diagnostics.
pub(crate) fn diagnostics(problems: &[Diagnostic], format: ErrorFormat) {
    for problem in problems {
        match format {
            ErrorFormat::Text => tell!("{problem}"),
            ErrorFormat::Json => tell!("{}", to_json(problem)),
        }
    }
}

/// A diagnostic with its fields by name.
pub(crate) fn to_json(d: &Diagnostic) -> Value {
    let letter = if d.is_error() { 'E' } else { 'W' };
    let node = d.loc.node.as_ref();
    json!({
        "code": format!("{letter}{:04}", d.code.0),
        "severity": if d.is_error() { "error" } else { "warning" },
        "message": d.message,
        "graph": d.loc.graph,
        "node": node.map(|n| json!({ "index": n.index, "name": n.name, "op": n.op, "opset": n.opset })),
        "tensor": d.loc.tensor,
        "byte": d.loc.byte,
        "notes": d.notes,
        "help": d.help,
    })
}
