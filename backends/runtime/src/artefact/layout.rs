//! layout - header and section table of an artefact.

use std::ops::Range;

use super::{FORMAT_VERSION, MAGIC};
use crate::abi::ALIGN;
use crate::error::{Error, Result};

/// Version of nnc that makes and reads artefacts.
const NNC_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Shows the byte order of who wrote the file.
const BYTE_ORDER: u32 = 0x0102_0304;

/// Names of the sections, in their order.
pub(super) const SECTIONS: [&str; 3] = ["manifest", "code", "weights"];

const DIGEST: usize = 64;
const TABLE: usize = 96;
const ENTRY: usize = 64;

/// Most entries a table can have.
const MAX_SECTIONS: u32 = 16;

/// One section's place and digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) offset: u64,
    pub(super) bytes: u64,
    pub(super) digest: [u8; 32],
}

/// The next place where a section may start.
pub(super) fn align_up(offset: u64) -> Option<u64> {
    offset.checked_next_multiple_of(ALIGN as u64)
}

/// Places for sections of these lengths and digests, with the length of the whole file.
pub(super) fn place(contents: [(u64, [u8; 32]); 3]) -> Option<([Section; 3], u64)> {
    let mut end = (TABLE + ENTRY * SECTIONS.len()) as u64;
    let mut sections = [Section { offset: 0, bytes: 0, digest: [0; 32] }; 3];
    for (section, (bytes, digest)) in sections.iter_mut().zip(contents) {
        let offset = align_up(end)?;
        *section = Section { offset, bytes, digest };
        end = offset.checked_add(bytes)?;
    }
    Some((sections, end))
}

/// Header and table as bytes.
pub(super) fn encode(sections: &[Section; 3], file_bytes: u64) -> Vec<u8> {
    let mut head = Vec::with_capacity(TABLE + ENTRY * SECTIONS.len());
    head.extend(MAGIC);
    head.extend(BYTE_ORDER.to_le_bytes());
    head.extend(FORMAT_VERSION.to_le_bytes());
    head.extend(padded(NNC_VERSION));
    head.extend(file_bytes.to_le_bytes());
    head.extend((SECTIONS.len() as u32).to_le_bytes());
    head.resize(TABLE, 0);
    for (name, section) in SECTIONS.iter().zip(sections) {
        head.extend(padded(name));
        head.extend(section.offset.to_le_bytes());
        head.extend(section.bytes.to_le_bytes());
        head.extend(section.digest);
    }
    seal(&mut head);
    head
}

/// Text in sixteen bytes, with zeros after it; longer text is cut.
fn padded(text: &str) -> [u8; 16] {
    let mut field = [0; 16];
    let len = text.len().min(field.len());
    field[..len].copy_from_slice(&text.as_bytes()[..len]);
    field
}

/// Puts the digest of header and table into the header.
pub(super) fn seal(head: &mut [u8]) {
    let digest = head_digest(head);
    head[DIGEST..TABLE].copy_from_slice(&digest);
}

fn head_digest(head: &[u8]) -> [u8; 32] {
    blake3::Hasher::new().update(&head[..DIGEST]).update(&head[TABLE..]).finalize().into()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..].first_chunk().copied().unwrap_or_default())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..].first_chunk().copied().unwrap_or_default())
}

fn text(field: &[u8]) -> String {
    let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}

fn hex8(digest: &[u8]) -> String {
    digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

fn damaged(what: String) -> Error {
    Error::new(705, format!("damaged: {what}")).with_help("compile the model again, or copy the file again")
}

fn bad_table(what: String) -> Error {
    Error::new(706, format!("section table: {what}"))
}

/// Checks everything about `file` but what its sections mean; returns where they are, in the order of [`SECTIONS`].
pub(super) fn decode(file: &[u8]) -> Result<[Range<usize>; 3]> {
    let recompile = |error: Error| error.with_help("compile the model again with this nnc");
    if !file.starts_with(&MAGIC) {
        let message = format!("not an nnc artefact ({} bytes)", file.len());
        return Err(Error::new(701, message).with_help("make one with: nnc compile MODEL.onnx"));
    }
    if file.len() < TABLE {
        return Err(damaged(format!("{} bytes, the header alone has {TABLE}", file.len())));
    }
    let order = u32_at(file, 8);
    if order != BYTE_ORDER {
        let error = if order == BYTE_ORDER.swap_bytes() {
            Error::new(703, "made on a machine of the other byte order")
        } else {
            damaged(format!("byte order mark {order:#x}"))
        };
        return Err(recompile(error));
    }
    let (format, version) = (u32_at(file, 12), &file[16..32]);
    if format != FORMAT_VERSION || version != padded(NNC_VERSION) {
        let message = format!(
            "made by nnc {} (format {format}), this is {NNC_VERSION} (format {FORMAT_VERSION})",
            text(version)
        );
        return Err(recompile(Error::new(702, message)));
    }
    let file_bytes = u64_at(file, 32);
    if file_bytes != file.len() as u64 {
        return Err(damaged(format!("{} bytes, should be {file_bytes}", file.len())));
    }
    let count = u32_at(file, 40);
    let table = TABLE..TABLE + ENTRY * count.min(MAX_SECTIONS) as usize;
    if count > MAX_SECTIONS || table.end > file.len() {
        return Err(bad_table(format!("{count} entries in a file of {file_bytes} bytes")));
    }
    let found = head_digest(&file[..table.end]);
    let expected = &file[DIGEST..TABLE];
    if found != expected {
        let (expected, found) = (hex8(expected), hex8(&found));
        return Err(damaged(format!("digest of the header differs (expected {expected}, found {found})")));
    }
    if file[44..DIGEST].iter().any(|&byte| byte != 0) {
        return Err(bad_table("reserved bytes of the header are not zero".into()));
    }
    let sections = places(file, table)?;
    let mut ranges = [const { 0..0 }; 3];
    for ((range, name), section) in ranges.iter_mut().zip(SECTIONS).zip(sections) {
        // `places` has checked that it is inside of the file.
        *range = section.offset as usize..(section.offset + section.bytes) as usize;
        let found: [u8; 32] = blake3::hash(&file[range.clone()]).into();
        if found != section.digest {
            let (expected, found) = (hex8(&section.digest), hex8(&found));
            return Err(damaged(format!(
                "digest of section '{name}' differs (expected {expected}, found {found})"
            )));
        }
    }
    Ok(ranges)
}

/// The sections of the table, in the order of [`SECTIONS`], which must be theirs in the file, too.
fn places(file: &[u8], table: Range<usize>) -> Result<[Section; 3]> {
    let mut end = table.end as u64;
    let mut sections = [const { None }; 3];
    for entry in file[table].chunks_exact(ENTRY) {
        let (field, name) = (&entry[..16], text(&entry[..16]));
        let Some(known) = SECTIONS.iter().position(|section| padded(section) == field) else {
            return Err(bad_table(format!("unknown section '{name}'")));
        };
        if sections[known].is_some() {
            return Err(bad_table(format!("section '{name}' is there twice")));
        }
        let (offset, bytes) = (u64_at(entry, 16), u64_at(entry, 24));
        if !offset.is_multiple_of(ALIGN as u64) {
            return Err(bad_table(format!("section '{name}' at {offset} is not aligned to {ALIGN} bytes")));
        }
        if offset < end {
            return Err(bad_table(format!("section '{name}' at {offset} overlaps what ends at {end}")));
        }
        let Some(section_end) = offset.checked_add(bytes).filter(|&end| end <= file.len() as u64) else {
            return Err(bad_table(format!(
                "section '{name}' at {offset} with {bytes} bytes is outside of the file"
            )));
        };
        // Not further on than aligning needs, and with nothing in between.
        let gap = &file[end as usize..offset as usize];
        if gap.len() >= ALIGN || gap.iter().any(|&byte| byte != 0) {
            return Err(bad_table(format!("{} bytes before section '{name}' belong to none", gap.len())));
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(&entry[32..]);
        sections[known] = Some(Section { offset, bytes, digest });
        end = section_end;
    }
    if end != file.len() as u64 {
        return Err(bad_table(format!("{} bytes at the end belong to no section", file.len() as u64 - end)));
    }
    match sections {
        [Some(manifest), Some(code), Some(weights)] => Ok([manifest, code, weights]),
        _ => Err(bad_table(format!("not all of {} are there", SECTIONS.join(", ")))),
    }
}
