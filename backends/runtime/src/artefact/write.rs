//! write - from an image to an artefact, as bytes or as a file that is there whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use prost::Message;

use super::layout::{self, Section, align_up};
use super::manifest::{Manifest, Weight};
use crate::abi::ALIGN;
use crate::error::{Error, Result, out_of_memory};
use crate::image::Image;

/// An artefact's parts, in order, with what is said of them.
struct Parts<'a> {
    head: Vec<u8>,
    manifest: Vec<u8>,
    image: &'a Image,
    sections: [Section; 3],
    file_bytes: u64,
}

impl<'a> Parts<'a> {
    fn of(image: &'a Image) -> Result<Self> {
        image.check()?;
        let too_large = || out_of_memory("the artefact", "over 2^63", None);
        let mut weights = Vec::new();
        let mut hasher = blake3::Hasher::new();
        let mut end = 0u64;
        for section in image.weights.sections() {
            let bytes = section.bytes();
            let offset = align_up(end).ok_or_else(too_large)?;
            hasher.update(&ZEROS[..(offset - end) as usize]).update(bytes);
            weights.push(Weight { offset, bytes: bytes.len() as u64 });
            end = offset.checked_add(bytes.len() as u64).ok_or_else(too_large)?;
        }
        let manifest = Manifest::of(image, weights).encode_to_vec();
        let digest = |bytes: &[u8]| (bytes.len() as u64, blake3::hash(bytes).into());
        let contents = [digest(&manifest), digest(&image.code), (end, hasher.finalize().into())];
        let (sections, file_bytes) = layout::place(contents).ok_or_else(too_large)?;
        let head = layout::encode(&sections, file_bytes);
        Ok(Self { head, manifest, image, sections, file_bytes })
    }

    fn write_to(&self, to: &mut dyn Write) -> io::Result<()> {
        let mut at = 0;
        let mut put = |offset: u64, bytes: &[u8]| {
            to.write_all(&ZEROS[..(offset - at) as usize])?;
            to.write_all(bytes)?;
            at = offset + bytes.len() as u64;
            Ok::<_, io::Error>(())
        };
        let [manifest, code, weights] = &self.sections;
        put(0, &self.head)?;
        put(manifest.offset, &self.manifest)?;
        put(code.offset, &self.image.code)?;
        let mut offset = weights.offset;
        // Also where there is no weight, the file has the zeros before the section.
        put(offset, &[])?;
        for section in self.image.weights.sections() {
            offset = offset.next_multiple_of(ALIGN as u64);
            put(offset, section.bytes())?;
            offset += section.bytes().len() as u64;
        }
        Ok(())
    }
}

/// What lies between sections.
const ZEROS: [u8; ALIGN] = [0; ALIGN];

/// The artefact of an image, as bytes.
///
/// # Errors
/// E0707 for an image whose parts do not fit together, E0501 when there is no memory.
pub fn to_bytes(image: &Image) -> Result<Vec<u8>> {
    let parts = Parts::of(image)?;
    let no_memory = || out_of_memory("the artefact", parts.file_bytes, None);
    let mut bytes = Vec::new();
    bytes
        .try_reserve_exact(usize::try_from(parts.file_bytes).map_err(|_| no_memory())?)
        .map_err(|_| no_memory())?;
    parts.write_to(&mut bytes).map_err(|_| no_memory())?;
    Ok(bytes)
}

/// Writes the artefact of an image to `path`, replacing what was there only when all is written; returns its length
/// in bytes. A link at `path` is replaced, not followed.
///
/// # Errors
/// E0601 when writing fails, E0602 when the place cannot be written to, and those of [`to_bytes`].
pub fn write(image: &Image, path: &Path) -> Result<u64> {
    let parts = Parts::of(image)?;
    replace(path, |file| parts.write_to(file))
        .map_err(|cause| write_error(path, parts.file_bytes, &cause))?;
    Ok(parts.file_bytes)
}

/// Makes `path` a file of what `fill` writes, or leaves everything as it was.
pub(super) fn replace(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let is_directory = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    let Some(file_name) = path.file_name().filter(|_| !is_directory) else {
        return Err(ErrorKind::IsADirectory.into());
    };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (temporary, mut file) = Temporary::create(directory, file_name.to_os_string())?;
    fill(&mut file)?;
    file.sync_all()?;
    drop(file);
    temporary.rename_to(path)?;
    // Some file systems cannot do this; the file itself is safe by now.
    let _ = File::open(directory).and_then(|directory| directory.sync_all());
    Ok(())
}

pub(super) fn write_error(path: &Path, bytes: u64, cause: &io::Error) -> Error {
    let name = path.display().to_string();
    match cause.kind() {
        ErrorKind::PermissionDenied
        | ErrorKind::ReadOnlyFilesystem
        | ErrorKind::NotFound
        | ErrorKind::NotADirectory
        | ErrorKind::IsADirectory => Error::new(602, format!("cannot write to '{name}': {cause}"))
            .with_help("choose another place with -o"),
        _ => Error::new(601, format!("writing {bytes} bytes to '{name}' failed: {cause}"))
            .with_help("nothing was changed; make room or choose another place with -o"),
    }
}

/// A new file beside the one to be written, removed unless it is renamed.
struct Temporary {
    path: Option<PathBuf>,
}

impl Temporary {
    fn create(directory: &Path, file_name: OsString) -> io::Result<(Self, File)> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let mut name = OsString::from(".");
            name.push(&file_name);
            name.push(format!(".{}-{count}.tmp", std::process::id()));
            let path = directory.join(name);
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok((Self { path: Some(path) }, file)),
                // Left by a process that was killed and had this one's number.
                Err(cause) if cause.kind() == ErrorKind::AlreadyExists => {}
                Err(cause) => return Err(cause),
            }
        }
    }

    fn rename_to(mut self, path: &Path) -> io::Result<()> {
        if let Some(from) = &self.path {
            fs::rename(from, path)?;
        }
        self.path = None;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // An error came before this one, and is what the caller hears of.
            let _ = fs::remove_file(path);
        }
    }
}
