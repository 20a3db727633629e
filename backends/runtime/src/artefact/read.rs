//! read - from the bytes of an artefact to an image.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;

use super::MAGIC;
use super::layout;
use super::manifest::{Manifest, Weight};
use crate::abi::ALIGN;
use crate::arena::AlignedBytes;
use crate::error::{Error, Result, out_of_memory};
use crate::image::Image;
use crate::weights::{SharedBytes, WeightSection, Weights};

/// Whether a file that begins like this is an artefact, if maybe a damaged one.
#[must_use]
pub fn is_artefact(first_bytes: &[u8]) -> bool {
    first_bytes.starts_with(&MAGIC)
}

/// Reads the artefact at `path`. Whether this machine can run it is for [`Program::load`](crate::Program::load) to say.
///
/// # Errors
/// E0603 when the file cannot be read, E0501 when it has more than `max_memory` bytes, and those of [`from_bytes`].
pub fn read(path: &Path, max_memory: u64) -> Result<Image> {
    let name = path.display().to_string();
    let cannot = |why: &dyn std::fmt::Display| Error::new(603, format!("cannot read '{name}': {why}"));
    // Asked before it is opened: opening a pipe waits for who writes it.
    let metadata = fs::metadata(path).map_err(|cause| cannot(&cause))?;
    if !metadata.is_file() {
        return Err(cannot(if metadata.is_dir() { &"it is a directory" } else { &"it is no regular file" }));
    }
    if metadata.len() > max_memory {
        return Err(out_of_memory(&format!("'{name}'"), metadata.len(), Some(max_memory)));
    }
    let len = usize::try_from(metadata.len()).map_err(|_| out_of_memory("the file", metadata.len(), None))?;
    let mut bytes = AlignedBytes::zeroed(len)?;
    let mut file = File::open(path).map_err(|cause| cannot(&cause))?;
    file.read_exact(&mut bytes).map_err(|cause| match cause.kind() {
        ErrorKind::UnexpectedEof => Error::new(705, format!("damaged: '{name}' shrank while it was read")),
        _ => cannot(&cause),
    })?;
    from_bytes(bytes)
}

/// Reads an artefact that is in memory already; its weights stay there.
///
/// # Errors
/// E0701 for what is no artefact, E0702 of another version, E0703 of another byte order, E0705 for damage, E0706 and
/// E0707 for a section table or manifest that makes no sense, E0501 when there is no memory.
pub fn from_bytes(file: AlignedBytes) -> Result<Image> {
    let [manifest, code, weights] = layout::decode(&file)?;
    let manifest = Manifest::read(&file[manifest])?;
    let mut code_bytes = Vec::new();
    code_bytes.try_reserve_exact(code.len()).map_err(|_| out_of_memory("the code", code.len(), None))?;
    code_bytes.extend_from_slice(&file[code]);
    let file: SharedBytes = Arc::new(file);
    let section = |weight: &Weight| {
        let inside = |at: u64| usize::try_from(at).ok().filter(|&at| at <= weights.len());
        let range = inside(weight.offset).zip(weight.offset.checked_add(weight.bytes).and_then(inside));
        let Some((from, to)) = range.filter(|&(from, _)| from % ALIGN == 0) else {
            let Weight { offset, bytes } = weight;
            let message =
                format!("manifest: weights of {bytes} bytes at {offset}, there are {}", weights.len());
            return Err(Error::new(707, message));
        };
        WeightSection::shared(Arc::clone(&file), weights.start + from..weights.start + to, ALIGN)
    };
    let sections = manifest.weights.iter().map(section).collect::<Result<_>>()?;
    manifest.into_image(code_bytes, Weights::new(sections))
}
