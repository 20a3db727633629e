//! external - tensor payloads in other files of the model's folder, and never outside of it.

use crate::limits::Limits;
use crate::model::Buffer;
use crate::tensor::{Refusal, refuse};
use nnc_ir::diag::Diagnostic;
use std::collections::BTreeMap;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read};
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// The external data of one model: each file is read once.
#[derive(Debug)]
pub(crate) struct ExternalFiles<'a> {
    folder: Option<&'a Path>,
    allow_symlinks: bool,
    strict: bool,
    limits: &'a Limits,
    /// By location; `None` if the file was refused, which has been reported.
    files: BTreeMap<String, Option<Buffer>>,
    /// Ranges handed out, by location: first byte, end, tensor.
    used: BTreeMap<String, Vec<(usize, usize, String)>>,
    warnings: Vec<Diagnostic>,
}

/// The entries of a tensor's `external_data`, parsed.
struct Entries<'a> {
    location: &'a str,
    offset: u64,
    length: Option<u64>,
}

impl<'a> ExternalFiles<'a> {
    pub(crate) fn new(
        folder: Option<&'a Path>,
        allow_symlinks: bool,
        strict: bool,
        limits: &'a Limits,
    ) -> Self {
        let (files, used) = (BTreeMap::new(), BTreeMap::new());
        Self { folder, allow_symlinks, strict, limits, files, used, warnings: Vec::new() }
    }

    pub(crate) fn take_warnings(&mut self) -> Vec<Diagnostic> {
        std::mem::take(&mut self.warnings)
    }

    /// The file a tensor's `external_data` entries point to and the range of it; `need` is what dims and dtype ask for.
    pub(crate) fn read(
        &mut self,
        tensor: &str,
        entries: &[(&str, &str)],
        need: u64,
    ) -> Result<(Buffer, Range<usize>), Refusal> {
        let Entries { location, offset, length } = self.parse(tensor, entries)?;
        let parts = contained(location)?;
        let path = parts.join("/");
        let location = path.as_str();
        let Some(folder) = self.folder else {
            return refuse(311, format!("'{tensor}' has external data: needs --external-dir"));
        };
        let buffer = match self.files.get(location) {
            Some(Some(buffer)) => buffer.clone(),
            Some(None) => {
                return refuse(304, format!("'{tensor}' needs '{location}' as well, which was refused"));
            }
            None => {
                let read = self.open(tensor, folder, location, &parts);
                self.files.insert(location.to_owned(), read.as_ref().ok().cloned());
                read?
            }
        };
        let size = buffer.len() as u64;
        let length = length.unwrap_or(need);
        let end = offset.checked_add(length).filter(|&end| end <= size);
        let (Some(end), Ok(start)) = (end, usize::try_from(offset)) else {
            return refuse(
                305,
                format!(
                    "'{tensor}': offset {offset} + length {length} is past the end of '{location}' ({size} bytes)"
                ),
            );
        };
        let range = start..usize::try_from(end).unwrap_or(buffer.len());
        self.used.entry(location.to_owned()).or_default().push((range.start, range.end, tensor.to_owned()));
        Ok((buffer, range))
    }

    fn parse<'e>(&mut self, tensor: &str, entries: &[(&'e str, &'e str)]) -> Result<Entries<'e>, Refusal> {
        let (mut location, mut offset, mut length) = (None, None, None);
        for &(key, value) in entries {
            let slot = match key {
                "location" => &mut location,
                "offset" => &mut offset,
                "length" => &mut length,
                "checksum" => continue,
                unknown => {
                    let message = format!("external data of '{tensor}': unknown key '{unknown}' is ignored");
                    self.warnings.push(Diagnostic::warning(307, message));
                    continue;
                }
            };
            if slot.replace(value).is_some() {
                return refuse(307, format!("external data of '{tensor}': key '{key}' given twice"));
            }
        }
        let Some(location) = location.filter(|l| !l.is_empty()) else {
            return refuse(307, format!("external data of '{tensor}' has no location"));
        };
        let offset = offset.map(|v| number(tensor, "offset", v)).transpose()?.unwrap_or(0);
        let length = length.map(|v| number(tensor, "length", v)).transpose()?;
        Ok(Entries { location, offset, length })
    }

    /// Opens and reads a file after every component of its path was found to be what it should be.
    fn open(
        &mut self,
        tensor: &str,
        folder: &Path,
        location: &str,
        parts: &[&str],
    ) -> Result<Buffer, Refusal> {
        let mut path = PathBuf::from(if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
        let missing = |e: std::io::Error| {
            let why = match e.kind() {
                ErrorKind::NotFound | ErrorKind::NotADirectory => "not found".to_owned(),
                _ => e.to_string(),
            };
            Box::new(
                Diagnostic::error(
                    304,
                    format!("'{tensor}' needs '{location}' in {}: {why}", folder.display()),
                )
                .help("external data must lie beside the model"),
            )
        };
        let mut metadata = None;
        for part in parts {
            path.push(part);
            let found = path.symlink_metadata().map_err(missing)?;
            metadata = Some(if !found.file_type().is_symlink() {
                found
            } else if self.allow_symlinks {
                path.metadata().map_err(missing)?
            } else {
                return Err(Box::new(
                    Diagnostic::error(302, format!("'{}' is a symbolic link (not followed)", path.display()))
                        .help("--allow-symlinks for caches that are made of links"),
                ));
            });
        }
        let metadata = metadata.ok_or_else(|| missing(ErrorKind::NotFound.into()))?;
        if !metadata.is_file() {
            return refuse(303, format!("'{}' is not a regular file", path.display()));
        }
        if n_links(&metadata) > 1 {
            let message = format!("'{}' has {} hard links", path.display(), n_links(&metadata));
            self.warnings.push(Diagnostic::warning(302, message));
        }
        let file = open_without_blocking(&path).map_err(missing)?;
        let opened = file.metadata().map_err(missing)?;
        if !opened.is_file() || !same_file(&metadata, &opened) {
            return refuse(303, format!("'{}' was replaced while it was being opened", path.display()));
        }
        if opened.len() > self.limits.external_bytes {
            let limit = self.limits.external_bytes;
            return refuse(505, format!("'{}' of {} bytes over limit {limit}", path.display(), opened.len()));
        }
        read_whole(file, opened.len()).map_err(missing)?.map(Arc::new).map_err(|has| {
            Box::new(Diagnostic::error(
                310,
                format!("'{}': size changed from {} to {has}", path.display(), opened.len()),
            ))
        })
    }

    /// Tensors that share bytes of a file: allowed, since nothing writes to them, but worth a word.
    pub(crate) fn overlaps(&mut self) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        for (location, ranges) in &mut self.used {
            ranges.sort();
            let mut furthest: Option<&(usize, usize, String)> = None;
            for range in ranges.iter().filter(|(start, end, _)| start < end) {
                if let Some((_, _, other)) = furthest.filter(|(_, end, _)| *end > range.0) {
                    let message = format!("'{}' and '{other}' overlap in '{location}'", range.2);
                    found.push(if self.strict {
                        Diagnostic::error(309, message)
                    } else {
                        Diagnostic::warning(309, message)
                    });
                }
                if furthest.is_none_or(|(_, end, _)| *end < range.1) {
                    furthest = Some(range);
                }
            }
        }
        found
    }
}

/// The components of a location that stays in the model's folder on every system.
fn contained(location: &str) -> Result<Vec<&str>, Refusal> {
    let drive = location.as_bytes().get(1) == Some(&b':');
    let outside = location.starts_with(['/', '~'])
        || drive
        || location.contains(['\\', '\0', '*'])
        || location.contains("://")
        || location.to_ascii_lowercase().starts_with("file:")
        || Path::new(location).components().any(|c| !matches!(c, Component::Normal(_) | Component::CurDir));
    let parts: Vec<&str> = location.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if outside || parts.contains(&"..") || parts.is_empty() {
        return refuse(301, format!("location '{location}' leaves the model directory"));
    }
    Ok(parts)
}

/// A decimal number without sign, space or exponent.
fn number(tensor: &str, key: &str, text: &str) -> Result<u64, Refusal> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<u64>() {
        Ok(value) if digits => Ok(value),
        _ => {
            let shown: String = text.chars().take(60).collect();
            refuse(306, format!("external data of '{tensor}': {key} '{shown}' is not a byte count"))
        }
    }
}

/// Opens for reading; a FIFO that has taken the file's place meanwhile does not make this wait.
pub(crate) fn open_without_blocking(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        use std::os::unix::fs::OpenOptionsExt;
        const O_NONBLOCK: i32 = 0o4000;
        options.custom_flags(O_NONBLOCK);
    }
    options.open(path)
}

/// All bytes of a file of `size` bytes, or how many it has now.
pub(crate) fn read_whole(file: File, size: u64) -> std::io::Result<Result<Vec<u8>, u64>> {
    let mut bytes = Vec::new();
    // One byte more shows growth, and is room for the end of the file to be seen without another allocation.
    let capacity = usize::try_from(size.saturating_add(1)).map_err(|_| ErrorKind::OutOfMemory)?;
    bytes.try_reserve_exact(capacity).map_err(|_| ErrorKind::OutOfMemory)?;
    file.take(size.saturating_add(1)).read_to_end(&mut bytes)?;
    let has = bytes.len() as u64;
    Ok(if has == size { Ok(bytes) } else { Err(has) })
}

#[cfg(unix)]
fn n_links(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::nlink(metadata)
}

#[cfg(not(unix))]
fn n_links(_: &Metadata) -> u64 {
    1
}

#[cfg(unix)]
fn same_file(a: &Metadata, b: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

#[cfg(not(unix))]
fn same_file(_: &Metadata, _: &Metadata) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_stay_in_the_folder() {
        for ok in ["w.bin", "./w.bin", "sub/w.bin", "sub/./w.bin", "w..bin", "a//w"] {
            assert!(contained(ok).is_ok(), "{ok}");
        }
        let bad = ["../secret", "sub/../../secret", "./..//x", "/etc/passwd", "C:\\x", "C:x", "\\\\host\\x"];
        let worse =
            ["file://x", "file:x", "~", "~/x", "*/_MEM_ADDR_/*", "a\0b", ".", "..", "s3://b/k", "a\\b"];
        for location in bad.iter().chain(&worse) {
            assert_eq!(contained(location).unwrap_err().code.0, 301, "{location}");
        }
    }

    #[test]
    fn a_file_that_changes_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w");
        std::fs::write(&path, [7; 10]).unwrap();
        let read = |size| read_whole(File::open(&path).unwrap(), size).unwrap();
        assert_eq!(read(10), Ok(vec![7; 10]));
        assert_eq!(read(9), Err(10), "grown");
        assert_eq!(read(12), Err(10), "truncated");
    }

    #[test]
    fn numbers_are_plain() {
        assert_eq!(number("w", "offset", "007").unwrap(), 7);
        for text in
            ["-1", "+1", "12abc", "1e9", "", " 1", "1 ", "0x10", "1111111111222222222233333333334444444444"]
        {
            assert_eq!(number("w", "offset", text).unwrap_err().code.0, 306, "{text:?}");
        }
    }
}
