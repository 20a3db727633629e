//! load - a model file or its bytes to a `Model`, or every problem found on the way.

use crate::apart::{Apart, read_apart};
use crate::decode::Decoder;
use crate::external::{ExternalFiles, open_without_blocking};
use crate::limits::Limits;
use crate::model::{Buffer, Model};
use crate::problems::Problems;
use crate::schema::Msg;
use crate::{check_graph, inline, magic, scan};
use nnc_ir::diag::Diagnostic;
use onnx_protobuf as pb;
use protobuf::{CodedInputStream, Message};
use std::fs::FileType;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

/// How a model is read.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// What a model may ask for.
    pub limits: Limits,
    /// Follow symbolic links to external data.
    pub allow_symlinks: bool,
    /// Refuse what is odd: overlapping external data.
    pub strict: bool,
}

/// Reads the model at `path`; external data is looked for in its folder.
///
/// # Errors
/// All problems found, warnings included; at least one of them is an error.
pub fn load_file(path: &Path, options: &LoadOptions) -> Result<Model, Vec<Diagnostic>> {
    let bytes = read_file(path, options.limits.proto_bytes).map_err(|d| vec![*d])?;
    load(&path.display().to_string(), bytes, path.parent(), options)
}

/// Reads a model from memory; external data is looked for in `external_dir`.
///
/// # Errors
/// All problems found, warnings included; at least one of them is an error.
pub fn load_bytes(
    bytes: Vec<u8>,
    external_dir: Option<&Path>,
    options: &LoadOptions,
) -> Result<Model, Vec<Diagnostic>> {
    if bytes.len() as u64 > options.limits.proto_bytes {
        return Err(vec![too_large(bytes.len() as u64)]);
    }
    load("model", Apart::whole(bytes), external_dir, options)
}

fn load(
    name: &str,
    file: Apart,
    folder: Option<&Path>,
    options: &LoadOptions,
) -> Result<Model, Vec<Diagnostic>> {
    if let Some(other) = magic::recognise(&file.bytes, name) {
        return Err(vec![other]);
    }
    let mut problems = Problems::new(options.limits.problems);
    let mut model = decode(file, folder, options, &mut problems);
    if let Some(model) = &mut model {
        check_graph::check_model(model, &options.limits, &mut problems);
    }
    let warnings = problems.into_result()?;
    let mut model = model.expect("without a model there is an error");
    inline::inline(&mut model);
    model.warnings = warnings;
    Ok(model)
}

fn decode(
    file: Apart,
    folder: Option<&Path>,
    options: &LoadOptions,
    problems: &mut Problems,
) -> Option<Model> {
    let limits = &options.limits;
    let Apart { bytes, large } = file;
    let buffer: Buffer = Arc::new(bytes);
    let scanned = scan::scan(Msg::Model, &buffer, limits, problems)?;
    let proto: pb::ModelProto = parse(&scanned.slim, limits, problems)?;
    drop(scanned.slim);
    let external = ExternalFiles::new(folder, options.allow_symlinks, options.strict, limits);
    let mut decoder = Decoder::new(buffer, scanned.payloads, external, limits, problems);
    decoder.large = large;
    decoder.model(proto)
}

/// Decodes slim bytes; after a sound scan this fails on nothing known.
pub(crate) fn parse<M: Message>(slim: &[u8], limits: &Limits, problems: &mut Problems) -> Option<M> {
    let mut input = CodedInputStream::from_bytes(slim);
    // Messages per level: graph, node, attribute; or type and what it is a type of.
    let nesting = 3 * limits.graph_nesting + 2 * limits.type_nesting + 16;
    input.set_recursion_limit(u32::try_from(nesting).unwrap_or(u32::MAX));
    let mut message = M::new();
    match message.merge_from(&mut input) {
        Ok(()) => Some(message),
        Err(e) => {
            problems.push(Diagnostic::error(7, format!("protobuf cannot be decoded: {e}")));
            None
        }
    }
}

/// All bytes of a regular file of at most `limit` bytes.
fn read_file(path: &Path, limit: u64) -> Result<Apart, Box<Diagnostic>> {
    let name = path.display();
    let cannot_open = |e: std::io::Error| {
        let why = match e.kind() {
            ErrorKind::NotFound => "no such file".to_owned(),
            _ => e.to_string(),
        };
        Box::new(Diagnostic::error(1, format!("cannot open '{name}': {why}")))
    };
    let not_regular =
        |kind| Box::new(Diagnostic::error(3, format!("'{name}' is a {kind}, need a regular file")));
    // Opening a FIFO would wait for a writer: look first.
    let metadata = path.metadata().map_err(cannot_open)?;
    if !metadata.is_file() {
        return Err(not_regular(kind(metadata.file_type())));
    }
    let file = open_without_blocking(path).map_err(cannot_open)?;
    let metadata = file.metadata().map_err(cannot_open)?;
    if !metadata.is_file() {
        return Err(not_regular(kind(metadata.file_type())));
    }
    if metadata.len() > limit {
        return Err(Box::new(too_large(metadata.len())));
    }
    match read_apart(file, metadata.len()) {
        Ok(Ok(file)) => Ok(file),
        Ok(Err(has)) => {
            let message = format!("'{name}': size changed from {} to {has}", metadata.len());
            Err(Box::new(Diagnostic::error(602, message)))
        }
        Err(e) => Err(Box::new(Diagnostic::error(601, format!("cannot read '{name}': {e}")))),
    }
}

fn too_large(bytes: u64) -> Diagnostic {
    let size = match bytes {
        n if n >= 1 << 30 => format!("{:.1} GiB", n as f64 / f64::from(1 << 30)),
        n => format!("{n} bytes"),
    };
    Diagnostic::error(505, format!("proto of {size} over 2 GiB; use external data"))
}

#[cfg(unix)]
fn kind(file_type: FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    match file_type {
        t if t.is_dir() => "directory",
        t if t.is_fifo() => "FIFO",
        t if t.is_socket() => "socket",
        _ => "device",
    }
}

#[cfg(not(unix))]
fn kind(file_type: FileType) -> &'static str {
    if file_type.is_dir() { "directory" } else { "device" }
}
