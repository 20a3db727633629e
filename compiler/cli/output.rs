//! output - diagnostics on standard error, as text or JSON.

use nnc::{Failure, ir::diag::Diagnostic};
use serde_json::{Value, json};

use super::args::ErrorFormat;

/// Prints why a command did not work.
pub(crate) fn report(failure: &Failure, format: ErrorFormat) {
    match (format, failure) {
        (ErrorFormat::Json, _) => diagnostics(&failure.diagnostics(), format),
        (ErrorFormat::Text, Failure::Model(problems)) => diagnostics(problems, format),
        (ErrorFormat::Text, other) => eprintln!("{other}"),
    }
}

/// Prints diagnostics.
pub(crate) fn diagnostics(problems: &[Diagnostic], format: ErrorFormat) {
    for problem in problems {
        match format {
            ErrorFormat::Text => eprintln!("{problem}"),
            ErrorFormat::Json => eprintln!("{}", to_json(problem)),
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
