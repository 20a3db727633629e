//! header - versions: of the file format and of the operator sets a model or function imports.

use crate::problems::Problems;
use nnc_ir::diag::Diagnostic;
use onnx_protobuf as pb;
use std::collections::BTreeMap;

/// Oldest file format read; it has operator sets.
pub const MIN_IR_VERSION: i64 = 3;
/// Newest file format read.
pub const MAX_IR_VERSION: i64 = 13;
/// Oldest operator set of the default domain.
pub const MIN_OPSET: i64 = 6;
/// Newest operator set of the default domain.
pub const MAX_OPSET: i64 = 25;

/// The one spelling of a domain: `ai.onnx` is the default domain.
pub(crate) fn domain(domain: String) -> String {
    if domain == "ai.onnx" { String::new() } else { domain }
}

pub(crate) fn check_ir_version(version: i64, problems: &mut Problems) {
    if !(MIN_IR_VERSION..=MAX_IR_VERSION).contains(&version) {
        let message = format!("ir_version {version} not in {MIN_IR_VERSION}..{MAX_IR_VERSION}");
        problems.push(Diagnostic::error(11, message));
    }
}

/// Versions by domain; `owner` is who imports them.
pub(crate) fn opsets(
    imports: Vec<pb::OperatorSetIdProto>,
    owner: &str,
    problems: &mut Problems,
) -> BTreeMap<String, i64> {
    let mut opsets = BTreeMap::new();
    for import in imports {
        let domain = domain(import.domain);
        let version = import.version;
        if domain.is_empty() && !(MIN_OPSET..=MAX_OPSET).contains(&version) {
            let message = format!("opset {version} of '{domain}' not supported ({MIN_OPSET}..{MAX_OPSET})");
            problems.push(Diagnostic::error(13, message).note(format!("imported by {owner}")));
        }
        match opsets.get(&domain) {
            Some(&other) if other != version => {
                let message = format!("domain '{domain}' imported as {other} and {version}");
                problems.push(Diagnostic::error(14, message).note(format!("imported by {owner}")));
            }
            _ => {
                opsets.insert(domain, version);
            }
        }
    }
    opsets
}
