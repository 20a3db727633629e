//! magic - recognises files that are not models by their first bytes, to say what they are instead.

use crate::scan::not_onnx;
use crate::wire::{Cursor, WireType};
use nnc_ir::diag::Diagnostic;

/// First bytes of formats that people pass by mistake.
const FORMATS: &[(&[u8], &str)] = &[
    (b"\x89nnc\r\n\x1a\n", "compiled .nnc"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"\x1f\x8b", "gzip"),
    (b"\x80\x02", "pickle"),
    (b"\x80\x03", "pickle"),
    (b"\x80\x04", "pickle"),
    (b"\x80\x05", "pickle"),
    (b"GGUF", "GGUF"),
    (b"ggml", "GGML"),
    (b"lmgg", "GGML"),
    (b"\x93NUMPY", "NumPy .npy"),
    (b"\x89HDF\r\n", "HDF5 (Keras)"),
    (b"\x7fELF", "ELF"),
    (b"\x89PNG", "PNG"),
    (b"\xfd7zXZ", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"7z\xbc\xaf", "7-Zip"),
    (b"BZh", "bzip2"),
    (b"ORTM", "ORT"),
    (b"%PDF", "PDF"),
];

const LFS: &[u8] = b"version https://git-lfs.github.com/spec/";

/// The error for bytes that are recognisably something else than an ONNX model.
pub(crate) fn recognise(bytes: &[u8], path: &str) -> Option<Diagnostic> {
    if bytes.is_empty() {
        return Some(Diagnostic::error(2, format!("'{path}' is empty (0 bytes): not an ONNX model")));
    }
    if bytes.starts_with(LFS) {
        return Some(lfs_pointer(bytes));
    }
    if let Some(format) = format_of(bytes) {
        let article = if format.starts_with(['E', 'H', 'O', 'x']) { "an" } else { "a" };
        return Some(Diagnostic::error(5, format!("this is {article} {format} file; nnc reads ONNX")));
    }
    let looks_like = text_kind(bytes)?;
    let (number, wire_type) = Cursor::new(bytes, 0, bytes.len())
        .tag()
        .unwrap_or_else(|_| (u32::from(bytes[0] >> 3), WireType::Bytes));
    Some(*not_onnx(number, wire_type, Some(looks_like)))
}

fn format_of(bytes: &[u8]) -> Option<&'static str> {
    if let Some((_, format)) = FORMATS.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return Some(format);
    }
    if bytes.len() >= 8 && (&bytes[4..8] == b"TFL3" || &bytes[4..8] == b"ORTM") {
        return Some(if &bytes[4..8] == b"TFL3" { ".tflite" } else { "ORT" });
    }
    // safetensors: length of the JSON header as u64, then the header.
    let header: [u8; 8] = bytes.get(..8)?.try_into().ok()?;
    let json = bytes.get(8..10)?;
    let plausible = u64::from_le_bytes(header) < 1 << 30;
    (plausible && json[0] == b'{' && matches!(json[1], b'"' | b' ' | b'\n' | b'}')).then_some("safetensors")
}

/// Text if the beginning has no byte that text does not have; a model's first bytes are tags and counts.
fn text_kind(bytes: &[u8]) -> Option<&'static str> {
    let head = &bytes[..bytes.len().min(512)];
    let control = |b: &u8| (*b < 0x20 && !matches!(b, b'\t' | b'\n' | b'\r' | 0x0c)) || *b == 0x7f;
    // A tab or a line feed alone is also a tag; text has letters.
    if head.iter().any(control) || !head.iter().any(u8::is_ascii_graphic) {
        return None;
    }
    let valid = match std::str::from_utf8(head) {
        Ok(_) => true,
        Err(e) => e.error_len().is_none(), // cut within a character
    };
    if !valid {
        return None;
    }
    let text = String::from_utf8_lossy(head);
    let text = text.trim_start_matches('\u{feff}').trim_start().to_ascii_lowercase();
    if text.starts_with("<!doctype") || text.starts_with("<html") || text.starts_with("<head") {
        Some("HTML")
    } else if text.starts_with('{') || text.starts_with('[') {
        Some("JSON")
    } else if text.starts_with("<?xml") {
        Some("XML")
    } else {
        Some("text")
    }
}

fn lfs_pointer(bytes: &[u8]) -> Diagnostic {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(1024)]).into_owned();
    let value = |key: &str| {
        text.lines().find_map(|line| line.strip_prefix(key)).map_or("unknown", str::trim).to_owned()
    };
    let (oid, size) = (value("oid "), value("size "));
    Diagnostic::error(
        6,
        format!("this is a Git LFS pointer, the real file ({oid}, {size} bytes) was not fetched"),
    )
    .help("run git lfs pull")
}
